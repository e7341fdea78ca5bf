"""Where the data of a task lies on a host. The daemon looks before it starts a trainer, the trainer
reads; both go by what is written here.
"""

from __future__ import annotations

from pathlib import Path

from peerd.errors import NotFoundError

MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
"""IDX files as Yann LeCun published them, each plain or with `.gz` behind its name."""


def find_idx_files(folder: str) -> tuple[Path, ...]:
    """The paths of `MNIST_FILES`, in that order. Raises NotFoundError that says what to do."""
    if not folder:
        raise NotFoundError(
            "mnist-cnn needs its data folder: pass --data-dir DIR with the four MNIST IDX files"
        )
    if not Path(folder).is_dir():
        raise NotFoundError(f"{folder}: no such data folder; pass --data-dir DIR with the MNIST files")
    return tuple(_find(Path(folder), name) for name in MNIST_FILES)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise NotFoundError(f"{folder / name}[.gz]: missing; put the MNIST file there")
