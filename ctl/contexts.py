"""Named endpoints: where the control APIs of the peers are, and with which certificate to ask.

    current = "alice"                      # used when a command names none
    operator = "ops.pem"                   # signs what is told to the whole network; NAME.key beside it

    [endpoints.alice]
    address = "unix:/var/lib/peerd/control.sock"

    [endpoints.bob]
    address = "192.0.2.7:9102"             # TCP: always mutual TLS
    ca = "ca.pem"                          # paths are relative to this file
    cert = "ops.pem"
    key = "ops.key"
    peer = "bob"                           # whose certificate must answer; default: the name

The file is ~/.config/peerd/contexts.toml or $PEERCTL_CONTEXTS. A testbed has one of its own.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import msgspec

from ctl import tomlfile
from peerd.config import convert, parse_address
from peerd.errors import InvalidInputError, NotFoundError
from peerd.reading import read_bounded

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z"
NAME_WORDS = "up to 63 letters, digits, '.', '_' and '-', beginning with a letter or digit"
MAX_FILE_BYTES = 4 << 20
UNIX = "unix:"


@dataclass(frozen=True, slots=True)
class Tls:
    """An operator's files, and the name of the peer that must answer."""

    ca: Path
    cert: Path
    key: Path
    peer: str

    @property
    def server_name(self) -> str:
        """The DNS name in the link certificate of that peer."""
        return f"{self.peer}.peerd"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One control API. `tls` is None exactly for a Unix socket."""

    name: str
    address: str
    tls: Tls | None = None

    @property
    def local(self) -> bool:
        return self.tls is None


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    address: str
    ca: str = ""
    cert: str = ""
    key: str = ""
    peer: str = ""


Name = Annotated[str, msgspec.Meta(pattern=NAME, description=NAME_WORDS)]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    current: str = ""
    operator: str = ""
    endpoints: dict[Name, _Entry] = {}


@dataclass(frozen=True, slots=True)
class Contexts:
    """A contexts file as read. Changes make a new value; `save` writes it."""

    path: Path
    current: str = ""
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    operator: Path | None = None
    """The certificate of the operator who announces runs, where an endpoint has none of its own."""

    @classmethod
    def load(cls, path: Path) -> Contexts:
        """Empty when the file does not exist. InvalidInputError, one line, for a broken one."""
        try:
            data = read_bounded(path, MAX_FILE_BYTES, "a contexts file")
        except NotFoundError:
            return cls(path)
        return cls.parse(data, path)

    @classmethod
    def parse(cls, data: bytes, path: Path) -> Contexts:
        """The same from bytes; `path` names the file in errors and anchors relative paths."""
        try:
            raw = tomllib.loads(data.decode("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInputError(f"{path}: not valid TOML: {error}") from None
        file = convert(raw, _File, str(path))
        endpoints = {
            name: _endpoint(name, entry, path.parent, f"{path}: endpoints.{name}")
            for name, entry in file.endpoints.items()
        }
        if file.current and file.current not in endpoints:
            raise InvalidInputError(f"{path}: current: there is no endpoint {file.current!r}")
        operator = absolute(file.operator, path.parent, f"{path}: operator") if file.operator else None
        return cls(path, file.current, endpoints, operator)

    def get(self, name: str) -> Endpoint:
        try:
            return self.endpoints[name]
        except KeyError:
            known = ", ".join(self.endpoints) or "none"
            raise NotFoundError(f"{self.path}: no endpoint {name!r}; known: {known}") from None

    def adding(self, endpoint: Endpoint) -> Contexts:
        """With this endpoint, which becomes the current one when it is the first."""
        check_name(endpoint.name)
        return replace(
            self,
            current=self.current or endpoint.name,
            endpoints=self.endpoints | {endpoint.name: endpoint},
        )

    def using(self, name: str) -> Contexts:
        return replace(self, current=self.get(name).name)

    def removing(self, name: str) -> Contexts:
        self.get(name)
        rest = {key: value for key, value in self.endpoints.items() if key != name}
        return replace(self, current="" if self.current == name else self.current, endpoints=rest)

    def save(self) -> None:
        """Replace the file. InvalidInputError when it cannot be written."""
        operator = "" if self.operator is None else str(self.operator)
        file = _File(self.current, operator, {e.name: _entry(e) for e in self.endpoints.values()})
        try:
            tomlfile.write(self.path, msgspec.to_builtins(file))
        except OSError as error:
            raise InvalidInputError(f"{self.path}: cannot be written: {error.strerror}") from None


def check_name(name: str) -> None:
    if not re.match(NAME, name):
        raise InvalidInputError(
            f"{name!r} is not an endpoint's name: letters, digits, '.', '_' and '-', at most 63"
        )


def _endpoint(name: str, entry: _Entry, folder: Path, where: str) -> Endpoint:
    files = {"ca": entry.ca, "cert": entry.cert, "key": entry.key}
    if entry.address.startswith(UNIX):
        if any(files.values()) or entry.peer:
            raise InvalidInputError(f"{where}: a Unix socket takes no ca, cert, key or peer")
        return Endpoint(name, unix_address(entry.address, folder, where))
    parse_address(entry.address, f"{where}: address")
    missing = [key for key, value in files.items() if not value]
    if missing:
        raise InvalidInputError(f"{where}: TCP needs ca, cert and key; without {missing[0]}")
    ca, cert, key = (absolute(value, folder, where) for value in files.values())
    return Endpoint(name, entry.address, Tls(ca, cert, key, entry.peer or name))


def unix_address(text: str, folder: Path, where: str) -> str:
    """`unix:PATH` with PATH made absolute. InvalidInputError when there is none."""
    path = text.removeprefix(UNIX)
    if not path:
        raise InvalidInputError(f"{where}: unix: needs a path, as in unix:/run/peerd/control.sock")
    return f"{UNIX}{absolute(path, folder, where)}"


def absolute(text: str, folder: Path, where: str) -> Path:
    """`text` below `folder` unless it is absolute or begins with ~. InvalidInputError."""
    try:
        if "\0" in text:
            raise ValueError
        return folder / Path(text).expanduser()
    except (RuntimeError, ValueError):  # ~stranger/..., NUL
        raise InvalidInputError(f"{where}: {text!r} is not a usable path") from None


def _entry(endpoint: Endpoint) -> _Entry:
    tls = endpoint.tls
    if tls is None:
        return _Entry(endpoint.address)
    peer = "" if tls.peer == endpoint.name else tls.peer
    return _Entry(endpoint.address, str(tls.ca), str(tls.cert), str(tls.key), peer)


def operator_tls(certificate: Path, peer: str) -> Tls:
    """The files that `peerctl network operator` wrote: NAME.pem, with NAME.key and ca.pem beside."""
    certificate = certificate.resolve()
    tls = Tls(
        ca=certificate.with_name("ca.pem"),
        cert=certificate,
        key=certificate.with_suffix(".key"),
        peer=peer,
    )
    for file in (tls.cert, tls.key, tls.ca):
        if not file.is_file():
            raise NotFoundError(f"{file}: no such file; `peerctl network operator` makes it")
    return tls


def parse_endpoint(text: str, operator: Path | None) -> Endpoint:
    """`unix:PATH`, or `NAME@HOST:PORT` with an operator's certificate."""
    if text.startswith(UNIX):
        return Endpoint("peer", unix_address(text, Path.cwd(), "--endpoint"))
    name, _, address = text.rpartition("@")
    parse_address(address, "--endpoint")
    if not name:
        raise InvalidInputError(
            f"--endpoint {text}: name the peer whose certificate must answer: NAME@{address}"
        )
    check_name(name)
    if operator is None:
        raise InvalidInputError(
            f"--endpoint {text}: TCP needs an operator's certificate: --operator NAME.pem"
        )
    return Endpoint(name, address, operator_tls(operator, name))


def default_path() -> Path:
    """$PEERCTL_CONTEXTS, or contexts.toml in the user's configuration folder."""
    if chosen := os.environ.get("PEERCTL_CONTEXTS"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "peerd" / "contexts.toml"
