"""The private mix keys on disk: DIR/mixkeys.json, 0600, replaced atomically at each rotation.

    {"version": of the last descriptor, "boot": of the kernel, "keys": [{"epoch", "private": base64}, ...]}

A key is good for one life of the kernel. The replay tags that go with it are written without waiting for
the disk; a crash of the daemon cannot lose them, one of the host can, and then its keys are not used again.

A key that is gone from the ring goes from the file with the next write: a new file, renamed over the old one.
The old one's blocks are freed and not overwritten, which would prove little beside journals, snapshots and
flash: put the state directory where that matters on an encrypted or memory file system.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from peerd.errors import InvalidInputError, NotFoundError
from peerd.reading import read_bounded
from peerd.store.files import write_secret

FILE = "mixkeys.json"
MAX_BYTES = 64 * 1024
KEY_BYTES = 32


Number = Annotated[int, Meta(ge=0, le=2**62)]
"""Fits a descriptor."""


class _Key(msgspec.Struct, forbid_unknown_fields=True):
    epoch: Number
    private: bytes


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: Number
    boot: str
    keys: list[_Key]


def boot_id() -> str:
    """Another one for every start of the kernel; empty where it is not known."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


class MixKeyFile:
    def __init__(self, folder: Path, boot: str) -> None:
        self._path = folder / FILE
        self._boot = boot

    def load(self) -> tuple[int, dict[int, bytes]] | None:
        """(version, private key by epoch); (0, {}) before the first save, None when it is unreadable.

        No keys of an earlier life of the kernel. That, like a lost file, costs nothing but the packets in
        flight: the caller makes fresh keys.
        """
        for torn in self._path.parent.glob(f".{FILE}.*"):  # a save that was killed: it holds private keys
            with contextlib.suppress(OSError):  # the next start tries again
                torn.unlink(missing_ok=True)
        try:
            raw = read_bounded(self._path, MAX_BYTES, "a peer's mix keys")
        except NotFoundError:
            return 0, {}
        except InvalidInputError:
            return None
        try:
            file = msgspec.json.decode(raw, type=_File)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        if any(len(key.private) != KEY_BYTES for key in file.keys):
            return None
        if not self._boot or file.boot != self._boot:
            return file.version, {}
        return file.version, {key.epoch: key.private for key in file.keys}

    def save(self, version: int, keys: Mapping[int, bytes]) -> None:
        """OSError when the disk refuses; the earlier file is then intact."""
        file = _File(version, self._boot, [_Key(epoch, private) for epoch, private in sorted(keys.items())])
        write_secret(self._path, msgspec.json.encode(file))
