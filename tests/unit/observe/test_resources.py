from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys

import pytest

from peerd.observe import StageClock, disk_space, open_files, process_usage


def test_this_process_uses_cpu_and_memory() -> None:
    cpu, rss = process_usage()
    times = os.times()
    assert cpu == pytest.approx(times.user + times.system, abs=0.2)
    assert rss > 10_000_000


def test_a_child_is_seen_by_its_pid_until_it_is_gone() -> None:
    work = (
        "import time\n"
        "held = b'x' * 50_000_000\n"
        "while time.process_time() < 0.1: pass\n"  # ten of the clock's ticks
        "print(flush=True)\n"
        "input()"
    )
    child = subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        cpu, rss = process_usage(child.pid)
        child.communicate(b"\n")
    assert cpu >= 0.05
    assert 50_000_000 < rss < 200_000_000
    assert process_usage(child.pid) == (0.0, 0)


def test_cpu_is_charged_to_the_stage_that_went_on() -> None:
    counter = 5.0
    clock = StageClock(cpu=lambda: counter)
    counter = 7.0
    clock.enter("training")
    counter = 7.5
    clock.enter("training")  # the same once more changes nothing
    counter = 8.0
    clock.enter("exchanging")
    counter = 12.0
    assert clock.spent() == {"idle": 2.0, "training": 1.0, "exchanging": 4.0}
    counter = 13.0
    assert clock.spent() == {"idle": 2.0, "training": 1.0, "exchanging": 5.0}
    assert sum(clock.spent().values()) == counter - 5.0


def test_by_default_it_reads_this_process() -> None:
    clock = StageClock()
    clock.enter("training")
    while clock.spent()["training"] < 0.02:
        sum(range(10_000))
    assert clock.spent()["idle"] < 0.02


def test_room_on_the_disk_is_what_the_system_says(tmp_path) -> None:
    free, size = disk_space(tmp_path)
    usage = shutil.disk_usage(tmp_path)
    assert size == usage.total
    assert free == pytest.approx(usage.free, abs=1 << 28)  # others write, too
    assert disk_space(tmp_path / "gone") is None


def test_open_files_are_counted_up_to_their_limit(tmp_path) -> None:
    before, limit = open_files()
    with (tmp_path / "one").open("w"), (tmp_path / "two").open("w"):
        assert open_files() == (before + 2, limit)
    assert before < limit == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
