from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import msgspec
import pytest

from peerd.dataset import CIFAR10_FILES, MNIST_FILES, find_files
from peerd.errors import DeniedError, InvalidInputError, NotFoundError
from peerd.learning import as_here, check_task
from peerd.presets import TASK_DEFAULTS
from peerd.types import SHIPPED_TASKS, RunSpec

MakeSpec = Callable[..., RunSpec]


def test_every_task_name_is_known_here_and_in_the_trainer() -> None:
    from peerd.training.registry import SHIPPED

    assert set(TASK_DEFAULTS) == set(SHIPPED) == set(SHIPPED_TASKS)


@pytest.mark.parametrize("task", TASK_DEFAULTS)
def test_the_defaults_are_valid_settings_of_a_spec(task: str, make_spec: MakeSpec) -> None:
    spec = make_spec(task=task, **TASK_DEFAULTS[task])
    assert msgspec.convert(msgspec.to_builtins(spec), RunSpec) == spec


def test_unknown_tasks_are_told_the_known_ones(make_spec: MakeSpec) -> None:
    with pytest.raises(InvalidInputError, match="'cifar'; known: digits-cnn, mnist-cnn"):
        check_task(make_spec(task="cifar"))


def test_code_that_is_not_listed_on_the_host_is_denied(make_spec: MakeSpec) -> None:
    with pytest.raises(DeniedError, match=r"'os:system' is not allowed on this host; .*\[training\] tasks"):
        check_task(make_spec(task="os:system"))
    with pytest.raises(DeniedError, match="'digits-cnn' is not allowed on this host"):
        check_task(make_spec(), ["mine:make"])
    with pytest.raises(InvalidInputError, match="'resnet'; known: mine:make"):
        check_task(make_spec(task="resnet"), ["mine:make"])
    check_task(make_spec(task="mine:make"), ["mine:make"])  # more is for the trainer to find out
    check_task(make_spec(task="resnet"), ["resnet"])


def test_noise_needs_the_library_that_counts_it(make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "dp_accounting" else found(name)
    )
    check_task(make_spec(privacy_clip=1.0))
    with pytest.raises(NotFoundError, match="dp_accounting not installed, so this host cannot train"):
        check_task(make_spec(privacy_clip=1.0, noise_multiplier=1.0))


@pytest.mark.parametrize("task", ["digits-cnn", "digits-mlp", "synthetic"])
def test_some_tasks_need_no_data(make_spec: MakeSpec, task: str) -> None:
    check_task(make_spec(task=task, data_dir=""))
    with pytest.raises(InvalidInputError, match=f"partition own: {task} brings its samples along"):
        check_task(make_spec(task=task, partition="own"))


def test_unknown_options_are_told_the_known_ones(make_spec: MakeSpec) -> None:
    check_task(make_spec(task="synthetic", task_options={"parameters": "5"}))
    with pytest.raises(InvalidInputError, match=r"'synthetic' has no option 'size'; .*: noise, parameters"):
        check_task(make_spec(task="synthetic", task_options={"size": "5"}))
    with pytest.raises(InvalidInputError, match="'digits-cnn' has no option 'size'; it has no options"):
        check_task(make_spec(task_options={"size": "5"}))


def test_a_missing_folder_is_named(make_spec: MakeSpec, tmp_path: Path) -> None:
    folder = str(tmp_path / "nowhere")
    with pytest.raises(NotFoundError, match=f"{folder}: no such data folder"):
        check_task(make_spec(task="mnist-cnn", data_dir=folder))
    with pytest.raises(NotFoundError, match="--data-dir"):
        check_task(make_spec(task="mnist-cnn"))


@pytest.mark.parametrize("missing", MNIST_FILES)
def test_a_missing_file_is_named(make_spec: MakeSpec, tmp_path: Path, missing: str) -> None:
    for name in MNIST_FILES:
        if name != missing:
            (tmp_path / f"{name}.gz").touch()
    with pytest.raises(NotFoundError, match=f"{tmp_path / missing}.*missing"):
        check_task(make_spec(task="mnist-cnn", data_dir=str(tmp_path)))


def test_files_are_found_plain_and_zipped(tmp_path: Path) -> None:
    names = [MNIST_FILES[0], *(f"{name}.gz" for name in MNIST_FILES[1:])]
    for name in names:
        (tmp_path / name).touch()
    assert [path.name for path in find_files("fashion-mnist-cnn", str(tmp_path))] == names


def test_cifar_in_the_folder_that_its_archive_makes(make_spec: MakeSpec, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"data_batch_1\.bin\[\.gz\]: missing; the six \.bin files"):
        check_task(make_spec(task="cifar10-cnn", data_dir=str(tmp_path)))
    inner = tmp_path / "cifar-10-batches-bin"
    inner.mkdir()
    for name in CIFAR10_FILES:
        (inner / name).touch()
    check_task(make_spec(task="cifar10-cnn", data_dir=str(tmp_path)))
    check_task(make_spec(task="cifar10-cnn", data_dir=str(inner), partition="own"))


def test_a_host_that_cannot_train_is_told_so(make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def without_torch(name: str) -> ModuleSpec | None:
        return None if name == "torch" else find(name)

    monkeypatch.setattr(importlib.util, "find_spec", without_torch)
    with pytest.raises(NotFoundError, match=r"torch not installed.*pip install 'peerd\[train\]'"):
        check_task(make_spec())
    check_task(make_spec(task="digits-mlp"))  # which does without it
    check_task(make_spec(task="synthetic"))


def test_the_daemon_side_never_imports_torch() -> None:
    """Also not by looking whether torch is there."""
    program = (
        "import sys, peerd.learning as l, peerd.types as t\n"
        "l.check_task(t.RunSpec(run_id='0' * 32, task='digits-cnn'))\n"
        "heavy = {'torch', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert result.returncode == 0, result.stderr.decode()


def test_announced_runs_find_their_files_where_the_host_says(make_spec: MakeSpec) -> None:
    spec = make_spec(data_dir="/srv/announced")
    assert as_here(spec, "", announced=True).data_dir == "/srv/announced"
    assert as_here(spec, "/mine", announced=True).data_dir == "/mine"
    assert as_here(spec, "/mine", announced=False).data_dir == "/srv/announced"
