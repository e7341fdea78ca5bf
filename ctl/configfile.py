"""Everything that is wrong with a config file of this machine."""

from __future__ import annotations

from pathlib import Path

from peerd.errors import PeerdError
from peerd.validation import problems


def mistakes(text: str, path: Path) -> list[str]:
    """One line each, with file and key."""
    try:
        return problems(text, str(path))
    except PeerdError as error:
        return [str(error)]
