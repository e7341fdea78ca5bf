"""Who belongs to a network changes while it runs: revoked, joined by a token, twice the same, another CA, all
of them gone and back. Real daemons, real TLS, the real commands.
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from ctl.client import Client

REVOKED_WITHIN_SECONDS = 5.0


def ask(testbed, name: str, call, patience: float = 10.0):
    return testbed.call(name, call, patience)


def rows(testbed, seers, name: str) -> list:
    """What others see of a peer, those who have heard of it."""
    return [row for seer in seers for row in ask(testbed, seer, Client.peers) if row.name == name]


def states(testbed, seers, name: str) -> set[str]:
    return {row.state for row in rows(testbed, seers, name)}


def alive(testbed, name: str) -> int:
    return ask(testbed, name, Client.status).peers_alive


def events(testbed, name: str) -> list:
    async def all_of(client: Client):
        return [event async for event in client.events(False, 0)]

    return ask(testbed, name, all_of)


def refused(testbed, seers) -> int:
    return sum(ask(testbed, seer, Client.status).traffic.dropped["revoked_peer"] for seer in seers)


def is_over(pid: int) -> bool:
    """Ended, perhaps not waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def config_of(testbed, name: str, folder: Path, **changes: str) -> Path:
    """A copy of a testbed peer's configuration with other addresses."""
    text = (testbed.folder / f"{name}.toml").read_text()
    lines, section = [], ""
    for line in text.splitlines():
        section = line.strip("[]") if line.startswith("[") else section
        key = f"{section}.{line.partition(' = ')[0]}"
        lines.append(f'{line.partition(" = ")[0]} = "{changes[key]}"' if key in changes else line)
    path = folder / "other.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.timeout(180)
def test_a_revoked_peer_is_cut_off_at_once_and_for_good(testbed, programs, until, beside):
    testbed.up(4, "--hops", "1")
    names = list(testbed.pids())
    villain, honest = names[-1], names[:-1]
    programs.ok("peerctl", "--testbed", testbed.folder, "--context", honest[0], "network", "revoke",
                testbed.folder / "network", villain, "--publish")  # fmt: skip

    def cut_off():
        found = rows(testbed, honest, villain)
        assert len(found) == len(honest)
        return all((row.state, row.outbound, row.inbound) == ("revoked", "down", "down") for row in found)

    until(cut_off, seconds=30, every=0.05)
    told = [
        next(e.at for e in events(testbed, n) if (e.peer, e.what) == (villain, "revoked")) for n in honest
    ]
    assert max(told) - told[0] < REVOKED_WITHIN_SECONDS, "the first of them was told by the operator"

    # It forgets what it has heard, and comes back with its old bundle, descriptors and certificate.
    programs.ok("peerctl", "testbed", "kill", "--dir", testbed.folder, villain)
    state = testbed.folder / "peers" / villain
    (state / "roster.bin").unlink()
    beside(state, "--config", testbed.folder / f"{villain}.toml")
    until(lambda: refused(testbed, honest) > 3, seconds=30)
    assert states(testbed, honest, villain) == {"revoked"}
    assert {(row.outbound, row.inbound) for row in rows(testbed, honest, villain)} == {("down", "down")}
    assert {alive(testbed, name) for name in honest} == {len(honest) - 1}

    # Nor does it help that a peer is restarted: it has written down who is revoked.
    programs.ok("peerctl", "testbed", "kill", "--dir", testbed.folder, honest[1])
    programs.ok("peerctl", "testbed", "start", "--dir", testbed.folder, honest[1])
    until(lambda: alive(testbed, honest[1]) == len(honest) - 1)
    before = refused(testbed, honest[1:2])
    until(lambda: refused(testbed, honest[1:2]) > before, seconds=30)
    assert not {row.state for row in rows(testbed, honest[1:2], villain)} - {"revoked"}


@pytest.mark.timeout(180)
def test_a_newcomer_joins_with_a_token_of_a_delegate(testbed, programs, until, beside, tmp_path):
    testbed.up(3, "--hops", "1")
    names = list(testbed.pids())
    network, delegate = testbed.folder / "network", names[0]
    line = programs.fails(
        4, "peerctl", "--testbed", testbed.folder, "--context", delegate, "network", "invite"
    )
    assert "enrolment" in line or "delegate" in line
    config = testbed.folder / f"{delegate}.toml"
    config.write_text(
        config.read_text() + '\n[enrolment]\nlisten = "127.0.0.1:0"\n'
        if "[enrolment]" not in config.read_text()
        else config.read_text().replace('[enrolment]\nlisten = ""', '[enrolment]\nlisten = "127.0.0.1:0"')
    )
    programs.ok("peerctl", "--testbed", testbed.folder, "--context", delegate, "network", "delegate", network,
                delegate, "--publish")  # fmt: skip
    os.kill(testbed.pids()[delegate], signal.SIGTERM)
    until(lambda: is_over(testbed.pids()[delegate]))
    again = beside(testbed.folder / "peers" / delegate, "--config", config)
    testbed.call(delegate, Client.wait_serving, patience=60.0)
    token = testbed.ask("--context", delegate, "network", "invite", "--name", "newcomer")["token"]
    folder = tmp_path / "newcomer"
    programs.ok("peerd", "init", "--state-dir", folder, "--name", "newcomer", "--address", "127.0.0.1:49301")
    programs.ok("peerd", "join", "--state-dir", folder, "--token", token)
    other = tmp_path / "other"
    programs.ok("peerd", "init", "--state-dir", other, "--name", "newcomer", "--address", "127.0.0.1:49302")
    programs.fails(6, "peerd", "join", "--state-dir", other, "--token", token)
    (tmp_path / "peerd.toml").write_text('[link]\nlisten = "127.0.0.1:49301"\n')
    newcomer = beside(folder, "--config", tmp_path / "peerd.toml")
    until(lambda: len(rows(testbed, names, "newcomer")) == len(names), seconds=30)
    until(lambda: states(testbed, names, "newcomer") == {"alive"}, seconds=30)
    assert newcomer.process.poll() is None
    assert again.process.poll() is None


@pytest.fixture(scope="module")
def shared(make_programs, make_testbed, tmp_path_factory):
    """A testbed for the tests after which all three peers are there again, and a last one."""
    programs = make_programs(tmp_path_factory.mktemp("home"))
    running = make_testbed(tmp_path_factory.mktemp("shared") / "tb", programs)
    try:
        running.up(3, "--hops", "1", paced=True)
        yield running
    finally:
        running.down()


@pytest.mark.timeout(240)
def test_a_power_cut_in_the_midst_of_a_run(shared, until):
    """Every peer is killed at once and started again, and nobody tells them anything: the run ends."""
    names = list(shared.pids())
    shared.start_paced(5, "--grace", "3s", seconds=1.0)
    until(lambda: all(ask(shared, name, Client.run).round >= 3 for name in names), every=0.1)
    for pid in shared.pids().values():
        os.kill(pid, signal.SIGKILL)
    shared.up(3, "--hops", "1", paced=True)

    def ended():
        runs = {name: ask(shared, name, Client.run) for name in names}
        assert {run.state for run in runs.values()} <= {"starting", "running", "finished"}, runs
        return runs if all(run.state == "finished" for run in runs.values()) else None

    runs = until(ended, seconds=120, every=0.5)
    for run in runs.values():
        rounds = [result.round for result in run.results]
        assert rounds == list(range(rounds[0], 6))
        assert rounds[0] >= 2, "it went on where it was"
        assert run.results[-1].accuracy > 0.9
    assert any((event.kind, event.what) == ("run", "resumed") for event in events(shared, names[0]))


@pytest.mark.timeout(240)
def test_the_authority_takes_a_new_key_while_the_network_runs(shared, programs, until):
    names = list(shared.pids())
    network = shared.folder / "network"
    at = ("peerctl", "--testbed", shared.folder, "--context", names[0])
    programs.ok(*at, "network", "rotate-ca", network, "--publish")

    def renewed():
        return all(any(event.what == "certificate" for event in events(shared, name)) for name in names)

    until(renewed, seconds=40)
    programs.ok(*at, "network", "rotate-ca", network, "--finish", "--publish")
    until(lambda: all(alive(shared, name) == len(names) - 1 for name in names), seconds=40)
    # One that is started again presents the new certificate and trusts the new key alone.
    programs.ok("peerctl", "testbed", "kill", "--dir", shared.folder, names[1])
    programs.ok("peerctl", "testbed", "start", "--dir", shared.folder, names[1])
    until(lambda: alive(shared, names[1]) == len(names) - 1, seconds=40)
    until(lambda: states(shared, [names[0], *names[2:]], names[1]) == {"alive"}, seconds=40)


@pytest.mark.timeout(180)
def test_of_two_daemons_with_one_identity_the_newer_goes_on(shared, programs, until, beside, tmp_path):
    names = list(shared.pids())
    twin, others = names[0], names[1:]
    copy = tmp_path / "copy"
    shutil.copytree(
        shared.folder / "peers" / twin, copy, ignore=shutil.ignore_patterns("control.sock", "lock")
    )
    config = config_of(
        shared, twin, tmp_path,
        **{"link.listen": "127.0.0.1:49310", "control.unix": str(tmp_path / "copy.sock"),
           "membership.advertise": "127.0.0.1:49310"},
    )  # fmt: skip
    older = shared.pids()[twin]
    newer = beside(copy, "--config", config)
    until(lambda: is_over(older), seconds=30)
    log = (shared.folder / "logs" / f"{twin}.log").read_text()
    assert "another daemon runs with this peer's keys" in log

    def moved():
        return all(
            (row.state, row.address) == ("alive", "127.0.0.1:49310") for row in rows(shared, others, twin)
        )

    until(moved, seconds=30)
    assert newer.process.poll() is None
