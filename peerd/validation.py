"""Everything that is wrong with a config file, each mistake in one line; rules about several keys at once.

What only a running peer knows (how many hops its network allows, whether a port is free) shows at its start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from ipaddress import ip_network
from typing import Any

from peerd.config import PeerdConfig, parse_address, parse_toml
from peerd.errors import InvalidInputError, PeerdError
from peerd.presets import preset_fields
from peerd.settings import PRESET, expanded, find, keys, merged, section_of, unknown, value_of

MAX_NAME = 200


def problems(text: str, where: str) -> list[str]:
    """One line each, in the order of the file; none for a good one."""
    try:
        raw = parse_toml(text, where)
    except InvalidInputError as error:
        return [str(error)]
    values: dict[str, Any] = {}
    lines: list[str] = []
    for name, value in _leaves(raw):
        wrong = _wrong(name, value, where)
        if wrong is None:
            values[name] = value
        else:
            lines.append(wrong)
    return [*lines, *(f"{where}: {line}" for line in rules(merged(PeerdConfig(), expanded(values))))]


def given(text: str, where: str) -> dict[str, Any]:
    """What a good file sets, by key; `mixing.preset`, too."""
    return dict(_leaves(parse_toml(text, where)))


def _leaves(raw: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    sections = {section_of(key) for key in keys() if "." in key}
    for name, value in raw.items():
        if isinstance(value, Mapping) and name in sections:
            yield from ((f"{name}.{key}", inner) for key, inner in value.items())
        else:
            yield name, value


def _wrong(name: str, value: Any, where: str) -> str | None:
    known = keys().get(name)
    if name == PRESET:
        return _refused(lambda: preset_fields(str(value)), f"{where}: mixing.")
    if known is not None:
        return _refused(lambda: value_of(known, value, where))
    if any(key.startswith(f"{name}.") for key in keys()):
        return f"{where}: {name}: is a section, written [{name}]"
    if isinstance(value, Mapping) and "." not in name:
        sections = ", ".join(dict.fromkeys(section_of(key) for key in keys() if "." in key))
        return f"{where}: [{name}]: no such section; allowed: {sections}"
    return f"{where}: {unknown(name)}"


def _refused(look: Callable[[], object], before: str = "") -> str | None:
    try:
        look()
    except PeerdError as error:
        return f"{before}{error}"
    return None


def check(config: PeerdConfig, where: str = "") -> None:
    """InvalidInputError for the first rule that is broken; `where` names the file, if there is one."""
    for line in rules(config):
        raise InvalidInputError(f"{where}: {line}" if where else line)


def rules(config: PeerdConfig) -> list[str]:
    """What the keys may not be together, or what their type does not tell: one line each."""
    found = [_refused(partial(parse_address, address, key)) for key, address in _addresses(config)]
    found += [_refused(partial(_range, text)) for text in config.membership.dial_allow]
    mixing, link, delivery, metrics = config.mixing, config.link, config.delivery, config.metrics
    told = (
        (
            mixing.max_delay_seconds < 10 * mixing.mean_delay_seconds,
            "mixing.max_delay_seconds: must be at least ten times mean_delay_seconds, "
            "or honest packets are refused",
        ),
        (
            link.dead_after_seconds <= link.keepalive_seconds,
            "link.dead_after_seconds: must be more than keepalive_seconds",
        ),
        (
            link.backoff_max_seconds < link.backoff_min_seconds,
            "link.backoff_max_seconds: must be at least backoff_min_seconds",
        ),
        (
            delivery.max_timeout_seconds < delivery.min_timeout_seconds,
            "delivery.max_timeout_seconds: must be at least min_timeout_seconds",
        ),
        (
            metrics.neighbour_labels and metrics.detail != "full",
            'metrics.neighbour_labels: tells more than detail = "coarse" may; set detail = "full", too',
        ),
    )
    return [line for line in found if line is not None] + [line for broken, line in told if broken]


def _addresses(config: PeerdConfig) -> Iterator[tuple[str, str]]:
    """Those that are given."""
    for key, address in (
        ("link.listen", config.link.listen),
        ("control.listen", config.control.listen),
        ("metrics.listen", config.metrics.listen),
        ("enrolment.listen", config.enrolment.listen),
        ("membership.advertise", config.membership.advertise),
    ):
        if address or key == "link.listen":
            yield key, address


def _range(text: str) -> None:
    try:
        ip_network(text, strict=False)
    except ValueError:
        line = f"membership.dial_allow: {text!r} is not an address range such as 192.0.2.0/24"
        raise InvalidInputError(line) from None


def named(name: str, value: Any) -> tuple[str, Any]:
    """A key by any of its names, with a value that it may have; `mixing.preset`, too. InvalidInputError."""
    if len(name) > MAX_NAME:
        raise InvalidInputError(f"{name[:MAX_NAME]}...: no such key")
    if name == PRESET:
        preset_fields(str(value))
        return name, str(value)
    key = find(name)
    return key.name, value_of(key, value)
