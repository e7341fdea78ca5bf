"""A Docker engine to run things in: the machine's own, or one that a program makes for one command at a time.

$PEERD_DOCKER_LAB names such a program: `PROGRAM build ARGS...` builds an image as docker does, `PROGRAM run
COMMAND...` runs a command that finds an engine with these images and needs no way out of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LAB = "PEERD_DOCKER_LAB"


@dataclass(frozen=True, slots=True)
class Engine:
    build: tuple[str, ...]
    run: tuple[str, ...]

    def images(self, folder: Path, **targets: str) -> dict[str, str]:
        """Build these targets of the Dockerfile in `folder`; their tags by name."""
        tags = {name: f"localhost/peerd-lab:{name}" for name in targets}
        for name, target in targets.items():
            done = subprocess.run([*self.build, "--target", target, "-t", tags[name], str(folder)])
            if done.returncode:
                raise AssertionError(f"{folder}: target {target} was not built: exit code {done.returncode}")
        return tags

    def execute(self, command: Sequence[str], environment: dict[str, str]) -> int:
        return subprocess.run([*self.run, *command], env={**os.environ, **environment}).returncode


def find_engine() -> Engine | str:
    """Or why there is none."""
    if lab := os.environ.get(LAB, ""):
        if shutil.which(lab) is None:
            return f"${LAB}: {lab} is no program"
        return Engine((lab, "build"), (lab, "run"))
    if shutil.which("docker") is None:
        return f"needs a Docker engine: docker is not installed, and ${LAB} names no program that makes one"
    for command in (("docker", "info"), ("docker", "compose", "version")):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            why = (done.stderr.strip() or "no reason given").splitlines()[-1]
            return f"needs a Docker engine, and `{' '.join(command)}` says: {why}; nor is ${LAB} set"
    return Engine(("docker", "build"), ())
