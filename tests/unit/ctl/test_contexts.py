from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctl.contexts import (
    Contexts,
    Endpoint,
    Tls,
    default_path,
    operator_tls,
    parse_endpoint,
)
from ctl.tomlfile import dumps
from peerd.errors import InvalidInputError, NotFoundError

FOLDER = Path("/etc/peerd")
FILE = FOLDER / "contexts.toml"

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
paths = st.from_regex(r"/[a-z0-9/ é\"'#=\\]{1,30}", fullmatch=True).map(Path)
sockets = st.builds(lambda name, path: Endpoint(name, f"unix:{path}"), names, paths)
remotes = st.builds(
    lambda name, port, files, peer: Endpoint(name, f"192.0.2.1:{port}", Tls(*files, peer)),
    names,
    st.integers(0, 65_535),
    st.tuples(paths, paths, paths),
    names,
)


@settings(max_examples=40)
@given(st.lists(st.one_of(sockets, remotes), max_size=5), st.none() | paths)
def test_what_is_saved_is_loaded(
    tmp_path_factory: pytest.TempPathFactory, endpoints: list[Endpoint], operator: Path | None
) -> None:
    contexts = Contexts(tmp_path_factory.mktemp("c") / "contexts.toml", operator=operator)
    for endpoint in endpoints:
        contexts = contexts.adding(endpoint)
    contexts.save()
    assert Contexts.load(contexts.path) == contexts


@given(st.binary(max_size=300))
def test_any_bytes_give_contexts_or_one_line(data: bytes) -> None:
    try:
        Contexts.parse(data, FILE)
    except InvalidInputError as error:
        assert str(error).startswith(str(FILE))


plain = st.recursive(
    st.one_of(st.text(max_size=8), st.integers(-5, 5), st.booleans()),
    lambda inner: st.dictionaries(
        st.sampled_from(["current", "endpoints", "alice", "address", "ca", "cert", "key", "peer"]),
        inner,
        max_size=4,
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["current", "operator", "endpoints", "other"]), plain))
def test_any_toml_gives_contexts_or_one_line(raw: dict[str, object]) -> None:
    try:
        Contexts.parse(dumps(raw).encode(), FILE)
    except InvalidInputError as error:
        assert str(error).startswith(str(FILE))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("endpoints = 3", "endpoints: Expected `object`"),
        ("colour = 'red'", "unknown field `colour`"),
        (
            "[endpoints.'-x']\naddress = 'unix:/s'",
            "endpoints: not of the form that it must have; allowed: up to 63 letters",
        ),
        ("[endpoints.a]\naddress = 'unix:'", "endpoints.a: unix: needs a path"),
        ("[endpoints.a]\naddress = 'unix:/s'\nca = 'x'", "takes no ca"),
        ("[endpoints.a]\naddress = '1.2.3.4'", "'1.2.3.4' is not host:port"),
        ("[endpoints.a]\naddress = 'h:1'", "TCP needs ca, cert and key; without ca"),
        ("[endpoints.a]\naddress = 'h:1'\nca = 'x'\ncert = 'y'", "without key"),
        ("[endpoints.a]\naddress = 'unix:~nobody-of-this-name/s'", "not a usable path"),
        ("current = 'b'", "there is no endpoint 'b'"),
        ("operator = 3", "operator: Expected `str`"),
        (
            "operator = '~nobody-of-this-name/ops.pem'",
            "operator: '~nobody-of-this-name/ops.pem' is not a usable",
        ),
        ("[endpoints", "not valid TOML"),
    ],
)
def test_broken_files_say_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Contexts.parse(text.encode(), FILE)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_relative_paths_are_relative_to_the_file() -> None:
    text = (
        "[endpoints.a]\naddress = 'unix:run/a.sock'\n"
        "[endpoints.b]\naddress = 'h:1'\nca = 'ca.pem'\ncert = '/x/ops.pem'\nkey = 'ops.key'\n"
    )
    contexts = Contexts.parse(text.encode(), FILE)
    assert contexts.get("a").address == "unix:/etc/peerd/run/a.sock"
    tls = contexts.get("b").tls
    assert tls == Tls(FOLDER / "ca.pem", Path("/x/ops.pem"), FOLDER / "ops.key", "b")
    assert tls.server_name == "b.peerd"
    assert contexts.operator is None
    assert Contexts.parse(b"operator = 'ops/ops.pem'", FILE).operator == FOLDER / "ops/ops.pem"


def test_the_first_added_is_current_until_removed() -> None:
    a, b = Endpoint("a", "unix:/a"), Endpoint("b", "unix:/b")
    contexts = Contexts(FILE).adding(a).adding(b)
    assert contexts.current == "a"
    assert contexts.using("b").current == "b"
    assert contexts.removing("a").current == ""
    assert list(contexts.removing("a").endpoints) == ["b"]
    with pytest.raises(NotFoundError, match="no endpoint 'c'; known: a, b"):
        contexts.using("c")


def test_a_missing_file_is_empty_and_a_folder_is_an_error(tmp_path: Path) -> None:
    assert Contexts.load(tmp_path / "none.toml").endpoints == {}
    with pytest.raises(InvalidInputError, match="cannot be read"):
        Contexts.load(tmp_path)


def operator_files(folder: Path) -> Path:
    for name in ("ca.pem", "ops.pem", "ops.key"):
        (folder / name).touch()
    return folder / "ops.pem"


def test_parse_endpoint(tmp_path: Path) -> None:
    certificate = operator_files(tmp_path)
    assert parse_endpoint("unix:/a.sock", None) == Endpoint("peer", "unix:/a.sock")
    remote = parse_endpoint("bob@[::1]:9102", certificate)
    assert (remote.name, remote.address) == ("bob", "[::1]:9102")
    assert remote.tls == operator_tls(certificate, "bob")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unix:", "needs a path"),
        ("192.0.2.1:9102", "NAME@192.0.2.1:9102"),
        ("bob@192.0.2.1", "not host:port"),
        ("bob@h:70000", "not host:port"),
        ("bob@h:1", "--operator NAME.pem"),
        ("b b@h:1", "not an endpoint's name"),
    ],
)
def test_endpoints_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message.replace("[", r"\[")):
        parse_endpoint(text, None)


@given(st.text(max_size=40))
def test_any_endpoint_text_is_taken_or_refused(text: str) -> None:
    try:
        assert parse_endpoint(text, None).local
    except InvalidInputError as error:
        assert str(error)


def test_an_operators_files_must_be_complete(tmp_path: Path) -> None:
    certificate = operator_files(tmp_path)
    (tmp_path / "ops.key").unlink()
    with pytest.raises(NotFoundError, match=r"ops\.key: no such file"):
        operator_tls(certificate, "bob")


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PEERCTL_CONTEXTS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/conf")
    assert default_path() == Path("/conf/peerd/contexts.toml")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "/home/ops")
    assert default_path() == Path("/home/ops/.config/peerd/contexts.toml")
    monkeypatch.setenv("PEERCTL_CONTEXTS", "~/mine.toml")
    assert default_path() == Path("/home/ops/mine.toml")
