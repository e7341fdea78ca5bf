from __future__ import annotations

from pathlib import Path

import pytest

from peerd.config import NetworkConfig
from peerd.membership import Authority, Identity


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "net", NetworkConfig(name="lab", body_bytes=4096))


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity.create(tmp_path / "alice", "alice", "192.0.2.1:9101")


@pytest.fixture
def private_parts():
    """Every form in which an identity's private keys might leak."""

    def parts(identity: Identity) -> list[bytes]:
        import base64

        secrets = [identity._identity.private_bytes_raw()]
        number = identity._link.private_numbers().private_value
        secrets.append(number.to_bytes(32, "big"))
        lines = [line for line in identity.link_key_pem.splitlines() if b"-----" not in line]
        forms = [s for secret in secrets for s in (secret, secret.hex().encode())]
        return [*forms, *(base64.b64encode(s)[:40] for s in secrets), *lines[:2]]

    return parts
