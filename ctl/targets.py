"""Which peers a command is for: the global options, resolved to endpoints."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ctl import tomlfile
from ctl.contexts import Contexts, Endpoint, default_path, parse_endpoint
from peerd.errors import InvalidInputError, NotFoundError, PeerdError
from peerd.reading import read_text

MAX_PATH_BYTES = 1 << 16

CONTEXTS_FILE = "contexts.toml"
"""A testbed's own contexts file, in its folder."""


@dataclass(slots=True)
class Settings:
    """The global options as given; commands read it, only option callbacks write it."""

    context: str | None = None
    endpoint: str | None = None
    operator: Path | None = None
    testbed: Path | None = None
    all: bool = False
    on: str | None = None
    output: str = "table"
    timeout: float = 10.0
    watch: float | None = None
    """Seconds between two reports; None: one is enough."""

    @property
    def many(self) -> bool:
        """A set of peers is asked, even if it has one member."""
        return self.all or self.on is not None

    @property
    def for_programs(self) -> bool:
        """Documents are wanted, not tables."""
        return self.output != "table"


@dataclass(frozen=True, slots=True)
class Targets:
    endpoints: tuple[Endpoint, ...]
    many: bool
    """Asked for as a set (`--all`, `--on`), even if it has one member."""


def resolve(settings: Settings) -> Targets:
    """InvalidInputError for options that do not go together; NotFoundError for unknown names."""
    given = [
        option
        for option, value in (
            ("--endpoint", settings.endpoint),
            ("--context", settings.context),
            ("--on", settings.on),
            ("--all", settings.all or None),
        )
        if value is not None
    ]
    if len(given) > 1:
        raise InvalidInputError(f"{' and '.join(given)} do not go together")
    if settings.endpoint is not None:
        return Targets((parse_endpoint(settings.endpoint, settings.operator),), many=False)
    contexts = effective(settings)
    if settings.all:
        return Targets(_all(contexts), many=True)
    if settings.on is not None:
        names = [name.strip() for name in settings.on.split(",") if name.strip()]
        if not names:
            raise InvalidInputError("--on: name at least one peer, as in --on alice,bob")
        return Targets(tuple(contexts.get(name) for name in dict.fromkeys(names)), many=True)
    if settings.context is not None:
        return Targets((contexts.get(settings.context),), many=False)
    return Targets((_default(contexts),), many=False)


def again(settings: Settings, *command: str, on: Iterable[str] | None = None) -> str:
    """A command line for the same peers, or for those of `on`, to be shown as a hint."""
    chosen: dict[str, object] = {
        "--testbed": settings.testbed,
        "--endpoint": settings.endpoint,
        "--operator": settings.operator,
        "--context": settings.context,
        "--on": settings.on,
    }
    words = ["peerctl"]
    for option, value in (chosen if on is None else chosen | {"--on": ",".join(on)}).items():
        words += [] if value is None else [option, str(value)]
    if settings.all and on is None:
        words.append("--all")
    return shlex.join([*words, *command])


def effective(settings: Settings) -> Contexts:
    """The contexts that names are looked up in: of `--testbed`, else of the testbed that
    `peerctl testbed up` left running, else of the user's own file."""
    folder = settings.testbed or remembered_testbed()
    if folder is None:
        return Contexts.load(default_path())
    path = folder / CONTEXTS_FILE
    if not path.is_file():
        raise NotFoundError(f"{folder}: no testbed here; make one with `peerctl testbed up`")
    return Contexts.load(path)


def _all(contexts: Contexts) -> tuple[Endpoint, ...]:
    if not contexts.endpoints:
        raise NotFoundError(_no_endpoint(contexts))
    return tuple(contexts.endpoints.values())


def _default(contexts: Contexts) -> Endpoint:
    if contexts.current:
        return contexts.get(contexts.current)
    if len(contexts.endpoints) == 1:
        return next(iter(contexts.endpoints.values()))
    if not contexts.endpoints:
        raise NotFoundError(_no_endpoint(contexts))
    known = ", ".join(contexts.endpoints)
    raise InvalidInputError(f"which peer? --context NAME, --on A,B or --all; known: {known}")


def _no_endpoint(contexts: Contexts) -> str:
    return f"{contexts.path} names no peer; give --endpoint unix:PATH, or add one with `peerctl context add`"


def _memory() -> Path:
    """Where the last testbed's folder is remembered: beside the user's contexts file."""
    return default_path().with_suffix(".testbed")


def remembered_testbed() -> Path | None:
    """The folder of the testbed that was last brought up and not yet down, if it still exists."""
    try:
        folder = Path(read_text(_memory(), MAX_PATH_BYTES, "a folder's name").strip())
    except PeerdError:
        return None
    return folder if (folder / CONTEXTS_FILE).is_file() else None


def remember_testbed(folder: Path) -> bool:
    """False where the user's configuration folder cannot be written."""
    try:
        tomlfile.write_text(_memory(), f"{folder}\n")
    except OSError:
        return False
    return True


def forget_testbed(folder: Path) -> None:
    if remembered_testbed() == folder:
        _memory().unlink(missing_ok=True)
