"""How a restored peer comes to its place: all of it, or nothing.

It is put together in a folder beside the target, which then takes the target's place by one rename. Where
that cannot be (the root of a mounted volume, a parent that this user may not write) it is put together
inside, and moved name by name, the keys last: without them nobody takes it for a peer.

What a killed restore has left, the next one into the same folder removes. Inside, a description lies in the
left folder when its files were being moved: those of its names that are not there any more had been moved.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from peerd.backup.content import IDENTITY, MEBIBYTE, Content
from peerd.backup.packing import DESCRIPTION, Description
from peerd.errors import ConflictError, PeerdError
from peerd.reading import read_bounded, read_text
from peerd.store import StateLock, sync_folder, write_secret

LOCK = "lock"
PREFIX = ".restore-"
RELEASES = "releases.json"
MAX_DESCRIPTION = 16 * MEBIBYTE
_MADE_ANEW = ("mixkeys.json", "replay", "tokens.json", RELEASES)
_OF_A_VOLUME = "lost+found"


class Staging:
    """`folder` is where the files go first."""

    def __init__(self, folder: Path, target: Path, inside: bool) -> None:
        self.folder = folder
        self._target = target
        self._inside = inside

    def put(self, described: Description) -> None:
        """Into its place. ConflictError where something has come there meanwhile; OSError. Then it is as it
        was before. Who restores as root does it for the owner of the target."""
        with contextlib.suppress(FileNotFoundError):
            status = self._target.stat()
            if os.geteuid() == 0:
                _give(self._target / LOCK, status)
                for path in (self.folder, *self.folder.rglob("*")):
                    _give(path, status)
            if not self._inside:
                self.folder.chmod(stat.S_IMODE(status.st_mode))
        for path in (*self.folder.rglob("*"), self.folder):
            if path.is_dir():
                sync_folder(path)
        if self._inside:
            self._move(described)
        else:
            self._replace()

    def _replace(self) -> None:
        (self._target / LOCK).unlink(missing_ok=True)
        try:
            self.folder.rename(self._target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise ConflictError(f"{self._target}: something was put there meanwhile; try again") from None
        sync_folder(self._target.parent)

    def _move(self, described: Description) -> None:
        names = sorted((path.name for path in self.folder.iterdir()), key=lambda name: name == IDENTITY)
        write_secret(self.folder / DESCRIPTION, msgspec.json.encode(described))
        moved: list[str] = []
        try:
            for name in names:
                (self.folder / name).rename(self._target / name)
                moved.append(name)
            sync_folder(self._target)
        except BaseException:
            for name in reversed(moved):
                (self._target / name).rename(self.folder / name)
            raise


@contextlib.contextmanager
def staging(folder: Path) -> Iterator[Staging]:
    """For the absent or empty `folder`. ConflictError where there is something in it, or a daemon runs;
    OSError. What was not put in its place goes when this is left."""
    target = Path(os.path.realpath(folder))
    with contextlib.ExitStack() as locks:
        if locked := (target / LOCK).exists():
            locks.enter_context(StateLock(target))
        _remove_leftovers(target)
        _refuse_unless_empty(target)
        inside = target.exists() and _stays(target)
        if inside and not locked:
            locks.enter_context(StateLock(target))
        if not inside:
            target.parent.mkdir(parents=True, exist_ok=True)
        where, prefix = (target, PREFIX) if inside else (target.parent, f".{target.name}{PREFIX}")
        made = Path(tempfile.mkdtemp(prefix=prefix, dir=where))
        try:
            if not inside:
                locks.enter_context(StateLock(made))
            yield Staging(made, target, inside)
        finally:
            shutil.rmtree(made, ignore_errors=True)


def _give(path: Path, to: os.stat_result) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.chown(path, to.st_uid, to.st_gid, follow_symlinks=False)


def _stays(target: Path) -> bool:
    """Whether another folder cannot take its place, or not without somebody noticing."""
    return (
        target.samefile(".")
        or (target / _OF_A_VOLUME).exists()
        or os.geteuid() not in (0, target.stat().st_uid)
        or not os.access(target.parent, os.W_OK | os.X_OK, effective_ids=True)
        or target.is_mount()
        or str(target) in _mounts()
    )


def _mounts() -> set[str]:
    """Also those that come from the same file system, which `is_mount` does not see. None, where the kernel
    does not say: then the rename fails."""
    try:
        lines = read_text(Path("/proc/self/mountinfo"), 16 * MEBIBYTE, "what is mounted").splitlines()
    except PeerdError:
        return set()
    return {line.split()[4].replace("\\040", " ") for line in lines}


def _refuse_unless_empty(target: Path) -> None:
    if not target.exists():
        return
    state = [*Content(target).names(), *(name for name in _MADE_ANEW if (target / name).exists())]
    if state:
        raise ConflictError(
            f"{target}: there is a peer's state here already ({state[0]}); restore into another folder, or "
            "move this one away"
        )
    others = sorted(path.name for path in target.iterdir() if path.name not in (LOCK, _OF_A_VOLUME))
    if others:
        raise ConflictError(
            f"{target}: not empty ({others[0]!r}); restore into a new or empty folder, or move this one away"
        )


def _remove_leftovers(target: Path) -> None:
    """Of restores that were killed; what a living one prepares is locked, and stays."""
    for left in _folders(target.parent, f".{target.name}{PREFIX}"):
        with contextlib.suppress(PeerdError), StateLock(left):
            shutil.rmtree(left, ignore_errors=True)
    for left in _folders(target, PREFIX):
        _take_back(left, target)
        shutil.rmtree(left)


def _folders(place: Path, prefix: str) -> list[Path]:
    """Of our own name, and no links to elsewhere."""
    found = place.glob(f"{glob.escape(prefix)}*")
    return [path for path in found if path.is_dir() and not path.is_symlink()]


def _take_back(left: Path, target: Path) -> None:
    try:
        said = read_bounded(left / DESCRIPTION, MAX_DESCRIPTION, "a backup's description")
        files: Iterable[str] = msgspec.json.decode(said, type=Description).files
    except (PeerdError, msgspec.MsgspecError, UnicodeDecodeError):
        return  # nothing was moved yet
    if (target / IDENTITY).exists():
        return  # all was moved
    for name in {RELEASES, *(file.partition("/")[0] for file in files)}:
        moved = target / name
        if not (left / name).exists() and moved.exists():
            shutil.rmtree(moved) if moved.is_dir() else moved.unlink()
