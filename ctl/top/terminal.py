"""The terminal while `top` has it: another screen, single keys, and everything as it was in the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console, ConsoleDimensions
from rich.text import Text

from ctl.top.keys import Keys

ESCAPE_SECONDS = 0.05
"""For the rest of a key's sequence, which a slow line may bring in pieces."""
READ_BYTES = 1024
HOME, CLEAR_LINE, CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


class Terminal:
    """Made by `full_screen`. `size` is asked anew each time."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._keyboard = sys.stdin.fileno() if sys.stdin.isatty() else None
        self._before = None if self._keyboard is None else termios.tcgetattr(self._keyboard)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines: of the terminal itself, since COLUMNS and LINES, where a shell has exported
        them, stay as they were when it is resized."""
        try:
            width, height = os.get_terminal_size(self._console.file.fileno())
        except OSError:
            width, height = self._console.size
        return max(1, width), max(1, height)

    @property
    def plain(self) -> bool:
        """Whether it shows ASCII alone."""
        return self._console.options.ascii_only

    def enter(self) -> None:
        if self._keyboard is not None:
            tty.setcbreak(self._keyboard)
        self._console.set_alt_screen(True)
        self._console.show_cursor(False)

    def leave(self) -> None:
        """Also where the terminal is gone."""
        with contextlib.suppress(OSError):
            self._console.show_cursor(True)
            self._console.set_alt_screen(False)
        if self._keyboard is not None and self._before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._keyboard, termios.TCSAFLUSH, self._before)

    def draw(self, lines: Sequence[Text]) -> None:
        """Over what stands there, without clearing it first: nothing flickers."""
        self._console.size = ConsoleDimensions(*self.size)
        with self._console.capture() as captured:
            for line in lines:
                self._console.print(line, no_wrap=True, overflow="crop", crop=False, soft_wrap=True)
        text = captured.get().rstrip("\n").replace("\n", f"{CLEAR_LINE}\n")
        self._console.file.write(f"{HOME}{text}{CLEAR_LINE}{CLEAR_BELOW}")
        self._console.file.flush()

    @contextlib.contextmanager
    def listening(self, press: Callable[[str], None], redraw: Callable[[], None]) -> Iterator[None]:
        """Keys go to `press`, a change of size to `redraw`; Ctrl-Z gives the terminal back for as long as
        the process is stopped. In an event loop."""
        loop, keys = asyncio.get_running_loop(), Keys()

        def read() -> None:
            data = os.read(self._keyboard or 0, READ_BYTES)
            if not data:  # the terminal is gone
                loop.remove_reader(self._keyboard or 0)
                press("q")
            for key in keys.feed(data):
                press(key)
            if keys.pending:
                loop.call_later(ESCAPE_SECONDS, waited)

        def waited() -> None:
            for key in keys.flush():
                press(key)

        def stop() -> None:
            self.leave()
            os.kill(os.getpid(), signal.SIGSTOP)
            self.enter()
            redraw()

        if self._keyboard is not None:
            loop.add_reader(self._keyboard, read)
        loop.add_signal_handler(signal.SIGWINCH, redraw)
        loop.add_signal_handler(signal.SIGTSTP, stop)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGTSTP)
            loop.remove_signal_handler(signal.SIGWINCH)
            if self._keyboard is not None:
                loop.remove_reader(self._keyboard)


@contextlib.contextmanager
def full_screen(console: Console) -> Iterator[Terminal]:
    """Whatever ends it, the terminal is as before."""
    terminal = Terminal(console)
    try:
        terminal.enter()
        yield terminal
    finally:
        terminal.leave()
