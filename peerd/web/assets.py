"""Static files that lie beside the code, read once."""

from __future__ import annotations

from importlib.resources import files
from typing import NamedTuple

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Asset(NamedTuple):
    body: bytes
    content_type: str


def load(package: str, *names: str) -> dict[str, Asset]:
    """Files of `package`'s folder `static`, by name."""
    folder = files(package) / "static"
    return {
        name: Asset((folder / name).read_bytes(), CONTENT_TYPES[name[name.rindex(".") :]]) for name in names
    }
