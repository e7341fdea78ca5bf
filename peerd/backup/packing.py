"""Writing a backup: a plain tar file, made of regular files alone, with a description at its end.

    identity.json ... each file as it is
    backup.json       format, peer, time, and bytes and SHA-256 of every file before it

Not compressed, so that an archive is never smaller than what comes out of it. A daemon may run meanwhile: it
replaces files by renaming, so what is open here is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from peerd import __version__
from peerd.backup.content import Content, limit_of
from peerd.errors import ConflictError, InvalidInputError, UnavailableError
from peerd.membership import Identity

FORMAT = 1
DESCRIPTION = "backup.json"
RUN = "run/"
CHECKPOINT = "run/run.json"
ATTEMPTS = 10


class Packed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bytes: int
    sha256: str


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    software: str
    made_at: float
    """Unix time."""
    name: str
    peer_id: str
    files: dict[str, Packed]


def pack(content: Content, out: BinaryIO, now: float) -> Description:
    """Write the backup of a state directory. The errors of `Identity.load`; InvalidInputError for a file that
    no peer writes, or one that cannot be read."""
    identity = Identity.load(content.folder)
    names = list(content.names())
    packed: dict[str, Packed] = {}
    with (
        tarfile.open(fileobj=out, mode="w|", format=tarfile.USTAR_FORMAT) as tar,
        contextlib.ExitStack() as stack,
    ):
        for name, file in _open_checkpoint(content.folder, names, stack).items():
            packed[name] = _add(tar, name, file, now)
        for name in names:
            if not name.startswith(RUN):
                with contextlib.ExitStack() as one:
                    for file in _open(content.folder / name, one):
                        packed[name] = _add(tar, name, file, now)
        described = Description(FORMAT, __version__, now, identity.name, identity.peer_id.hex(), packed)
        _add(tar, DESCRIPTION, io.BytesIO(msgspec.json.format(msgspec.json.encode(described))), now)
    return described


def _open_checkpoint(folder: Path, names: list[str], stack: contextlib.ExitStack) -> dict[str, BinaryIO]:
    """Its files, of one moment: what it says, and the model of which it says that."""
    parts = sorted((name for name in names if name.startswith(RUN)), key=lambda name: name != CHECKPOINT)
    for _ in range(ATTEMPTS):
        with contextlib.ExitStack() as opened:
            files = {name: file for name in parts for file in _open(folder / name, opened)}
            said = files.get(CHECKPOINT)
            if said is None or _is_still(folder / CHECKPOINT, said):
                stack.push(opened.pop_all())
                return files
    raise UnavailableError(f"{folder / CHECKPOINT}: it changes all the time; try again")


def _open(path: Path, stack: contextlib.ExitStack) -> Iterator[BinaryIO]:
    """None, where it went a moment ago, as models of old rounds do."""
    try:
        yield stack.enter_context(path.open("rb"))
    except FileNotFoundError:
        return
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror}") from None


def _is_still(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except OSError:
        return False


def _add(tar: tarfile.TarFile, name: str, file: BinaryIO, now: float) -> Packed:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    limit = limit_of(name)
    if limit is not None and size > limit:
        raise InvalidInputError(f"{name}: {size} bytes; no peer writes more than {limit}")
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, int(now)
    reader = _Digesting(file)
    tar.addfile(info, reader)
    return Packed(size, reader.digest.hexdigest())


class _Digesting(io.RawIOBase):
    """What was read of a file is known by its hash, without reading it twice."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data


@contextlib.contextmanager
def secret_file(path: Path, force: bool) -> Iterator[BinaryIO]:
    """A new file in the place of `path` once all of it is on the disk, at every moment readable by the owner
    alone. ConflictError where there is a file by that name, unless `force`; InvalidInputError where it cannot
    be written, or what is there is no file."""
    _check_free(path, force)
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _rename(Path(temporary), path, force)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise InvalidInputError(f"{path}: cannot be written: {error.strerror}") from None
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _check_free(path: Path, force: bool) -> None:
    if path.is_symlink() or path.exists():
        if not path.is_file():
            raise InvalidInputError(f"{path}: cannot be written: not a regular file")
        if not force:
            raise ConflictError(f"{path} exists; --force overwrites it")


def _rename(made: Path, path: Path, force: bool) -> None:
    if not force:
        try:
            os.link(made, path)  # fails where there is one, however late it came
        except FileExistsError:
            raise ConflictError(f"{path} exists; --force overwrites it") from None
        except OSError:  # a file system without links, as memory sticks have
            _check_free(path, force)
        else:
            made.unlink()
            return
    made.replace(path)
