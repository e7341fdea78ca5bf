"""Which files of a state directory are in a backup, how large each may be, and why others are not.

In: identity.json, request.json, bundle.json, renewal.json, roster.bin; with models run/ and runs/. Never in:

mixkeys.json, replay/  A mix key that comes back with the replay tags of an earlier moment, or with none,
                       takes every packet since then once more: who has recorded some could send them again
                       and see where they go. Without, a peer makes fresh keys, as after a reboot, and all
                       that is lost are the packets in flight.
tokens.json            A join token that was used since would be good once more.
releases.json          It would count too few noised updates, and epsilon be a lie. What is restored says that
                       the count is lost (`Releases.forget`).
lock, control.sock     They belong to a process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KIBIBYTE, MEBIBYTE, GIBIBYTE = 1 << 10, 1 << 20, 1 << 30
IDENTITY = "identity.json"
BUNDLE = "bundle.json"
_RUN = "[0-9a-f]{32}"


@dataclass(frozen=True, slots=True)
class _Kind:
    pattern: re.Pattern[str]
    limit: int
    """Bytes."""
    model: bool = False


def _kind(pattern: str, limit: int, *, model: bool = False) -> _Kind:
    return _Kind(re.compile(pattern, re.ASCII), limit, model)


KINDS = (
    _kind(r"identity\.json", 64 * KIBIBYTE),
    _kind(r"request\.json", MEBIBYTE),
    _kind(r"bundle\.json", GIBIBYTE),
    _kind(r"renewal\.json", MEBIBYTE),
    _kind(r"roster\.bin", 64 * MEBIBYTE),
    _kind(r"run/run\.json", MEBIBYTE, model=True),
    _kind(r"run/model-[01]\.f32", 4 * GIBIBYTE, model=True),
    _kind(rf"runs/{_RUN}/results\.json", 4 * MEBIBYTE, model=True),
    _kind(rf"runs/{_RUN}/round-[0-9]{{7}}\.safetensors", GIBIBYTE + MEBIBYTE, model=True),
)
MAX_FILES = 50_000
"""Of one backup: more than the largest `keep_checkpoints` of four runs, and results of 32."""


def limit_of(name: str) -> int | None:
    """How many bytes a file of a backup has at most; None for one that is never in it."""
    return next((kind.limit for kind in KINDS if kind.pattern.fullmatch(name)), None)


@dataclass(frozen=True, slots=True)
class Content:
    """Of one state directory. `models`: those of runs, and their results, too."""

    folder: Path
    models: bool = True

    def names(self) -> Iterator[str]:
        """Of the files that are there, the least ones first. No link is followed out of the folder."""
        for path in sorted(self._candidates()):
            name = path.relative_to(self.folder).as_posix()
            kind = next((kind for kind in KINDS if kind.pattern.fullmatch(name)), None)
            if (
                kind is not None
                and (self.models or not kind.model)
                and not path.is_symlink()
                and path.is_file()
            ):
                yield name

    def _candidates(self) -> Iterator[Path]:
        yield from self.folder.glob("*")
        for below in ("run", "runs"):
            if not (self.folder / below).is_symlink():
                yield from self.folder.glob(f"{below}/*")
        for run in self.folder.glob("runs/*"):
            if not run.is_symlink():
                yield from run.glob("*")
