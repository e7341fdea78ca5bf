from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest

from ctl.contexts import Contexts, Endpoint, Tls
from ctl.doctor import host
from ctl.doctor.certificate import SOON_DAYS, validity
from ctl.doctor.state_dir import check_state_dir
from ctl.targets import Settings
from peerd.config import NetworkConfig
from peerd.membership import Authority, Identity, PeerState

DAY = 86_400.0


def levels(findings: Any) -> dict[str, str]:
    """The worst of each check."""
    order = ("ok", "warn", "fail")
    found: dict[str, str] = {}
    for finding in findings:
        before = found.get(finding.check, "ok")
        found[finding.check] = max(before, finding.level, key=order.index)
    return found


@pytest.fixture
def network(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "net", NetworkConfig(name="lab"))


@pytest.fixture
def peer(tmp_path: Path, network: Authority) -> Path:
    folder = tmp_path / "alice"
    identity = Identity.create(folder, "alice", "192.0.2.1:9101")
    network.sign(identity.request(), "request").install(folder)
    return folder


def test_this_host_has_what_the_tests_have() -> None:
    assert levels(host.check_host())["python"] == "ok"


def test_few_files_and_no_torch_are_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    monkeypatch.setattr(host.importlib.util, "find_spec", lambda _: None)
    found = {finding.check: finding for finding in host.check_host()}
    assert (found["files"].level, found["torch"].level) == ("warn", "warn")
    assert "1024 files open" in found["files"].text and "LimitNOFILE" in found["files"].advice


def test_a_shells_soft_limit_is_no_daemons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1 << 20))
    assert levels(host.check_host())["files"] == "ok"


def test_config(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text("[mixing]\nhops = 2\n")
    bad.write_text("[mixing]\nhop = 2\n")
    assert levels(host.check_config(good)) == {"config": "ok"}
    (finding,) = host.check_config(bad)
    assert finding.level == "fail" and "unknown field" in finding.text and finding.advice
    assert list(host.check_config(None)) == []


def test_contexts_that_others_may_write(home: Path) -> None:
    contexts = Contexts(home / "contexts.toml").adding(Endpoint("alice", "unix:/x"))
    assert [finding.level for finding in host.check_contexts(Settings())] == ["warn"]  # there is none yet
    contexts.save()
    assert levels(host.check_contexts(Settings())) == {"contexts": "ok"}
    contexts.path.chmod(0o666)
    assert levels(host.check_contexts(Settings())) == {"contexts": "fail"}
    contexts.path.write_text("current =")
    (finding,) = host.check_contexts(Settings())
    assert finding.level == "fail" and "not valid TOML" in finding.text


def test_the_operators_files(home: Path, network: Authority) -> None:
    network.operator("ops", "admin", home / "ops")
    tls = Tls(home / "ops/ca.pem", home / "ops/ops.pem", home / "ops/ops.key", "bob")
    Contexts(home / "contexts.toml").adding(Endpoint("bob", "192.0.2.1:9102", tls)).save()
    assert levels(host.check_contexts(Settings())) == {"contexts": "ok", "certificate": "ok"}
    (home / "ops/ops.key").chmod(0o644)
    assert levels(host.check_contexts(Settings()))["permissions"] == "fail"
    (home / "ops/ops.key").unlink()
    assert levels(host.check_contexts(Settings()))["permissions"] == "fail"
    (home / "ops/ops.pem").write_text("nothing")
    assert levels(host.check_contexts(Settings()))["certificate"] == "fail"


def test_a_state_directory_in_order(peer: Path) -> None:
    found = levels(check_state_dir(peer, "here"))
    assert set(found) == {"permissions", "membership", "certificate", "disk"}
    assert {found[check] for check in ("permissions", "membership", "certificate")} == {"ok"}


def test_a_state_directory_that_is_open(peer: Path) -> None:
    (peer / "identity.json").chmod(0o640)
    findings = [f for f in check_state_dir(peer, "here") if f.level == "fail"]
    assert [f.check for f in findings] == ["permissions"]
    assert "-rw-r-----" in findings[0].text and "chmod 600" in findings[0].advice
    (peer / "identity.json").chmod(0o600)
    peer.chmod(0o755)
    (finding,) = [f for f in check_state_dir(peer, "here") if f.level == "fail"]
    assert "chmod 700" in finding.advice


def test_a_state_directory_without_a_bundle_or_of_nobody(peer: Path, tmp_path: Path) -> None:
    (peer / "bundle.json").unlink()
    assert levels(check_state_dir(peer, "here"))["membership"] == "fail"
    assert [f.level for f in check_state_dir(tmp_path / "nowhere", "here")] == ["fail"]


def test_a_disk_that_is_full(peer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, level in ((1 << 20, "fail"), (500 << 20, "warn"), (9 << 30, "ok")):
        monkeypatch.setattr("shutil.disk_usage", lambda _, free=free: type("Usage", (), {"free": free}))
        assert levels(check_state_dir(peer, "here"))["disk"] == level


def test_certificates_by_the_calendar(peer: Path) -> None:
    certificate = PeerState.load(peer).certificate
    end = certificate.not_valid_after_utc.timestamp()
    start = certificate.not_valid_before_utc.timestamp()
    for at, level in ((end - (SOON_DAYS + 2) * DAY, "ok"), (end - 5 * DAY, "warn"), (end + DAY, "fail"),
                      (start - DAY, "fail")):  # fmt: skip
        found = validity("here", "the CA", certificate, at, "make another")
        assert found.level == level
        assert bool(found.advice) == (level != "ok")


def test_a_peer_of_this_host_is_known_by_its_socket(peer: Path) -> None:
    assert host.state_dir_of(Endpoint("alice", f"unix:{peer}/control.sock")) == peer
    assert host.state_dir_of(Endpoint("alice", "unix:/nowhere/control.sock")) is None
    tls = Tls(peer, peer, peer, "alice")
    assert host.state_dir_of(Endpoint("alice", "192.0.2.1:1", tls)) is None
