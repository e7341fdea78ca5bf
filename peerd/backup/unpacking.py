"""Restoring: whoever made the archive may be anybody, so it is read header by header, and of each header only
what a backup of ours may say is taken: a regular file, one of the known names, not too large, not twice.

Python's tarfile would first follow what an archive says of long names, sparse files and links.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path
from typing import BinaryIO

import msgspec

from peerd.backup.content import BUNDLE, IDENTITY, MAX_FILES, MEBIBYTE, limit_of
from peerd.backup.packing import DESCRIPTION, FORMAT, Description, Packed
from peerd.backup.placing import MAX_DESCRIPTION, RELEASES, staging
from peerd.errors import InvalidInputError
from peerd.membership import Bundle, Identity
from peerd.store import Releases

BLOCK = tarfile.BLOCKSIZE


def unpack(archive: BinaryIO, where: str, folder: Path) -> Description:
    """Put a backup, read from `archive` that is called `where`, into a new or empty state directory.

    All of it or nothing. InvalidInputError for what is no backup, or a damaged one; ConflictError where a
    daemon runs, or anything lies, in that folder.
    """
    try:
        with staging(folder) as prepared:
            described = _Reader(archive, where, prepared.folder).read()
            _check_peer(prepared.folder, where, described)
            Releases(prepared.folder / RELEASES).forget()
            prepared.put(described)
    except OSError as error:
        raise InvalidInputError(f"{folder}: cannot be written: {error.strerror}") from None
    return described


class _Reader:
    def __init__(self, archive: BinaryIO, where: str, staged: Path) -> None:
        self._archive = archive
        self._where = where
        self._staged = staged
        self._found: dict[str, Packed] = {}

    def read(self) -> Description:
        """Every file is in the staging folder when this returns, and is what it was when it was packed."""
        while (header := self._header()).name != DESCRIPTION:
            if len(self._found) == MAX_FILES:
                raise self._broken(f"more than {MAX_FILES} files")
            self._found[header.name] = self._copy(header)
        described = self._description(header.size)
        if described.files != self._found:
            raise self._broken("its files are not those that were packed: it is damaged")
        return described

    def _header(self) -> tarfile.TarInfo:
        """Of the next file; its name and size are in order."""
        try:
            header = tarfile.TarInfo.frombuf(self._exactly(BLOCK), "ascii", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError, ValueError):
            raise self._broken("it ends too early, or is something else") from None
        if header.type != tarfile.REGTYPE:
            raise self._broken("there is something in it that is not a file")
        limit = MAX_DESCRIPTION if header.name == DESCRIPTION else limit_of(header.name)
        if limit is None:
            raise self._broken(f"{header.name!r} is no file of a backup")
        if not 0 <= header.size <= limit:
            raise self._broken(f"{header.name} has a size that no peer writes")
        if header.name in self._found:
            raise self._broken(f"{header.name} comes twice")
        return header

    def _copy(self, header: tarfile.TarInfo) -> Packed:
        path, digest, left = self._staged / header.name, hashlib.sha256(), header.size
        for folder in reversed(path.relative_to(self._staged).parents):  # each of them closed to others
            (self._staged / folder).mkdir(mode=0o700, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            while left:
                data = self._exactly(min(left, MEBIBYTE))
                digest.update(data)
                file.write(data)
                left -= len(data)
            file.flush()
            os.fsync(file.fileno())
        self._exactly(-header.size % BLOCK)
        return Packed(header.size, digest.hexdigest())

    def _description(self, size: int) -> Description:
        try:
            described = msgspec.json.decode(self._exactly(size), type=Description)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise self._broken("its description is damaged") from None
        if described.format != FORMAT:
            raise self._broken(f"it has format {described.format}, this peerd knows {FORMAT}")
        return described

    def _exactly(self, size: int) -> bytes:
        data = self._archive.read(size)
        if len(data) != size:
            raise self._broken("it ends too early")
        return data

    def _broken(self, why: str) -> InvalidInputError:
        return InvalidInputError(f"{self._where}: not a backup made by `peerd backup`: {why}")


def _check_peer(staged: Path, where: str, described: Description) -> None:
    """Keys that are whole, of the peer that the description names, and a bundle of that peer."""
    if not (staged / IDENTITY).exists():
        raise InvalidInputError(f"{where}: there are no keys in it")
    try:
        identity = Identity.load(staged)
        if (identity.peer_id.hex(), identity.name) != (described.peer_id, described.name):
            raise InvalidInputError("the keys are another peer's")
        if (staged / BUNDLE).exists():
            Bundle.load(staged / BUNDLE).check_is_for(identity, BUNDLE)
    except InvalidInputError as error:
        raise InvalidInputError(f"{where}: {str(error).removeprefix(f'{staged}/')}") from None
