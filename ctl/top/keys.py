"""Bytes of a terminal's keyboard as names of keys."""

from __future__ import annotations

ESCAPE = "\x1b"
SEQUENCES = {
    "[A": "up", "[B": "down", "[C": "right", "[D": "left", "[H": "home", "[F": "end", "[5~": "page-up",
    "[6~": "page-down", "[1~": "home", "[4~": "end", "OA": "up", "OB": "down", "OC": "right", "OD": "left",
    "OH": "home", "OF": "end",
}  # fmt: skip
NAMED = {
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\x08": "backspace",
    "\x0c": "redraw",
    " ": "space",
}
LONGEST = 16
"""Characters of a sequence; what is longer is no key."""


class Keys:
    """`feed` bytes as they are read. An escape may be a key of its own or begin a sequence whose rest is on
    its way: `pending` says so, and `flush` decides after a moment."""

    def __init__(self) -> None:
        self._sequence = ""

    @property
    def pending(self) -> bool:
        return bool(self._sequence)

    def feed(self, data: bytes) -> list[str]:
        """Single characters are themselves. What no key sends is left out."""
        found = (self._next(character) for character in data.decode("utf-8", "ignore"))
        return [key for key in found if key is not None]

    def flush(self) -> list[str]:
        was, self._sequence = self._sequence, ""
        return ["escape"] if was == ESCAPE else []

    def _next(self, character: str) -> str | None:
        if character == ESCAPE:
            self._sequence = ESCAPE
            return None
        if not self._sequence:
            return NAMED.get(character, character if character.isprintable() else None)
        self._sequence += character
        body = self._sequence[1:]
        unfinished = body in ("[", "O") or (body[0] in "[O" and not character.isalpha() and character != "~")
        if unfinished and len(body) < LONGEST:
            return None
        self._sequence = ""
        return SEQUENCES.get(body)
