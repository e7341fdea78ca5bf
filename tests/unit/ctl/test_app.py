"""The command line itself: help, exit codes, global options anywhere, errors in one line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from ctl.cli import cli


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


EVERY = sorted(commands(cli))


def options(path: tuple[str, ...]) -> list[click.Option]:
    command: click.Command = cli
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    return [param for param in command.params if isinstance(param, click.Option)]


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_option_says_what_it_is_for_and_takes_the_global_ones(path: tuple[str, ...]) -> None:
    assert [option.name for option in options(path) if not option.help] == []
    assert ("output" in {option.name for option in options(path)}) == (path != ("completion",))


def test_a_command_does_not_pay_for_the_others() -> None:
    """All of them are some half a second of imports: who runs `status` in a loop must not wait for `demo`."""
    seen = "import sys, ctl.cli as c; c.cli.get_command(None, 'status'); print(*sys.modules)"
    command = [sys.executable, "-c", seen]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "ctl.commands.status" in loaded
    assert not {"ctl.commands.demo", "ctl.experiment", "ctl.churn", "numpy", "petlib", "torch"} & set(loaded)


def test_all_commands_are_there() -> None:
    expected = {
        "status", "peers", "top", "doctor", "support-bundle", "man",
        "demo", "version", "completion", "mix show", "mix set", "mix presets", "run start",
        "run stop", "run pause", "run resume", "run show", "run watch", "run privacy", "network create",
        "network enroll", "network sign", "network show", "network operator", "network delegate",
        "network revoke", "network rotate-ca", "network publish", "network invite", "context add",
        "context list", "context use", "context operator", "context remove", "testbed up", "testbed down",
        "testbed status", "testbed logs", "testbed add", "testbed kill", "testbed stop", "testbed start",
        "testbed freeze", "testbed thaw", "experiment attack", "experiment churn", "experiment dissemination",
        "experiment linking", "experiment encodings", "experiment poison",
        "events", "node drain", "node health", "task list", "task show", "task partition",
        "run checkpoints", "run export", "run compare", "dashboard",
        "config show", "config validate", "config diff", "config set", "config reload", "logs",
    }  # fmt: skip
    assert {" ".join(path) for path in EVERY} == expected


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_help_teaches_by_example(peerctl: Any, path: tuple[str, ...]) -> None:
    result = peerctl(*path, "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout
    examples = result.stdout.partition("Example")[2]
    assert "peerctl " in examples
    assert ("--output" in result.stdout) == (path != ("completion",))


def test_the_main_help_documents_the_exit_codes(peerctl: Any) -> None:
    text = " ".join(peerctl("--help").stdout.split())
    for line in ("0 ok", "1 failure", "2 invalid input", "3 not found", "4 conflict",
                 "5 unavailable", "6 denied", "130 interrupted"):  # fmt: skip
        assert line in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["events", "-n", "99999999999"], "99999999999 is not in the range"),
        (["run", "export", "--round", "99999999999", "--out", "x"], "99999999999 is not in the range"),
        (["--timeout", "999999999h", "status"], "must be at most 86400s"),
        (["status", "--watch", "90000s"], "must be at most 86400s"),
        (["statsu"], "Did you mean one of: 'status'"),
        (["status", "--frob"], "No such option '--frob'"),
        (["--output", "xml", "status"], "'xml' is not one of"),
        (["status", "--watch", "0.1"], "'0.1' must be at least 200ms"),
        (["status", "--watch", "often"], "'often' is not a duration"),
        (["--timeout", "soon", "status"], "'soon' is not a duration"),
        (["mix", "set", "--hops", "x"], "'x' is not a valid integer"),
        (["mix", "set", "--hops", "-1"], "-1 is not in the range"),
        (["mix", "set", "--queue-limit", str(2**32), "--endpoint", "unix:/x"], "mix set: "),
        (["mix", "set", "--strategy", "magic"], "'magic' is not one of 'exponential', 'outbox'"),
        (["run", "start", "--partition", "odd"], "'odd' is not one of 'iid', 'dirichlet'"),
        (["--timeout", "0", "status"], "'0' must be more than 0"),
        (["completion", "bash", "--output"], "No such option '--output'"),
        (["mix", "set"], "nothing to set"),
        (["mix", "set", "--preset", "max"], "'max' is not one of 'fast', 'balanced', 'strong'"),
        (["mix", "set", "--direct", "maybe"], "'maybe' is not a valid boolean"),
        (["mix", "set", "--pool-rate", "2"], "2.0 is not in the range 0.0<=x<=1.0"),
        (["mix", "set", "--loop-alarm", "-0.1"], "-0.1 is not in the range 0.0<=x<=1.0"),
        (["mix", "set", "--send-rate", "-1"], "-1.0 is not in the range x>=0.0"),
        (["mix", "set", "--cover-budget", "lots"], "'lots' is not a valid float"),
        (["mix", "set", "--threshold-size", "-1"], "-1 is not in the range x>=0"),
        (["mix", "set", "--threshold-patience", "long"], "'long' is not a duration"),
        (["mix", "set", "--pool-minimum", str(2**32), "--endpoint", "unix:/x"], "mix set: "),
        (["testbed", "up", "--preset", "max"], "'max' is not one of 'fast', 'balanced', 'strong'"),
        (["demo", "--preset", "max"], "'max' is not one of 'fast', 'balanced', 'strong'"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
        (["context", "add", "x"], "Missing option '--address'"),
        (["--all", "--on", "a", "status"], "--on and --all do not go together"),
        (["demo", "--hops", "5"], "hops: 5 mix nodes between two peers need at least 7 peers"),
        (["demo", "--peers", "4"], "hops: 3 mix nodes between two peers need at least 5 peers"),
        (["demo", "--peers", "2"], "peers: between 3 and 256, not 2"),
        (["demo", "--task", "chess"], "unknown task 'chess'; known: digits-cnn, mnist-cnn"),
        (["demo", "--task", "mnist-cnn"], "mnist-cnn needs --data-dir"),
        (["demo", "--rounds", "0"], "run: rounds: Expected `int` >= 1"),
        (["demo", "--strategy", "magic"], "'magic' is not one of 'exponential', 'outbox'"),
        (["demo", "--hops", "0"], "0 is not in the range x>=1"),
        (["run", "start", "--task", "chess", "--endpoint", "unix:/x"], "unknown task 'chess'"),
        (
            ["run", "start", "--run-id", "12", "--endpoint", "unix:/x"],
            "run: run_id: not of the form that it must have; allowed: 32 of 0-9 and a-f",
        ),
        (["run", "start", "--quorum", "2", "--endpoint", "unix:/x"], "run: quorum: Expected"),
        (["run", "start", "--stale", "keep"], "'keep' is not one of 'drop', 'use'"),
        (["run", "start", "--stale-rounds", "0", "--endpoint", "unix:/x"], "run: stale_rounds: Expected"),
        (["run", "start", "--shards", "-1", "--endpoint", "unix:/x"], "run: shards: Expected"),
        (
            ["node", "drain", "--all"],
            "--all would stop the whole network; name peers with --on, ",
        ),
        (["node", "drain", "--timeout", "0s"], "'0s' must be more than 0"),
        (["events", "-n", "-1"], "-1 is not in the range 0<=x<=100000"),
        (["context", "operator"], "name one certificate, or say --none"),
        (["demo", "--churn", "--peers", "6"], "--churn: two of the peers join late, and 3 mix nodes"),
        (["demo", "--churn", "--rounds", "5"], "--churn: at least 7 rounds, not 5"),
        (["experiment", "churn", "--epochs", "0"], "0 is not in the range 1<=x<=1000"),
        (["experiment", "dissemination", "--peers", "8,x"], "--peers 8,x: numbers with commas between them"),
        (["experiment", "dissemination", "--peers", "5,8"], "--peers 5: between 6 and 256"),
    ],
)
def test_invalid_input(peerctl: Any, arguments: list[str], message: str) -> None:
    assert message in peerctl.error(2, *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status"], "names no peer"),
        (["demo", "--data-dir", "/nowhere"], "--data-dir /nowhere: no such folder"),
        (["network", "show", "/nowhere"], "/nowhere/network.json: no such file"),
        (["network", "enroll", "/nowhere", "x.json"], "/nowhere/network.json: no such file"),
        (["testbed", "down", "--dir", "/nowhere"], "/nowhere: no testbed here"),
        (["testbed", "up", "--config", "/nowhere.toml"], "/nowhere.toml: no such config file"),
        (["context", "use", "bob"], "no endpoint 'bob'"),
        (["context", "operator", "/nowhere/ops.pem"], "/nowhere/ops.pem: no such file"),
        (["testbed", "kill", "bob", "--dir", "/nowhere"], "/nowhere: no testbed here"),
        (["experiment", "churn", "--plot", "/nowhere/x.png"], "--plot /nowhere/x.png: no such folder"),
        (
            ["run", "start", "--endpoint", "unix:/x", "--operator", "/nowhere.pem"],
            "/nowhere.pem: no such file",
        ),
    ],
)
def test_not_found(peerctl: Any, arguments: list[str], message: str) -> None:
    assert message in peerctl.error(3, *arguments)


@pytest.mark.parametrize(
    "arguments",
    [["-o", "json", "status", "--frob"], ["status", "--output=json", "--frob"],
     ["mix", "show", "--output", "json", "--endpoint", "nonsense"]],
)  # fmt: skip
def test_errors_as_json(peerctl: Any, arguments: list[str]) -> None:
    result = peerctl(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    error = json.loads(result.stderr)["error"]
    assert error["exit_code"] == 2
    assert error["status"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("option", [["-o", "yaml"], ["-oyaml"], ["--output=yaml"], ["--output", "yaml"]])
def test_errors_as_yaml(peerctl: Any, option: list[str]) -> None:
    result = peerctl("status", *option, "--frob")
    assert (result.exit_code, result.stdout) == (2, "")
    assert yaml.safe_load(result.stderr)["error"]["exit_code"] == 2


def test_every_command_that_prints_json_prints_yaml() -> None:
    """No command asks for the one form alone: `Settings.for_programs` and `render.print_data` know both."""
    folder = Path(__file__).parents[3] / "ctl"
    named = {
        str(path.relative_to(folder))
        for path in folder.rglob("*.py")
        if re.search(r"""output [!=]= ["']json""", path.read_text(encoding="utf-8"))
    }
    assert named == {"commands/events.py", "commands/logs.py"}  # a line an event, in ASCII


def test_a_reader_that_goes_away_is_no_failure_to_tell_of(peers: Any) -> None:
    peers.add("alice")
    code = "from ctl.main import main; main()"
    words = [sys.executable, "-c", code, "status", "--watch", "0.2", "-o", "json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert json.loads(process.stdout.readline())["name"] == "alice"
        process.stdout.close()
        assert process.wait(60) == 1
        assert process.stderr.read() == ""


def test_a_bug_is_one_line_too(peerctl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setattr("ctl.commands.status.report", broken)
    message = peerctl.error(1, "status")
    assert message == "ZeroDivisionError: oh no (PEERCTL_DEBUG=1 shows where)"


def test_interrupted(peerctl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ctl.commands.status.report", interrupted)
    result = peerctl("status")
    assert result.exit_code == 130
    assert result.stderr.split() == ["peerctl:", "interrupted"]


def test_global_options_are_understood_before_and_after(peers: Any, peerctl: Any) -> None:
    peers.add("alice")
    peers.add("bob")
    for arguments in (
        ["--on", "bob", "-o", "json", "mix", "show"],
        ["mix", "--on", "bob", "show", "-o", "json"],
        ["mix", "show", "--on", "bob", "--output", "json"],
    ):
        result = peerctl(*arguments)
        assert list(json.loads(result.stdout)) == ["bob"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(peerctl: Any, shell: str) -> None:
    script = peerctl("completion", shell).stdout
    assert "_PEERCTL_COMPLETE" in script
    assert "peerctl" in script


def test_completion_completes() -> None:
    environment = os.environ | {
        "_PEERCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": "peerctl run st",
        "COMP_CWORD": "2",
    }
    code = "from ctl.main import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert result.stdout.split() == ["plain,start", "plain,stop"]


def test_version(peerctl: Any) -> None:
    from peerd import __version__

    data = peerctl.json("version")
    assert data["peerctl"] == __version__
    assert __version__ in peerctl("version").stdout
    assert peerctl("--version").stdout == f"peerctl {__version__}\n"


def test_it_does_not_import_torch_or_the_daemon() -> None:
    code = (
        "import sys, ctl.cli\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('torch', 'sklearn')"
        " or m in ('peerd.node', 'peerd.learning', 'peerd.training')])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_what_is_no_text_is_refused(peers: Any, peerctl: Any) -> None:
    peers.add("alice")
    result = peerctl("run", "checkpoints", "--run", "ab\udcff")
    assert result.exit_code == 2
    assert result.stderr == "peerctl: 'ab\\udcff': not UTF-8\n"
