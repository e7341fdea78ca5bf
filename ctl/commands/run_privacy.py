"""`peerctl run privacy`: what noise costs in epsilon, and epsilon in noise; what `run start` says of it."""

from __future__ import annotations

from typing import Any

import click

from ctl import render, tasks
from ctl.app import Command, pass_settings
from ctl.defaults import make_spec
from ctl.targets import Settings
from ctl.text import epsilon_of, number_of
from peerd.errors import InvalidInputError
from peerd.types import LEAST_NOISE, PRIVACY_DELTA, RunSpec

NO_RUN = 32 * "0"
"""Nothing is run here; a spec needs an id."""


@click.command("privacy", cls=Command)
@click.option("--rounds", type=int, required=True, help="To which a peer contributes.")
@click.option("--noise-multiplier", type=float, help="Deviation of the noise, in units of --privacy-clip.")
@click.option("--epsilon", type=float, help="Find the least noise multiplier that costs no more than this.")
@click.option("--delta", type=float, default=PRIVACY_DELTA, show_default=True,
              help="Of (epsilon, delta)-differential privacy.")  # fmt: skip
@pass_settings
def privacy(
    settings: Settings, rounds: int, noise_multiplier: float | None, epsilon: float | None, delta: float
) -> None:
    """What a run with `--noise-multiplier` would cost each peer, before it is started. No daemon is asked.

    Give a noise multiplier, and get epsilon; or give an epsilon, and get the multiplier. The unit is all data
    of a peer together: (epsilon, delta) bounds how well anybody who gets all its updates can tell these data
    from any others. Below 1 is strong; above 10 little is promised. For those who only ever see averages
    over N peers whose noise is honest, noise adds up: ask with the multiplier times the square root of N.

    \b
    Examples:
      peerctl run privacy --rounds 10 --noise-multiplier 4
      peerctl run privacy --rounds 10 --epsilon 8 --delta 1e-6 -o json
    """
    if (noise_multiplier is None) == (epsilon is None):
        raise InvalidInputError("give either --noise-multiplier or --epsilon; the other one is calculated")
    if epsilon is not None and not 0.0 < epsilon <= 1e12:
        raise InvalidInputError(f"--epsilon {epsilon:g}: must be above 0, and at most 1e12")
    noise = LEAST_NOISE if noise_multiplier is None else noise_multiplier
    spec = make_spec("synthetic", run_id=NO_RUN, rounds=rounds, **_private(noise, delta))
    if not spec.noised:
        raise InvalidInputError("--noise-multiplier 0: without noise there is no epsilon")
    found = tasks.privacy(spec, epsilon)
    if settings.for_programs:
        render.print_data(found, settings.output)
        return
    pairs = [
        ("rounds", found["rounds"]),
        ("noise multiplier", f"{found['noise_multiplier']:g}"),
        ("delta", f"{found['delta']:g}"),
        ("epsilon", epsilon_of(found["epsilon"])),
    ]
    render.show(render.details(pairs))


def _private(noise_multiplier: float, delta: float) -> dict[str, Any]:
    """The clip does not matter: noise is in units of it. A delta without noise is another mistake."""
    given = {"privacy_clip": 1.0, "noise_multiplier": noise_multiplier}
    return given | ({"privacy_delta": delta} if noise_multiplier else {})


def tell_cost(settings: Settings, spec: RunSpec) -> None:
    """Before a run is started: on stdout, or as JSON on stderr, where it is in nobody's way."""
    if not spec.privacy_clip:
        return
    found = tasks.privacy(spec) if spec.noised else None
    earlier = ", and what earlier runs on the same data have cost comes on top" if spec.initial_run else ""
    if settings.for_programs:
        if found is not None:
            render.print_notice({"privacy": found}, settings.output)
    elif found is None:
        click.echo(
            f"Privacy: updates are bounded (norm {spec.privacy_clip:g} at most), but not noised: no epsilon."
        )
    else:
        click.echo(
            f"Privacy: after {number_of(spec.rounds, 'round')} each peer has spent epsilon "
            f"{epsilon_of(found['epsilon'])} at delta {spec.privacy_delta:g}{earlier}."
        )
