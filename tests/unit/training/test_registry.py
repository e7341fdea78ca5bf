"""Names of tasks, the code behind them, and who may have it imported."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.errors import DeniedError, InvalidInputError, NotFoundError
from peerd.training.registry import SHIPPED, blamed, find, load_factory, make_task, read_options
from peerd.types import SHIPPED_TASKS, RunSpec

MINE = """
from peerd.training.tasks.synthetic import make as synthetic

def make(parameters: int = 5, rate: float = 1.5, name: str = "x", fast: bool = False):
    return synthetic(parameters)

def given(data_dir, seed=0):
    assert (data_dir, seed) == ("/data", 7)
    return synthetic(seed)

def needy(size):
    return synthetic(size)

def raising():
    raise RuntimeError("no such\\nluck")

def leaving():
    raise SystemExit("bye")

def wrong():
    return 7

number = 7
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "mytasks.py").write_text(MINE)
    (tmp_path / "broken_task.py").write_text("import nothing_of_this_name")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("mytasks", None)


def spec(task: str, data_dir: str = "", seed: int = 0, **options: str) -> RunSpec:
    return RunSpec(run_id="0" * 32, task=task, data_dir=data_dir, seed=seed, task_options=options)


def refusal(task: str, **options: str) -> str:
    with pytest.raises((InvalidInputError, NotFoundError)) as raised:
        make_task(spec(task, **options), [task])
    line = str(raised.value)
    assert "\n" not in line and repr(task) in line
    return line


@pytest.mark.usefixtures("mine")
def test_only_what_the_host_allows_is_imported() -> None:
    for name, error in (("mytasks:make", DeniedError), ("os:system", DeniedError), ("x", InvalidInputError)):
        with pytest.raises(error):
            make_task(spec(name), SHIPPED_TASKS)
    assert "mytasks" not in sys.modules
    assert make_task(spec("mytasks:make"), ["mytasks:make"]).classes == 10
    with pytest.raises(DeniedError):  # another function of a module that is allowed is another task
        make_task(spec("mytasks:given"), ["mytasks:make"])


@given(st.text(max_size=30))
def test_no_name_gets_past_the_list(name: str) -> None:
    if name not in SHIPPED_TASKS:
        with pytest.raises((DeniedError, InvalidInputError)):
            load_factory(name, SHIPPED_TASKS)


def test_an_entry_point_is_a_name(mine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = importlib.metadata.EntryPoint("resnet", "mytasks:make", "peerd.tasks")
    monkeypatch.setattr(
        "peerd.training.registry.entry_points", lambda group, name: [entry] * (name == "resnet")
    )
    assert make_task(spec("resnet", parameters="3"), ["resnet"]).classes == 10
    assert "'vgg' is not installed on this host: no entry point of group peerd.tasks" in refusal("vgg")


def test_what_is_shipped_cannot_be_shadowed(monkeypatch: pytest.MonkeyPatch) -> None:
    evil = importlib.metadata.EntryPoint("synthetic", "mytasks:make", "peerd.tasks")
    monkeypatch.setattr("peerd.training.registry.entry_points", lambda group, name: [evil])
    assert find("synthetic").value == SHIPPED["synthetic"]


@pytest.mark.usefixtures("mine")
def test_parameters_with_defaults_are_options() -> None:
    task = make_task(
        spec("mytasks:make", parameters="9", rate="0.5", fast="TRUE", name="7"), ["mytasks:make"]
    )
    assert task.parameters == 9  # type: ignore[attr-defined]
    made = make_task(spec("mytasks:given", data_dir="/data", seed=7), ["mytasks:given"])
    assert made.parameters == 7  # type: ignore[attr-defined]


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("mytasks:nothing", "it does not import: AttributeError"),
        ("no_such_module:make", "it does not import: ModuleNotFoundError: No module named 'no_such_module'"),
        (
            "broken_task:make",
            "it does not import: ModuleNotFoundError: No module named 'nothing_of_this_name'",
        ),
        ("mytasks:number", "mytasks:number is no function but int"),
        ("mytasks:raising", "its factory: RuntimeError: no such"),
        ("mytasks:leaving", "its factory: SystemExit: bye"),
        (
            "mytasks:wrong",
            "its factory returned int; it must return a Task, such as peerd.training.torchtask",
        ),
        ("mytasks:needy", "its factory's parameter 'size' needs a default: a number, text or bool"),
        ("mytasks:", "a task of one's own is named module:factory"),
        ("../x:make", "a task of one's own is named module:factory"),
        ("mytasks:make [extra]", "a task of one's own is named module:factory"),
    ],
)
def test_what_is_wrong_with_a_task_is_one_line(task: str, says: str) -> None:
    assert says in refusal(task)


@pytest.mark.usefixtures("mine")
def test_wrong_options_are_one_line() -> None:
    assert "has no option 'size'; its options: fast, name, parameters, rate" in refusal(
        "mytasks:make", size="1"
    )
    assert "option parameters: '1.5' is not a whole number" in refusal("mytasks:make", parameters="1.5")
    assert "option rate: 'fast' is not a number" in refusal("mytasks:make", rate="fast")
    assert "option fast: 'maybe' is not true or false" in refusal("mytasks:make", fast="maybe")


@given(st.integers())
def test_whole_numbers_come_back(number: int) -> None:
    assert read_options("x", {"a": str(number)}, {"a": 1}) == {"a": number}


def test_what_may_go_well_again_and_our_own_bugs_are_not_the_tasks_fault() -> None:
    for task, error in (("m:f", MemoryError), ("m:f", BrokenPipeError), ("synthetic", RuntimeError)):
        with pytest.raises(error), blamed(task, "training"):
            raise error("x")


def test_where_it_was_is_said_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with (
        pytest.raises(InvalidInputError, match=r"^task 'm:f': training: ValueError: $"),
        blamed("m:f", "training"),
    ):
        raise ValueError
    assert "Traceback" in capsys.readouterr().err
