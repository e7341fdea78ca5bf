"""A testbed's own file: what another `peerctl` needs to find its daemons again, and no secret."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ctl import tomlfile
from ctl.contexts import UNIX, Endpoint
from ctl.testbed.processes import Process
from peerd.errors import ConflictError, InvalidInputError, NotFoundError
from peerd.reading import read_bounded

RECORD = "testbed.json"
MAX_RECORD_BYTES = 1 << 20


class Peer(msgspec.Struct):
    name: str
    address: str
    socket: str
    process: Process | None = None

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.alive

    @property
    def running(self) -> Process:
        """ConflictError for one that was never started or has ended."""
        if self.process is None:
            raise ConflictError(f"{self.name} does not run; `peerctl testbed start {self.name}`")
        return self.process

    @property
    def frozen(self) -> bool:
        return self.process is not None and self.process.frozen

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.name, f"{UNIX}{self.socket}")


class Record(msgspec.Struct):
    peers: list[Peer]
    sockets: str = ""
    """A short folder for the control sockets, when DIR's path is too long for them."""

    @classmethod
    def load(cls, folder: Path) -> Record:
        """NotFoundError where there is none, InvalidInputError for one that is broken."""
        path = folder / RECORD
        try:
            return msgspec.json.decode(read_bounded(path, MAX_RECORD_BYTES, "a testbed's record"), type=cls)
        except NotFoundError:
            raise NotFoundError(f"{folder}: no testbed here; make one with `peerctl testbed up`") from None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidInputError(f"{path}: not a testbed's record: {error}") from None

    def save(self, folder: Path) -> None:
        tomlfile.write_text(folder / RECORD, msgspec.json.encode(self).decode())
