"""Where a daemon's configuration comes from: the file that it was started with, and its command line, which
goes before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from peerd.config import PeerdConfig, loads, parse_toml, read
from peerd.settings import flat, merged
from peerd.validation import check

Origin = Literal["default", "file", "preset", "option", "runtime"]
"""preset: of the file's `[mixing] preset`; option: of the command line; runtime: set since the start."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a source said at one moment."""

    config: PeerdConfig
    origins: Mapping[str, Origin] = field(default_factory=dict)
    """Of each key that is not at its default by itself."""
    source: Source = field(default_factory=lambda: Source())

    def origin(self, key: str) -> Origin:
        return self.origins.get(key, "default")


@dataclass(frozen=True, slots=True)
class Source:
    file: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the command line, by key."""

    def load(self) -> Loaded:
        """Read the file again; no file: defaults and command line. NotFoundError, InvalidInputError in one
        line, also where keys do not go together."""
        if self.file is None:
            return self.loads("", "command line")
        return self.loads(read(self.file), str(self.file))

    def loads(self, text: str, where: str) -> Loaded:
        """The same of a text that stands for the file."""
        raw = parse_toml(text, where)
        config = self._over(loads(text, where), where)
        origins: dict[str, Origin] = {}
        if isinstance(raw.get("mixing"), dict) and raw["mixing"].get("preset"):
            before, after = flat(PeerdConfig()), flat(config)
            origins |= {
                key: "preset" for key in after if key.startswith("mixing.") and after[key] != before[key]
            }
        origins |= dict.fromkeys(_given(raw), "file")
        origins |= dict.fromkeys(self.options, "option")
        return Loaded(config, origins, self)

    def of(self, values: Mapping[str, Any], where: str) -> PeerdConfig:
        """What a file that sets these would come to here. InvalidInputError."""
        return self._over(merged(PeerdConfig(), values, where), where)

    def _over(self, file: PeerdConfig, where: str) -> PeerdConfig:
        """The command line over a file, checked as a whole."""
        config = merged(file, self.options, "command line")
        check(config, where)
        return config


def _given(raw: Mapping[str, Any]) -> list[str]:
    given: list[str] = []
    for name, value in raw.items():
        given += [f"{name}.{key}" for key in value] if isinstance(value, dict) else [name]
    return given
