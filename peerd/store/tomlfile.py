"""Setting keys in a config file that a person wrote: comments, order and everything else stay as they are."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any, cast

import tomlkit
from tomlkit.exceptions import TOMLKitError

from peerd.config import loads, read
from peerd.errors import ConflictError, InvalidInputError
from peerd.settings import flat
from peerd.store.files import write_atomic


def edit_toml(path: Path, values: Mapping[str, Any]) -> None:
    """Set keys such as `mixing.hops`, atomically, with the file's own mode. The file may be a link: what it
    leads to is replaced.

    NotFoundError, InvalidInputError where it is no good config file before, ConflictError where it cannot be
    written; it is then as it was.
    """
    before = read(path)
    loads(before, str(path))
    after = edited(before, values, str(path))
    found = flat(loads(after, str(path)))
    if any(found[key] != value for key, value in values.items()):
        raise InvalidInputError(f"{path}: the file's form does not let these keys be set; edit it by hand")
    target = path.resolve()
    try:
        status = target.stat()
        write_atomic(target, after.encode(), status.st_mode & 0o777)
        if os.geteuid() == 0:
            os.chown(target, status.st_uid, status.st_gid)
    except OSError as error:
        raise ConflictError(f"{path}: cannot be written ({error.strerror}); nothing was changed") from None


def edited(text: str, values: Mapping[str, Any], where: str) -> str:
    """The text with these keys set. InvalidInputError where it is not TOML."""
    try:
        document = tomlkit.parse(text)
    except TOMLKitError as error:
        raise InvalidInputError(f"{where}: not valid TOML: {error}") from None
    for name, value in values.items():
        section, _, key = name.partition(".")
        if not key:
            document[section] = value
            continue
        if section not in document:
            document[section] = tomlkit.table()
        cast(MutableMapping[str, Any], document[section])[key] = value
    return tomlkit.dumps(document)
