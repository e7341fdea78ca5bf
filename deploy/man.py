"""Write the manual pages of peerd and peerctl into a folder: `deploy/man.py DIR`, or `make man`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from ctl.cli import cli as peerctl
from ctl.man import pages
from peerd import __version__
from peerd.__main__ import cli as peerd

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
at = float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
for name, program in (("peerctl", peerctl), ("peerd", peerd)):
    for file, text in pages(program, name, __version__, at):
        (folder / file).write_text(text, encoding="utf-8")
print(f"{len(list(folder.glob('*.1')))} pages in {folder}: man -l {folder}/peerctl.1")
