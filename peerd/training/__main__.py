"""The trainer process: `python -m peerd.training SOCKET_FD MEMORY_FD`, started by the daemon alone.

Reads one request at a time from the socket and answers it; ends when the daemon does.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path

from peerd.errors import PeerdError
from peerd.trainerproto import (
    MAX_LINE,
    Begin,
    Evaluate,
    Evaluated,
    Failed,
    Final,
    FromTrainer,
    Progress,
    Ready,
    ToTrainer,
    Train,
    Trained,
    Usage,
    Vector,
    decode_to_trainer,
    encode,
    map_memory,
    size_memory,
)
from peerd.training.accountant import spent
from peerd.training.session import exact_of, form_of, open_learner
from peerd.training.streaming import FragmentStream
from peerd.training.task import Host
from peerd.types import RunSpec

PROGRESS_SECONDS = 0.5
PR_SET_PDEATHSIG = 1


class Daemon:
    """The other end of the socket. When it has gone, reading gives None and writing raises."""

    def __init__(self, sock: socket.socket) -> None:
        self._reader = sock.makefile("rb")
        self._sock = sock
        self._told = time.monotonic()

    def listen(self) -> ToTrainer | None:
        line = self._reader.readline(MAX_LINE)
        return decode_to_trainer(line) if line.endswith(b"\n") else None

    def tell(self, message: FromTrainer) -> None:
        self._sock.sendall(encode(message))
        self._told = time.monotonic()

    def alive(self) -> None:
        """Progress, now and then."""
        if time.monotonic() - self._told >= PROGRESS_SECONDS:
            self.tell(Progress(usage=usage()))

    def final(self, fragments: tuple[int, ...]) -> None:
        self.tell(Final(fragments=fragments, usage=usage()))


def _go_first_without_memory() -> None:
    """Where memory runs out, the kernel takes this process and not the daemon, which can start another."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def serve(daemon: Daemon, memory: int) -> None:
    """Until the daemon has gone. Raises PeerdError when the task cannot go on."""
    begin = daemon.listen()
    if not isinstance(begin, Begin):
        return
    os.nice(begin.nice)
    _go_first_without_memory()
    if begin.task_path:  # behind everything else: it must not shadow what the house imports
        sys.path.append(begin.task_path)
    stream = FragmentStream(begin.spec.task, daemon.final)

    def alive() -> None:
        stream.tell()
        daemon.alive()

    host = Host(begin.device, begin.threads, alive, stream)
    learner = open_learner(begin.spec, begin.shard, begin.shards, host, begin.tasks)
    parameters, model, update = _shared(memory, learner.vector())
    epsilon, exact = _epsilon(begin.spec, begin.released), exact_of(learner)
    daemon.tell(
        Ready(parameters=parameters, exact=exact, form=form_of(learner), epsilon=epsilon, usage=usage())
    )
    while (request := daemon.listen()) is not None:
        match request:
            case Train(round=number, layout=layout, released=released):
                epsilon = _epsilon(begin.spec, released)
                stream.begin(update, None if begin.spec.privacy_clip else layout)  # noised as a whole
                trained, outcome = learner.train(number, model)
                stream.check(trained)
                stream.begin(update, None)  # what was not told of yet comes with the rest
                update[:] = trained
                daemon.tell(
                    Trained(
                        loss=outcome.loss,
                        accuracy=outcome.accuracy,
                        samples=outcome.samples,
                        seconds=outcome.seconds,
                        epsilon=epsilon,
                        usage=usage(),
                    )
                )
            case Evaluate(samples=samples):
                outcome = learner.evaluate(model, samples)
                daemon.tell(
                    Evaluated(
                        accuracy=outcome.accuracy,
                        samples=outcome.samples,
                        seconds=outcome.seconds,
                        usage=usage(),
                    )
                )
            case Begin():
                return


def _epsilon(spec: RunSpec, released: int) -> float | None:
    """Raises NotFoundError where the library for it is missing."""
    return spent(spec.noise_multiplier, spec.privacy_delta, released) if spec.noised else None


def _shared(memory: int, initial: Vector) -> tuple[int, Vector, Vector]:
    """Size, the model going in, the model coming out, which is `initial` at first."""
    size_memory(memory, len(initial))
    model, update = map_memory(memory, len(initial))
    update[:] = initial
    return len(initial), model, update


def usage() -> Usage:
    return Usage(cpu_seconds=time.process_time(), rss_bytes=peak_rss_bytes())


def peak_rss_bytes() -> int:
    """From /proc where there is one: what getrusage says goes back to before exec, to the daemon."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def end_with_parent() -> None:
    """Linux ends this process with the daemon, whatever it is doing. Elsewhere the closed socket does,
    at the next message."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    sock_fd, memory = (int(argument) for argument in sys.argv[1:])
    end_with_parent()
    daemon = Daemon(socket.socket(fileno=sock_fd))
    try:
        serve(daemon, memory)
    except PeerdError as error:
        daemon.tell(Failed(reason=str(error), usage=usage()))
    except (BrokenPipeError, ConnectionResetError):
        sys.exit("the daemon has gone")


if __name__ == "__main__":
    main()
