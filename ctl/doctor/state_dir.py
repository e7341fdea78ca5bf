"""A state directory on this host, whether its daemon runs or not."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from ctl.doctor.certificate import validity
from ctl.doctor.finding import Finding, fail, ok, warn
from ctl.doctor.host import private
from ctl.text import size
from peerd.errors import PeerdError

SECRETS = ("", "identity.json")
"""In the state directory, which is the first of them."""
LITTLE_BYTES = 1 << 30
TOO_LITTLE_BYTES = 64 << 20
RENEW = "have the authority sign its request again (peerctl network sign), and `peerd join` the new bundle"


def check_state_dir(folder: Path, about: str) -> Iterator[Finding]:
    """Permissions, keys, certificate and chain, space."""
    if not folder.is_dir():
        yield fail(
            about, "state", f"{folder}: no such folder", "make it with `peerd init`, or name another one"
        )
        return
    if not os.access(folder, os.R_OK | os.X_OK):
        yield fail(about, "state", f"{folder} cannot be read by this user", "run doctor as the daemon's user")
        return
    bad = [
        finding for name in SECRETS for finding in private(about, folder / name, "make it with `peerd init`")
    ]
    yield from bad
    if not bad:
        yield ok(about, "permissions", f"{folder} and its keys are their owner's alone")
    if not os.access(folder, os.W_OK):
        yield fail(
            about,
            "state",
            f"{folder} cannot be written by this user",
            "give it to the daemon's user, or run doctor as that user",
        )
    yield from _membership(folder, about)
    yield _space(folder, about)


def _membership(folder: Path, about: str) -> Iterator[Finding]:
    from peerd.membership import PeerState  # not for those who check no state

    try:
        state = PeerState.load(folder)
    except PeerdError as error:
        yield fail(about, "membership", str(error), RENEW)
        return
    yield ok(
        about, "membership", f"{state.name} of network {state.network.name}; the chain leads to a CA in force"
    )
    now = time.time()
    yield validity(about, f"the link certificate of {state.name}", state.certificate, now, RENEW)
    for authority in state.authorities:
        yield validity(
            about, "the network's CA", authority, now, "change it: peerctl network rotate-ca NETWORK"
        )


def _space(folder: Path, about: str) -> Finding:
    free = shutil.disk_usage(folder).free
    text = f"{size(free)} free where {folder} is"
    if free < TOO_LITTLE_BYTES:
        return fail(
            about, "disk", text, "free some space: without state a restart loses replay tags and models"
        )
    if free < LITTLE_BYTES:
        return warn(about, "disk", text, "free some space, or lower [training] keep_checkpoints")
    return ok(about, "disk", text)
