"""The service manager is told how the daemon does: sd_notify(3), one datagram of `KEY=VALUE` lines each.

Written out: it is a socket and a handful of lines, and the libraries that do it need a compiler and
libsystemd, or are no longer looked after. Without $NOTIFY_SOCKET everything here does nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator, MutableMapping

PATIENCE_SECONDS = 1.0
"""For what must not get lost; the manager reads its socket at once, or is in trouble itself."""
MAX_STATUS = 200


class ServiceManager:
    """`address` as in $NOTIFY_SOCKET (empty: there is none). `watchdog_seconds`: this process is killed after
    so long without a sign of life; 0: never."""

    def __init__(self, address: str = "", watchdog_seconds: float = 0.0) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_seconds = watchdog_seconds if address else 0.0
        self._status = ""

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> ServiceManager:
        """As the manager has told this process. It is taken out of the environment: the trainer is not the
        one to speak for the service."""
        address = environment.pop("NOTIFY_SOCKET", "")
        micros, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        if address[:1] not in ("/", "@"):
            return cls()
        asked = micros.isascii() and micros.isdigit() and pid in ("", str(os.getpid()))
        return cls(address, int(micros) / 1e6 if asked else 0.0)

    @property
    def present(self) -> bool:
        return bool(self._address)

    def ready(self) -> None:
        """What depends on this service may start."""
        self._tell("READY=1")

    def stopping(self) -> None:
        self._tell("STOPPING=1", "STATUS=stopping")

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """Around a reload of the configuration, however that ends."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
        try:
            yield
        finally:
            self.ready()

    def alive(self, status: str = "") -> None:
        """A sign of life for the watchdog, and how it goes in one line. Never waits: the next is due soon."""
        status = " ".join(status.split())[:MAX_STATUS]
        told = [f"STATUS={status}"] if status != self._status else []
        if self.watchdog_seconds:
            told.append("WATCHDOG=1")
        if told and self._tell(*told, patience=0.0):
            self._status = status

    def _tell(self, *lines: str, patience: float = PATIENCE_SECONDS) -> bool:
        """Whether it got there. A manager that does not listen is no reason to end."""
        if not self._address:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.settimeout(patience)
                sock.connect(self._address)
                sock.sendall("\n".join(lines).encode())
        except OSError:
            return False
        return True
