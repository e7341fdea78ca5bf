"""`peerctl completion bash|zsh|fish`"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a completion script for SHELL.

    \b
    Examples:
      eval "$(peerctl completion bash)"
      peerctl completion zsh > ~/.zfunc/_peerctl
      peerctl completion fish > ~/.config/fish/completions/peerctl.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"this version of click has no completion for {shell}")
    click.echo(kind(ctx.find_root().command, {}, "peerctl", "_PEERCTL_COMPLETE").source())
