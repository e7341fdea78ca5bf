"""The trainer client with its real child process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest

from peerd.config import TrainingConfig
from peerd.dataset import MNIST_FILES
from peerd.learning import Layout, TaskError, TrainerClient, TrainerDied
from peerd.types import RunSpec

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

SPEC = RunSpec(run_id="0" * 32, task="digits-cnn", local_epochs=1, learning_rate=3e-3)
LONG = msgspec.structs.replace(SPEC, local_epochs=1_000, batch_size=1)
"""Trains for minutes, so that something can happen in its midst."""

MakeClient = Callable[..., TrainerClient]


@pytest.fixture
async def make_client() -> AsyncIterator[MakeClient]:
    clients: list[TrainerClient] = []

    def make(log: Callable[[str], None] = lambda line: None, **config: Any) -> TrainerClient:
        clients.append(TrainerClient(TrainingConfig(**config), log=log))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


async def in_the_midst(client: TrainerClient, job: Awaitable[Any]) -> asyncio.Future[Any]:
    """Start a job; return when the child has reported progress on it."""
    before = client.cpu_seconds
    task = asyncio.ensure_future(job)
    while client.cpu_seconds == before and not task.done():
        await asyncio.sleep(0.01)
    assert not task.done()
    return task


async def test_a_run_of_one_peer(make_client: MakeClient) -> None:
    client = make_client()
    assert (client.state, client.pid) == ("off", None)
    ready = await client.start(SPEC, shard=0, shards=6)
    assert client.state == "idle"
    assert ready.initial.shape == (ready.parameters,) == (10_074,)

    trained = await client.train(1, ready.initial)
    assert trained.update.shape == (10_074,)
    assert not np.array_equal(trained.update, ready.initial)
    assert trained.samples == 240 and trained.loss > 0.0
    measured = await client.evaluate(trained.update, 0)
    assert measured.samples == 360
    assert measured.accuracy == trained.accuracy > 0.3
    assert (await client.evaluate(trained.update, 7)).samples == 7

    assert client.cpu_seconds == pytest.approx(measured.cpu_seconds, abs=1.0)
    assert client.rss_bytes > 50 * 2**20
    used = client.cpu_seconds
    await client.close()
    await client.close()
    assert (client.state, client.pid, client.cpu_seconds) == ("off", None, used)


async def test_what_is_final_comes_while_training_goes_on(make_client: MakeClient) -> None:
    client = make_client()
    ready = await client.start(SPEC, shard=0, shards=6)
    layout = Layout(ready.parameters, 1000)
    heard: list[list[int]] = []
    early: dict[int, bytes] = {}

    def final(indices: Sequence[int], update: np.ndarray) -> None:
        heard.append(list(indices))
        early.update({index: update[layout.slice(index)].tobytes() for index in indices})

    trained = await client.train(1, ready.initial, layout, final)
    assert len(heard) > 1 and sorted(early) == list(range(layout.fragments))
    assert all(trained.update[layout.slice(index)].tobytes() == values for index, values in early.items())


def out_of_memory_score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


async def test_the_child_is_as_polite_as_configured(make_client: MakeClient) -> None:
    client = make_client(nice=7, threads=1)
    await client.start(SPEC, 0, 6)
    assert psutil.Process(client.pid).nice() == os.getpriority(os.PRIO_PROCESS, 0) + 7
    assert out_of_memory_score(client.pid) == 500, "where memory runs out it goes first, not the daemon"
    assert psutil.Process(client.pid).environ()["OMP_NUM_THREADS"] == "1"


async def test_the_child_does_not_import_what_costs_too_much(make_client: MakeClient) -> None:
    """torch's compiler and scikit-learn together cost 1.4 s of CPU and 150 MB in every trainer."""
    client = make_client()
    ready = await client.start(SPEC, 0, 6)
    await client.evaluate((await client.train(1, ready.initial)).update, 0)
    mapped = {Path(file.path).as_posix() for file in psutil.Process(client.pid).memory_maps()}
    assert any("/torch/" in path for path in mapped)
    assert not any("/scipy/" in path or "/sklearn/" in path for path in mapped)


async def test_one_child_after_another_gives_the_same_update(make_client: MakeClient) -> None:
    updates = []
    for _ in range(2):
        client = make_client()
        ready = await client.start(SPEC, 2, 6)
        updates.append((await client.train(1, ready.initial)).update)
    np.testing.assert_array_equal(updates[0], updates[1])


async def test_killed_in_the_midst_of_training_and_started_again(make_client: MakeClient) -> None:
    client = make_client()
    ready = await client.start(LONG, 0, 6)
    training = await in_the_midst(client, client.train(1, ready.initial))
    assert client.state == "busy"
    killed = client.pid
    os.kill(killed, signal.SIGKILL)
    with pytest.raises(TrainerDied, match="killed by SIGKILL"):
        await training
    assert (client.state, client.pid) == ("dead", None)
    assert not psutil.pid_exists(killed)
    used = client.cpu_seconds
    assert used > 0.0

    again = await client.start(SPEC, 0, 6)
    np.testing.assert_array_equal(again.initial, ready.initial)
    assert (await client.train(1, again.initial)).samples == 240
    assert client.cpu_seconds > used


async def test_death_between_two_jobs_is_noticed_at_once(make_client: MakeClient) -> None:
    client = make_client()
    ready = await client.start(SPEC, 0, 6)
    os.kill(client.pid, signal.SIGKILL)
    while client.state == "idle":
        await asyncio.sleep(0.01)
    assert client.state == "dead"
    with pytest.raises(TrainerDied):
        await client.train(1, ready.initial)


async def test_a_child_that_hangs_is_killed(make_client: MakeClient) -> None:
    client = make_client(hang_timeout_seconds=2.0)
    ready = await client.start(LONG, 0, 6)
    training = await in_the_midst(client, client.train(1, ready.initial))
    hung = client.pid
    os.kill(hung, signal.SIGSTOP)
    with pytest.raises(TrainerDied, match="said nothing for 2 seconds"):
        await training
    assert client.state == "dead"
    assert not psutil.pid_exists(hung)


async def test_a_child_that_never_gets_ready(make_client: MakeClient) -> None:
    client = make_client(start_timeout_seconds=0.05)
    with pytest.raises(TrainerDied, match="too long to start"):
        await client.start(SPEC, 0, 6)
    assert (client.state, client.pid) == ("dead", None)


async def test_bad_data_are_the_tasks_fault(make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client()
    spec = msgspec.structs.replace(SPEC, task="mnist-cnn", data_dir=str(tmp_path))
    with pytest.raises(TaskError, match=f"{tmp_path}.*missing"):
        await client.start(spec, 0, 6)
    for name in MNIST_FILES:
        (tmp_path / name).write_bytes(b"not IDX at all, but long enough")
    with pytest.raises(TaskError, match=f"{MNIST_FILES[0]}: not a usable IDX file"):
        await client.start(spec, 0, 6)
    assert (client.state, client.pid) == ("off", None)


async def test_divergence_ends_the_task(make_client: MakeClient) -> None:
    client = make_client()
    ready = await client.start(SPEC, 0, 6)
    with pytest.raises(TaskError, match="diverged"):
        await client.train(1, np.full(ready.parameters, 1e30, np.float32))


def imports_first_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children find a module in `folder` before any other of its name."""
    paths = os.pathsep.join([str(folder), str(Path(__file__).parents[2])])
    monkeypatch.setattr(
        "peerd.learning.trainer_client._environment",
        lambda threads: {**os.environ, "PYTHONPATH": paths},
    )


async def test_a_crash_says_why_and_what_it_wrote_is_passed_on(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A torch that cannot be imported stands for all that can break in the child."""
    (tmp_path / "torch.py").write_text("raise ImportError('no such luck')")
    lines: list[str] = []
    client = make_client(log=lines.append)
    imports_first_from(tmp_path, monkeypatch)
    with pytest.raises(TrainerDied, match="exit code 1: ImportError: no such luck"):
        await client.start(SPEC, 0, 6)
    assert lines[0].startswith("Traceback")
    assert lines[-1] == "ImportError: no such luck"


async def test_a_chatty_child_does_not_flood_the_log(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "torch.py").write_text(
        "import sys\n"
        "for line in ['x' * 100_000] * 20 + ['y'] * 5_000: print(line, file=sys.stderr)\n"
        "sys.exit('over')\n"
    )
    lines: list[str] = []
    client = make_client(log=lines.append)
    imports_first_from(tmp_path, monkeypatch)
    with pytest.raises(TrainerDied, match="exit code 1: over"):
        await client.start(SPEC, 0, 6)
    assert len(lines) == 200
    assert max(map(len, lines)) <= 500


async def test_cancelling_a_job_ends_the_child(make_client: MakeClient) -> None:
    client = make_client()
    ready = await client.start(LONG, 0, 6)
    pid = client.pid
    training = await in_the_midst(client, client.train(1, ready.initial))
    training.cancel()
    with pytest.raises(asyncio.CancelledError):
        await training
    await client.close()
    assert not psutil.pid_exists(pid)


async def test_one_job_at_a_time(make_client: MakeClient) -> None:
    client = make_client()
    ready = await client.start(LONG, 0, 6)
    training = await in_the_midst(client, client.train(1, ready.initial))
    with pytest.raises(RuntimeError, match="one job at a time"):
        await client.evaluate(ready.initial, 1)
    training.cancel()
    await asyncio.wait({training})


async def test_a_vector_of_another_size_is_refused(make_client: MakeClient) -> None:
    client = make_client()
    ready = await client.start(SPEC, 0, 6)
    with pytest.raises(ValueError, match="floats, not"):
        await client.train(1, ready.initial[1:])


async def test_nothing_is_left_open(make_client: MakeClient) -> None:
    me = psutil.Process()
    client = make_client()
    await client.start(SPEC, 0, 6)
    await client.close()
    before = me.num_fds()
    await client.start(SPEC, 0, 6)
    await client.close()
    assert me.num_fds() <= before
    assert not [child for child in me.children() if child.status() != psutil.STATUS_ZOMBIE]


PARENT = """
import asyncio, sys
from peerd.config import TrainingConfig
from peerd.learning import TrainerClient
from peerd.types import RunSpec

async def main():
    client = TrainerClient(TrainingConfig())
    spec = RunSpec(run_id="0" * 32, task="digits-cnn", local_epochs=1000, batch_size=1)
    ready = await client.start(spec, 0, 6)
    job = asyncio.ensure_future(client.train(1, ready.initial))
    used = client.cpu_seconds
    while client.cpu_seconds == used:
        await asyncio.sleep(0.01)
    print(client.pid, "torch" in sys.modules, flush=True)
    await job

asyncio.run(main())
"""


def test_the_child_dies_with_its_parent_and_the_parent_never_imports_torch() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        pid, torch_imported = parent.stdout.readline().split()
        child = psutil.Process(int(pid))
        assert torch_imported == b"False"
        assert child.is_running()
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    child.wait(timeout=10)
    assert not child.is_running()


def test_a_child_whose_socket_closes_ends_by_itself() -> None:
    """Where the kernel does not do it: the daemon's end of the socket is all that a child goes by."""
    import socket

    from peerd.trainerproto import Begin, create_memory, encode

    ours, theirs = socket.socketpair()
    memory = create_memory()
    child = subprocess.Popen(
        [sys.executable, "-m", "peerd.training", str(theirs.fileno()), str(memory)],
        pass_fds=(theirs.fileno(), memory),
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        theirs.close()
        os.close(memory)
        ours.sendall(encode(Begin(spec=LONG, shard=0, shards=6, threads=1, nice=0)))
        assert ours.recv(65_536).startswith(b'{"type":"Ready"')
        ours.sendall(b'{"type":"Train","round":1}\n')
        assert b"Progress" in ours.recv(65_536)
        ours.close()
        _, errors = child.communicate(timeout=30)
    assert child.returncode == 1
    assert errors.strip() == "the daemon has gone"
