from __future__ import annotations

import resource
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.host import Limits, memory_limit
from peerd.host.limits import DAEMON_BYTES, MEBIBYTE, TRAINER_BYTES

PLENTY = 1 << 40
DEFAULT_CAPACITY = 64_000_000


@pytest.mark.parametrize(("soft", "hard", "after"), [(100, 700, 700), (700, 700, 700)])
def test_the_soft_limit_of_files_becomes_the_hard_one(soft, hard, after):
    code = "import resource; from peerd.host import raise_file_limit as r; print(r(), resource.getrlimit(7))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == f"{after} ({after}, {hard})"


def write(folder, limit, name="memory.max"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"{limit}\n")


def test_the_least_limit_of_a_control_group_and_those_above_it(tmp_path):
    mounted, of = tmp_path / "cg", tmp_path / "cgroup"
    of.write_text("0::/system.slice/peerd.service\n")
    assert memory_limit(of, mounted) is None
    write(mounted / "system.slice/peerd.service", "max")
    assert memory_limit(of, mounted) is None
    write(mounted / "system.slice", 500)
    assert memory_limit(of, mounted) == 500
    write(mounted / "system.slice/peerd.service", 300)
    assert memory_limit(of, mounted) == 300
    of.write_text("0::/../../elsewhere\n")
    write(mounted, 400)
    assert memory_limit(of, mounted) == 400


def test_the_first_version_of_control_groups(tmp_path):
    mounted, of = tmp_path / "cg", tmp_path / "cgroup"
    of.write_text("5:cpu,cpuacct:/a\n4:memory:/a/b\n0::/\n")
    write(mounted / "memory/a/b", 9223372036854771712, "memory.limit_in_bytes")
    assert memory_limit(of, mounted) is None
    write(mounted / "memory/a", 700, "memory.limit_in_bytes")
    assert memory_limit(of, mounted) == 700


def test_a_host_without_control_groups(tmp_path):
    assert memory_limit(tmp_path / "none", tmp_path) is None


@given(st.text())
def test_whatever_the_kernel_says_is_no_error(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("cg")
    (folder / "cgroup").write_text(text, encoding="utf-8", errors="surrogatepass")
    if "\0" not in text and len(text) < 200:
        memory_limit(folder / "cgroup", folder)


def shortages(files=PLENTY, memory=None, others=5, capacity=DEFAULT_CAPACITY, trains=True, connections=0):
    found = Limits(files, memory).shortages(others, capacity, trains=trains, connections=connections)
    return {s.limit: s.detail for s in found}


def test_files_for_so_many_peers():
    assert shortages(files=1024) == {}
    assert shortages(files=1024, connections=512) == {}
    (line,) = shortages(files=1024, others=100, connections=512).values()
    assert "takes 1068" in line
    (line,) = shortages(files=1024, others=300).values()
    assert "network of 301 peers, which takes 1156" in line
    assert "LimitNOFILE=" in line


def test_memory_for_relaying_and_training():
    assert shortages(memory=8 << 30) == {}
    (line,) = shortages(memory=300 * MEBIBYTE).values()
    assert line.startswith("300 MiB")
    assert "manual" in line
    (line,) = shortages(memory=DAEMON_BYTES - 1, trains=False).values()
    assert "manual" not in line
    assert "MemoryMax=" in line


@given(st.integers(DAEMON_BYTES, 1 << 33), st.integers(1_000_000, 1_000_000_000))
def test_the_advice_on_replay_filters_fits(memory, capacity):
    line = shortages(memory=memory, capacity=capacity, trains=False).get("memory")
    if line is not None:
        advised = int(line.partition("replay_capacity to ")[2].partition(" ")[0])
        assert 1_000_000 <= advised < capacity
        assert "memory" not in shortages(memory=memory, capacity=advised, trains=False)


def test_a_gibibyte_is_enough_to_train_with_smaller_filters():
    assert DAEMON_BYTES + TRAINER_BYTES < 1 << 30
    (line,) = shortages(memory=1 << 30).values()
    assert "replay_capacity to 49000000 (now 64000000)" in line
