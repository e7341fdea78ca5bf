"""The network of a testbed: its authority, its peers' keys and bundles, its operator."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ctl.testbed.plan import Plan
from peerd.errors import ConflictError

NETWORK = "network"
OPERATOR = "ops"
"""Folder and name of the operator with the admin role."""


def create(folder: Path, plan: Plan, peers: Sequence[tuple[str, str]]) -> None:
    """A new network with these (name, address), each knowing all others, and an operator."""
    from peerd.membership import Authority, Identity  # not for those commands that need no authority

    hops = max(plan.network.max_hops, plan.config.mixing.hops)
    network = msgspec.structs.replace(plan.network, max_hops=hops)
    authority = Authority.create(folder / NETWORK, network)
    requests = [
        (Identity.create(_state_dir(folder, name), name, address).request(), name) for name, address in peers
    ]
    authority.enroll_all(requests)
    authority.operator(OPERATOR, "admin", folder / OPERATOR)


def add(folder: Path, name: str, address: str) -> None:
    """One more peer. Nobody else is given anything: the others hear of it by gossip. ConflictError for a
    name that is taken, InvalidInputError for one that cannot be."""
    from peerd.membership import Authority, Identity
    from peerd.membership.descriptor import check_name

    check_name(name)
    authority = Authority.load(folder / NETWORK)
    if any(peer.name == name for peer in authority.peers) or (folder / "peers" / name).exists():
        raise ConflictError(f"{name}: there is a peer of this name in {folder}")
    state = _state_dir(folder, name)
    try:
        authority.sign(Identity.create(state, name, address).request(), name)
    except BaseException:
        shutil.rmtree(state, ignore_errors=True)
        raise


def bundle(folder: Path, name: str) -> Path:
    return folder / NETWORK / "bundles" / f"{name}.bundle"


def operator(folder: Path) -> Path:
    """Its certificate."""
    return folder / OPERATOR / f"{OPERATOR}.pem"


def _state_dir(folder: Path, name: str) -> Path:
    state = folder / "peers" / name
    state.mkdir(mode=0o700, parents=True)
    return state
