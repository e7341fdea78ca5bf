from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def kept() -> Path:
    """Where root file systems and wheels outlast a run: they take minutes to make."""
    folder = Path(os.environ.get("PEERD_LAB", "/var/tmp/peerd-lab"))
    folder.mkdir(exist_ok=True)
    return folder
