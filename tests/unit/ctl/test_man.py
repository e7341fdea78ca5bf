from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctl.cli import cli
from ctl.man import escape, pages
from peerd.__main__ import cli as peerd


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pages of both programs."""
    made = tmp_path_factory.mktemp("man1")
    for name, program in (("peerctl", cli), ("peerd", peerd)):
        for file, text in pages(program, name, "0.1.0", 0.0):
            (made / file).write_text(text, encoding="utf-8")
    return made


def names(command: click.Command, path: str) -> list[str]:
    inner = command if isinstance(command, click.Group) else click.Group()
    context = click.Context(inner)
    below = [(key, inner.get_command(context, key)) for key in inner.list_commands(context)]
    return [path, *(name for key, one in below if one for name in names(one, f"{path}-{key}"))]


def test_every_command_has_a_page_and_every_option_is_on_it(folder: Path) -> None:
    assert {path.stem for path in folder.iterdir()} == {*names(cli, "peerctl"), *names(peerd, "peerd")}
    start = (folder / "peerctl-run-start.1").read_text()
    for option in ("\\-\\-privacy\\-clip", "\\-\\-task", "\\-\\-dissemination"):
        assert f".B {option}" in start
    assert ".SH EXAMPLES" in start and "peerctl run start \\-\\-wait" in start
    whole = (folder / "peerctl.1").read_text()
    assert ".SH EXIT STATUS" in whole and ".BR peerctl\\-mix (1)" in whole and "\\-\\-context NAME" in whole
    assert '.TH "PEERCTL" "1" "1970\\-01\\-01"' in whole.replace("1970-01-01", "1970\\-01\\-01")


def test_no_control_character_and_no_stray_request_is_in_a_page(folder: Path) -> None:
    requests = {".TH", ".SH", ".B", ".BR", ".TP", ".PP", ".nf", ".fi", ".sp"}
    for path in folder.iterdir():
        for line in path.read_text().splitlines():
            assert line.isascii() and line.isprintable(), (path.name, line)
            if line.startswith("."):
                assert line.split()[0] in requests, (path.name, line)


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed (apt-get install mandoc)")
def test_mandoc_finds_nothing(folder: Path) -> None:
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *sorted(map(str, folder.iterdir()))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "" and done.returncode == 0


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed (apt-get install man-db)")
@pytest.mark.parametrize("page", ["peerctl", "peerctl-run-start", "peerctl-top", "peerd-run"])
def test_man_shows_it_without_a_warning(folder: Path, page: str) -> None:
    done = subprocess.run(
        ["man", "--warnings", "-l", "-P", "cat", str(folder / f"{page}.1")], capture_output=True, text=True,
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "200", "LC_ALL": "C.UTF-8", "HOME": str(folder)},
        check=True,
    )  # fmt: skip
    assert done.stderr == ""
    shown = re.sub(".\x08", "", done.stdout)
    assert page.upper() in shown and "SYNOPSIS" in shown


def test_the_command(peerctl: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    data = peerctl.json("man", str(tmp_path / "man1"))
    assert len(data["pages"]) == len(names(cli, "peerctl")) == len(list((tmp_path / "man1").iterdir()))
    assert "1970-01-02" in (tmp_path / "man1" / "peerctl-top.1").read_text()
    assert "cannot be written" in peerctl.error(2, "man", "/proc/nothing")


def test_make_man_writes_both_programs(tmp_path: Path) -> None:
    script = Path(__file__).parents[3] / "deploy" / "man.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, capture_output=True)
    assert {"peerctl.1", "peerd.1", "peerd-join.1"} <= {path.name for path in tmp_path.iterdir()}


@given(st.text(alphabet=st.characters(exclude_categories=("Cc", "Cs")), max_size=60))
def test_nothing_in_a_text_has_a_meaning(text: str) -> None:
    found = escape(text)
    assert found.isascii() and not found.startswith((".", "'"))
    assert "\\" not in re.sub(r"\\(?:e|-|&|\((?:ti|ha|ga|aq)|\[u[0-9A-F]{4,6}\])", "", found)
