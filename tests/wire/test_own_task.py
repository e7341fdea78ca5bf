"""Tasks that are not torch, and tasks of a host's own, in the real child process."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from peerd.config import TrainingConfig
from peerd.learning import Layout, TaskError, TrainerClient
from peerd.types import RunSpec

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

README = Path(__file__).parents[2] / "README.md"
RUN = "0" * 32


@pytest.fixture
async def clients() -> AsyncIterator[list[TrainerClient]]:
    made: list[TrainerClient] = []
    yield made
    for client in made:
        await client.close()


def client_in(clients: list[TrainerClient], **config: Any) -> TrainerClient:
    clients.append(TrainerClient(TrainingConfig(**config)))
    return clients[-1]


def libraries(client: TrainerClient) -> set[str]:
    mapped = [Path(file.path).parts for file in psutil.Process(client.pid).memory_maps()]
    return {name for name in ("torch", "sklearn") for parts in mapped if name in parts}


@pytest.mark.parametrize(
    ("task", "needs"), [("digits-cnn", {"torch"}), ("digits-mlp", {"sklearn"}), ("synthetic", set())]
)
async def test_the_child_imports_only_what_its_task_needs(
    clients: list[TrainerClient], task: str, needs: set[str]
) -> None:
    client = client_in(clients)
    ready = await client.start(RunSpec(run_id=RUN, task=task), 0, 6)
    trained = await client.train(1, ready.initial)
    assert (await client.evaluate(trained.update, 0)).accuracy == pytest.approx(trained.accuracy)
    assert libraries(client) == needs


def documented() -> str:
    """The task of one's own in the README, as it stands there."""
    (block,) = re.findall(r"```python\n(# mytask\.py\n.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    return block


async def test_the_task_in_the_readme_trains(clients: list[TrainerClient], tmp_path: Path) -> None:
    code = [line for line in documented().splitlines() if line.strip() and not line.startswith("#")]
    assert len(code) <= 10
    (tmp_path / "mytask.py").write_text(documented())
    client = client_in(clients, tasks=("mytask:make",), task_path=str(tmp_path))
    spec = RunSpec(
        run_id=RUN, task="mytask:make", task_options={"hidden": "16"}, local_epochs=5, batch_size=16
    )
    ready = await client.start(spec, 0, 2)
    assert ready.parameters == 20 * 16 + 16 + 16 * 2 + 2
    vector = ready.initial
    for number in (1, 2, 3):
        vector = (await client.train(number, vector)).update
    assert (await client.evaluate(ready.initial, 0)).accuracy < 0.75
    assert (await client.evaluate(vector, 0)).accuracy > 0.9


async def test_what_is_not_listed_is_not_imported(clients: list[TrainerClient], tmp_path: Path) -> None:
    (tmp_path / "spy.py").write_text(f"open({str(tmp_path / 'seen')!r}, 'w')\n")
    client = client_in(clients, task_path=str(tmp_path))
    with pytest.raises(TaskError, match=r"'spy:make' is not allowed on this host; .* \[training\] tasks"):
        await client.start(RunSpec(run_id=RUN, task="spy:make"), 0, 2)
    assert not (tmp_path / "seen").exists()


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def make(: pass", "it does not import: SyntaxError"),
        ("import sys; sys.exit('bye')", "it does not import: SystemExit: bye"),
        ("make = 7", "own:make is no function but int"),
        ("def make(): raise KeyError('x')", "its factory: KeyError: 'x'"),
        ("def make(): return object()", "its factory returned object; it must return a Task"),
    ],
)
async def test_a_broken_task_is_one_line_and_nothing_to_restart(
    clients: list[TrainerClient], tmp_path: Path, code: str, says: str
) -> None:
    (tmp_path / "own.py").write_text(code)
    client = client_in(clients, tasks=("own:make",), task_path=str(tmp_path))
    with pytest.raises(TaskError, match=f"^task 'own:make': {re.escape(says)}|own:make is no function"):
        await client.start(RunSpec(run_id=RUN, task="own:make"), 0, 2)
    assert client.state == "off"


async def test_a_big_synthetic_model_is_cheap(clients: list[TrainerClient]) -> None:
    client = client_in(clients)
    spec = RunSpec(run_id=RUN, task="synthetic", task_options={"parameters": "2000000"})
    ready = await client.start(spec, 1, 6)
    trained = await client.train(1, ready.initial)
    assert trained.accuracy == pytest.approx(0.5, abs=0.01)
    assert np.isfinite(trained.update).all()


EAGER = """
import numpy as np
from peerd.training import Outcome, Samples

def make(lies: str = ""):
    return Eager(lies)

class Eager:
    classes = 2
    def __init__(self, lies):
        self.lies = lies
    def data(self):
        samples = Samples(np.zeros((8, 1), np.float32), np.arange(8) % 2)
        return samples, samples
    def learner(self, share):
        self.stream, self.alive = share.host.stream, share.host.alive
        return self
    def vector(self):
        return np.zeros(10, np.float32)
    def train(self, round, vector):
        trained = vector + 1
        self.alive()
        if self.stream.fragments:  # and then it says nothing any more
            self.stream.put(0, trained[self.stream.slice(0)])
        if self.lies:
            trained[0] = 7
        return trained, Outcome(0.0, 0.5, 8, 0.0)
    def evaluate(self, vector, samples):
        self.alive()
        return Outcome(0.0, 0.5, 8, 0.0)
"""


async def test_what_a_learner_gives_last_needs_no_word_of_it(
    clients: list[TrainerClient], tmp_path: Path
) -> None:
    (tmp_path / "eager.py").write_text(EAGER)
    client = client_in(clients, tasks=("eager:make",), task_path=str(tmp_path))
    ready = await client.start(RunSpec(run_id=RUN, task="eager:make"), 0, 2)
    trained = await client.train(1, ready.initial, Layout(10, 4))
    assert trained.update.tolist() == [1.0] * 10
    assert (await client.evaluate(trained.update, 0)).samples == 8
    assert (await client.train(2, trained.update, Layout(10, 4))).update.tolist() == [2.0] * 10


async def test_a_learner_that_changes_what_it_has_given_ends_its_run_in_one_line(
    clients: list[TrainerClient], tmp_path: Path
) -> None:
    (tmp_path / "eager.py").write_text(EAGER)
    client = client_in(clients, tasks=("eager:make",), task_path=str(tmp_path))
    spec = RunSpec(run_id=RUN, task="eager:make", task_options={"lies": "yes"})
    ready = await client.start(spec, 0, 2)
    with pytest.raises(TaskError, match="changed fragment 0 after it had been called final"):
        await client.train(1, ready.initial, Layout(10, 4))
