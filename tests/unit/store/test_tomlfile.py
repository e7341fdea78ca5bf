from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from anyconfig import assignments
from hypothesis import given

from ctl.tomlfile import dumps
from peerd.config import PeerdConfig, load, loads
from peerd.errors import ConflictError, InvalidInputError, NotFoundError
from peerd.settings import flat
from peerd.store import edit_toml
from peerd.store.tomlfile import edited

SHIPPED = Path(__file__).parents[3] / "deploy" / "peerd.toml"
TEXT = """\
# Of alice.
state_dir = "/var/lib/peerd"   # where

[logging]
level = "info"      # debug, info

[mixing]
hops = 2            # few
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "peerd.toml"
    path.write_text(TEXT)
    return path


def test_only_the_values_change(file: Path) -> None:
    file.chmod(0o640)
    edit_toml(file, {"mixing.hops": 4, "logging.level": "debug", "state_dir": "/srv"})
    assert file.read_text() == TEXT.replace("hops = 2 ", "hops = 4 ").replace(
        '= "info"', '= "debug"'
    ).replace("/var/lib/peerd", "/srv")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert list(file.parent.iterdir()) == [file]


def test_keys_and_sections_that_are_not_there_are_added(file: Path) -> None:
    edit_toml(
        file, {"mixing.mean_delay_seconds": 0.08, "training.tasks": ["a", "b:c"], "link.queue_cells": 9}
    )
    config = load(file)
    assert config.mixing.mean_delay_seconds == 0.08
    assert config.training.tasks == ("a", "b:c")
    assert config.link.queue_cells == 9
    assert file.read_text().startswith(TEXT.rstrip())


@given(assignments())
def test_the_shipped_file_keeps_every_comment_and_every_other_value(values: dict[str, Any]) -> None:
    before = SHIPPED.read_text()
    after = edited(before, values, "f")
    assert flat(loads(after, "f")) == flat(PeerdConfig()) | values
    assert [line.partition("#")[2] for line in after.splitlines() if "#" in line] == [
        line.partition("#")[2] for line in before.splitlines() if "#" in line
    ]


@given(assignments(), assignments())
def test_what_was_set_before_stays(first: dict[str, Any], then: dict[str, Any]) -> None:
    text = edited(edited("", first, "f"), then, "f")
    assert flat(loads(text, "f")) == flat(PeerdConfig()) | first | then


def test_dotted_keys_and_inline_tables_are_edited_where_they_are(file: Path) -> None:
    file.write_text('mixing.hops = 2\nlogging = {level = "info"}\n')
    edit_toml(file, {"mixing.hops": 3, "logging.level": "error"})
    assert (load(file).mixing.hops, load(file).logging.level) == (3, "error")


def test_a_key_goes_over_the_files_preset(file: Path) -> None:
    file.write_text('[mixing]\npreset = "strong"\n')
    edit_toml(file, {"mixing.mean_delay_seconds": 0.3})
    assert load(file).mixing.mean_delay_seconds == 0.3


@pytest.mark.parametrize("text", ["[mixing", "[mixing]\nhops = 0", "[nothing]", "mixing = 3"])
def test_a_file_with_a_mistake_is_left_alone(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(InvalidInputError, match=r"peerd\.toml: "):
        edit_toml(file, {"mixing.hops": 3})
    assert file.read_text() == text


def test_a_link_stays_one_and_a_missing_file_is_not_made(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    edit_toml(link, {"mixing.hops": 3})
    assert link.is_symlink()
    assert load(file).mixing.hops == 3
    with pytest.raises(NotFoundError, match="no such config file"):
        edit_toml(tmp_path / "none.toml", {"mixing.hops": 3})


def test_what_cannot_be_written_is_as_it_was(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConflictError, match=r"peerd\.toml: cannot be written \(No space left on device\)"):
        edit_toml(file, {"mixing.hops": 3})
    assert file.read_text() == TEXT
    assert list(file.parent.iterdir()) == [file]


def test_a_text_that_is_not_toml_is_refused_and_an_empty_one_filled() -> None:
    with pytest.raises(InvalidInputError, match="f: not valid TOML: "):
        edited("a = ", {}, "f")
    assert edited("", {"mixing.hops": 3}, "f") == dumps({"mixing": {"hops": 3}})
