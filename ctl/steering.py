"""Starting and stopping a run on several peers: with an operator's notice, which any one of them passes on
to the whole network, or without, on each by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ctl.board import ENDED
from ctl.client import Client
from ctl.contexts import Endpoint
from ctl.fanout import Answer, Answers, Failure, fan_out
from ctl.notices import Signer
from peerd.errors import ConflictError, InvalidInputError, UnavailableError
from peerd.membership import run_spec_message
from peerd.pb import node_pb2, runs_pb2
from peerd.types import RunSpec

RunStatus = runs_pb2.RunStatus


@dataclass(frozen=True, slots=True)
class Steered:
    """What came of it on the peers that were named."""

    answers: Answers[RunStatus]
    """Without those that did not answer where the others tell them: they are `absent`."""
    absent: tuple[Failure, ...] = ()


def enrolled(statuses: Sequence[Answer[node_pb2.NodeStatus]]) -> int:
    """How many peers the network has, as far as the best informed of these knows."""
    return max(answer.value.peers_enrolled for answer in statuses) + 1


def network_of(statuses: Sequence[Answer[node_pb2.NodeStatus]]) -> str:
    """InvalidInputError where they are not all of one: a notice is for one network."""
    names = {answer.value.network: answer.name for answer in statuses}
    if len(names) > 1:
        (one, first), (other, second), *_ = names.items()
        raise InvalidInputError(f"{first} belongs to network {one}, {second} to {other}: name peers of one")
    return next(iter(names))


async def start(
    endpoints: Sequence[Endpoint], spec: RunSpec, notice: bytes, absent: Sequence[Failure], patience: float
) -> Steered:
    """`absent`: those named that are known not to answer; without a notice there are none. An empty
    notice: every peer starts the run by itself."""
    message = run_spec_message(spec)

    async def begin(client: Client) -> RunStatus:
        try:
            return await client.start_run(message, notice)
        except ConflictError as refusal:  # it may have heard of this very run a moment ago, from another
            return await _already(client, spec.run_id, False, refusal)

    answers = await fan_out(endpoints, begin, patience)
    return _told(answers, tuple(absent), announced=bool(notice))


async def stop(endpoints: Sequence[Endpoint], signer: Signer | None, patience: float) -> Steered:
    """End the run of each: with a signer on all peers of the network, if it was announced."""
    notices: dict[str, bytes] = {}
    """One for each run, whoever is asked first."""

    async def sign(client: Client, run: RunStatus, signer: Signer) -> bytes:
        network = (await client.status()).network
        if run.spec.run_id not in notices:
            notices[run.spec.run_id] = signer.stopped(network, run.spec)
        return notices[run.spec.run_id]

    async def end(client: Client) -> RunStatus:
        run = None if signer is None else await client.run()
        if signer is None or run is None or not run.announced:
            return await client.stop_run()
        try:
            return await client.stop_run(await sign(client, run, signer))
        except ConflictError as refusal:
            return await _already(client, run.spec.run_id, True, refusal)

    answers = await fan_out(endpoints, end, patience)
    return _told(answers, (), announced=bool(notices))


async def _already(client: Client, run_id: str, ended: bool, refusal: ConflictError) -> RunStatus:
    """The peer's status if it is what was wanted of it; else the refusal stands."""
    status = await client.run()
    if status.spec.run_id != run_id or (status.state in ENDED) != ended:
        raise refusal
    return status


def _told(answers: Answers[RunStatus], absent: tuple[Failure, ...], announced: bool) -> Steered:
    """Who is not there is no failure where another one passes the notice on."""
    if not announced or not answers.good:
        return Steered(Answers(answers.good, (*absent, *answers.bad)))
    lost = tuple(failure for failure in answers.bad if isinstance(failure.error, UnavailableError))
    bad = tuple(failure for failure in answers.bad if failure not in lost)
    return Steered(Answers(answers.good, bad), (*absent, *lost))
