"""Whose word counts when two daemons speak in one peer's name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from peerd.epochs import Rotation
from peerd.errors import ConflictError
from peerd.membership import About, Identity
from peerd.observe import Alarms, EventLog
from peerd.presence import Presence
from peerd.sphinx import Epochs

NOW = 1_700_000_000.0


class Log:
    def warning(self, *_args, **_fields) -> None: ...

    def info(self, *_args, **_fields) -> None: ...

    def error(self, *_args, **_fields) -> None: ...


class Daemon:
    """As much of one as is needed to be somebody."""

    def __init__(self, identity: Identity, folder, started_at: float, instance: int, disk=()) -> None:
        folder.mkdir(exist_ok=True)
        self.rotation = Rotation(folder, identity, Epochs(100.0, 20.0), 1000, Log())
        self.said = []
        self.stopped = []
        self.alarms = Alarms(EventLog(), Log())
        self.presence = Presence(
            self.rotation,
            About(instance=instance, started_at=started_at),
            publish=self.said.append,
            stop=self.stopped.append,
            alarms=self.alarms,
            clock=lambda: started_at,
        )
        for descriptor in disk:
            self.presence.heard(descriptor)
        self.presence.load_keys()
        self.presence.start()


@pytest.fixture
def start(tmp_path):
    identity = Identity.create(tmp_path / "identity", "alice", "192.0.2.1:9101")
    made = []

    def start(name: str, started_at: float, instance: int, disk=()) -> Daemon:
        made.append(Daemon(identity, tmp_path / name, started_at, instance, disk))
        return made[-1]

    yield start
    for daemon in made:
        daemon.rotation.close()


def test_who_hears_of_a_later_instance_stops(start):
    earlier, later = start("a", NOW, 9), start("b", NOW + 1.0, 1)
    earlier.presence.heard(later.said[-1])
    (error,) = earlier.stopped
    assert isinstance(error, ConflictError)


@pytest.mark.parametrize("their_version", [1, 2_000_000_000])
def test_who_hears_of_an_earlier_one_outbids_it(start, their_version):
    earlier, later = start("a", NOW, 9), start("b", NOW + 1.0, 1)
    later.presence.heard(replace(earlier.said[-1], version=their_version))
    assert later.stopped == []
    assert later.said[-1].version > max(their_version, later.said[0].version)
    assert later.alarms.state()["identity"]
    earlier.presence.heard(later.said[-1])
    assert earlier.stopped


def test_what_it_says_itself_is_no_other_instance(start):
    daemon = start("a", NOW, 9)
    for descriptor in list(daemon.said):
        daemon.presence.heard(descriptor)
    assert daemon.stopped == []
    assert len(daemon.said) == 1


def test_a_life_before_a_clock_was_set_back_is_no_later_instance(start):
    """Its descriptor lies on the disk, and comes again from all the others."""
    before = start("a", NOW, 9).said[-1]
    again = start("a", NOW - 3600.0, 1, disk=[before])
    assert again.said[-1].version > before.version
    assert again.said[-1].started_at > before.started_at
    again.presence.heard(before)
    assert again.stopped == []


def test_what_it_takes_part_in_and_that_it_has_finished_with_a_round(start):
    daemon = start("a", NOW, 9)
    run, other = b"r" * 16, b"o" * 16
    said = []
    model = b"m" * 8
    for name, number, form in ((run, 0, b""), (run, 4, model), (run, -6, model), (other, 1, b"")):
        daemon.presence.takes_part(name, number, form)
        last = daemon.said[-1]
        said.append((last.run, last.contributes_from, last.finished, last.model))
    assert said == [
        (run, 0, False, b""), (run, 4, False, model), (run, 6, True, model), (other, 1, False, b""),
    ]  # fmt: skip
    assert [d.version for d in daemon.said] == sorted({d.version for d in daemon.said})
    daemon.presence.leaves()
    last = daemon.said[-1]
    assert (last.contributes_from, last.finished, last.model) == (0, False, b"")
