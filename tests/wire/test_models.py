"""Checkpoints, export and past runs over the control API of a live node."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import tempfile
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import msgspec
import numpy as np
import pytest
import structlog

from ctl import export
from ctl.client import Client
from ctl.contexts import Endpoint
from peerd.config import ControlConfig, LinkConfig, MetricsConfig, MixingConfig, PeerdConfig, TrainingConfig
from peerd.control import ControlServer, TlsFiles
from peerd.errors import PeerdError
from peerd.membership import run_spec_message
from peerd.node import Node
from peerd.pb import node_pb2, node_pb2_grpc, runs_pb2, runs_pb2_grpc
from peerd.store import digest_of
from peerd.types import RunSpec

PARAMETERS = 600_000
"""More than two messages."""


def spec(run_id: str = "ab" * 16, **changes: Any) -> RunSpec:
    known: dict[str, Any] = {"rounds": 4, "task_options": {"parameters": str(PARAMETERS)}}
    return RunSpec(run_id=run_id, task="synthetic", **known | changes)


@pytest.fixture
def state_dir():
    """Short: the path of a Unix socket has a limit."""
    with tempfile.TemporaryDirectory(prefix="peerd-") as folder:
        yield Path(folder)


@pytest.fixture
def serving(enrol, state_dir):
    (state,) = enrol("alice")

    @contextlib.asynccontextmanager
    async def serve(keep: int = 2):
        config = PeerdConfig(
            link=LinkConfig(listen="127.0.0.1:0"),
            mixing=MixingConfig(hops=1),
            metrics=MetricsConfig(listen=""),
            training=TrainingConfig(keep_checkpoints=keep),
        )
        node = Node(config, state, state_dir, structlog.get_logger())
        node.start()
        running = asyncio.create_task(node.run())
        tls = TlsFiles(state.ca_pem, state.certificate_pem, state.link_key_pem)
        server = ControlServer(node.commands, ControlConfig(), state_dir, lambda: tls)
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"unix:{server.unix_path}") as channel:
                channel.path = server.unix_path
                yield channel
        finally:
            await server.stop(0)
            running.cancel()
            await asyncio.wait({running})
            await node.close()

    return serve


async def finish(stub: Any, one: RunSpec) -> Any:
    await stub.Start(runs_pb2.StartRunRequest(spec=run_spec_message(one)))
    async for status in stub.Watch(runs_pb2.WatchRunRequest()):
        last = status
    return last


async def kept(stub: Any) -> list[Any]:
    return list((await stub.Checkpoints(runs_pb2.ListCheckpointsRequest())).checkpoints)


async def told(channel: Any, what: str) -> str:
    """The detail of the first such event, once it is there."""
    stub = node_pb2_grpc.NodeStub(channel)
    async with asyncio.timeout(20):
        async for event in stub.WatchEvents(node_pb2.WatchEventsRequest(follow=True)):
            if event.what == what:
                return event.detail
    raise AssertionError("the stream has ended")


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert "\n" not in error.value.details()
    return error.value.code(), error.value.details()


async def test_a_model_comes_in_parts_and_is_what_its_digest_says(serving):
    async with serving() as channel:
        stub = runs_pb2_grpc.RunsStub(channel)
        status = await finish(stub, spec())
        assert (status.state, status.ended_by) == ("finished", "rounds")
        checkpoints = await kept(stub)
        assert [one.round for one in checkpoints] == [3, 4], "the best is the last"
        parts = [part async for part in stub.Export(runs_pb2.ExportRequest(best=True))]
        said, data = parts[0].checkpoint, b"".join(part.data for part in parts[1:])
        assert len(parts) == 4 and all(len(part.data) <= 1 << 20 for part in parts)
        assert said == checkpoints[-1] and said.best
        assert hashlib.sha256(data).hexdigest() == said.sha256 == status.model_digest
        assert (said.parameters, len(data)) == (PARAMETERS, 4 * PARAMETERS)
        assert said.accuracy == pytest.approx(status.results[-1].accuracy)
        for request, code, says in (
            (runs_pb2.ExportRequest(run_id="ff"), grpc.StatusCode.NOT_FOUND, "no checkpoint of run ff"),
            (
                runs_pb2.ExportRequest(round=9),
                grpc.StatusCode.NOT_FOUND,
                "no checkpoint of round 9; there: 3, 4",
            ),
            (runs_pb2.ExportRequest(run_id="../x"), grpc.StatusCode.INVALID_ARGUMENT, "32 hex digits"),
        ):
            got, details = await refused(stub.Export(request).read())
            assert got is code and says in details


async def test_past_runs_and_models_outlive_the_daemon(serving):
    async with serving() as channel:
        stub = runs_pb2_grpc.RunsStub(channel)
        await finish(stub, spec(rounds=2))
        await kept(stub)
    async with serving() as channel:
        stub = runs_pb2_grpc.RunsStub(channel)
        past = await stub.Past(runs_pb2.PastRunRequest(run_id="abab"))
        assert (past.state, past.ended_by, past.spec.run_id) == ("finished", "rounds", "ab" * 16)
        assert [result.round for result in past.results] == [1, 2]
        assert past.results[-1].round_seconds > 0 and past.payload_bytes > 0
        code, details = await refused(stub.Past(runs_pb2.PastRunRequest(run_id="cd")))
        assert code is grpc.StatusCode.NOT_FOUND and "known: abababab" in details


async def test_a_run_begins_where_another_was_left(serving):
    async with serving() as channel:
        stub = runs_pb2_grpc.RunsStub(channel)
        first = await finish(stub, spec(rounds=2))
        (_, last) = await kept(stub)
        again = spec(
            "cd" * 16, rounds=1, initial_run=last.spec.run_id, initial_round=2, initial_sha256=last.sha256
        )
        second = await finish(stub, again)
        assert (second.state, len(second.results)) == ("finished", 1)
        assert second.results[0].accuracy > first.results[-1].accuracy
        checkpoints = await kept(stub)
        assert [one.spec.run_id[:2] for one in checkpoints] == ["ab", "ab", "cd"]

        for wrong, says in (
            (
                msgspec.structs.replace(again, run_id="ef" * 16, task="digits-mlp", task_options={}),
                "is of task synthetic",
            ),
        ):
            code, details = await refused(stub.Start(runs_pb2.StartRunRequest(spec=run_spec_message(wrong))))
            assert code is grpc.StatusCode.INVALID_ARGUMENT and says in details
        assert [one.round for one in await kept(stub)] == [1, 2, 1]


async def test_who_lacks_the_model_listens_and_says_so(serving):
    async with serving() as channel:
        stub = runs_pb2_grpc.RunsStub(channel)
        lacking = spec(initial_run="ef" * 16, initial_round=3, initial_sha256="00" * 32)
        await stub.Start(runs_pb2.StartRunRequest(spec=run_spec_message(lacking)))
        async with asyncio.timeout(20):
            async for status in stub.Watch(runs_pb2.WatchRunRequest()):
                if status.stage == "listening":
                    break
        assert (status.round, status.contributes_from) == (1, 0)
        says = await told(channel, "model missing")
        assert "begins with round 3 of efefefef, of which this peer has no checkpoint: it listens" in says
        assert (await stub.Stop(runs_pb2.StopRunRequest())).state == "stopped"


async def test_a_target_ends_the_run_and_is_told(serving):
    async with serving() as channel:
        stub = runs_pb2_grpc.RunsStub(channel)
        status = await finish(stub, spec(rounds=50, target_accuracy=0.6, test_samples=7))
        assert (status.state, status.ended_by, status.round) == ("finished", "target", 2)
        assert [result.test_samples for result in status.results] == [7, 100]
        assert await told(channel, "finished") == "abababab by target, round 2"


async def test_the_client_checks_what_comes(serving, tmp_path):
    async with serving() as channel:
        stub = runs_pb2_grpc.RunsStub(channel)
        await finish(stub, spec(rounds=1))
        await kept(stub)
        async with Client(Endpoint("alice", f"unix:{channel.path}"), 10.0) as client:
            fetched = await export.fetch(client, "", 0, False, tmp_path)
            vector = np.fromfile(fetched.path, "<f4")
            assert digest_of(vector) == fetched.checkpoint.sha256

            honest = client.export

            async def forged(*asked: Any, change: Any) -> Any:
                async for part in honest(*asked):
                    yield change(part)

            def flip(part: Any) -> Any:
                return runs_pb2.ExportPart(data=part.data[:-1] + b"\xff") if part.data else part

            def huge(part: Any) -> Any:
                if part.HasField("checkpoint"):
                    part.checkpoint.parameters = 1 << 40
                return part

            def short(part: Any) -> Any:
                if part.HasField("checkpoint"):
                    part.checkpoint.parameters -= 1
                return part

            def long(part: Any) -> Any:
                if part.HasField("checkpoint"):
                    part.checkpoint.parameters += 1
                return part

            for change, says in (
                (flip, "the digest does not match"),
                (huge, "a model of 1099511627776 floats"),
                (short, "more comes than was said"),
                (long, "4 bytes are missing"),
            ):
                client.export = lambda *asked, change=change: forged(*asked, change=change)  # type: ignore[method-assign]
                with pytest.raises(PeerdError, match=f"alice: the model is not what was announced: {says}"):
                    await export.fetch(client, "", 0, False, tmp_path)


async def test_a_crash_resets_no_patience(serving):
    """The accuracy never changes: so many rounds after the first are enough, whoever was away meanwhile."""
    patience = 150  # more than it has time for until it is stopped
    stuck = spec(rounds=500, patience=patience, task_options={"parameters": "50", "step": "0"})
    async with serving() as channel:
        stub = runs_pb2_grpc.RunsStub(channel)
        await stub.Start(runs_pb2.StartRunRequest(spec=run_spec_message(stuck)))
        async for status in stub.Watch(runs_pb2.WatchRunRequest()):
            if len([result for result in status.results if result.test_samples]) >= 3:
                break
    async with serving() as channel:
        stub = runs_pb2_grpc.RunsStub(channel)
        status = [status async for status in stub.Watch(runs_pb2.WatchRunRequest())][-1]
        assert status.results[0].round > 1, "it went on where it was"
        assert (status.state, status.ended_by, status.round) == ("finished", "patience", 1 + patience)
        past = await stub.Past(runs_pb2.PastRunRequest(run_id=stuck.run_id[:4]))
        assert (past.state, past.ended_by) == ("finished", "patience")
        assert [result.round for result in past.results] == list(range(1, 2 + patience)), "also those before"
