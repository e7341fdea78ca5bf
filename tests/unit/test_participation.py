"""Which run a peer takes part in, from which round on, whom it waits for. The run itself is a stand-in."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from peerd import participation
from peerd.clock import wall
from peerd.config import TrainingConfig
from peerd.errors import ConflictError, InvalidInputError
from peerd.membership import RunNotice
from peerd.observe import Alarms, EventLog, Tally
from peerd.participation import Participation
from peerd.samemodel import SameModel
from peerd.types import PeerId, RunSpec

SPEC = RunSpec(run_id="ab" * 16, task="digits-cnn")
RUN = bytes.fromhex(SPEC.run_id)
ME, ALICE, BOB, CAROL = (PeerId(bytes([number]) * 16) for number in range(4))


class FakeRun:
    """Lives until it is stopped."""

    def __init__(self, **arguments: Any) -> None:
        self.spec = arguments["spec"]
        self.listening = arguments["listening"]
        self.lacking = arguments["lacking"]
        self.initial = arguments["initial"]
        self.earlier = arguments["earlier"]
        self.announced = arguments["announced"]
        self.sink = arguments["sink"]
        self.training = arguments["training"]
        self.cohorts: list[list[int]] = []
        self.appeared_to: list[PeerId] = []
        self.contributes_from = 1
        self.state = "running"
        self.over = asyncio.Event()

    async def main(self) -> None:
        await self.over.wait()

    def set_cohort(self, others: list[int], members: int) -> None:
        self.cohorts.append(sorted(others))

    def appeared(self, peer: PeerId) -> None:
        self.appeared_to.append(peer)

    def stop(self, *, for_good: bool = True) -> None:
        self.state = "stopped"
        self.over.set()

    @property
    def ended(self) -> bool:
        return self.state != "running"

    def status(self) -> Any:
        return SimpleNamespace(state=self.state, error="", ended_by="", results=())


class FakeView:
    """`said`: by each peer that is alive, its run and the first round that it contributes to."""

    def __init__(self) -> None:
        self.said: dict[PeerId, tuple[bytes, int]] = {}
        self.models: dict[PeerId, bytes] = {}

    def alive(self) -> tuple[PeerId, ...]:
        return tuple(self.said)

    def taking_part(self, run: bytes, model: bytes = b"") -> list[tuple[PeerId, int]]:
        others = self.with_other_models(run, model)
        return [
            (peer, first) for peer, (said, first) in self.said.items() if said == run and peer not in others
        ]

    def with_other_models(self, run: bytes, model: bytes) -> list[PeerId]:
        return [peer for peer, other in self.models.items() if model and other != model]

    def descriptor(self, peer: PeerId) -> Any:
        return SimpleNamespace(run=self.said[peer][0], name=f"peer{peer[0]}")


class FakeRounds:
    """The disk: the model that a run begins with, and what was measured before a restart."""

    def __init__(self) -> None:
        self.model: Any = None
        self.results: tuple[Any, ...] = ()

    async def initial(self, spec: RunSpec) -> Any:
        if isinstance(self.model, Exception):
            raise self.model
        return self.model

    def earlier(self, run_id: str) -> tuple[Any, ...]:
        return self.results


class Peer:
    def __init__(self, config: TrainingConfig) -> None:
        self.view = FakeView()
        self.told: list[tuple[bytes, int]] = []
        self.models: list[bytes] = []
        """Of which form, as told each time with the run."""
        self.notices: list[RunNotice] = []
        self.posted: list[Any] = []
        self.events = EventLog()
        self.saved: Any = None
        self.rounds = FakeRounds()
        log = structlog.get_logger()
        self.alarms = Alarms(self.events, log)
        self.part = Participation(
            ME,
            config,
            view=self.view,  # type: ignore[arg-type]
            members=lambda: [ME, ALICE, BOB, CAROL],
            notices=lambda: self.notices,
            keeper=SimpleNamespace(load=lambda: self.saved, save=None),  # type: ignore[arg-type]
            rounds=self.rounds,  # type: ignore[arg-type]
            post=SimpleNamespace(  # type: ignore[arg-type]
                cancel=self.posted.append, payload_bytes=1000,
                send=lambda dealt, number: self.posted.append({peer for peer, _ in dealt}),
            ),
            same=SameModel(self.view, self.events, self.alarms),  # type: ignore[arg-type]
            tell=self.tell,
            rng=random.Random(1),
            tally=Tally(),
            metrics=SimpleNamespace(),  # type: ignore[arg-type]
            events=self.events,
            log=log,
        )  # fmt: skip
        self.tasks: set[asyncio.Task[None]] = set()

    def tell(self, run: bytes, first: int, model: bytes) -> None:
        self.told.append((run, first))
        self.models.append(model)

    def spawn(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        return task

    def announce(self, age: float = 0.0, stopped: bool = False) -> None:
        notice = RunNotice(SPEC, stopped, wall() - age, 30.0, "operator")
        self.notices = [notice]
        self.part.announced(notice)

    @property
    def run(self) -> Any:
        return self.part.run


@pytest.fixture
async def make(monkeypatch):
    monkeypatch.setattr(participation, "Run", FakeRun)
    monkeypatch.setattr(participation, "check_task", lambda *_: None)
    made: list[Peer] = []

    def new(config: TrainingConfig | None = None, *, up: bool = True) -> Peer:
        made.append(Peer(config or TrainingConfig()))
        if up:
            made[-1].part.start(made[-1].spawn)
        return made[-1]

    yield new
    for peer in made:
        for task in peer.tasks:
            task.cancel()
        await asyncio.gather(*peer.tasks, return_exceptions=True)


async def begun(peer: Peer) -> Any:
    async with asyncio.timeout(5):
        while peer.run is None:
            await asyncio.sleep(0)
    return peer.run


async def test_who_hears_of_a_run_in_time_begins_with_it(make):
    peer = make()
    peer.announce()
    run = await begun(peer)
    assert (run.listening, run.announced) == (False, True)
    assert peer.told == [(RUN, 1)]


async def test_who_hears_of_it_late_listens_as_soon_as_somebody_contributes(make):
    peer = make()
    peer.view.said = {ALICE: (RUN, 0)}
    peer.announce(age=60.0)
    await asyncio.sleep(0)
    assert peer.run is None
    peer.view.said = {ALICE: (RUN, 3)}
    peer.part.view_changed()
    run = await begun(peer)
    assert run.listening
    assert peer.told == [(RUN, 0)]


async def test_those_who_have_not_said_yet_that_they_take_part_are_waited_for_a_moment(make, monkeypatch):
    """Else who is fast would close its first round alone. But they are not sent to before they are there."""
    peer = make()
    peer.view.said = {ALICE: (RUN, 1), BOB: (b"", 0), CAROL: (b"\7" * 16, 1)}
    peer.announce()
    run = await begun(peer)
    assert run.cohorts[-1] == [1, 1], "carol is in another run"
    run.sink.broadcast(1, [b"fragment"], 1)
    assert peer.posted[-1] == {ALICE}
    peer.view.said[BOB] = (RUN, 1)
    peer.part.view_changed()
    assert run.cohorts[-1] == [1, 1]
    assert run.appeared_to == [ALICE, BOB]

    peer.view.said[BOB] = (b"", 0)
    late = participation.monotonic() + participation.SETTLING_SECONDS
    monkeypatch.setattr(participation, "monotonic", lambda: late)
    peer.part.view_changed()
    assert run.cohorts[-1] == [1], "it does not take part, it seems"


async def test_a_listener_waits_for_nobody_who_says_nothing(make):
    peer = make()
    peer.view.said = {ALICE: (RUN, 3), BOB: (b"", 0)}
    peer.announce(age=60.0)
    assert (await begun(peer)).cohorts[-1] == [3]


async def test_who_comes_late_to_the_next_run_waits_for_nobody_who_says_nothing_either(make):
    """Just after it has begun with another."""
    peer = make()
    peer.view.said = {ALICE: (b"", 0)}
    peer.announce()
    first = await begun(peer)
    first.stop()
    await asyncio.wait(peer.tasks)
    other = RunSpec(run_id="cd" * 16, task="digits-cnn")
    peer.view.said = {ALICE: (bytes.fromhex(other.run_id), 4), BOB: (b"", 0)}
    peer.notices = [RunNotice(other, False, wall() - 60.0, 30.0, "operator")]
    peer.part.view_changed()
    async with asyncio.timeout(5):
        while peer.run is first:
            await asyncio.sleep(0)
    assert peer.run.cohorts[-1] == [4]


async def test_a_stopped_run_ends_here_and_is_not_joined_again(make):
    peer = make()
    peer.announce()
    run = await begun(peer)
    peer.announce(stopped=True)
    async with asyncio.timeout(5):
        while not run.ended:
            await asyncio.sleep(0)
    peer.notices = [RunNotice(SPEC, False, wall(), 30.0, "operator")]
    peer.part.view_changed()
    await asyncio.sleep(0)
    assert peer.run is run


async def test_only_one_run_at_a_time_and_none_before_it_is_up_or_when_it_leaves(make):
    peer = make()
    await peer.part.begin(SPEC, announced=False)
    other = RunSpec(run_id="cd" * 16, task="digits-cnn")
    with pytest.raises(ConflictError, match="is going on"):
        await peer.part.begin(other, announced=False)
    peer.part.leave()
    assert peer.told[-1] == (b"", 0)
    with pytest.raises(ConflictError, match="leaving"):
        await peer.part.begin(other, announced=False)
    with pytest.raises(ConflictError, match="starting"):
        await make(up=False).part.begin(SPEC, announced=False)


async def test_a_peer_that_joins_by_hand_alone_stays_out(make):
    peer = make(TrainingConfig(join="manual"))
    peer.announce()
    await asyncio.sleep(0)
    assert peer.run is None
    await peer.part.begin(SPEC, announced=True)
    assert peer.run.announced


# -- runs that end early, and runs that begin with the model of another -----------------------------------


async def test_nothing_is_sent_to_those_that_have_finished_before_that_round(make):
    peer = make()
    peer.view.said = {ALICE: (RUN, 1), BOB: (RUN, -2), CAROL: (RUN, 0)}
    peer.announce()
    run = await begun(peer)
    assert run.cohorts[-1] == [-2, 0, 1]
    for number, recipients in ((1, {ALICE, BOB, CAROL}), (2, {ALICE, BOB, CAROL}), (3, {ALICE, CAROL})):
        run.sink.broadcast(number, [b"fragment"], 1)
        assert peer.posted[-1] == recipients
    run.sink.send_to_listeners(3, [b"slice"])
    assert peer.posted[-1] == {CAROL}


async def test_that_it_has_finished_is_said_of_it_with_its_last_round(make):
    peer = make()
    peer.announce()
    await begun(peer)
    peer.part.contributes(-4)
    assert peer.told[-1] == (RUN, -4)


async def test_nobody_joins_a_run_that_all_have_finished(make):
    peer = make()
    peer.view.said = {ALICE: (RUN, -4), BOB: (RUN, -4)}
    peer.announce(age=60.0)
    await asyncio.sleep(0)
    assert peer.run is None


INITIAL = RunSpec(
    run_id="ab" * 16, task="digits-cnn", initial_run="cd" * 16, initial_round=3, initial_sha256="00" * 32
)


def happened(peer: Peer) -> list[tuple[str, str]]:
    return [(event.what, event.detail) for event in peer.events.latest()]


async def test_a_run_begins_with_this_peers_own_checkpoint(make):
    peer = make()
    peer.rounds.model = [1.0, 2.0]
    await peer.part.begin(INITIAL, announced=False)
    run = peer.run
    assert (run.initial, run.listening, run.lacking) == ([1.0, 2.0], False, False)
    assert peer.told == [(RUN, 1)]


async def test_a_peer_without_it_listens_and_says_so(make):
    peer = make()
    await peer.part.begin(INITIAL, announced=True)
    run = peer.run
    assert (run.initial, run.listening, run.lacking) == (None, True, True)
    assert peer.told == [(RUN, 0)]
    (detail,) = [detail for what, detail in happened(peer) if what == "model missing"]
    assert detail.startswith("abababab begins with round 3 of cdcdcdcd, of which this peer has no checkpoint")


async def test_a_model_of_another_task_is_one_line_and_no_run(make):
    peer = make()
    peer.rounds.model = InvalidInputError("the checkpoint is of task synthetic")
    with pytest.raises(InvalidInputError, match="is of task synthetic"):
        await peer.part.begin(INITIAL, announced=False)
    peer.notices = [RunNotice(INITIAL, False, wall(), 30.0, "operator")]
    peer.part.announced(peer.notices[0])
    await asyncio.gather(*peer.tasks)
    assert ("not joined", "abababab: the checkpoint is of task synthetic") in happened(peer)
    assert peer.run is None


async def test_a_crash_loses_neither_what_was_measured_nor_that_the_model_is_missing(make):
    def saved(vector: list[float], spec: RunSpec) -> Any:
        return SimpleNamespace(
            spec=spec, round=0, vector=vector, shard=0, shards=2, announced=True, finished=False
        )

    for spec, vector, lacking in ((INITIAL, [], True), (INITIAL, [1.0], False), (SPEC, [], False)):
        peer = make(up=False)
        peer.rounds.results = ("measured",)
        peer.saved = saved(vector, spec)
        peer.part.start(peer.spawn)
        assert (peer.run.earlier, peer.run.lacking, peer.run.listening) == (("measured",), lacking, True)
        assert (peer.run.initial or []) == vector


async def test_where_this_host_has_its_files_is_nobody_elses_business(make, monkeypatch):
    """They are looked for there; the run is still the announced one, which others may take up again."""
    looked: list[str] = []
    peer = make(TrainingConfig(data_dir="/home/me/private"))
    monkeypatch.setattr(participation, "check_task", lambda spec, _: looked.append(spec.data_dir))
    peer.announce()
    run = await begun(peer)
    assert looked == ["/home/me/private"]
    assert run.spec.data_dir == ""


async def test_who_trains_another_model_is_left_out_and_told_of_in_one_line(make):
    """Task code differs between two hosts: their fragments fit nowhere."""
    peer = make()
    peer.view.said = {ALICE: (RUN, 1), BOB: (RUN, 1)}
    peer.announce()
    run = await begun(peer)
    assert run.cohorts[-1] == [1, 1]
    peer.view.models = {ALICE: b"same" * 2, BOB: b"else" * 2}
    peer.part.model_known(b"same" * 2)
    assert (peer.told[-1], peer.models[-1]) == ((RUN, 1), b"same" * 2)
    assert run.cohorts[-1] == [1]
    run.sink.broadcast(1, [], 0)
    assert peer.posted[-1] == {ALICE}
    peer.part.view_changed()  # it is not told of twice
    (line,) = [event.detail for event in peer.events.latest() if event.what == "other model"]
    assert line.startswith(f"peer{BOB[0]}: the code of task 'digits-cnn' makes another model there than here")
    assert peer.alarms.state()["model"]
    peer.view.models[BOB] = b"same" * 2  # its operator has brought it up to date, and its daemon back
    peer.part.view_changed()
    assert run.cohorts[-1] == [1, 1]
    assert not peer.alarms.state()["model"]


async def test_the_model_of_one_run_is_not_that_of_the_next(make):
    peer = make()
    peer.view.said = {ALICE: (RUN, 1)}
    peer.view.models = {ALICE: b"else" * 2}
    peer.announce()
    await begun(peer)
    peer.part.model_known(b"same" * 2)
    assert peer.alarms.state()["model"]
    peer.part.leave()
    assert not peer.alarms.state()["model"]
    assert (peer.told[-1], peer.models[-1]) == ((b"", 0), b"")


async def test_who_is_told_to_take_part_in_announced_runs_joins_one_that_goes_on(make):
    peer = make(TrainingConfig(join="manual"))
    peer.announce()
    await asyncio.sleep(0)
    assert peer.run is None
    peer.part.set_config(TrainingConfig(join="announced", max_restarts=7))
    run = await begun(peer)
    assert run.training.max_restarts == 7
