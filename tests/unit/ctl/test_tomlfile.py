from __future__ import annotations

import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctl import tomlfile

text = st.text(st.characters(exclude_categories=["Cs"]))
leaves = st.one_of(
    text,
    st.booleans(),
    st.integers(min_value=-(2**63), max_value=2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)
tables = st.recursive(
    st.dictionaries(text, leaves, max_size=5),
    lambda inner: st.dictionaries(text, st.one_of(leaves, inner), max_size=4),
    max_leaves=12,
)


@given(tables)
def test_what_is_written_is_read_back(table: dict[str, Any]) -> None:
    assert tomllib.loads(tomlfile.dumps(table)) == table


def test_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match="NoneType"):
        tomlfile.dumps({"a": None})


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "contexts.toml"
    tomlfile.write(path, {"a": 1})
    with pytest.raises(UnicodeEncodeError):
        tomlfile.write_text(path, "\ud800")
    assert path.read_text() == "a = 1\n"
    assert list(tmp_path.iterdir()) == [path]


def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "contexts.toml"
    tomlfile.write(path, {"a": 1})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
