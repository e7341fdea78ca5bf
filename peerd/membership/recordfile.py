"""Records in a file, on their way from the authority to any one peer: an encoded `Records`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from peerd.errors import InvalidInputError
from peerd.membership.records import join_records, open_record, split_records
from peerd.store import read_bounded, write_atomic

MAX_BYTES = 256 << 20


def write_records(path: Path, records: Iterable[bytes]) -> None:
    """OSError when the disk refuses."""
    write_atomic(path, join_records(records))


def read_records(path: Path) -> list[bytes]:
    """At least one. NotFoundError or InvalidInputError, in one line that names the file; whether they are
    signed by whom they should is for peers to judge."""
    data = read_bounded(path, MAX_BYTES, "records that the network's authority has signed")
    records, complete = split_records(data)
    if not complete or not records or any(open_record(record) is None for record in records):
        raise InvalidInputError(
            f"{path}: not a file of records; `peerctl network revoke` and others write such files"
        )
    return records
