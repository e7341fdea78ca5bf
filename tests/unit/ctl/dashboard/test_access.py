from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctl.dashboard.access import Access, from_the_page, is_here


@pytest.fixture
def access() -> Access:
    numbers = count()
    return Access(lambda: f"secret-{next(numbers)}")


def test_the_token_is_good_once(access: Access) -> None:
    token = access.token
    assert token == "secret-0"
    session = access.redeem(token)
    assert session is not None
    assert access.token is None
    assert access.redeem(token) is None
    assert access.redeem("") is None
    assert access.admits(session.cookie, session.key), "a second try takes nothing from the first"


def test_a_wrong_token_does_not_spend_the_right_one(access: Access) -> None:
    for wrong in ("", "secret", "secret-00", "secret-1", "sécret\udcff"):
        assert access.redeem(wrong) is None
    assert access.redeem("secret-0") is not None


def test_it_takes_both_cookie_and_key(access: Access) -> None:
    assert not access.admits("", "")
    assert not access.knows("")
    session = access.redeem("secret-0")
    assert session is not None
    assert len({session.cookie, session.key, "secret-0"}) == 3
    assert access.knows(session.cookie)
    assert access.admits(session.cookie, session.key)
    for cookie, key in (
        (session.cookie, ""), ("", session.key), (session.key, session.cookie),
        (session.cookie, session.cookie), (session.cookie, "\udcff"), ("\udcff", session.key),
    ):  # fmt: skip
        assert not access.admits(cookie, key)


def test_secrets_are_long_and_unlike() -> None:
    tokens = {Access().token for _ in range(50)}
    assert len(tokens) == 50
    assert all(token is not None and len(token) >= 40 for token in tokens)


@given(st.text(max_size=100))
def test_no_text_is_the_token(text: str) -> None:
    assert Access().redeem(text) is None


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1:8470", True),
        ("localhost:1", True),
        ("[::1]:8470", True),
        ("127.3.2.1", True),
        ("", False),
        ("192.0.2.1:8470", False),
        ("0.0.0.0:8470", False),
        ("evil.example", False),
        ("localhost.evil.example:8470", False),
    ],
)
def test_only_loopback_is_here(host: str, here: bool) -> None:
    assert is_here(host) is here


@pytest.mark.parametrize(
    ("origin", "host", "site", "same"),
    [
        ("http://localhost:8470", "localhost:8470", "same-origin", True),
        ("http://127.0.0.1:8470", "127.0.0.1:8470", "", True),
        ("http://localhost:8471", "localhost:8470", "same-site", False),
        ("http://localhost:8470", "localhost:8470", "same-site", False),
        ("http://localhost:8470", "localhost:8470", "cross-site", False),
        ("http://localhost:8470", "localhost:8470", "none", False),
        ("https://localhost:8470", "localhost:8470", "", False),
        ("http://127.0.0.1:8470", "localhost:8470", "", False),
        ("http://evil.example", "localhost:8470", "", False),
        ("null", "localhost:8470", "", False),
        ("", "localhost:8470", "same-origin", False),
        ("http://", "", "", False),
    ],
)
def test_what_changes_something_comes_from_the_page(origin: str, host: str, site: str, same: bool) -> None:
    assert from_the_page(origin, host, site) is same
