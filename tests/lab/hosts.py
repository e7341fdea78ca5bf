"""Bare hosts: Debian with systemd as process 1, sshd, and an address on a network of their own, nothing else.

systemd-nspawn boots each from a root file system that debootstrap has made, with a layer of its own on top.
None of them reaches anything but the others and the operator, whose programs run in the same namespace. Their
addresses are those of the documents: 192.0.2.1, 192.0.2.2, ...
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

BARE = "systemd,systemd-sysv,dbus,openssh-server,python3,python3-venv,iproute2,procps,ca-certificates"
MONITORING = f"{BARE},prometheus,prometheus-alertmanager"
TOOLS = ("systemd-nspawn", "debootstrap", "ssh", "ssh-keygen", "ip", "nsenter")
SUITE = "bookworm"
BOOT_SECONDS = 120.0
NETWORK = "192.0.2"


def why_not() -> str | None:
    """Why there can be no hosts here; None if there can."""
    if os.geteuid() != 0:
        return "only root can boot hosts: deploy/install.sh was NOT tried on any"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)}; deploy/install.sh was NOT tried on any host"
    return None


def run(*command: str | Path, **options) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


def make_root(root: Path, packages: str = BARE) -> Path:
    """A root file system for any number of hosts; made once, a minute or two."""
    done = root.with_suffix(".made")
    if not done.exists():
        shutil.rmtree(root, ignore_errors=True)
        run("debootstrap", "--variant=minbase", f"--include={packages}", SUITE, root, timeout=900)
        done.touch()
    return root


def make_wheels(source: Path, folder: Path, extra: str = "") -> Path:
    """peerd of this tree and all that it needs: the hosts reach no registry. Kept, but for peerd's own."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("peerd-*.whl"):
        old.unlink()
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--find-links", folder, "-w", folder]
    run(*command, "-c", source / "requirements.lock", f"{source}{extra}", timeout=900)
    return folder


def until(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    """Poll a condition of other hosts, which have no event to wait for, until it is true."""
    ends = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < ends, "the condition never became true"
        time.sleep(1)
    return value


class Hosts:
    """As a context manager: booted. All is gone after it.

    The operator reaches each by name and address, with the ssh, scp and ssh-keygen of folder `bin`.
    """

    def __init__(self, roots: Mapping[str, Path], folder: Path) -> None:
        """roots: file system by name."""
        self.names = tuple(roots)
        self.bin = folder / "bin"
        self._roots = roots
        self._folder = folder
        self.space = f"hosts{os.getpid()}"
        self._booted: list[subprocess.Popen[bytes]] = []

    def address(self, name: str) -> str:
        return f"{NETWORK}.{self.names.index(name) + 1}"

    def inside(self, *command: str | Path) -> list[str]:
        """A command of the operator's, in the network of the hosts."""
        return ["nsenter", f"--net=/run/netns/{self.space}", *map(str, command)]

    def ssh(self, name: str, command: str) -> str:
        return run(*self.inside(self.bin / "ssh", name, command), timeout=120)

    def __enter__(self) -> Hosts:
        try:
            self._network()
            self._keys()
            for name in self.names:
                self._boot(name)
            for name in self.names:
                self._wait(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._booted:
            process.send_signal(signal.SIGTERM)
        for process in self._booted:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for name in self.names:
            subprocess.run(["umount", "-l", self._folder / name / "root"], capture_output=True)
            for layer in ("upper", "work"):  # a gigabyte with torch in it
                shutil.rmtree(self._folder / name / layer, ignore_errors=True)
        subprocess.run(["ip", "netns", "del", self.space], capture_output=True)

    def _network(self) -> None:
        run("ip", "netns", "add", self.space)
        for command in (
            "link set lo up",
            "link add br0 type bridge",
            f"address add {NETWORK}.254/24 dev br0",
            "link set br0 up",
        ):
            run(*self.inside("ip", *command.split()))

    def _keys(self) -> None:
        """The operator's, and programs that use it: OpenSSH takes no other home than that of the user."""
        key, config = self._folder / "key", self._folder / "ssh_config"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
        entries = [f"Host {name}\n    HostName {self.address(name)}\n" for name in self.names]
        common = (
            f"Host *\n    User root\n    IdentityFile {key}\n    IdentitiesOnly yes\n    BatchMode yes\n"
            f"    UserKnownHostsFile {self._folder / 'known_hosts'}\n    StrictHostKeyChecking accept-new\n"
            "    ConnectTimeout 5\n"
        )
        config.write_text("".join(entries) + common)
        self.bin.mkdir()
        for program, options in {
            "ssh": f"-F {config}",
            "scp": f"-F {config}",
            "ssh-keygen": f"-f {self._folder / 'known_hosts'}",  # for -F, which looks a host up there
        }.items():
            (self.bin / program).write_text(f'#!/bin/sh\nexec {shutil.which(program)} {options} "$@"\n')
            (self.bin / program).chmod(0o755)

    def _boot(self, name: str) -> None:
        folder = self._folder / name
        for part in ("upper", "work", "root"):
            (folder / part).mkdir(parents=True)
        layers = f"lowerdir={self._roots[name]},upperdir={folder / 'upper'},workdir={folder / 'work'}"
        run("mount", "-t", "overlay", "overlay", "-o", layers, folder / "root")
        root = folder / "root"
        (root / "etc/hostname").write_text(f"{name}\n")
        (root / "etc/machine-id").write_text("")
        (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
        shutil.copy(self._folder / "key.pub", root / "root/.ssh/authorized_keys")
        (root / "etc/systemd/network/10-host0.network").write_text(
            f"[Match]\nName=host0\n[Network]\nAddress={self.address(name)}/24\nLinkLocalAddressing=no\n"
        )
        run("systemctl", f"--root={root}", "enable", "systemd-networkd", "ssh")
        with (folder / "console.log").open("wb") as console:
            self._booted.append(
                subprocess.Popen(
                    self.inside(
                        "systemd-nspawn", "--quiet", f"--directory={root}", f"--machine={self.space}-{name}",
                        "--register=no", "--keep-unit", "--network-bridge=br0", "--boot", "--resolv-conf=off",
                        "--console=pipe", "--kill-signal=SIGRTMIN+4",
                    ),
                    stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )  # fmt: skip

    def _wait(self, name: str) -> None:
        ends = time.monotonic() + BOOT_SECONDS
        while True:
            try:
                self.ssh(name, "systemctl is-system-running --wait || true")
                return
            except subprocess.SubprocessError as error:
                if time.monotonic() > ends:
                    console = (self._folder / name / "console.log").read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"{name} did not come up: {error}\n{console}") from None
                time.sleep(1)
