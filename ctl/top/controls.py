"""What the keys have set: order, selection, filter, pause, help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ctl.top.columns import BY_KEY, COLUMNS
from ctl.top.model import Row

_KEYS = tuple(BY_KEY.items())
_SORTS = (_KEYS[: len(_KEYS) // 2], _KEYS[len(_KEYS) // 2 :])
HELP = (
    ("up, down, j, k", "select a peer (page up, page down, home, end)"),
    ("left, right", "sort by the next column; or by one at once:"),
    *(("", "  ".join(f"{key} {title}" for key, title in part)) for part in _SORTS),
    ("r", "the other way round"),
    ("/", "only peers with this text: Enter keeps it, Esc forgets it"),
    ("Enter", "the selected peer's links, or not"),
    ("space, p", "pause: what stands here stays, until the next"),
    ("h, ?", "this help, or not"),
    ("q", "quit"),
)  # fmt: skip
PAGE = 10
MAX_FILTER = 40


@dataclass(slots=True)
class Controls:
    sort: str = COLUMNS[0].title
    reverse: bool = False
    """Against the column's own order: names go up, numbers down."""
    filter: str = ""
    editing: bool = False
    paused: bool = False
    help: bool = False
    panel: bool = True
    selected: str = ""
    """A name; of a peer that is not shown, the first one is meant."""
    done: bool = False

    def press(self, key: str, shown: Sequence[Row], titles: Sequence[str]) -> None:
        """`shown`: the rows now on the screen, in order; `titles` of its columns."""
        if self.editing:
            self._edit(key)
        elif self.help and key in ("escape", "enter", "h", "?", "q", "space"):
            self.help = False
        elif key in BY_KEY:
            self._sort_by(BY_KEY[key])
        elif key in ("left", "right") and titles:
            self._sort_by(_neighbour(titles, self.sort, 1 if key == "right" else -1))
        elif key in STEPS:
            self._select(STEPS[key], shown)
        else:
            self._command(key)

    def _command(self, key: str) -> None:
        match key:
            case "q":
                self.done = True
            case "r":
                self.reverse = not self.reverse
            case "space" | "p":
                self.paused = not self.paused
            case "h" | "?":
                self.help = True
            case "enter":
                self.panel = not self.panel
            case "/":
                self.editing = True
            case "escape":
                self.filter = ""

    def _edit(self, key: str) -> None:
        match key:
            case "enter":
                self.editing = False
            case "escape":
                self.editing, self.filter = False, ""
            case "backspace":
                self.filter = self.filter[:-1]
            case "space":
                self.filter += " "
            case _ if len(key) == 1:
                self.filter = (self.filter + key)[:MAX_FILTER]

    def _sort_by(self, title: str) -> None:
        """The same once more turns it round."""
        self.reverse = not self.reverse if title == self.sort else False
        self.sort = title

    def _select(self, step: int, shown: Sequence[Row]) -> None:
        if shown:
            place = self.place(shown) + step
            self.selected = shown[min(max(place, 0), len(shown) - 1)].name

    def place(self, shown: Sequence[Row]) -> int:
        """Of the selected row."""
        return next((i for i, row in enumerate(shown) if row.name == self.selected), 0)

    def arranged(self, rows: Sequence[Row]) -> list[Row]:
        """Those that pass the filter, in order. What is not known comes last, whichever way."""
        text = self.filter.casefold()
        kept = [row for row in rows if text in _words(row)]
        column = next(column for column in COLUMNS if column.title == self.sort)
        known = [row for row in kept if column.value(row) is not None]
        downwards = column.downwards != self.reverse
        known.sort(key=lambda row: row.name)
        known.sort(key=lambda row: column.value(row) or 0 if column.number else column.value(row) or "",
                   reverse=downwards)  # fmt: skip
        return known + [row for row in kept if column.value(row) is None]


FAR = 1_000_000
STEPS = {"up": -1, "k": -1, "down": 1, "j": 1, "page-up": -PAGE, "page-down": PAGE, "home": -FAR, "end": FAR}


def _words(row: Row) -> str:
    return " ".join((row.name, row.state, row.stage, *row.alarms)).casefold()


def _neighbour(titles: Sequence[str], title: str, step: int) -> str:
    place = titles.index(title) if title in titles else 0
    return titles[(place + step) % len(titles)]
