"""The pages as they are shipped: nothing in them needs what their policy forbids."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from peerd.web import PAGE_HEADERS, load

ROOT = Path(__file__).parents[3]
FOLDERS = ("peerd/web/static", "peerd/observe/static", "ctl/dashboard/static")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).iterdir())


def test_files_are_read_with_their_types() -> None:
    assets = load("peerd.web", "theme.css", "draw.js", "icon.svg")
    assert assets["theme.css"].content_type == "text/css; charset=utf-8"
    assert assets["draw.js"].content_type == "text/javascript; charset=utf-8"
    assert assets["icon.svg"].body.startswith(b"<svg")


def test_the_policy_allows_no_script_in_the_page_and_nothing_from_elsewhere() -> None:
    policy = dict(part.strip().split(" ", 1) for part in PAGE_HEADERS["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "img-src", "connect-src")} == {"'self'"}
    assert {policy[name] for name in ("form-action", "base-uri", "frame-ancestors")} == {"'none'"}
    assert "unsafe" not in PAGE_HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_asks_for_anything_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|//[a-z]+\.[a-z]{2,}/|@import|url\(", text)


@pytest.mark.parametrize("path", [p for p in FILES if p.suffix == ".html"], ids=lambda path: path.name)
def test_no_page_has_script_or_style_in_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text)
    assert all(re.search(r"src=", tag) for tag in re.findall(r"<script[^>]*>", text))
    assert '<html lang="en">' in text
    assert "width=device-width" in text


@pytest.mark.parametrize("path", [p for p in FILES if p.suffix == ".js"], ids=lambda path: path.name)
def test_no_script_makes_markup_of_text(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser"
    assert not re.search(forbidden, text)


@pytest.mark.parametrize("path", [p for p in FILES if p.suffix == ".html"], ids=lambda path: path.name)
def test_every_input_has_a_label(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    fields = re.findall(r"<(?:input|select)\b", text)
    labelled = re.findall(r"<label[^>]*>[^<]+<(?:input|select)\b", text)
    assert len(fields) == len(labelled)
