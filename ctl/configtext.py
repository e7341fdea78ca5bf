"""How the configuration of daemons, and changes of it, are printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group as Stack
from rich.console import RenderableType

from ctl import render
from ctl.fanout import Answer
from ctl.text import one_line
from ctl.values import from_json, toml
from peerd.pb import config_pb2

EFFECTS = {"now": "now", "next run": "with the next run", "restart": "after a restart"}
COLUMN = 44
"""Where comments begin."""


def status_data(status: config_pb2.ConfigStatus) -> dict[str, Any]:
    """For programs: under the keys, with value, default, origin and effect."""
    return {
        setting.key: {
            "value": from_json(setting.value),
            "default": from_json(setting.default),
            "origin": setting.origin,
            "effect": setting.effect,
        }
        for setting in status.settings
    }


def changes_data(change: config_pb2.ConfigChange) -> dict[str, Any]:
    return {
        "file": change.file,
        "changed": [_change_data(one) for one in change.changed],
        "waiting": [_change_data(one) for one in change.waiting],
        "notes": list(change.notes),
    }


def _change_data(one: config_pb2.SettingChange) -> dict[str, Any]:
    values = {"before": from_json(one.before), "after": from_json(one.after)}
    return {"key": one.key, **values, "effect": one.effect}


def shown(status: config_pb2.ConfigStatus, name: str, defaults: bool) -> str:
    """A TOML file, with `name` and the daemon's file as a comment."""
    file = one_line(status.file) if status.file else "none"
    lines = [f"# {one_line(name)}, config file: {file}" if name else f"# config file: {file}"]
    section = ""
    for setting in status.settings:
        before, _, key = setting.key.rpartition(".")
        if before != section:
            section = before
            lines += ["", f"[{section}]"]
        lines.append(_line(key, setting, defaults))
    return "\n".join(lines)


def _line(key: str, setting: config_pb2.Setting, defaults: bool) -> str:
    text = f"{key} = {_toml(setting.default if defaults else setting.value)}"
    if defaults or setting.origin == "default":
        return text
    same = setting.value == setting.default
    default = "as by default" if same else f"default {_toml(setting.default)}"
    return f"{text:<{COLUMN}} # {one_line(setting.origin)}; {default}"


def _toml(text: str) -> str:
    try:
        return toml(from_json(text))
    except TypeError:
        return toml(text)


def told(answers: Sequence[Answer[config_pb2.ConfigChange]], columns: tuple[str, str]) -> RenderableType:
    """A table of all peers' keys, and below it what else they say."""
    rows = [
        (answer.name, one.key, _toml(one.before), _toml(one.after), EFFECTS.get(one.effect, one.effect))
        for answer in answers
        for one in (*answer.value.changed, *answer.value.waiting)
    ]
    below = [f"{answer.name}: {one_line(note)}" for answer in answers for note in answer.value.notes]
    same = [a.name for a in answers if not a.value.changed and not a.value.waiting]
    if same:
        below.append(f"{', '.join(same)}: nothing differs")
    parts: list[RenderableType] = (
        [render.table(("Peer", "Key", *columns, "Takes effect"), rows)] if rows else []
    )
    return Stack(*parts, *(render.text(line) for line in below))
