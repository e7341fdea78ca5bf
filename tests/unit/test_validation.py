from __future__ import annotations

from pathlib import Path

import pytest
from anyconfig import assignments
from hypothesis import given
from hypothesis import strategies as st

from ctl.tomlfile import dumps
from peerd.config import PeerdConfig
from peerd.errors import PeerdError
from peerd.settings import merged
from peerd.source import Source
from peerd.validation import named, problems, rules

SHIPPED = Path(__file__).parents[2] / "deploy" / "peerd.toml"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mixing = [", ["f: not valid TOML: "]),
        ("[mixng]\nhops = 3", ["f: [mixng]: no such section; allowed: link, relay, mixing"]),
        ("[mixing]\nhop = 3", ["f: mixing.hop: no such key; did you mean mixing.hops"]),
        ("[mixing]\nhops = 17", ["f: mixing.hops: Expected `int` <= 16; allowed: a whole number from 1"]),
        ('[logging]\nlevel = "loud"', ["f: logging.level: Invalid enum value 'loud'; allowed: debug, info,"]),
        ("mixing = 3", ["f: mixing: is a section, written [mixing]"]),
        ("state_dir = 3", ["f: state_dir: Expected `str`, got `int`; allowed: text"]),
        ('[mixing]\npreset = "max"', ["f: mixing.preset: no such preset 'max'; allowed: fast, balanced"]),
        ('[mixing]\nhops = 0\ndirect = 1\n[metrics]\nlisten = "x"\n[nothing]\na = 1',
         ["f: mixing.hops: ", "f: mixing.direct: ", "f: [nothing]: ", "f: metrics.listen: 'x' is not"]),
        ("[mixing]\nmean_delay_seconds = 9.0", ["f: mixing.max_delay_seconds: must be at least ten times"]),
        ("[metrics]\nneighbour_labels = true", ["f: metrics.neighbour_labels: tells more than detail"]),
        ("[link]\ndead_after_seconds = 0.5", ["f: link.dead_after_seconds: must be more than keepalive"]),
        ("[link]\nbackoff_min_seconds = 60.0", ["f: link.backoff_max_seconds: must be at least"]),
        ("[delivery]\nmin_timeout_seconds = 60.0", ["f: delivery.max_timeout_seconds: must be at least"]),
        ('[membership]\ndial_allow = ["10.0.0.0/8", "all"]', ["f: membership.dial_allow: 'all' is not an"]),
        ('[membership]\nadvertise = "here"', ["f: membership.advertise: 'here' is not host:port"]),
        ('[link]\nlisten = "9101"', ["f: link.listen: '9101' is not host:port"]),
        ('[logging]\nfile = "peerd.log"', ["f: logging.file: "]),
        ("[logging]\nmax_bytes = 1", ["f: logging.max_bytes: ", ]),
        (f"state_dir = {'[' * 50_000}", ["f: not valid TOML: nested too deeply"]),
        ("[a.b]\nc = 1", ["f: [a]: no such section"]),
        ("[mixing.hops]\nc = 1", ["f: mixing.hops: Expected `int`, got `object`"]),
    ],
)  # fmt: skip
def test_every_mistake_is_a_line(text: str, says: list[str]) -> None:
    found = problems(text, "f")
    assert len(found) == len(says), found
    for line, beginning in zip(found, says, strict=True):
        assert line.startswith(beginning)
        assert "\n" not in line


def test_the_shipped_file_has_none() -> None:
    assert problems(SHIPPED.read_text(), "peerd.toml") == []
    assert rules(PeerdConfig()) == []
    assert problems("", "f") == []
    assert problems('[mixing]\npreset = "strong"\nhops = 2', "f") == []


def nested(values: dict[str, object]) -> str:
    """As the text of a file."""
    table: dict[str, object] = {}
    for name, value in values.items():
        section, _, key = name.partition(".")
        if key:
            inner = table.setdefault(section, {})
            assert isinstance(inner, dict)
            inner[key] = value
        else:
            table[section] = value
    return dumps(table)


WRONG = st.sampled_from([-1, 0, 3, "x", True, 1e12, [], ["x"]])


SOME = ["mixing.hops", "mixing.hop", "link.listen", "logging.level", "mixing.preset", "zone.key", "state_dir",
        "training.tasks", "mixing.mean_delay_seconds"]  # fmt: skip


@given(assignments(), st.dictionaries(st.sampled_from(SOME), WRONG, max_size=2))
def test_there_is_a_mistake_exactly_where_a_daemon_would_not_take_the_file(
    good: dict[str, object], other: dict[str, object]
) -> None:
    text = nested(good | other)
    try:
        config = Source().loads(text, "f").config
    except PeerdError:
        assert problems(text, "f")
    else:
        assert problems(text, "f") == []
        assert rules(config) == []


@given(assignments())
def test_only_rules_between_keys_are_broken_by_good_values(values: dict[str, object]) -> None:
    assert problems(nested(values), "f") == [f"f: {line}" for line in rules(merged(PeerdConfig(), values))]


def test_a_key_by_another_name_with_its_value() -> None:
    assert named("mixing.mean_delay", 1) == ("mixing.mean_delay_seconds", 1.0)
    assert named("mixing.preset", "fast") == ("mixing.preset", "fast")
