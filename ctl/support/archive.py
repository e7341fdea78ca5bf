"""The archive: files, and a manifest that says what they are, what is missing and what was hidden."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ctl.support.parts import PARTS, Collected
from ctl.support.redaction import LEFT_OUT, Redactor
from peerd import __version__
from peerd.errors import ConflictError, InvalidInputError

ROOT = "peerd-support"
SHARED = {
    "doctor.json": "what `peerctl doctor` finds",
    "versions.json": "versions of what runs on this host",
    "config.json": "a configuration file, with its defaults",
    "log.txt": "the end of the daemon's log",
}
"""What the files are that no peer was asked for."""


def assemble(
    collected: Sequence[Collected],
    shared: Mapping[str, Any],
    missing: Sequence[str],
    redactor: Redactor,
    include_addresses: bool,
) -> dict[str, bytes]:
    """Files by their path in the archive, redacted, the manifest first. `shared`: files that belong to no
    peer, or to NAME/FILE; `missing`: what else there was not."""
    raw = {f"{one.name}/{file}": value for one in collected for file, value in one.files.items()} | dict(
        shared
    )
    files = {path: _encoded(redactor, value) for path, value in raw.items()}
    lacks = [
        {"peer": one.name, "file": file, "why": redactor.text(why)}
        for one in collected
        for file, why in one.missing.items()
    ]
    what = {part.file: part.what for part in PARTS} | SHARED
    manifest = {
        "made_at": time.time(),
        "peerctl": __version__,
        "peers": [one.name for one in collected],
        "files": [
            {"file": path, "what": what[path.rpartition("/")[2]], "bytes": len(content)}
            for path, content in files.items()
        ],
        "missing": [*lacks, *({"why": redactor.text(why)} for why in missing)],
        "left_out_or_redacted": [
            *LEFT_OUT,
            "addresses are in clear, as was asked"
            if include_addresses
            else "addresses and ports: replaced by host-1, port-1, ..., the same by the same; names of "
            "hosts, where a peer, a context, a configuration or a bundle names them, or with a port",
        ],
        "replaced": dict(redactor.counts),
    }
    return {"manifest.json": _json(manifest)} | files


def _encoded(redactor: Redactor, value: Any) -> bytes:
    return redactor.text(value).encode() if isinstance(value, str) else _json(redactor.data(value))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def write(path: Path, files: Mapping[str, bytes], force: bool) -> None:
    """The archive as a whole or not at all, readable by its owner alone. ConflictError where there is a file
    by that name, unless `force`; InvalidInputError where it cannot be written."""
    try:
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for name, content in files.items():
                archive.addfile(_entry(name, len(content)), io.BytesIO(content))
        if force:
            Path(draft).replace(path)
        else:
            os.link(draft, path)  # fails where there is one, however late it came
    except FileExistsError:
        raise ConflictError(f"{path} exists; --force overwrites it") from None
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(draft).unlink()


def _entry(name: str, size: int) -> tarfile.TarInfo:
    """Of nobody in particular: the archive does not say whose it is."""
    entry = tarfile.TarInfo(f"{ROOT}/{name}")
    entry.size, entry.mode, entry.mtime = size, 0o600, int(time.time())
    return entry
