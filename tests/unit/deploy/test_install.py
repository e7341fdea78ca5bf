"""Wrong arguments, and what shellcheck says. On real hosts it is tried by tests/lab/test_install.py."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy"
SHEBANG = re.compile(rb"#!.*\b(?:ba|da)?sh\b")
SHELLCHECK = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def shell_scripts():
    """All of the repository: by their names, or by their first lines."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        if path.is_file() and (path.suffix == ".sh" or SHEBANG.match(path.open("rb").readline(100))):
            yield name


def test_they_are_found():
    assert {"deploy/install.sh", "deploy/setup.sh", "deploy/compose/enrol.sh", ".ci/run"} <= set(
        shell_scripts()
    )


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is not installed: the scripts were NOT checked")
@pytest.mark.parametrize("script", sorted(shell_scripts()))
def test_shellcheck_has_nothing_to_say(script):
    done = subprocess.run([SHELLCHECK, ROOT / script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a=x", "b=y"], "name three hosts at least"),
        (["a=x", "b=y", "a=z"], "named twice"),
        (["a=x", "b=y", "C=z"], "not NAME=[USER@]HOST[,ADDRESS]"),
        (["a=x", "b=y", "c=-oProxyCommand=id"], "no host to ask by ssh"),
        (["a=x", "b=y", "c=z;id"], "no host to ask by ssh"),
        (["--hops", "2", "a=x", "b=y", "c=z"], "with 3 hosts it is 1 to 1"),
        (["--wheels", "/", "a=x", "b=y", "c=z"], "no peerd-*.whl"),
        (["--what", "a=x"], "no such option"),
        (["--network"], "needs a value"),
    ],
)
def test_mistakes_are_one_line(arguments, says):
    done = subprocess.run([FOLDER / "install.sh", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert says in line
