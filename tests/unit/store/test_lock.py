from __future__ import annotations

import subprocess
import sys

import pytest

from peerd.errors import ConflictError, NotFoundError
from peerd.store import StateLock

HOLD = """
import sys
from pathlib import Path
from peerd.store import StateLock
with StateLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_at_a_time_and_free_again_after_it(tmp_path):
    with StateLock(tmp_path):
        with pytest.raises(ConflictError, match="another peerd runs"), StateLock(tmp_path):
            pass
        with pytest.raises(ConflictError, match="busy here"), StateLock(tmp_path, "busy here"):
            pass
    with StateLock(tmp_path):
        pass


def test_a_killed_holder_lets_go(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ConflictError), StateLock(tmp_path):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with StateLock(tmp_path):
        pass


def test_no_directory_no_lock(tmp_path):
    with pytest.raises(NotFoundError, match="peerd init"), StateLock(tmp_path / "gone"):
        pass


def test_it_is_let_go_after_an_exception(tmp_path):
    with pytest.raises(ZeroDivisionError), StateLock(tmp_path):
        raise ZeroDivisionError
    with StateLock(tmp_path):
        pass
