"""Mistakes that people make: each is one clear line and the right exit code, never a traceback."""

from __future__ import annotations

import json
import shutil
import socket

import pytest


@pytest.fixture(scope="module")
def made(tmp_path_factory, make_programs):
    """A network of two enrolled local peers, of which alice has joined."""
    folder = tmp_path_factory.mktemp("made")
    programs = make_programs(folder)
    programs.ok("peerctl", "network", "create", folder / "net")
    names = ("alice", "bob")
    for number, name in enumerate(names):
        init(programs, folder / name, name, f"127.0.0.1:{20001 + number}")
    requests = (folder / name / "request.json" for name in names)
    programs.ok("peerctl", "network", "enroll", folder / "net", *requests)
    programs.ok("peerd", "join", "--state-dir", folder / "alice", folder / "net/bundles/alice.bundle")
    return folder


@pytest.fixture
def network(made, tmp_path):
    """A copy for one test to spoil."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path / "net"


def init(programs, folder, name, address="127.0.0.1:1"):
    programs.ok("peerd", "init", "--state-dir", folder, "--name", name, "--address", address)


def run_alice(tmp_path, *options):
    return ("peerd", "run", "--state-dir", tmp_path / "alice", "--listen", "127.0.0.1:0", *options)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[mixing\n", "not valid TOML"),
        ("[mixing]\nhopps = 3\n", "mixing"),
        ("[mixing]\nhops = 'three'\n", "mixing.hops: Expected `int`"),
        ("[mixing]\nhops = 0\n", "mixing.hops: Expected `int` >= 1"),
        ("[mixing]\nstrategy = 'magic'\n", "mixing.strategy"),
        ("[mixing]\nhops = 6\n", "hops: 6 is more than the network's max_hops 5"),
        ("[membership]\ndial_allow = ['somewhere']\n", "dial_allow"),
        (
            "[mixing]\npreset = 'max'\n",
            "mixing.preset: no such preset 'max'; allowed: fast, balanced, strong",
        ),
        ("[mixing]\nmean_delay_seconds = 2\n", "max_delay_seconds: must be at least ten times"),
        ("[trace]\nfile = '/dev/null/trace.jsonl'\n", "[trace] file: /dev/null/trace.jsonl: "),
        ("[link]\nlisten = 'nowhere'\n", "'nowhere' is not host:port"),
        ("[metrics]\nlisten = '127.0.0.1:99999'\n", "'127.0.0.1:99999' is not host:port"),
    ],
)
def test_a_broken_config_names_file_or_key(programs, network, tmp_path, text, says):
    config = tmp_path / "peerd.toml"
    config.write_text(text)
    command = ["peerd", "run", "--state-dir", tmp_path / "alice", "--config", config]
    if "[link]" not in text:
        command += ["--listen", "127.0.0.1:0"]
    line = programs.fails(2, *command)
    assert says in line


def test_missing_things_are_named(programs, network, tmp_path):
    assert "no such config file" in programs.fails(3, *run_alice(tmp_path, "--config", tmp_path / "no.toml"))
    assert "peerd init" in programs.fails(3, "peerd", "run", "--state-dir", tmp_path / "nobody")
    assert "peerd join" in programs.fails(3, "peerd", "run", "--state-dir", tmp_path / "bob")
    assert "--state-dir" in programs.fails(2, "peerd", "run")
    assert "no.bundle" in programs.fails(3, *run_alice(tmp_path, "--bundle", tmp_path / "no.bundle"))


def test_a_port_in_use(programs, network, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        line = programs.fails(4, "peerd", "run", "--state-dir", tmp_path / "alice", "--listen", address)
        assert address in line
        line = programs.fails(4, *run_alice(tmp_path, "--metrics", address))
        assert address in line


def test_enrolling_twice_and_elsewhere(programs, network, tmp_path):
    init(programs, tmp_path / "twin", "bob")
    line = programs.fails(4, "peerctl", "network", "enroll", network, tmp_path / "twin" / "request.json")
    assert "bob" in line
    line = programs.fails(4, "peerctl", "network", "enroll", network, tmp_path / "bob" / "request.json")
    assert "enrolled already" in line
    line = programs.fails(
        4, "peerd", "init", "--state-dir", tmp_path / "bob", "--name", "x", "--address", "h:1"
    )
    assert "has keys already" in line
    line = programs.fails(
        6, "peerd", "join", "--state-dir", tmp_path / "bob", network / "bundles" / "alice.bundle"
    )
    assert "another peer" in line


def test_a_bad_ca(programs, network, tmp_path):
    other = tmp_path / "other"
    programs.ok("peerctl", "network", "create", other)
    (network / "ca.key").write_bytes((other / "ca.key").read_bytes())
    init(programs, tmp_path / "zoe", "zoe")
    line = programs.fails(6, "peerctl", "network", "enroll", network, tmp_path / "zoe" / "request.json")
    assert "bad CA" in line
    bundle = network / "bundles" / "bob.bundle"
    forged = json.loads(bundle.read_text())
    middle = len(forged["signature"]) // 2
    other_letter = "B" if forged["signature"][middle] == "A" else "A"
    forged["signature"] = forged["signature"][:middle] + other_letter + forged["signature"][middle + 1 :]
    bundle.write_text(json.dumps(forged))
    line = programs.fails(6, "peerd", "join", "--state-dir", tmp_path / "bob", bundle)
    assert "bad CA" in line


def test_broken_state(programs, network, tmp_path):
    (tmp_path / "alice" / "bundle.json").write_text("{")
    assert "bundle.json" in programs.fails(2, *run_alice(tmp_path))
    secret = (tmp_path / "alice" / "identity.json").read_text()
    (tmp_path / "alice" / "identity.json").write_text(secret[:-20])
    line = programs.fails(2, *run_alice(tmp_path))
    assert "identity.json" in line
    assert secret[20:60] not in line


def test_the_demo_checks_before_it_starts_anything(programs, tmp_path):
    assert "unknown task" in programs.fails(2, "peerctl", "demo", "--task", "tea-leaves")
    assert "hops" in programs.fails(2, "peerctl", "demo", "--peers", "4", "--hops", "3")
    line = programs.fails(3, "peerctl", "demo", "--task", "mnist-cnn", "--data-dir", tmp_path / "none")
    assert str(tmp_path / "none") in line


def test_peerctl_without_a_peer(programs, tmp_path):
    programs.fails(3, "peerctl", "status")
    programs.fails(5, "peerctl", "--endpoint", f"unix:{tmp_path / 'no.sock'}", "status")
