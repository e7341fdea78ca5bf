"""Where the log may be written: never over the peer's own files, nor over what is no log of peerd's.

Lines are appended to what is there, and files put aside replace what has their names.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from peerd.errors import InvalidInputError

_CONSOLE = re.compile(rb"\d{4}-\d\d-\d\dT[\d:.]+Z \[(debug|info|warning|error) *\] ")
_JSON_KEYS = {"event", "level", "timestamp"}
_LINE_BYTES = 1 << 20
"""A first line that is longer is not looked at any further."""


def check_place(path: str, backups: int, state_dir: Path | None) -> None:
    """InvalidInputError for a log file in the state directory, or where it or one put aside would fall on
    something else."""
    if not path:
        return
    try:
        place = Path(path).resolve()
        if state_dir is not None and place.is_relative_to(state_dir.resolve()):
            raise InvalidInputError(
                f"logging.file: {path} is in the state directory, which holds the peer's keys; name a file "
                "elsewhere, such as /var/log/peerd/peerd.log"
            )
        for file in (place, *(Path(f"{place}.{number}") for number in range(1, backups + 1))):
            if file.is_file() and not _is_log(file):
                raise InvalidInputError(
                    f"logging.file: {path} {'' if file == place else f'would replace {file}, which '}"
                    "is no log of peerd's; name another file, or move that one away"
                )
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        why = error.strerror if isinstance(error, OSError) else "its links go in a circle"
        raise InvalidInputError(f"logging.file: {path} cannot be written: {why}") from None


def _is_log(file: Path) -> bool:
    """Empty, or begins as a line of the log in one of its formats."""
    with file.open("rb") as opened:
        line = opened.readline(_LINE_BYTES)
    if not line or _CONSOLE.match(line):
        return True
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and fields.keys() >= _JSON_KEYS
