"""The configuration in force on this peer: what of it changes while it runs, all of a change or nothing.

    change   keys that an operator names; `persist` writes them to the daemon's file first
    reload   what the file says by now, command line before it; that then holds, also over what was set before

Every change is first built and checked as a whole, then handed to the parts that it concerns, which can no
longer refuse. Changes come one at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import msgspec

from peerd.config import MixingConfig, PeerdConfig
from peerd.errors import ConflictError, DeniedError, InvalidInputError, PeerdError
from peerd.observe import EventLog
from peerd.settings import (
    OF_THE_HOST,
    Difference,
    at_runtime,
    differences,
    effect_of,
    expanded,
    flat,
    keys,
    merged,
    section_of,
)
from peerd.source import Loaded, Origin
from peerd.status import ConfigChange, ConfigStatus, Setting, SettingChange
from peerd.store import edit_toml
from peerd.validation import check, named

MAX_VALUE_CHARACTERS = 100_000
NO_FILE = "this daemon was started without a config file (peerd run --config FILE)"
T = TypeVar("T")


class Reconfiguration:
    """`add` every part, then commands as they come, all on the event loop."""

    def __init__(
        self,
        started: Loaded,
        *,
        mixing: Callable[[], MixingConfig],
        events: EventLog,
        log: Any,
    ) -> None:
        """`started`: what the daemon was started with. `mixing`: what is in force of it, which changes by its
        own commands, too."""
        self._config = started.config
        self._base = started
        self._source = started.source
        self._mixing = mixing
        self._events = events
        self._log = log
        self._parts: dict[str, tuple[Callable[[Any], None], Callable[[Any], None] | None]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self.lock = asyncio.Lock()
        """Held while anything of the configuration changes."""

    def add(
        self, section: str, apply: Callable[[Any], None], check: Callable[[Any], None] | None = None
    ) -> None:
        """A part of the node: `check` raises InvalidInputError for a slice that it cannot take and changes
        nothing; `apply` takes one that was found good, and cannot fail."""
        self._parts[section] = apply, check

    @property
    def config(self) -> PeerdConfig:
        """In force."""
        return msgspec.structs.replace(self._config, mixing=self._mixing())

    # -- what is in force -------------------------------------------------------

    def status(self) -> ConfigStatus:
        """Every key, in the order of the file."""
        base = flat(self._base.config)
        settings = [
            Setting(
                key=key,
                value=_json(value),
                default=_json(keys()[key].default),
                origin=self._base.origin(key) if value == base[key] else "runtime",
                effect=effect_of(key),
            )
            for key, value in flat(self.config).items()
        ]
        return ConfigStatus(file=self._file, settings=settings)

    async def compare(self) -> ConfigChange:
        """What `reload` would do. Changes nothing."""
        wanted = await asyncio.to_thread(self._from_file)
        return _told(self._file, differences(self.config, wanted.config))

    def compare_with(self, values: Mapping[str, str], name: str) -> ConfigChange:
        """The same if the file were this one, which sets these values, as JSON. TOML of others is not parsed
        here: it can be made to take minutes."""
        return _told(name, differences(self.config, self._source.of(_parsed(values), name)))

    @property
    def _file(self) -> str:
        return "" if self._source.file is None else str(self._source.file)

    def _from_file(self) -> Loaded:
        if self._source.file is None:
            raise ConflictError(NO_FILE)
        return self._source.load()

    # -- changes ----------------------------------------------------------------

    async def change(self, values: Mapping[str, str], persist: bool, *, remote: bool = False) -> ConfigChange:
        """Values by key, as JSON. InvalidInputError; ConflictError where one needs a restart, or where the
        file cannot be written; DeniedError where a `remote` caller sets what is this host's own: then nothing
        has changed."""
        if not values:
            raise InvalidInputError("nothing to set: give KEY=VALUE")
        wanted = _parsed(values)
        if remote and (own := [key for key in wanted if key in OF_THE_HOST]):
            raise DeniedError(
                f"{', '.join(own)}: each host decides this by itself, in its config file and `peerctl config "
                "reload`, or over its Unix socket; nothing was changed"
            )
        return await self._whole(self._change(wanted, persist))

    async def _change(self, values: Mapping[str, Any], persist: bool) -> ConfigChange:
        target = merged(self.config, values)
        changes = differences(self.config, target)
        fixed = [one.key for one in changes if one.effect == "restart"]
        if fixed:
            raise ConflictError(
                f"{', '.join(fixed)}: needs a restart: set it in the config file and start peerd again; "
                "nothing was changed"
            )
        self._check(target, changes)
        file = await asyncio.to_thread(self._persist, values) if persist else ""
        self._apply(target, changes)
        if persist:
            origins: dict[str, Origin] = dict.fromkeys(values, "file")
            base = merged(self._base.config, values)
            self._base = Loaded(base, {**self._base.origins, **origins}, self._source)
        self._tell("set", changes)
        return _told(file, changes, self._overruled(values) if persist else [])

    def _persist(self, values: Mapping[str, Any]) -> str:
        """In a thread. The file is known to be good before, and to say what was wanted after."""
        if self._source.file is None:
            raise ConflictError(f"{NO_FILE}; nothing was changed")
        edit_toml(self._source.file, values)
        return self._file

    def _overruled(self, values: Mapping[str, Any]) -> list[str]:
        return [
            f"{key}: the command line that this daemon was started with goes before the file"
            for key in values
            if key in self._source.options
        ]

    async def reload(self) -> ConfigChange:
        """What of the file needs no restart holds when this returns; the log file is opened anew.
        InvalidInputError, NotFoundError, ConflictError: nothing has changed."""
        return await self._whole(self._reload())

    async def _reload(self) -> ConfigChange:
        try:
            wanted = await asyncio.to_thread(self._from_file)
            target = at_runtime(self.config, wanted.config)
            changes = differences(self.config, target)
            self._check(target, changes)
        except PeerdError as error:
            self._log.error("configuration not reloaded: nothing was changed", error=str(error))
            self._events.add("node", "configuration not reloaded", detail=str(error))
            raise
        waiting = [one for one in differences(self.config, wanted.config) if one.effect == "restart"]
        self._apply(target, changes)
        self._reopen_log(changes)
        self._base = self._as_of(wanted, {one.key for one in waiting})
        self._tell("reloaded", changes, waiting)
        return _told(self._file, changes, waiting=waiting)

    def _as_of(self, wanted: Loaded, waiting: set[str]) -> Loaded:
        """What the file says by now, but for what it says of the next start."""
        before = flat(self._base.config)
        config = merged(wanted.config, {key: before[key] for key in waiting})
        origins = {key: origin for key, origin in wanted.origins.items() if key not in waiting}
        kept = {key: self._base.origin(key) for key in waiting}
        return Loaded(config, {**origins, **kept}, self._source)

    def _reopen_log(self, changes: list[Difference]) -> None:
        """Who moved the log file away wants another."""
        if "logging" in self._parts and not any(section_of(one.key) == "logging" for one in changes):
            self._parts["logging"][0](self.config.logging)

    def _check(self, target: PeerdConfig, changes: list[Difference]) -> None:
        check(target)
        for section in dict.fromkeys(section_of(one.key) for one in changes):
            if section not in self._parts:
                raise ConflictError(f"{section}: nothing of it can be changed now; nothing was changed")
            look = self._parts[section][1]
            if look is not None:
                look(getattr(target, section))

    def _apply(self, target: PeerdConfig, changes: list[Difference]) -> None:
        self._config = target
        for section in dict.fromkeys(section_of(one.key) for one in changes):
            self._parts[section][0](getattr(target, section))

    def _tell(self, how: str, changes: list[Difference], waiting: list[Difference] | None = None) -> None:
        changed = [f"{one.key} = {_json(one.after)}" for one in changes]
        restart = [one.key for one in waiting or ()]
        self._log.info(f"configuration {how}", changed=changed, needs_restart=restart)
        detail = ", ".join(changed) or "nothing has changed"
        if restart:
            detail += f"; needs a restart: {', '.join(restart)}"
        self._events.add("node", f"configuration {how}", detail=detail)

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        """To its end, also when who asked for it has gone: a file that is written is a change that is
        made."""

        async def alone() -> T:
            async with self.lock:
                return await work

        task = asyncio.create_task(alone())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)


def _parsed(values: Mapping[str, str]) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    for name, text in values.items():
        if len(text) > MAX_VALUE_CHARACTERS:
            raise InvalidInputError(f"{name}: longer than {MAX_VALUE_CHARACTERS} characters")
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            raise InvalidInputError(f"{name}: not JSON: {error}") from None
        key, value = named(name, value)
        wanted[key] = value
    return expanded(wanted)


def _told(
    file: str,
    changes: list[Difference],
    notes: list[str] | None = None,
    waiting: list[Difference] | None = None,
) -> ConfigChange:
    """Of differences: those that hold at runtime, and those that wait."""
    rest = [one for one in changes if one.effect == "restart"] if waiting is None else waiting
    return ConfigChange(
        file=file,
        changed=[_entry(one) for one in changes if one.effect != "restart"],
        waiting=[_entry(one) for one in rest],
        notes=notes or [],
    )


def _entry(one: Difference) -> SettingChange:
    return SettingChange(key=one.key, before=_json(one.before), after=_json(one.after), effect=one.effect)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
