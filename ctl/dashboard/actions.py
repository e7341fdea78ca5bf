"""What the page's buttons do: the same as the commands, by the same code, with the operator's credentials."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from ctl import steering
from ctl.client import Client
from ctl.contexts import Endpoint
from ctl.dashboard import forms
from ctl.fanout import Answers, Failure, fan_out
from ctl.notices import Signer, operator_of
from ctl.targets import Settings
from ctl.text import RUN_DIGITS, one_line

T = TypeVar("T")
ELSEWHERE = "they hear of it from the others when they are back"


@dataclass(slots=True)
class Outcome:
    """Of one request, on each of the peers that it was for."""

    done: list[str]
    """Names of those where it succeeded."""
    failed: dict[str, str] = field(default_factory=dict)
    """One line each."""
    note: str = ""


class Actions:
    """One at a time: two changes that cross each other would leave peers unlike."""

    def __init__(self, settings: Settings, endpoints: Sequence[Endpoint]) -> None:
        self._settings = settings
        self._endpoints = endpoints
        self._busy = asyncio.Lock()

    async def do(self, what: str, request: forms.Request) -> Outcome:
        """InvalidInputError and the like where nothing was asked of anybody."""
        calls: dict[str, Callable[[forms.Request], Awaitable[Outcome]]] = {
            "start": self._start,
            "stop": self._stop,
            "pause": self._pause,
            "resume": self._resume,
            "mix": self._mix,
        }
        async with self._busy:
            return await calls[what](request)

    def _targets(self, request: forms.Request) -> tuple[Endpoint, ...]:
        names = forms.chosen(request.peers, [endpoint.name for endpoint in self._endpoints])
        return tuple(endpoint for endpoint in self._endpoints if endpoint.name in names)

    def _signer(self) -> Signer | None:
        certificate = operator_of(self._settings, self._endpoints)
        return None if certificate is None else Signer.load(certificate)

    async def _start(self, request: forms.Request) -> Outcome:
        """On the whole network by an operator's notice; without one on all that are named, or on none."""
        spec = forms.run_spec(request.fields)
        signer, targets, patience = self._signer(), self._targets(request), self._settings.timeout
        present = await fan_out(targets, Client.status, patience)
        if not present.good or (present.bad and signer is None):
            return _outcome(present, "the run was started nowhere", done=[])
        spec = msgspec.structs.replace(spec, shards=steering.enrolled(present.good))
        notice = b""
        if signer is not None:
            notice = signer.started(steering.network_of(present.good), spec, forms.JOIN_SECONDS)
        there = {answer.name for answer in present.good}
        able = [endpoint for endpoint in targets if endpoint.name in there]
        steered = await steering.start(able, spec, notice, present.bad, patience)
        how = "announced to the whole network" if notice else "only on these peers: no operator signed it"
        return _steered(steered, f"run {spec.run_id[:RUN_DIGITS]} of {spec.task}, {how}")

    async def _stop(self, request: forms.Request) -> Outcome:
        steered = await steering.stop(self._targets(request), self._signer(), self._settings.timeout)
        return _steered(steered, "")

    async def _pause(self, request: forms.Request) -> Outcome:
        return await self._ask(request, Client.pause_run)

    async def _resume(self, request: forms.Request) -> Outcome:
        return await self._ask(request, Client.resume_run)

    async def _mix(self, request: forms.Request) -> Outcome:
        update = forms.mixing_update(request.fields)
        return await self._ask(request, lambda client: client.update_mixing(update))

    async def _ask(self, request: forms.Request, call: Callable[[Client], Awaitable[Any]]) -> Outcome:
        return _outcome(await fan_out(self._targets(request), call, self._settings.timeout), "")


def _outcome(answers: Answers[T], note: str, done: list[str] | None = None) -> Outcome:
    names = [answer.name for answer in answers.good] if done is None else done
    return Outcome(names, _lines(answers.bad), note)


def _steered(steered: steering.Steered, note: str) -> Outcome:
    absent = _lines(steered.absent)
    if not steered.answers.good:
        return Outcome([], absent | _lines(steered.answers.bad))
    told = f"{', '.join(absent)}: not there; {ELSEWHERE}" if absent else ""
    return _outcome(steered.answers, "; ".join(part for part in (note, told) if part))


def _lines(failures: Sequence[Failure]) -> dict[str, str]:
    return {failure.name: one_line(str(failure.error)) for failure in failures}
