"""This host: interpreter, limits, the contexts file and the operator's files."""

from __future__ import annotations

import importlib.util
import resource
import stat
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cryptography import x509

from ctl.contexts import Contexts, Endpoint
from ctl.doctor.certificate import validity
from ctl.doctor.finding import Finding, fail, ok, warn
from ctl.targets import Settings, effective
from peerd import __version__
from peerd.config import load
from peerd.errors import PeerdError
from peerd.reading import read_bounded

HERE = "here"
OLDEST_PYTHON = (3, 11)
FILES_WANTED = 4096
"""Descriptors: two links a peer, control clients, scrapes, the trainer's."""
NEW_OPERATOR = "make another: peerctl network operator NETWORK NAME --out FOLDER"
MAX_PEM_BYTES = 1 << 20


def check_host() -> Iterator[Finding]:
    """Python, what it has, and what this shell's processes may do."""
    python = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        yield fail(HERE, "python", f"Python {python} is too old", "install Python 3.11 to 3.13")
    else:
        yield ok(HERE, "python", f"Python {python}, peerctl {__version__}")
    if importlib.util.find_spec("torch") is None:
        yield warn(
            HERE,
            "torch",
            "torch is not installed: a daemon here relays, but trains no torch task",
            "if it is to train: pip install 'peerd[train]'",
        )
    else:
        yield ok(HERE, "torch", f"torch {_version('torch')}")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # to which a daemon raises its own limit
    if most != resource.RLIM_INFINITY and most < FILES_WANTED:
        yield warn(
            HERE,
            "files",
            f"a daemon may have {most} files open",
            f"LimitNOFILE=65536 in its unit, or `ulimit -Hn {FILES_WANTED}` where it is started",
        )
    else:
        yield ok(HERE, "files", f"a daemon may have {'any number of' if most < 0 else most} files open")


def check_config(path: Path | None) -> Iterator[Finding]:
    """A daemon's configuration file, if one is named."""
    if path is None:
        return
    try:
        load(path)
    except PeerdError as error:
        yield fail(
            HERE, "config", str(error), "deploy/peerd.toml shows every key; fix it before the next start"
        )
    else:
        yield ok(HERE, "config", f"{path} is valid")


def check_contexts(settings: Settings) -> Iterator[Finding]:
    """The file that names peers, and the operator's files that it names."""
    try:
        contexts = effective(settings)
    except PeerdError as error:
        yield fail(
            HERE, "contexts", str(error), "fix or remove the file; `peerctl context add` makes a new one"
        )
        return
    if not contexts.path.is_file():
        yield warn(
            HERE,
            "contexts",
            f"{contexts.path} does not exist yet",
            "name your peers: peerctl context add NAME --address ...",
        )
        return
    yield _permissions(contexts)
    for certificate, names in _operators(settings, contexts).items():
        yield from check_operator(certificate, ", ".join(names))


def _permissions(contexts: Contexts) -> Finding:
    known = f"{contexts.path} names {len(contexts.endpoints)} peers"
    if contexts.path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return fail(
            HERE,
            "contexts",
            f"{contexts.path} may be changed by others, who could redirect you",
            f"chmod 600 {contexts.path}",
        )
    return ok(HERE, "contexts", known)


def _operators(settings: Settings, contexts: Contexts) -> dict[Path, list[str]]:
    """Certificates, each with what it is for."""
    found: dict[Path, list[str]] = {}
    for endpoint in contexts.endpoints.values():
        if endpoint.tls is not None:
            found.setdefault(endpoint.tls.cert, []).append(endpoint.name)
    for certificate in (contexts.operator, settings.operator):
        if certificate is not None:
            found.setdefault(certificate, []).append("runs")
    return found


def check_operator(path: Path, used_for: str) -> Iterator[Finding]:
    """An operator's certificate and the key beside it."""
    what = f"operator {path.name} (for {used_for})"
    try:
        certificate = x509.load_pem_x509_certificate(read_bounded(path, MAX_PEM_BYTES, "a certificate"))
    except (PeerdError, ValueError) as error:
        reason = str(error) if isinstance(error, PeerdError) else f"{path}: not a certificate"
        yield fail(HERE, "certificate", reason, NEW_OPERATOR)
        return
    yield validity(HERE, what, certificate, time.time(), NEW_OPERATOR)
    yield from private(HERE, path.with_suffix(".key"), NEW_OPERATOR)


def private(about: str, path: Path, advice: str) -> Iterator[Finding]:
    """Whether a secret is its owner's alone; quiet where it is."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        yield fail(about, "permissions", f"{path}: {error.strerror}", advice)
        return
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield fail(
            about,
            "permissions",
            f"{path} is open to other users ({stat.filemode(mode)})",
            f"chmod {'700' if stat.S_ISDIR(mode) else '600'} {path}; new keys, if others were here",
        )


def state_dir_of(endpoint: Endpoint) -> Path | None:
    """Of a peer on this host whose control socket lies in its state directory, if it can be read."""
    if not endpoint.local:
        return None
    folder = Path(endpoint.address.removeprefix("unix:")).parent
    try:
        return folder if (folder / "identity.json").is_file() else None
    except OSError:
        return None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"
