"""Completion, as shells ask for it, and in the shells themselves where they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest

from peerd.pb import runs_pb2

BIN = Path(sys.executable).parent
PATIENCE = 60


@pytest.fixture
def three(peers: Any) -> Any:
    for name in ("alice", "amy", "bob"):
        peers.add(name).checkpoints = [
            runs_pb2.Checkpoint(spec=runs_pb2.RunSpec(run_id=digits * 8, task="digits-cnn", rounds=5))
            for digits in ("5f0c", "91ab")
        ]
    return peers


@pytest.fixture
def complete() -> Callable[[str], list[str]]:
    """What stands in bash for the last word of a line."""

    def ask(line: str) -> list[str]:
        environment = os.environ | {
            "_PEERCTL_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")),
        }  # fmt: skip
        words = [sys.executable, "-c", "from ctl.main import main; main()"]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return [item.partition(",")[2] for item in done.stdout.splitlines() if item]

    return ask


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("peerctl --context a", ["alice", "amy"]),
        ("peerctl status --context ", ["alice", "amy", "bob"]),
        ("peerctl --on alice,a", ["alice,amy"]),
        ("peerctl context use b", ["bob"]),
        ("peerctl --context alice run export --run 5", ["5f0c5f0c"]),
        ("peerctl --all run compare ", ["5f0c5f0c", "91ab91ab"]),
        ("peerctl run start --task mnist", ["mnist-cnn"]),
        ("peerctl task show digits-m", ["digits-mlp"]),
        ("peerctl mix set --strategy p", ["pool"]),
        ("peerctl status --output y", ["yaml"]),
    ],
)
def test_names_ids_and_values(three: Any, complete: Any, line: str, expected: list[str]) -> None:
    assert complete(line) == expected


def test_of_a_testbed(home: Path, complete: Any, standin: Any) -> None:
    from ctl.testbed import Testbed
    from ctl.testbed.plan import ReservedPorts

    ports = ReservedPorts(3)
    Testbed.create(home / "tb", standin.plan(), ports)
    ports.close()
    assert complete(f"peerctl --testbed {home}/tb --context b") == ["bob"]
    assert complete(f"peerctl testbed kill --dir {home}/tb ca") == ["carol"]


def test_whatever_is_wrong_nothing_is_filled_in(peers: Any, home: Path, complete: Any) -> None:
    peers.absent("alice")
    assert complete("peerctl run export --run 5") == []
    (home / "contexts.toml").write_text("current =")
    assert complete("peerctl --context a") == []
    assert complete("peerctl --testbed /nowhere --context a") == []


def in_shell(name: str, home: Path) -> dict[str, str]:
    """The environment of a shell in which there is a `peerctl`."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed (apt-get install {name})")
    folder = home / "bin"
    folder.mkdir()
    (folder / "peerctl").write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "from ctl.main import main; main()" "$@"\n'
    )
    (folder / "peerctl").chmod(0o755)
    return os.environ | {
        "PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(home), "TERM": "dumb", "ZDOTDIR": str(home),
        "XDG_CONFIG_HOME": str(home / "config"), "PS1": "$ ",
    }  # fmt: skip


def shell(name: str, home: Path, *arguments: str) -> Any:
    environment = in_shell(name, home)
    child = pexpect.spawn(name, list(arguments), env=environment, encoding="utf-8", timeout=PATIENCE,
                          dimensions=(24, 200))  # fmt: skip
    child.delaybeforesend = 0.2
    return child


def test_bash_fills_in_a_name(three: Any, home: Path) -> None:
    child = shell("bash", home, "--norc", "-i")
    child.sendline('eval "$(peerctl completion bash)"; echo rea""dy')
    child.expect("ready")
    child.send("echo peerctl; peerctl context use bo\t")
    child.expect("use bob")
    child.close(force=True)


def test_zsh_fills_in_a_name(three: Any, home: Path) -> None:
    child = shell("zsh", home, "-f", "-i")
    child.sendline('autoload -Uz compinit && compinit -u; eval "$(peerctl completion zsh)"; echo rea""dy')
    child.expect("ready")
    child.send("peerctl context use bo\t")
    child.expect("use bo.*b")
    child.close(force=True)


def test_fish_completes_a_name_and_an_id(three: Any, home: Path) -> None:
    script = home / "script.fish"
    script.write_text(
        "peerctl completion fish | source\n"
        "complete -C 'peerctl context use b'\n"
        "complete -C 'peerctl --context alice run export --run 5'\n"
    )
    environment = in_shell("fish", home)
    done = subprocess.run(["fish", str(script)], env=environment, capture_output=True, text=True, check=True)
    told = done.stdout.splitlines()
    assert "bob" in told and any(line.startswith("5f0c5f0c\t") for line in told)
