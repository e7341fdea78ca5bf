"""A peer's state in one file, and back from it: what must come back, and nothing that must not."""

from peerd.backup.content import Content
from peerd.backup.packing import pack, secret_file
from peerd.backup.unpacking import unpack

__all__ = ["Content", "pack", "secret_file", "unpack"]
