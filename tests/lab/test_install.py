"""`deploy/install.sh` on three hosts that have nothing but Debian: real systemd, real sshd.

Long, since the root file system is made first (kept in $PEERD_LAB, /var/tmp/peerd-lab by default).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.hosts import Hosts, make_root, make_wheels, until, why_not

REASON = why_not()
pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(REASON is not None, reason=str(REASON)),
]

SOURCE = Path(__file__).parents[2]
PEERCTL = Path(sys.executable).with_name("peerctl")
NAMES = ("alice", "bob", "carol")


@pytest.fixture(scope="module")
def wheels(kept) -> Path:
    return make_wheels(SOURCE, kept / "wheels")


@pytest.fixture(scope="module")
def hosts(kept, tmp_path_factory) -> Iterator[Hosts]:
    root = make_root(kept / "root")
    with Hosts(dict.fromkeys(NAMES, root), tmp_path_factory.mktemp("hosts")) as hosts:
        yield hosts


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("operator") / "net"


@pytest.fixture(scope="module")
def install(hosts, wheels, network) -> Callable[..., str]:
    """What it says, of both kinds; it has to succeed."""

    def run(*options: str | Path) -> str:
        done = subprocess.run(
            hosts.inside(
                SOURCE / "deploy/install.sh", "--network", network, "--relay", "--wheels", wheels,
                "--timeout", "300", *options, *(f"{name}={name},{hosts.address(name)}" for name in NAMES),
            ),
            env={**os.environ, "PEERD_SSH": str(hosts.bin / "ssh"), "PEERCTL": str(PEERCTL)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run


@pytest.fixture(scope="module")
def ask(hosts, network) -> Callable[..., Any]:
    """peerctl with the contexts that install.sh has made, from where the operator is."""

    def run(*arguments: str) -> Any:
        done = subprocess.run(
            hosts.inside(PEERCTL, "--output", "json", *arguments),
            env={**os.environ, "PEERCTL_CONTEXTS": str(network / "contexts.toml")},
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def installed(install) -> str:
    return install()


def show(hosts: Hosts, name: str, *properties: str) -> dict[str, str]:
    said = hosts.ssh(name, "systemctl show peerd " + " ".join(f"-p {key}" for key in properties))
    return dict(line.split("=", 1) for line in said.splitlines())


def test_three_bare_hosts_are_a_network(installed, hosts, ask, network):
    assert "all 3 see each other" in installed
    assert {name: peer["peers_alive"] for name, peer in ask("--all", "status").items()} == dict.fromkeys(
        NAMES, 2
    )
    for name in NAMES:
        until(
            lambda name=name: f"{name}: 2 of 2 others alive" in show(hosts, name, "StatusText")["StatusText"]
        )
        state = show(hosts, name, "ActiveState", "Type", "User", "WatchdogUSec")
        assert state["ActiveState"] == "active"
        assert (state["Type"], state["User"], state["WatchdogUSec"]) == ("notify", "peerd", "30s")
        asked = "/opt/peerd/bin/peerctl --endpoint unix:/var/lib/peerd/control.sock status"
        assert f"{name} (" in hosts.ssh(name, f"runuser -u peerd -- {asked}")


def test_keys_are_where_they_belong(installed, hosts, network):
    """The authority's here, each peer's on its host, for its user alone."""
    assert (network / "ca.key").stat().st_mode & 0o777 == 0o600
    for name in NAMES:
        assert (
            hosts.ssh(name, "stat -c '%a %U' /var/lib/peerd/identity.json /var/lib/peerd")
            == "600 peerd\n700 peerd\n"
        )
        assert hosts.ssh(name, "find / -xdev -name ca.key") == ""
    brought = [path for path in network.parent.rglob("*") if path.is_file()]
    assert not [path for path in brought if b'"link":' in path.read_bytes()], "no identity.json came here"


def test_the_daemon_is_confined(installed, hosts):
    said = hosts.ssh("alice", "systemd-analyze security peerd --no-pager | tail -1")
    assert float(said.partition("peerd.service: ")[2].split()[0]) <= 1.5
    pid = show(hosts, "alice", "MainPID")["MainPID"]
    status = hosts.ssh("alice", f"cat /proc/{pid}/status /proc/{pid}/limits")
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    (files,) = [line.split() for line in status.splitlines() if line.startswith("Max open files")]
    assert files[3] == files[4], "as many as the hard limit allows"
    entered = f"nsenter -t {pid} -m"
    assert hosts.ssh("alice", f"{entered} touch /etc/x 2>&1 || true").endswith("Read-only file system\n")


def test_again_nothing_happens(installed, hosts, install):
    before = {name: show(hosts, name, "MainPID") for name in NAMES}
    assert "restarting" not in install()
    assert {name: show(hosts, name, "MainPID") for name in NAMES} == before


def test_who_hangs_is_started_again_by_the_watchdog(installed, hosts, ask):
    """Its event loop stands still: systemd hears no sign of life for as long as the unit allows."""
    pid = show(hosts, "bob", "MainPID")["MainPID"]
    hosts.ssh("bob", f"kill -STOP {pid}")
    until(lambda: show(hosts, "bob", "MainPID")["MainPID"] not in ("0", pid))
    until(lambda: show(hosts, "bob", "ActiveState") == {"ActiveState": "active"})  # it answers from then on
    until(lambda: ask("--context", "bob", "status")["peers_alive"] == 2)
    assert "Watchdog timeout" in hosts.ssh("bob", "journalctl -u peerd -o cat --no-pager")


def test_another_configuration_is_brought_into_force_one_peer_at_a_time(installed, hosts, install, tmp_path):
    before = {name: show(hosts, name, "MainPID") for name in NAMES}
    config = tmp_path / "peerd.toml"
    config.write_text(hosts.ssh("alice", "cat /etc/peerd/peerd.toml") + "\n[delivery]\nmax_in_flight = 64\n")
    said = install("--config", config)
    assert [line for line in said.splitlines() if line.endswith("restarting")] == [
        f"==> {name}: restarting" for name in NAMES
    ]
    after = {name: show(hosts, name, "MainPID") for name in NAMES}
    assert not [name for name in NAMES if after[name] == before[name]]


def test_a_peer_is_backed_up_and_restored_as_its_user(installed, hosts, ask):
    here = "runuser -u peerd -- /opt/peerd/bin/peerd"
    kept = "/var/backups/carol.backup"
    hosts.ssh("carol", f"umask 077; {here} backup --state-dir /var/lib/peerd --out - >{kept}")
    assert hosts.ssh("carol", f"stat -c '%a %U' {kept}") == "600 root\n"
    before = ask("--context", "carol", "status")["peer_id"]
    hosts.ssh("carol", "systemctl stop peerd && find /var/lib/peerd -mindepth 1 -delete")
    hosts.ssh("carol", f"/opt/peerd/bin/peerd restore --state-dir /var/lib/peerd {kept}")
    hosts.ssh("carol", "systemctl start peerd")
    until(lambda: ask("--context", "carol", "status")["peers_alive"] == 2)
    assert ask("--context", "carol", "status")["peer_id"] == before
    hosts.ssh("carol", f"shred -u {kept}")


def test_who_leaves_politely_stays_away(installed, hosts, ask):
    ask("--context", "bob", "node", "drain")
    until(lambda: show(hosts, "bob", "ActiveState")["ActiveState"] == "inactive")
    assert show(hosts, "bob", "Result", "NRestarts")["Result"] == "success"
