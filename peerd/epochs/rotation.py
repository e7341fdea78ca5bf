"""The mix keys of a peer and what belongs to them on disk, through all epochs.

DIR/mixkeys.json        0600   the private keys
DIR/replay/EPOCH.log    0600   the replay tags of one key

A key and its tags live and die together, and neither outlives the kernel (`store.mixkeys`). What may never
happen is that a key is used without the tags of what it has unwrapped: a key whose log is missing or broken
at a start is thrown away and a fresh one made in its place. Only a key with a whole log is in the file.

When the disk refuses a tag, the log is whole no more, and this key has to end with this process. A disk
like that may refuse the rest too, and each of three things is enough: the log is emptied, or removed, or the
key is gone from the file. All are tried, at once and at each `update`. Where none works the key is given up
on the spot, with packets for it, and a fresh one takes its place. Nothing of this ends the process.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from peerd.errors import PeerdError
from peerd.membership import About, Descriptor, Identity
from peerd.sphinx import EpochKey, Epochs, Keyring, MixKey, ReplayFilter
from peerd.store import MixKeyFile, ReplayLog, boot_id

FOLDER = "replay"
SUFFIX = ".log"
NOTHING = About()


class Rotation:
    """`update` whenever the wall clock has reached `next_change`; `append` before packets move on."""

    def __init__(
        self,
        state_dir: Path,
        identity: Identity,
        epochs: Epochs,
        replay_capacity: int,
        log: Any,
    ) -> None:
        self._folder = state_dir / FOLDER
        self._file = MixKeyFile(state_dir, boot_id())
        self._identity = identity
        self._epochs = epochs
        self._capacity = replay_capacity
        self._log = log
        self._logs: dict[int, ReplayLog] = {}
        """Of the keys that may outlive this process."""
        self._spoiled: dict[int, ReplayLog] = {}
        """Logs that lack tags and still lie there."""
        self._unsaved = False
        self._about = self._described = NOTHING
        self.keyring = Keyring()
        self.epoch = 0
        self.descriptor: Descriptor = identity.descriptor

    def start(self, wall: float, about: About = NOTHING, version: int = 0) -> None:
        """Load what is on disk, throw away what cannot be trusted, make what is missing.

        `version`: of the last descriptor that is known of this peer; the next one's is higher.
        """
        self._about = about
        self._folder.mkdir(mode=0o700, exist_ok=True)
        loaded = self._file.load()
        if loaded is None:
            self._log.warning("mix keys were unreadable; fresh ones are made")
            loaded = 0, {}
        before, privates = loaded
        for epoch, private in privates.items():
            self._reload(epoch, private)
        for path in self._folder.glob(f"*{SUFFIX}"):
            if path not in {self._path(epoch) for epoch in self._logs}:
                self._remove(path)
        # Wall time too: a peer whose mix keys were lost still announces a newer descriptor than before. From
        # then on versions only count, more slowly than seconds go by: so the later of two instances with the
        # same keys keeps the higher ones, and the earlier hears of it.
        self._version = max(before, version, int(wall))
        self.update(wall)

    def update(self, wall: float) -> bool:
        """Make, accept and destroy keys as the clock says. Whether there is a new descriptor."""
        accepted = self._epochs.accepted(wall)
        self.epoch = accepted[0]
        keep = {*accepted, self.epoch + 1}
        gone = [key.epoch for key in self.keyring if key.epoch not in keep]
        for epoch in gone:
            self._destroy(epoch)
        fresh = [epoch for epoch in (self.epoch, self.epoch + 1) if epoch not in self.keyring]
        for epoch in fresh:
            self._make(epoch)
        self.keyring.accept(accepted)
        changed = self._describe()
        if gone or fresh or changed or self._unsaved:
            self._save()
        for epoch in gone:
            self._remove(self._path(epoch))
        for epoch in list(self._spoiled):
            self._discard(epoch)
        return changed

    def say(self, about: About) -> bool:
        """Something else of this peer beside its keys. Whether there is a new descriptor."""
        self._about = about
        return self._renew()

    def outbid(self, version: int) -> None:
        """Another descriptor of this peer is about, with that version: make one that is newer."""
        self._version = max(self._version, version)
        self._described = About(instance=-1)
        self._renew()

    @property
    def failing(self) -> bool:
        """Whether the disk refuses keys, or the end of a log that lacks tags."""
        return self._unsaved or bool(self._spoiled)

    def _renew(self) -> bool:
        changed = self._describe()
        if changed:
            self._save()
        return changed

    def next_change(self, wall: float) -> float:
        """Unix time of the next `update`."""
        return self._epochs.next_change(wall)

    @property
    def epoch_end(self) -> float:
        """Unix time at which the epoch ends that this peer is in. In the past where `update` is late."""
        return self._epochs.begins(self.epoch + 1)

    def epoch_ends(self, wall: float) -> float:
        """Unix time of the next epoch."""
        return self._epochs.begins(self._epochs.at(wall) + 1)

    def append(self, epoch: int, tags: list[bytes]) -> None:
        """Make tags durable. Where the disk refuses, the key will not outlive this process; where that
        cannot be made sure of, it is in the keyring no more when this returns."""
        log = self._logs.get(epoch)
        if log is None:
            return
        try:
            log.append(tags)
        except OSError as error:
            self._log.error(
                "replay log not written; this epoch's mix key ends with this process", error=str(error)
            )
            self._spoil(epoch)

    def close(self) -> None:
        for logs in (self._logs, self._spoiled):
            for log in logs.values():
                log.close()
            logs.clear()

    def _reload(self, epoch: int, private: bytes) -> None:
        """One that is thrown away here was not used: whatever becomes of its log, it lacks no tag."""
        key, replay = MixKey.from_private(private), ReplayFilter(self._capacity)
        try:
            log = ReplayLog.open(self._path(epoch), key.public)
            try:
                replay.load(log.tags())
            except OSError:
                log.close()
                raise
        except (PeerdError, OSError) as error:
            self._log.warning("a mix key without its replay tags is thrown away", reason=str(error))
            return
        self._logs[epoch] = log
        self.keyring.put(EpochKey(epoch, key, replay))

    def _make(self, epoch: int) -> None:
        key = MixKey.generate()
        self.keyring.put(EpochKey(epoch, key, ReplayFilter(self._capacity)))
        path = self._path(epoch)
        try:
            path.unlink(missing_ok=True)
            self._logs[epoch] = ReplayLog.create(path, key.public)
        except OSError as error:
            self._log.error("no replay log; the mix key ends with this process", error=str(error))
            return
        if epoch in self._spoiled:  # removed, and no more to be removed: another key's is in its place
            self._spoiled.pop(epoch).close()

    def _destroy(self, epoch: int) -> None:
        """The file goes after the key has gone from `mixkeys.json`: never a key without its tags."""
        self.keyring.forget(epoch)
        log = self._logs.pop(epoch, None)
        if log is not None:
            log.close()

    def _spoil(self, epoch: int) -> None:
        """Tags are missing in the log: the key must not come back with it."""
        self._spoiled[epoch] = self._logs.pop(epoch)
        discarded, saved = self._discard(epoch), self._save()
        if not (discarded or saved):
            self._log.error("nor is its log removed, nor the mix key from its file: it is given up now")
            self._give_up(epoch)

    def _discard(self, epoch: int) -> bool:
        """Whether a log that lacks tags is worth nothing any more; `update` tries again."""
        done = self._spoiled[epoch].discard()
        if done:
            self._spoiled.pop(epoch).close()
        return done

    def _give_up(self, epoch: int) -> None:
        """A fresh key in its place; `update` tells the others of it. One in its grace needs none."""
        accepted = self.keyring.accepted
        self.keyring.forget(epoch)
        if epoch >= self.epoch:
            self._make(epoch)
        self.keyring.accept(accepted)

    def _remove(self, path: Path) -> None:
        """The log of no key. Harmless where it stays: the next start tries again."""
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._log.error("replay log of no key not removed", error=str(error))

    def _describe(self) -> bool:
        keys = tuple((epoch, self.keyring[epoch].key.public) for epoch in (self.epoch, self.epoch + 1))
        if keys == self.descriptor.mix_keys and self._about == self._described:
            return False
        self._version += 1
        self.descriptor = self._identity.describe(keys, self._version, **asdict(self._about))
        self._described = self._about
        return True

    def _save(self) -> bool:
        """The keys that have a whole log. Whether they are written; `update` tries again."""
        try:
            self._file.save(self._version, {epoch: self.keyring[epoch].key.private for epoch in self._logs})
            self._unsaved = False
        except OSError as error:
            if not self._unsaved:
                self._log.error("mix keys not written; fresh ones end with this process", error=str(error))
            self._unsaved = True
        return not self._unsaved

    def _path(self, epoch: int) -> Path:
        return self._folder / f"{epoch}{SUFFIX}"
