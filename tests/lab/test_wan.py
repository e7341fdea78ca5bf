"""Networks that are really made. No upper bounds on times: the machine may be busy with other things."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lab import LabError, Wan, netns, why_not

REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))

# By process, since the tests of another checkout may run at the same time.
NAME = f"labtest{os.getpid()}"
SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Whatever a test does, its network is gone after it, and this process is where it was."""
    home, children = own_space(), psutil.Process().children()
    yield
    assert gone()
    assert own_space() == home
    assert psutil.Process().children() == children


def own_space() -> str:
    return str(Path("/proc/thread-self/ns/net").readlink())


def gone() -> bool:
    """No namespace, and nobody who holds the lock: no keeper."""
    try:
        with netns.locked(NAME, 0):
            return not netns.spaces_of(NAME)
    except LabError:
        return False


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "the condition never became true"
        time.sleep(0.01)


def keeper_of(pid: int) -> psutil.Process:
    [keeper] = [p for p in psutil.Process(pid).children() if "lab.keeper" in p.cmdline()]
    return keeper


def udp(wan: Wan, host: str) -> socket.socket:
    with wan.within(host):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((wan.address(host), 0))
    made.settimeout(30)
    return made


def echo_server(wan: Wan, host: str) -> tuple[str, int]:
    """A TCP server in a thread, for one connection."""
    with wan.within(host):
        server = socket.create_server((wan.address(host), 0))

    def serve() -> None:
        with server, server.accept()[0] as connection:
            while data := connection.recv(65536):
                connection.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    return server.getsockname()


def connect(wan: Wan, host: str, address: tuple[str, int]) -> socket.socket:
    with wan.within(host):
        made = socket.socket()
    made.settimeout(30)
    made.connect(address)
    return made


def test_a_round_trip_takes_twice_the_delay_and_the_delay_can_be_changed() -> None:
    with Wan(hosts=("a", "b"), name=NAME, delay=0.04) as wan, udp(wan, "a") as here, udp(wan, "b") as there:

        def round_trip() -> float:
            start = time.monotonic()
            here.sendto(b"ping", there.getsockname())
            data, back = there.recvfrom(100)
            assert back == here.getsockname()
            there.sendto(data, back)
            assert here.recv(100) == b"ping"
            return time.monotonic() - start

        assert round_trip() >= 0.08
        wan.set(delay=0.1)
        assert round_trip() >= 0.2
        wan.set(jitter=0.02)
        assert round_trip() >= 0.16
        link = wan.status().links["b", "a"]
        assert (link.delay, link.jitter, link.loss) == (0.1, 0.02, 0.0)
        assert (link.sent, link.delivered) == (3, 3)


def test_a_tcp_echo_takes_two_round_trips_with_its_handshake() -> None:
    with Wan(hosts=("a", "b"), name=NAME, delay=0.03) as wan:
        server = echo_server(wan, "b")
        start = time.monotonic()
        with connect(wan, "a", server) as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"
        assert time.monotonic() - start >= 0.12


def test_jitter_keeps_the_order_and_its_bounds() -> None:
    shape = {"delay": 0.02, "jitter": 0.01}
    with Wan(("a", "b"), NAME, **shape) as wan, udp(wan, "a") as here, udp(wan, "b") as there:
        sent = []
        for number in range(100):
            sent.append(time.monotonic())
            here.sendto(bytes([number]), there.getsockname())
        for number in range(100):
            assert there.recv(100) == bytes([number])
            assert time.monotonic() - sent[number] >= 0.01


def test_loss_loses_about_so_many_datagrams_and_none_is_none() -> None:
    with Wan(hosts=("a", "b"), name=NAME, loss=0.4) as wan, udp(wan, "a") as here, udp(wan, "b") as there:
        for _ in range(100):
            here.sendto(b"x", there.getsockname())
        until(lambda: wan.status().links["a", "b"].sent == 100)
        until(lambda: not wan.status().in_flight)
        lossy = wan.status().links["a", "b"]
        assert 20 <= lossy.lost <= 60
        assert lossy.delivered == 100 - lossy.lost
        assert [there.recv(100) for _ in range(lossy.delivered)] == [b"x"] * lossy.delivered

        wan.set(loss=0.0)
        for _ in range(50):
            here.sendto(b"y", there.getsockname())
            assert there.recv(100) == b"y"
        assert wan.status().links["a", "b"].lost == lossy.lost


def test_a_partition_cuts_between_groups_only_and_a_connection_survives_it() -> None:
    with (
        Wan(hosts=("a", "b", "c"), name=NAME) as wan,
        udp(wan, "b") as b,
        udp(wan, "c") as c,
        connect(wan, "a", echo_server(wan, "b")) as client,
    ):
        client.sendall(b"before")
        assert client.recv(100) == b"before"

        wan.partition(("a",), ("b", "c"))
        assert {ends for ends, link in wan.status().links.items() if not link.up} == {
            ("a", "b"), ("a", "c"), ("b", "a"), ("c", "a"),
        }  # fmt: skip
        client.sendall(b"during")
        until(lambda: wan.status().links["a", "b"].cut)
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(100)
        c.sendto(b"within a group", b.getsockname())
        assert b.recv(100) == b"within a group"

        wan.heal()
        client.settimeout(30)
        assert client.recv(100) == b"during"


def test_a_cut_also_takes_what_is_on_its_way() -> None:
    with Wan(hosts=("a", "b"), name=NAME, delay=0.5) as wan, udp(wan, "a") as here, udp(wan, "b") as there:
        here.sendto(b"x", there.getsockname())
        until(lambda: wan.status().in_flight)
        wan.partition(("a",), ("b",))
        until(lambda: not wan.status().in_flight)
        link = wan.status().links["a", "b"]
        assert (link.sent, link.delivered, link.cut) == (1, 0, 1)


def test_a_program_is_a_child_like_any_other_in_the_network_of_its_host(tmp_path: Path) -> None:
    program = f"""
import os, socket, sys
print(os.getpid(), os.getppid(), os.readlink("/proc/self/ns/net"), flush=True)
server = socket.socket(socket.AF_UNIX)
server.bind({str(tmp_path / "control.sock")!r})
server.listen()
probe = socket.create_server(("127.0.0.1", 0))                       # the loopback is up
socket.create_connection(probe.getsockname(), 10).close()
print("up", flush=True)
server.accept()[0].sendall(b"from inside")
sys.stdin.read()
sys.exit(7)
"""
    with Wan(hosts=("a", "b"), name=NAME) as wan:
        with wan.popen(
            "a", [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child:
            pid, parent, space = child.stdout.readline().split()
            assert (int(pid), int(parent)) == (child.pid, os.getpid())
            with wan.within("a"):
                assert space == own_space()
            assert space != own_space()

            assert child.stdout.readline() == "up\n"
            with socket.socket(socket.AF_UNIX) as control:
                control.connect(str(tmp_path / "control.sock"))
                assert control.recv(100) == b"from inside"

            process = psutil.Process(child.pid)
            child.send_signal(signal.SIGSTOP)
            until(lambda: process.status() == psutil.STATUS_STOPPED)
            child.send_signal(signal.SIGCONT)
            child.stdin.close()
            assert child.wait(30) == 7

        with pytest.raises(FileNotFoundError, match="no-such-program"):
            wan.popen("a", ["no-such-program"])


def test_everything_goes_after_an_exception_and_so_does_a_stopped_program() -> None:
    with pytest.raises(ZeroDivisionError), Wan(hosts=("a", "b"), name=NAME) as wan:
        assert len(netns.spaces_of(NAME)) == 2
        left = wan.popen("a", SLEEP)
        left.send_signal(signal.SIGSTOP)
        raise ZeroDivisionError
    assert left.returncode == -signal.SIGTERM
    with pytest.raises(LabError, match="is not up"):
        wan.heal()


@pytest.fixture
def owner() -> Iterator[subprocess.Popen[str]]:
    """Another process with a network, and in it a program with a child of its own, whose number it prints."""
    grandchild = "import subprocess, sys; print(subprocess.Popen([*sys.argv[1:]]).pid, flush=True); input()"
    program = f"""
import subprocess, sys
from lab import Wan
with Wan(hosts=("a", "b"), name={NAME!r}) as wan:
    argv = [sys.executable, "-c", {grandchild!r}, "sleep", "600"]
    child = wan.popen("a", argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    print(child.stdout.readline().decode(), end="", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        yield process
        process.kill()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_everything_goes_when_the_process_of_the_test_is_killed(
    owner: subprocess.Popen[str], how: int
) -> None:
    grandchild = psutil.Process(int(owner.stdout.readline()))
    assert len(netns.spaces_of(NAME)) == 2
    owner.send_signal(how)
    assert owner.wait(30) == -how
    until(gone)
    # nobody may be there to collect what is nobody's child
    until(lambda: not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE)


def test_what_a_killed_keeper_left_is_removed_at_the_next_start(owner: subprocess.Popen[str]) -> None:
    grandchild = psutil.Process(int(owner.stdout.readline()))
    keeper_of(owner.pid).kill()
    owner.kill()
    owner.wait()
    assert netns.spaces_of(NAME) == [netns.space_of(NAME, host) for host in "ab"]
    assert grandchild.is_running()
    with Wan(hosts=("c",), name=NAME):
        assert netns.spaces_of(NAME) == [netns.space_of(NAME, "c")]
        until(lambda: not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE)


def test_a_keeper_that_is_killed_under_the_test_is_told_and_nothing_stays() -> None:
    with pytest.raises(LabError, match="ended with -9"), Wan(hosts=("a", "b"), name=NAME) as wan:
        child = wan.popen("a", SLEEP)
        keeper_of(os.getpid()).kill()
    assert child.returncode == -signal.SIGTERM


def test_a_network_that_cannot_be_made_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ip").write_text("#!/bin/sh\necho this ip does not work >&2\nexit 1\n")
    (tmp_path / "ip").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    wan = Wan(hosts=("a", "b"), name=NAME)
    with pytest.raises(LabError, match=f"ip netns add .*{NAME}.*: this ip does not work"), wan:
        pass


def test_the_lock_is_for_one() -> None:
    with netns.locked(NAME, 0), pytest.raises(LabError, match="is up already"), netns.locked(NAME, 0.05):
        pass
    with netns.locked(NAME, 0):
        pass


@pytest.mark.parametrize(
    ("hosts", "name", "settings", "words"),
    [
        (("a", "a"), "n", {}, "same name"),
        ((), "n", {}, "1 to 254"),
        (("a.b",), "n", {}, "'a.b' is no name"),
        (("a",), "../n", {}, "'../n' is no name"),
        (("a",), "n", {"delay": 40}, None),
        (("a",), "n", {"delay": -0.1}, "0 to 60 seconds"),
        (("a",), "n", {"jitter": 100}, "0 to 60 seconds"),
        (("a",), "n", {"loss": 5}, "probability"),
    ],
)
def test_wrong_values_are_refused(hosts: Any, name: str, settings: Any, words: str | None) -> None:
    if words is None:
        Wan(hosts, name, **settings)
        return
    with pytest.raises(ValueError, match=words):
        Wan(hosts, name, **settings)


def test_wrong_hosts_are_refused() -> None:
    with Wan(hosts=("a", "b", "c"), name=NAME) as wan:
        for groups in ((), (("a",),), ("a", "bc"), (("a",), ("x",)), (("a", "b"), ("b", "c"))):
            with pytest.raises(ValueError):
                wan.partition(*groups)
        assert all(link.up for link in wan.status().links.values())
        for call in (wan.address, wan.within, lambda host: wan.popen(host, ["true"])):
            with pytest.raises(KeyError):
                call("x")
