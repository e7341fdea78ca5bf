"""The status page and the dashboard in a real browser, of a real network."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
PATIENCE = 100_000
"""Milliseconds: trainers take their time to start where other tests run."""
WIDTHS = (400, 768, 1280, 1600)
expect = sync_api.expect


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def testbed(make_programs: Any, make_testbed: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One for all tests here; the last of them takes it apart."""
    home = tmp_path_factory.mktemp("home")
    running = make_testbed(tmp_path_factory.mktemp("dashboard") / "tb", make_programs(home))
    try:
        running.up(3, "--hops", "1")
        yield running
    finally:
        running.down()


@pytest.fixture
def tab(browser: Any) -> Iterator[Callable[[str], Any]]:
    """Open a page in a session of its own. What a browser complains of fails the test: a broken script, what
    the page's own policy forbids. It also notes refusals, which are asked for here."""
    complaints: list[str] = []

    def listen(line: Any) -> None:
        if line.type in ("error", "warning") and not line.text.startswith("Failed to load resource"):
            complaints.append(line.text)

    def open_page(url: str) -> Any:
        page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", listen)
        page.goto(url)
        return page

    expect.set_options(timeout=PATIENCE)
    yield open_page
    assert complaints == []


@contextmanager
def dashboard(programs: Any, folder: Any) -> Iterator[str]:
    """The link that `peerctl dashboard` prints; Ctrl-C ends it."""
    process = subprocess.Popen(
        ["peerctl", "--testbed", str(folder), "dashboard", "--no-open", "--output", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=programs.environment,
        cwd=programs.home,
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        assert (process.returncode, said) == (0, "The dashboard has ended; the peers go on.\n")
    finally:
        process.kill()
        process.wait()


def fits(page: Any) -> None:
    """Nothing is wider than the window, whatever its width, and nothing of a control is lost."""
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, width
    page.set_viewport_size({"width": 1280, "height": 800})


def row(page: Any, name: str) -> Any:
    return page.locator("#peers tr", has=page.get_by_role("rowheader", name=name))


@pytest.mark.timeout(400)
def test_a_link_opens_one_browser_only(testbed: Any, programs: Any, browser: Any, tab: Any) -> None:
    with dashboard(programs, testbed.folder) as link:
        expect(tab(link).locator("#about")).to_contain_text("3 of 3 peers answer")
        other = browser.new_context().new_page()  # its 403 stands on the console
        assert other.goto(link).status == 403
        expect(other.get_by_role("heading")).to_have_text("This dashboard is not open here")
        assert other.goto(link.partition("/open")[0]).status == 403

    # -- and each peer's own page
    status = testbed.ask("--context", "alice", "status")
    page = tab(f"http://{status['metrics_address']}/")
    expect(page.locator("#name")).to_have_text("alice")
    expect(page.locator("#peers")).to_have_text("2 of 2")
    about = page.locator("#about").text_content()
    expect(page.locator("#about")).not_to_have_text(about)  # it updates itself
    testbed.ask("--all", "run", "start", "--task", "synthetic", "--rounds", "3")
    expect(page.locator("#round")).to_have_text("3 / 3")
    expect(page.locator("#accuracy-chart polyline.line").first).to_be_attached()
    testbed.ask("--context", "alice", "mix", "set", "--direct", "on")
    expect(page.locator("#alarms")).to_contain_text("NO ANONYMITY")
    fits(page)
    testbed.ask("--context", "alice", "mix", "set", "--direct", "off")


@pytest.mark.timeout(500)
def test_a_network_is_watched_and_steered_in_a_browser(testbed: Any, programs: Any, tab: Any) -> None:
    with dashboard(programs, testbed.folder) as link:
        page = tab(link)
        expect(page.locator("#about")).to_contain_text("3 of 3 peers answer")
        assert "token" not in page.url
        assert "key" not in page.url
        expect(page.locator("#peers tr")).to_have_count(3)
        expect(row(page, "alice")).to_contain_text("2 of 2")
        _mix_by_the_form(page, testbed)
        _train_by_the_form(page)
        fits(page)
        _steer_a_run(page, testbed)
        _lose_a_peer(page, testbed, programs)
        page.reload()  # the session lasts as long as the command
        expect(page.locator("#about")).to_contain_text("2 of 3 peers answer")


def _mix_by_the_form(page: Any, testbed: Any) -> None:
    delay = page.get_by_label("Mean delay a hop")
    expect(delay).to_have_value("50ms")
    delay.fill("20ms")
    page.get_by_label("Loop cover a second").fill("1.5")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#mix-outcome")).to_have_text("Set on alice, bob, carol")
    for mixing in testbed.ask("--all", "mix", "show").values():
        assert (mixing["mean_delay_seconds"], mixing["loop_rate_per_second"]) == (0.02, 1.5)
    page.get_by_label("Hops").fill("9")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#mix-outcome")).to_have_attribute("data-tone", "bad")
    expect(page.locator("#mix-outcome li")).to_have_count(3)
    page.get_by_role("button", name="Undo changes").click()
    expect(page.get_by_label("Hops")).to_have_value("1")
    page.get_by_label("Strategy").select_option("pool")
    page.get_by_label("Which peers").select_option("bob")  # what was typed for others is not meant for it
    expect(page.get_by_label("Strategy")).to_have_value("exponential")
    page.get_by_label("Strategy").select_option("pool")
    page.get_by_label("Packets that stay").fill("3")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#mix-outcome")).to_have_text("Set on bob")
    expect(row(page, "bob")).to_contain_text("pool, 1 hop")
    expect(row(page, "alice")).to_contain_text("exponential, 1 hop")
    page.get_by_label("Which peers").select_option("")
    expect(page.get_by_label("Strategy")).to_have_value("")  # they differ
    page.get_by_label("Preset").select_option("fast")
    page.get_by_role("button", name="Apply").click()
    expect(row(page, "bob")).to_contain_text("exponential, 1 hop")


def _train_by_the_form(page: Any) -> None:
    page.get_by_label("Task").fill("synthetic")
    page.get_by_role("textbox", name="Rounds", exact=True).fill("none")
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#run-outcome")).to_have_text("rounds: 'none' is not a whole number")
    page.get_by_role("textbox", name="Rounds", exact=True).fill("4")
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#run-outcome")).to_contain_text("Started on alice, bob, carol")
    expect(page.locator("#run-outcome")).to_contain_text("announced to the whole network")
    expect(page.locator("#run-state")).to_have_text("finished")
    expect(page.locator("#round")).to_have_text("4 / 4")
    line = page.locator("#accuracy-chart polyline.line").first
    expect(line).to_have_attribute("points", re.compile(r"^\S+( \S+){3}$"))
    page.locator("#accuracy-chart .plot").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#accuracy-chart .tip")).to_contain_text("Round 4")
    expect(page.locator("#rtt-chart polyline.line").first).to_be_attached()
    expect(row(page, "carol")).to_contain_text("finished")


def _steer_a_run(page: Any, testbed: Any) -> None:
    page.get_by_role("textbox", name="Rounds", exact=True).fill("1000")
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#run-state")).to_have_text("running")
    expect(page.get_by_role("button", name="Start")).to_be_disabled()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#run-state")).to_have_text("paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#run-state")).to_have_text("running")
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#run-state")).to_have_text("running")
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("button", name="Stop it").click()
    expect(page.locator("#run-state")).to_have_text("stopped")
    assert {run["state"] for run in testbed.ask("--all", "run", "show").values()} == {"stopped"}


def _lose_a_peer(page: Any, testbed: Any, programs: Any) -> None:
    programs.ok("peerctl", "testbed", "kill", "--dir", testbed.folder, "carol")
    expect(page.locator("#about")).to_contain_text("2 of 3 peers answer")
    expect(row(page, "carol")).to_contain_text("no daemon answers")
    expect(row(page, "alice")).not_to_contain_text("no answer")
