"""Archives that nobody's `peerd backup` has made: refused in one line, and nothing is left behind."""

from __future__ import annotations

import hashlib
import io
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peerd.errors import InvalidInputError

MODEL = "runs/0123456789abcdef0123456789abcdef/round-0000004.safetensors"


def archive(*members: tuple[str, bytes] | tarfile.TarInfo, kind: int = tarfile.USTAR_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return out.getvalue()


def special(name: str, kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def refused(restore, tmp_path, data: bytes) -> str:
    before = set(tmp_path.rglob("*"))
    with pytest.raises(InvalidInputError) as error:
        restore(data)
    assert set(tmp_path.rglob("*")) == before, "nothing is left"
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../alice/identity.json",
        "run/../identity.json",
        "./identity.json",
        "identity.json/",
        "identity.json\n",
        "runs//results.json",
        "mixkeys.json",
        "replay/1.log",
        "tokens.json",
        "releases.json",
        "run/model-2.f32",
        "RUN/run.json",
        "runs/0123456789abcdef0123456789abcdeg/results.json",
        "lock",
        "control.sock",
        "x" * 90,
    ],
)
def test_names_that_are_in_no_backup(restore, tmp_path, name):
    assert "not a backup" in refused(restore, tmp_path, archive((name, b"{}")))


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.DIRTYPE,
        tarfile.CONTTYPE,
        tarfile.GNUTYPE_SPARSE,
    ],
)
def test_nothing_but_files(restore, tmp_path, kind):
    assert "not a file" in refused(restore, tmp_path, archive(special("identity.json", kind)))


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_are_not_even_looked_at(restore, tmp_path, kind):
    assert "not a file" in refused(restore, tmp_path, archive(("x" * 200, b""), kind=kind))


def test_a_size_that_no_peer_writes_is_refused_before_anything_is_read(restore, tmp_path):
    for size in (64 * 1024 + 1, 1 << 40):
        info = tarfile.TarInfo("identity.json")
        info.size = size
        header = info.tobuf(tarfile.GNU_FORMAT)
        assert "has a size that no peer writes" in refused(restore, tmp_path, header)


def test_a_file_that_comes_twice(restore, tmp_path):
    assert "twice" in refused(restore, tmp_path, archive(("identity.json", b"1"), ("identity.json", b"2")))


def test_a_peers_files_without_its_keys(restore, tmp_path, encode):
    described = {"format": 1, "software": "1", "made_at": 0.0, "name": "a", "peer_id": "00", "files": {}}
    data = archive(("backup.json", encode(described)))
    assert "there are no keys in it" in refused(restore, tmp_path, data)
    described["format"] = 2
    data = archive(("backup.json", encode(described)))
    assert "has format 2, this peerd knows 1" in refused(restore, tmp_path, data)


def test_keys_that_are_broken_or_anothers_do_not_show(restore, tmp_path, encode, state_dir):
    def made(identity: bytes) -> bytes:
        packed = {"bytes": len(identity), "sha256": hashlib.sha256(identity).hexdigest()}
        described = {
            "format": 1, "software": "1", "made_at": 0.0, "name": "a", "peer_id": "00",
            "files": {"identity.json": packed},
        }  # fmt: skip
        return archive(("identity.json", identity), ("backup.json", encode(described)))

    line = refused(restore, tmp_path, made(b'{"identity": "secret"}'))
    assert "broken key file" in line
    assert "secret" not in line
    line = refused(restore, tmp_path, made((state_dir / "identity.json").read_bytes()))
    assert line == "x.backup: the keys are another peer's"


@pytest.mark.parametrize("data", [b"", b"no tar" * 1000, bytes(1024), b"\x1f\x8b" + bytes(600)])
def test_what_is_no_archive(restore, tmp_path, data):
    assert "it ends too early" in refused(restore, tmp_path, data)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_bit_is_not_overlooked(packed, restore, files, state_dir, tmp_path_factory, where, bit):
    """In a file, a header or the description: refused, or without any effect."""
    used = packed.rindex(b"}") + 1
    damaged = bytearray(packed[:used])
    damaged[int(where * used)] ^= 1 << bit
    folder = tmp_path_factory.mktemp("damaged") / "back"
    try:
        restore(bytes(damaged), folder)
    except InvalidInputError:
        assert list(folder.parent.iterdir()) == []
    else:
        back, before = files(folder), files(state_dir)
        assert all(back[name] == before[name] for name in back.keys() - {"releases.json"})


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(where=st.floats(0, 1, exclude_max=True))
def test_the_first_part_of_an_archive_is_none(packed, restore, tmp_path_factory, where):
    used = packed.rindex(b"}")
    folder = tmp_path_factory.mktemp("cut") / "back"
    with pytest.raises(InvalidInputError):
        restore(packed[: int(where * used)], folder)
    assert list(folder.parent.iterdir()) == []
