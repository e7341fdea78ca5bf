from __future__ import annotations

from pathlib import Path

import pytest

from ctl.contexts import Contexts, Endpoint
from ctl.targets import (
    Settings,
    effective,
    forget_testbed,
    remember_testbed,
    remembered_testbed,
    resolve,
)
from peerd.errors import InvalidInputError, NotFoundError

A, B = Endpoint("a", "unix:/a.sock"), Endpoint("b", "unix:/b.sock")


@pytest.fixture
def known(home: Path) -> Contexts:
    contexts = Contexts(home / "contexts.toml").adding(A).adding(B)
    contexts.save()
    return contexts


def make_testbed(folder: Path) -> Path:
    folder.mkdir()
    Contexts(folder / "contexts.toml").adding(Endpoint("t", "unix:/t.sock")).save()
    return folder


@pytest.mark.usefixtures("known")
def test_what_is_named_is_asked() -> None:
    assert resolve(Settings()).endpoints == (A,)
    assert resolve(Settings(context="b")).endpoints == (B,)
    assert not resolve(Settings(context="b")).many
    both = resolve(Settings(all=True))
    assert both.endpoints == (A, B)
    assert both.many
    assert resolve(Settings(on=" b, a,b ")).endpoints == (B, A)
    assert resolve(Settings(on="b")).many
    assert resolve(Settings(endpoint="unix:/x")).endpoints == (Endpoint("peer", "unix:/x"),)


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(all=True, on="a"), "--on and --all do not go together"),
        (Settings(context="a", endpoint="unix:/x"), "--endpoint and --context do not"),
        (Settings(on=" , "), "name at least one peer"),
    ],
)
def test_what_does_not_go_together(settings: Settings, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        resolve(settings)


def test_without_a_current_endpoint_one_must_choose(known: Contexts) -> None:
    three = known.adding(Endpoint("c", "unix:/c.sock"))
    three.removing("a").save()
    with pytest.raises(InvalidInputError, match=r"which peer.*known: b, c"):
        resolve(Settings())
    three.removing("a").removing("b").save()
    assert resolve(Settings()).endpoints[0].name == "c"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("settings", [Settings(), Settings(all=True)])
def test_with_no_endpoints_at_all_it_says_how_to_add_one(settings: Settings) -> None:
    with pytest.raises(NotFoundError, match="peerctl context add"):
        resolve(settings)


@pytest.mark.usefixtures("known")
def test_a_running_testbed_comes_first_and_is_forgotten(tmp_path: Path) -> None:
    folder = make_testbed(tmp_path / "lab")
    assert remembered_testbed() is None
    assert remember_testbed(folder)
    assert [e.name for e in resolve(Settings(all=True)).endpoints] == ["t"]
    forget_testbed(tmp_path / "another")
    assert remembered_testbed() == folder
    forget_testbed(folder)
    assert resolve(Settings()).endpoints == (A,)


@pytest.mark.usefixtures("known")
def test_a_named_testbed_wins_over_the_remembered_one(tmp_path: Path) -> None:
    remember_testbed(make_testbed(tmp_path / "old"))
    folder = make_testbed(tmp_path / "new")
    assert effective(Settings(testbed=folder)).path == folder / "contexts.toml"
    with pytest.raises(NotFoundError, match="no testbed here"):
        effective(Settings(testbed=tmp_path))


@pytest.mark.usefixtures("known")
def test_a_testbed_whose_folder_is_gone_is_not_remembered(tmp_path: Path) -> None:
    folder = make_testbed(tmp_path / "lab")
    remember_testbed(folder)
    (folder / "contexts.toml").unlink()
    assert remembered_testbed() is None


def test_it_can_do_without_a_writable_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERCTL_CONTEXTS", "/proc/nowhere/contexts.toml")
    assert remember_testbed(Path("/tmp/x")) is False
    assert remembered_testbed() is None
