"""What changes at runtime, on stand-ins for the parts of a node: all of a change or nothing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from anyconfig import assignments
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from peerd import reconfiguring
from peerd.config import MixingConfig, PeerdConfig, load
from peerd.errors import ConflictError, InvalidInputError, NotFoundError, PeerdError
from peerd.observe import EventLog
from peerd.reconfiguring import Reconfiguration
from peerd.settings import effect_of, flat, merged
from peerd.source import Source

PARTS = ("mixing", "delivery", "relay", "link", "membership", "training", "metrics", "logging")


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append(("info", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        self.lines.append(("error", event, fields))


class Host:
    """A daemon with this file and this command line, whose parts remember what they were given."""

    def __init__(self, file: Path | None, **options: Any) -> None:
        self.log, self.events = Log(), EventLog()
        started = Source(file, options).load()
        self.parts: dict[str, Any] = {name: getattr(started.config, name) for name in PARTS}
        self.applied: list[str] = []
        self.forbidden: set[str] = set()
        self.made = Reconfiguration(
            started, mixing=lambda: self.parts["mixing"], events=self.events, log=self.log
        )
        for name in PARTS:
            self.made.add(
                name, lambda part, name=name: self.apply(name, part), lambda _, n=name: self.check(n)
            )

    def apply(self, name: str, part: Any) -> None:
        self.applied.append(name)
        self.parts[name] = part

    def check(self, name: str) -> None:
        if name in self.forbidden:
            raise InvalidInputError(f"{name}: not now")

    async def set(self, persist: bool = False, /, **values: Any) -> Any:
        named = {key.replace("__", "."): json.dumps(value) for key, value in values.items()}
        return await self.made.change(named, persist)

    def told(self) -> list[tuple[str, str]]:
        return [(event.what, event.detail) for event in self.events.latest()]

    def origin(self, key: str) -> str:
        return next(s.origin for s in self.made.status().settings if s.key == key)


def text_of(path: Path) -> str:
    return path.read_text()


def write(path: Path, text: str | None) -> None:
    """None: no such file any more."""
    path.unlink() if text is None else path.write_text(text)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "peerd.toml"
    path.write_text('# ours\n[mixing]\nhops = 2  # few\n\n[logging]\nlevel = "warning"\n')
    return path


async def test_what_is_set_reaches_its_parts_and_is_told_of(file: Path) -> None:
    host = Host(file)
    done = await host.set(mixing__hops=4, logging__level="debug", mixing__mean_delay=0.08)
    assert sorted(host.applied) == ["logging", "mixing"]
    assert (host.parts["mixing"].hops, host.parts["mixing"].mean_delay_seconds) == (4, 0.08)
    assert host.made.config.logging.level == host.parts["logging"].level == "debug"
    assert [(one.key, one.before, one.after) for one in done.changed] == [
        ("mixing.hops", "2", "4"), ("mixing.mean_delay_seconds", "0.05", "0.08"),
        ("logging.level", '"warning"', '"debug"'),
    ]  # fmt: skip
    ((what, detail),) = host.told()
    assert what == "configuration set"
    assert 'logging.level = "debug"' in detail
    assert host.origin("mixing.hops") == host.origin("logging.level") == "runtime"
    assert (await host.set(mixing__hops=2)).changed[0].after == "2"
    assert host.origin("mixing.hops") == "file"


@pytest.mark.parametrize(
    ("values", "error", "says"),
    [
        ({"mixing.hops": "1", "link.listen": '"0.0.0.0:1"'}, ConflictError, "link.listen: needs a restart"),
        (
            {"mixing.hops": "1", "state_dir": '"/x"', "trace.file": '"/y"'},
            ConflictError,
            "state_dir, trace.file",
        ),
        ({"mixing.hops": "1", "mixing.pool_rate": "2"}, InvalidInputError, "mixing.pool_rate: "),
        ({"mixing.hops": "1", "mixing.hop": "1"}, InvalidInputError, "mixing.hop: no such key"),
        ({"mixing.hops": "1", "mixing.mean_delay_seconds": "9"}, InvalidInputError, "at least ten times"),
        ({"mixing.hops": "1", "delivery.max_attempts": "5"}, InvalidInputError, "delivery: not now"),
        ({"mixing.hops": "one"}, InvalidInputError, "mixing.hops: not JSON"),
        ({"mixing.hops": "[" * 100_001}, InvalidInputError, "mixing.hops: longer than"),
        ({"mixing.hops": "[" * 90_000}, InvalidInputError, "mixing.hops: "),
        ({"mixing.preset": '"max"'}, InvalidInputError, "no such preset 'max'"),
        ({}, InvalidInputError, "nothing to set"),
    ],
)
@pytest.mark.parametrize("persist", [False, True])
async def test_one_wrong_key_and_nothing_changes(
    file: Path, values: dict[str, str], error: type[PeerdError], says: str, persist: bool
) -> None:
    host, text = Host(file), text_of(file)
    host.forbidden = {"delivery"}
    before = host.made.config
    with pytest.raises(error) as raised:
        await host.made.change(values, persist)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
    assert (host.made.config, host.applied, host.told()) == (before, [], [])
    assert text_of(file) == text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    changes=st.lists(assignments(size=3), max_size=4), forbidden=st.sets(st.sampled_from(PARTS), max_size=3)
)
def test_whatever_is_set_is_in_force_as_a_whole_or_not_at_all(
    changes: list[dict[str, Any]], forbidden: set[str]
) -> None:
    async def play() -> None:
        host = Host(None)
        host.forbidden = forbidden
        for values in changes:
            before, applied = host.made.config, list(host.applied)
            try:
                done = await host.made.change({k: json.dumps(v) for k, v in values.items()}, False)
            except PeerdError:
                assert (host.made.config, host.applied) == (before, applied)
                continue
            assert host.made.config == merged(before, values)
            touched = {one.key.partition(".")[0] for one in done.changed}
            assert set(host.applied[len(applied) :]) == touched
            assert not touched & forbidden
            assert {effect_of(one.key) for one in done.changed} <= {"now", "next run"}
        for name in PARTS:
            if name in host.applied:
                assert host.parts[name] == getattr(host.made.config, name)

    asyncio.run(play())


async def test_what_is_persisted_is_in_the_file_and_its_comments_stay(file: Path) -> None:
    host = Host(file, **{"logging.format": "json"})
    done = await host.set(True, mixing__hops=3, delivery__max_attempts=4, logging__format="console")
    assert done.file == str(file)
    assert done.notes == [
        "logging.format: the command line that this daemon was started with goes before the file"
    ]
    text = text_of(file)
    assert "# ours" in text
    assert "hops = 3  # few" in text
    assert (load(file).delivery.max_attempts, load(file).logging.format) == (4, "console")
    assert host.origin("mixing.hops") == host.origin("delivery.max_attempts") == "file"
    assert (await host.made.compare()).changed[0].key == "logging.format"  # by the command line


async def test_what_cannot_be_persisted_is_not_set(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(None)
    with pytest.raises(ConflictError, match="started without a config file"):
        await host.set(True, mixing__hops=3)

    def refuse(path: Path, values: Any) -> None:
        raise ConflictError(f"{path}: cannot be written (Read-only file system); nothing was changed")

    monkeypatch.setattr(reconfiguring, "edit_toml", refuse)
    other = Host(file)
    with pytest.raises(ConflictError, match="Read-only"):
        await other.set(True, mixing__hops=3)
    assert host.applied == other.applied == []


async def test_a_reload_does_what_it_can_and_tells_what_waits(file: Path) -> None:
    host = Host(file)
    await host.set(delivery__max_attempts=7)
    write(
        file,
        '[mixing]\nhops = 4\n[link]\nlisten = "0.0.0.0:1"\n[membership]\nmax_members = 5\nflap_limit = 9\n',
    )
    compared = await host.made.compare()
    done = await host.made.reload()
    assert done == compared
    assert [one.key for one in done.changed] == [
        "mixing.hops", "delivery.max_attempts", "membership.flap_limit", "logging.level",
    ]  # fmt: skip
    assert [one.key for one in done.waiting] == ["link.listen", "membership.max_members"]
    config = host.made.config
    assert (config.mixing.hops, config.membership.flap_limit, config.delivery.max_attempts) == (4, 9, 10)
    assert config.link.listen == PeerdConfig().link.listen
    assert config.membership.max_members == PeerdConfig().membership.max_members
    assert host.origin("mixing.hops") == "file"
    assert host.origin("link.listen") == host.origin("logging.level") == "default"
    what, detail = host.told()[-1]
    assert what == "configuration reloaded"
    assert detail.endswith("needs a restart: link.listen, membership.max_members")
    again = await host.made.reload()
    assert (again.changed, again.waiting) == ([], done.waiting)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[mixing", InvalidInputError),
        ("[mixing]\nhops = 99", InvalidInputError),
        ("[mixing]\nmean_delay_seconds = 9.0", InvalidInputError),
        ("[mixing]\nhops = 4\n[delivery]\nmax_attempts = 3", InvalidInputError),
        (None, NotFoundError),
    ],
)
async def test_a_bad_file_changes_nothing_and_is_told_of_once(
    file: Path, text: str | None, error: type[PeerdError]
) -> None:
    host = Host(file)
    host.forbidden = {"delivery"}
    before = host.made.config
    write(file, text)
    with pytest.raises(error) as raised:
        await host.made.reload()
    line = str(raised.value)
    assert "\n" not in line
    assert (host.made.config, host.applied) == (before, [])
    assert host.told() == [("configuration not reloaded", line)]
    ((level, _, fields),) = host.log.lines
    assert (level, fields["error"]) == ("error", line)


async def test_a_reload_opens_the_log_file_anew_and_without_a_file_there_is_none(file: Path) -> None:
    host = Host(file)
    assert (await host.made.reload()).changed == []
    assert host.applied == ["logging"]
    with pytest.raises(ConflictError, match="without a config file"):
        await Host(None).made.reload()


async def test_what_other_commands_change_of_mixing_is_in_force(file: Path) -> None:
    host = Host(file)
    host.parts["mixing"] = MixingConfig(strategy="pool", hops=2)
    assert host.made.config.mixing.strategy == "pool"
    assert host.origin("mixing.strategy") == "runtime"
    await host.set(mixing__hops=3)
    assert host.parts["mixing"] == MixingConfig(strategy="pool", hops=3)
    assert [one.key for one in (await host.made.reload()).changed] == ["mixing.strategy", "mixing.hops"]


async def test_comparing_changes_nothing(file: Path) -> None:
    host = Host(file, **{"logging.level": "error"})
    before = host.made.config
    found = host.made.compare_with({"link.listen": '"0.0.0.0:1"', "logging.level": '"debug"'}, "new.toml")
    assert [one.key for one in found.waiting] == ["link.listen"]
    assert [one.key for one in found.changed] == ["mixing.hops"]  # the level is the command line's
    assert found.file == "new.toml"
    assert [one.key for one in host.made.compare_with({}, "empty.toml").changed] == ["mixing.hops"]
    assert (host.made.config, host.applied, host.told()) == (before, [], [])
    for values, says in (
        ({"mixing.hops": "0"}, r"mixing\.hops: "),
        ({"mixing.mean_delay_seconds": "9"}, r"new\.toml: mixing\.max_delay_seconds: "),
        ({"nothing": "0"}, "nothing: no such key"),
    ):
        with pytest.raises(InvalidInputError, match=says):
            host.made.compare_with(values, "new.toml")


async def test_changes_come_one_at_a_time_and_to_their_end(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asked for one may go: the file and what is in force say the same."""
    host, loop = Host(file), asyncio.get_running_loop()
    begun, go_on = asyncio.Event(), asyncio.Event()
    real = reconfiguring.edit_toml

    def slow(path: Path, values: Any) -> None:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
        real(path, values)

    monkeypatch.setattr(reconfiguring, "edit_toml", slow)
    first = asyncio.create_task(host.set(True, mixing__hops=5))
    await begun.wait()
    second = asyncio.create_task(host.set(mixing__hops=6))
    first.cancel()
    await asyncio.wait({first})
    assert first.cancelled()
    assert host.made.lock.locked()
    assert host.applied == []
    go_on.set()
    await second
    assert load(file).mixing.hops == 5
    assert host.parts["mixing"].hops == 6
    assert [detail for _, detail in host.told()] == ["mixing.hops = 5", "mixing.hops = 6"]


def test_every_key_is_shown_with_what_it_is() -> None:
    host = Host(None, **{"link.listen": "127.0.0.1:7"})
    shown = host.made.status()
    assert shown.file == ""
    assert {s.key: json.loads(s.value) for s in shown.settings} == flat(host.made.config)
    assert {s.key: json.loads(s.default) for s in shown.settings} == flat(PeerdConfig())
    assert host.origin("link.listen") == "option"
    assert replace(host.made.config, link=PeerdConfig().link) == PeerdConfig()
