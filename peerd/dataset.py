"""What a task needs on a host: leave to run, packages, files, and the options that it knows. The daemon looks
before it starts a trainer, the trainer reads; both go by what is written here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from peerd.errors import DeniedError, InvalidInputError, NotFoundError
from peerd.types import SHIPPED_TASKS

MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
"""IDX files as Yann LeCun published them, each plain or with `.gz` behind its name."""

CIFAR10_FILES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
"""Of Krizhevsky's binary version (`cifar-10-binary.tar.gz`): the Python version is pickle, which runs
code."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Of a shipped task."""

    packages: tuple[str, ...]
    files: tuple[str, ...] = ()
    """In the data folder, in the order in which they are read."""
    files_are: str = ""
    """In words, for whoever lacks them."""
    options: tuple[str, ...] = ()


NEEDS = {
    "digits-cnn": Needs(("torch", "sklearn")),
    "mnist-cnn": Needs(("torch",), MNIST_FILES, "the four MNIST IDX files"),
    "digits-mlp": Needs(("sklearn",), options=("hidden",)),
    "fashion-mnist-cnn": Needs(("torch",), MNIST_FILES, "the four Fashion-MNIST IDX files"),
    "cifar10-cnn": Needs(("torch",), CIFAR10_FILES, "the six .bin files of cifar-10-binary.tar.gz"),
    "synthetic": Needs((), options=("noise", "parameters", "samples", "step")),
}


def check_allowed(task: str, allowed: Collection[str]) -> None:
    """Whether this host's operator lets it train a task. Raises DeniedError, or InvalidInputError for a name
    that nobody knows.

    A task's name comes from the network, and to load one is to import code: what is not listed on the
    host itself goes no further than this.
    """
    if task in allowed:
        return
    if task not in SHIPPED_TASKS and ":" not in task:
        known = ", ".join(allowed) or "none"
        raise InvalidInputError(f"unknown task {task!r}; known: {known}")
    raise DeniedError(
        f"task {task!r} is not allowed on this host; its operator lists what is, in [training] tasks"
    )


def check_options(task: str, given: Collection[str], known: Sequence[str]) -> None:
    """Raises InvalidInputError that names the options there are."""
    for name in given:
        if name not in known:
            has = f"its options: {', '.join(sorted(known))}" if known else "it has no options"
            raise InvalidInputError(f"task {task!r} has no option {name!r}; {has}")


def find_files(task: str, folder: str) -> tuple[Path, ...]:
    """The paths of a shipped task's files, in their order. Raises NotFoundError that says what to do."""
    needs = NEEDS[task]
    if not folder:
        raise NotFoundError(f"{task} needs its data folder: pass --data-dir DIR with {needs.files_are}")
    place = Path(folder)
    if not place.is_dir():
        raise NotFoundError(f"{folder}: no such data folder; pass --data-dir DIR with {needs.files_are}")
    unpacked = place / "cifar-10-batches-bin"  # what the archive makes
    if needs.files is CIFAR10_FILES and unpacked.is_dir():
        place = unpacked
    return tuple(_find(place, name, needs.files_are) for name in needs.files)


def _find(folder: Path, name: str, files_are: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise NotFoundError(f"{folder / name}[.gz]: missing; {files_are} belong there")
