from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

WHY_NOT = "promtool is not installed (Debian: apt-get install prometheus)"


@pytest.fixture
def promtool() -> Callable[..., str]:
    """Run it on files of a folder; what it says, which must be success. Skips where there is none."""
    if shutil.which("promtool") is None:
        pytest.skip(WHY_NOT)

    def run(folder: Path, *arguments: str | Path) -> str:
        done = subprocess.run(
            ["promtool", *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=150
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    return run
