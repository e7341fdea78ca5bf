"""mnist-cnn: handwritten digits of 28 x 28 pixels, from the four IDX files; 94,186 parameters."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from peerd.dataset import find_idx_files
from peerd.training.idx import read_idx
from peerd.training.tasks.task import Samples, Task

SIDE = 28


def build() -> nn.Module:
    return nn.Sequential(
        *_block(1, 32, stride=1),
        *_block(32, 64, stride=2),
        *_block(64, 128, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


def _block(channels_in: int, channels_out: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    ]


def load(data_dir: str) -> tuple[Samples, Samples]:
    train_images, train_labels, test_images, test_labels = find_idx_files(data_dir)
    return _read(train_images, train_labels), _read(test_images, test_labels)


def _read(images_path: Path, labels_path: Path) -> Samples:
    images = read_idx(images_path, dims=3)
    labels = read_idx(labels_path, dims=1)
    return Samples.checked(images, labels, side=SIDE, classes=10, where=str(images_path.parent))


MNIST_CNN = Task(build=build, load=load, mean=0.1307 * 255, std=0.3081 * 255)
