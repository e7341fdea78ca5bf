"""`peerctl top` in a real terminal: a pseudo-terminal under a shell, its screen played by pyte."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import psutil
import pyte
import pytest

PEERCTL = f"{shlex.quote(sys.executable)} -c 'from ctl.main import main; main()'"
PATIENCE = 60.0
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|4[0-7]|9[0-7])(?:;\d+)*m")


class Screen:
    """What a user of `peerctl top` sees. `stty` before and after tell whether the terminal is as it was."""

    def __init__(self, folder: Path, arguments: str, columns: int, lines: int, environment: dict[str, str]):
        self.before, self.after = folder / "before", folder / "after"
        script = (
            f"trap : INT TERM HUP; stty -g > {self.before}; {PEERCTL} {arguments}; code=$?; "
            f"stty -g > {self.after}; echo back; exit $code"
        )
        self.child = pexpect.spawn(
            "/bin/bash", ["--norc", "-c", script], dimensions=(lines, columns),
            env=os.environ | {"TERM": "xterm-256color"} | environment,
        )  # fmt: skip
        self.child.delaybeforesend = None
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.output = b""

    def read(self) -> None:
        try:
            data = self.child.read_nonblocking(1 << 16, timeout=0.2)
        except (pexpect.TIMEOUT, pexpect.EOF):
            return
        self.output += data
        self._stream.feed(data)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def until(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self.text
            self.read()

    def shows(self, *words: str) -> None:
        self.until(lambda: all(word in self.text for word in words))

    def rows(self) -> list[str]:
        """The names of the rows, in order."""
        return [line.split()[0] for line in self.lines if line[:5].strip() in ("alice", "bob", "carol")][:3]

    def press(self, keys: str) -> None:
        self.child.send(keys)

    def resize(self, columns: int, lines: int) -> None:
        self._screen.resize(lines, columns)
        self._screen.reset()
        self.child.setwinsize(lines, columns)

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self.child.pid).children()[0]

    def ends(self, code: int) -> str:
        """What it leaves; the shell has its terminal back as it was."""
        self.until(lambda: not self.child.isalive())
        self.child.expect(pexpect.EOF, timeout=PATIENCE)
        self.output += self.child.before or b""
        self.child.close()
        assert self.child.exitstatus == code, self.output
        assert self.before.read_text() == self.after.read_text()
        told = self.output.decode("utf-8", "replace")
        assert told.count("\x1b[?1049h") == told.count("\x1b[?1049l") >= 1  # the other screen
        assert told.rindex("\x1b[?25h") > told.rindex("\x1b[?25l")  # the cursor
        return told.rpartition("\x1b[?1049l")[2]


@pytest.fixture
def start(short_path: Path) -> Iterator[Callable[..., Screen]]:
    started: list[Screen] = []

    def open_screen(
        arguments: str = "top --interval 0.3", columns: int = 80, lines: int = 24, **environment: str
    ) -> Screen:
        started.append(Screen(short_path, arguments, columns, lines, environment))
        return started[-1]

    yield open_screen
    for screen in started:
        screen.child.close(force=True)


@pytest.fixture
def three(peers: Any) -> Any:
    for name, memory in (("alice", 2), ("bob", 3), ("carol", 1)):
        peers.add(name).status.rss_bytes = memory << 20
    return peers


def test_it_starts_sorts_resizes_and_quits(three: Any, start: Callable[..., Screen]) -> None:
    screen = start(COLUMNS="80", LINES="24")  # some shells export them
    screen.shows("peerctl top", "3/3 peers", "q quit")
    assert screen.rows() == ["alice", "bob", "carol"]
    screen.press("m")
    screen.until(lambda: screen.rows() == ["bob", "alice", "carol"])
    screen.press("r")
    screen.until(lambda: screen.rows() == ["carol", "alice", "bob"])
    screen.press("h")
    screen.shows("the other way round")
    screen.press("\x1b")  # escape, which begins no sequence
    screen.until(lambda: "the other way round" not in screen.text)
    screen.press("\x1b[B\x1bOB")  # down, in both dialects
    screen.until(lambda: any(line.startswith(("── bob", "-- bob")) for line in screen.lines))
    screen.press("/ali\r")
    screen.until(lambda: screen.rows() == ["alice"])
    screen.press("\x1b")
    screen.until(lambda: len(screen.rows()) == 3)
    screen.resize(200, 60)
    screen.until(lambda: "Drop/s" in screen.text and "q quit" in screen.lines[59])
    screen.resize(80, 24)
    screen.until(lambda: "q quit" in screen.lines[-1] and "Drop/s" not in screen.text)
    screen.press("q")
    assert screen.ends(0).strip() == "back"


def test_pause_holds_what_stands_there(three: Any, start: Callable[..., Screen]) -> None:
    screen = start()
    screen.shows("3/3 peers")
    screen.press(" ")
    screen.shows("PAUSED")
    three.close()
    still = time.monotonic() + 1.0  # three intervals, in which it must not change
    while time.monotonic() < still:
        screen.read()
        assert "3/3 peers" in screen.text
    screen.press("p")
    screen.shows("0/3 peers")
    screen.press("q")
    screen.ends(0)


@pytest.mark.parametrize(
    "how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, "ctrl-c"], ids=lambda how: getattr(how, "name", how)
)
def test_signals_end_it_in_order(three: Any, start: Callable[..., Screen], how: Any) -> None:
    screen = start()
    screen.shows("3/3 peers")
    if how == "ctrl-c":
        screen.press("\x03")
    else:
        screen.process.send_signal(how)
    assert screen.ends(130).split() == ["peerctl:", "interrupted", "back"]


def test_a_bug_gives_the_terminal_back(three: Any, start: Callable[..., Screen], short_path: Path) -> None:
    (short_path / "sitecustomize.py").write_text(
        "import ctl.top.screen as screen\n"
        "original, drawn = screen._foot, []\n"
        "def broken(*given):\n"
        "    drawn.append(1)\n"
        "    return original(*given) if len(drawn) < 3 else 1 / 0\n"
        "screen._foot = broken\n"
    )
    path = f"{short_path}:{Path(__file__).parents[4]}"
    screen = start(PYTHONPATH=path)
    assert "ZeroDivisionError" in screen.ends(1)


def test_peers_that_go_and_all_of_them(three: Any, start: Callable[..., Screen]) -> None:
    three.absent("zoe")
    screen = start()
    screen.shows("3/4 peers", "no daemon answers")
    three.close()
    screen.shows("0/4 peers")
    assert sum("away" in line for line in screen.lines) == 4
    screen.press("q")
    screen.ends(0)


def test_ctrl_z_lends_the_terminal_to_the_shell(three: Any, start: Callable[..., Screen]) -> None:
    screen = start()
    screen.shows("3/3 peers")
    process = screen.process
    screen.press("\x1a")
    screen.until(lambda: process.status() == psutil.STATUS_STOPPED)
    screen.until(lambda: screen.output.count(b"\x1b[?1049l") == 1)
    process.send_signal(signal.SIGCONT)
    screen.until(lambda: screen.output.count(b"\x1b[?1049h") == 2)
    screen.press("q")
    screen.ends(0)


def test_colours_and_none(three: Any, start: Callable[..., Screen]) -> None:
    screen = start()
    screen.shows("3/3 peers")
    screen.press("q")
    screen.ends(0)
    assert COLOUR.search(screen.output.decode())
    screen = start(NO_COLOR="1")
    screen.shows("3/3 peers")
    screen.press("q")
    screen.ends(0)
    assert not COLOUR.search(screen.output.decode())


def test_watch_redraws_and_gives_the_terminal_back(three: Any, start: Callable[..., Screen]) -> None:
    screen = start("--all status --watch 0.3")
    screen.shows("every 300ms, Ctrl-C ends", "carol")
    screen.press("\x03")
    assert screen.ends(130).split() == ["peerctl:", "interrupted", "back"]
