"""Who is dialled and who may connect, while it changes: links over real TLS, on asyncio's loop and uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import random
from collections import Counter

import msgspec
import pytest

from peerd.errors import InvalidInputError
from peerd.link import CellKind, dialler, encode_cell, encode_gossip, table
from peerd.membership import client_ssl_context, server_ssl_context
from peerd.membership.policy import DialPolicy
from peerd.types import DropReason

SIZE = 1000
PACKET = encode_cell(CellKind.PACKET, b"x" * SIZE, SIZE)


def at(host_and_port):
    return "{}:{}".format(*host_and_port)


def is_up(peer, other, direction="outbound"):
    return lambda: getattr(peer.table.snapshot(other.state.peer_id), direction) == "up"


def is_down(peer, other, direction="outbound"):
    return lambda: not is_up(peer, other, direction)()


async def meet(*peers):
    """Until each has both links to each other."""
    for peer in peers:
        for other in peers:
            if other is not peer:
                await peer.until(is_up(peer, other))
                await peer.until(is_up(peer, other, "inbound"))


def introduce(peer, *others):
    """`peer` expects and dials them."""
    for other in others:
        peer.expected.add(other.state.peer_id)
        peer.table.set_addresses(other.state.peer_id, (at(other.address),))


async def begin(*peers):
    """Start tables that know nobody."""
    for peer in peers:
        await peer.start({})


async def hung_up(reader) -> bool:
    async with asyncio.timeout(10):
        with contextlib.suppress(OSError):
            while await reader.read(65536):
                pass
    return True


class Doorbell:
    """Listens and counts who comes; it never says a word, or passes all on to `target`."""

    def __init__(self, target=None):
        self.target = target
        self.calls = 0
        self.open = 0
        self._changed = asyncio.Event()

    async def listen(self, host="127.0.0.1", port=0):
        self._server = await asyncio.start_server(self._answer, host, port)
        self.address = at(self._server.sockets[0].getsockname()[:2])
        return self

    async def _answer(self, reader, writer):
        self.calls += 1
        self.open += 1
        self._changed.set()
        with contextlib.suppress(OSError):
            if self.target is None:
                await reader.read()
            else:
                there_reader, there = await asyncio.open_connection(*self.target)
                await asyncio.gather(self._copy(reader, there), self._copy(there_reader, writer))
        writer.close()
        self.open -= 1
        self._changed.set()

    async def _copy(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def until(self, condition):
        async with asyncio.timeout(20):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def close(self):
        self._server.close()


# -- coming and going ----------------------------------------------------------------------------


async def test_peers_are_added_while_it_runs(links):
    alice, bob, carol = await links("alice", "bob", "carol", run=False)
    await begin(alice, bob, carol)
    introduce(alice, bob)
    introduce(bob, alice)
    await meet(alice, bob)
    introduce(carol, alice, bob)
    introduce(alice, carol)
    introduce(bob, carol)
    await meet(alice, bob, carol)
    assert alice.table.send(carol.state.peer_id, bytes(SIZE)) is None
    await carol.until(lambda: len(carol.packets) == 1)


async def test_a_newcomer_that_nobody_knows_yet_connects_and_its_gossip_has_its_name(links):
    alice, bob = await links("alice", "bob", run=False)
    await begin(alice, bob)
    bob.expected.add(alice.state.peer_id)  # as the roster does: of our CA, and not revoked
    introduce(alice, bob)
    await alice.until(is_up(alice, bob))
    assert alice.table.announce(bob.state.peer_id, b"it is me") is None
    await bob.until(lambda: bob.gossip == [(alice.state.peer_id, b"it is me")])
    assert bob.links == [(alice.state.peer_id, "inbound", True)]
    assert bob.table.snapshot(alice.state.peer_id).outbound == "down"
    assert bob.table.send(alice.state.peer_id, bytes(SIZE)) is DropReason.UNKNOWN_PEER
    assert alice.table.gossip_cells == (1, 0)
    assert bob.table.gossip_cells == (0, 1)


async def test_who_decides_sees_the_certificate_of_a_newcomer_that_a_delegate_has_signed_in(links, ca):
    from cryptography import x509

    alice, bob = await links("alice", "bob", run=False)
    alice.state = type(ca)("carol", parent=ca).issue("alice")
    await begin(alice, bob)
    introduce(bob, alice)
    introduce(alice, bob)
    await meet(alice, bob)
    shown = x509.load_der_x509_certificate(bob.shown[alice.state.peer_id])
    assert shown.issuer.rfc4514_string() == "CN=carol"
    assert shown == x509.load_pem_x509_certificate(alice.state.certificate_pem)


async def test_who_is_forgotten_is_cut_off_at_once_and_does_not_come_back(links):
    alice, bob, carol = peers = await links("alice", "bob", "carol")
    await meet(*peers)
    for peer in (alice, carol):
        peer.expected.discard(bob.state.peer_id)
        peer.table.forget(bob.state.peer_id)
        assert peer.table.send(bob.state.peer_id, bytes(SIZE)) is DropReason.LINK_DOWN
    for peer in (alice, carol):
        await peer.until(is_down(peer, bob))
        await peer.until(is_down(peer, bob, "inbound"))
        assert peer.table.send(bob.state.peer_id, bytes(SIZE)) is DropReason.UNKNOWN_PEER
        assert peer.links[-2:].count((bob.state.peer_id, "outbound", False)) == 1
        await bob.until(is_down(bob, peer))
        await bob.until(is_down(bob, peer, "inbound"))
        peer.links.clear()
        bob.links.clear()
    for peer in (alice, carol):  # it tries, and tries again
        await peer.until(lambda p=peer: p.drops[DropReason.REVOKED_PEER] >= 3)
        assert peer.links == bob.links == []
        assert peer.packets == []
    assert is_up(alice, carol)()
    assert is_up(carol, alice)()


async def test_who_is_forgotten_by_mistake_can_be_had_again(links):
    alice, bob = await links("alice", "bob")
    for _ in range(5):
        await meet(alice, bob)
        alice.expected.clear()
        alice.table.forget(bob.state.peer_id)
        alice.links.clear()
        introduce(alice, bob)  # before anything of the old links has ended
        await alice.until(lambda: (bob.state.peer_id, "outbound", True) in alice.links)
        assert alice.links.index((bob.state.peer_id, "outbound", False)) < alice.links.index(
            (bob.state.peer_id, "outbound", True)
        )


async def test_to_forget_a_stranger_is_nothing(links):
    alice, bob = await links("alice", "bob")
    alice.table.forget(b"?" * 16)
    await meet(alice, bob)


async def test_a_dial_that_is_under_way_ends_when_the_peer_is_forgotten(links):
    (alice,) = await links("alice", run=False)
    alice.config = msgspec.structs.replace(alice.config, connect_timeout_seconds=3600.0)
    silent = await Doorbell().listen()
    await begin(alice)
    alice.table.set_addresses(b"?" * 16, (silent.address,))
    await silent.until(lambda: silent.open == 1)
    assert alice.table.snapshot(b"?" * 16).outbound == "connecting"
    alice.table.forget(b"?" * 16)
    await silent.until(lambda: silent.open == 0)
    assert alice.table.snapshot(b"?" * 16).outbound == "down"
    assert silent.calls == 1
    assert alice.links == []
    silent.close()


@pytest.mark.parametrize("what", ["outbound", "inbound"])
async def test_a_peer_can_be_forgotten_by_what_is_told_of_its_link(links, what):
    alice, bob = await links("alice", "bob", run=False)
    await begin(alice, bob)
    note = alice.links.append

    class Forgetful(list):
        def append(self, event):
            note(event)
            if event[1:] == (what, True):
                alice.expected.clear()
                alice.table.forget(event[0])

    alice.links = Forgetful()
    told = note.__self__
    introduce(bob, alice)
    introduce(alice, bob)
    await alice.until(lambda: (bob.state.peer_id, what, False) in told)
    assert told.index((bob.state.peer_id, what, True)) < told.index((bob.state.peer_id, what, False))
    await alice.until(lambda: alice.table.links_up == (0, 0))


async def test_after_news_that_its_sender_is_revoked_nothing_more_of_it_is_taken(links):
    alice, bob = await links("alice", "bob", run=False)
    await begin(bob)
    bob.expected.add(alice.state.peer_id)

    class Heed(list):
        def append(self, gossip):
            super().append(gossip)
            bob.expected.clear()
            bob.table.forget(alice.state.peer_id)

    bob.gossip = Heed()
    context = client_ssl_context(alice.state)
    reader, writer = await asyncio.open_connection(*bob.address, ssl=context, server_hostname="")
    writer.write(PACKET + encode_gossip(b"alice is revoked", SIZE) + PACKET * 20)
    assert await hung_up(reader)
    await bob.until(is_down(bob, alice, "inbound"))
    assert len(bob.gossip) == len(bob.packets) == 1
    assert not bob.drops
    writer.close()


async def test_who_is_no_longer_expected_is_hung_up_on_when_that_is_reconsidered(links):
    """A peer that we do not dial, since we know only its certificate, and whose delegate was revoked."""
    alice, bob, carol = await links("alice", "bob", "carol", run=False)
    await begin(alice, bob, carol)
    bob.expected = {alice.state.peer_id, carol.state.peer_id}
    introduce(alice, bob)
    introduce(carol, bob)
    await bob.until(lambda: bob.table.links_up == (0, 2))
    bob.table.reconsider()
    bob.expected.discard(alice.state.peer_id)
    bob.table.reconsider()
    await bob.until(lambda: bob.table.links_up == (0, 1))
    await bob.until(lambda: bob.drops[DropReason.REVOKED_PEER] >= 3)  # and when it comes again
    assert is_up(bob, carol, "inbound")()
    assert bob.links.count((alice.state.peer_id, "inbound", True)) == 1


async def test_newcomers_at_a_time_are_bounded(links, ca, monkeypatch):
    """Whoever holds the key of a delegate can make up as many as it likes."""
    (bob,) = await links("bob", run=False)
    monkeypatch.setattr(table, "MAX_STRANGERS", 2)
    await begin(bob)
    newcomers = [ca.issue(f"newcomer{n}") for n in range(4)]
    bob.expected = {newcomer.peer_id for newcomer in newcomers}

    async def dial(who):
        context = client_ssl_context(newcomers[who])
        return await asyncio.open_connection(*bob.address, ssl=context, server_hostname="")

    connections = [await dial(n) for n in (0, 1)]
    await bob.until(lambda: bob.table.links_up == (0, 2))
    connections.append(await dial(2))
    assert await hung_up(connections[2][0])
    assert bob.drops == {DropReason.UNKNOWN_PEER: 1}
    connections.append(await dial(0))  # anew, in the place of the first
    assert await hung_up(connections[0][0])
    bob.table.reconsider()
    bob.table.set_addresses(newcomers[1].peer_id, ())  # it is known now
    bob.table.set_addresses(newcomers[3].peer_id, ())
    connections += [await dial(n) for n in (2, 3)]
    await bob.until(lambda: bob.table.links_up == (0, 4))
    assert bob.drops == {DropReason.UNKNOWN_PEER: 1}
    for _, writer in connections:
        writer.transport.abort()
    await bob.until(lambda: bob.table.links_up == (0, 0))


async def test_what_is_said_after_the_end_starts_nothing(links):
    alice, bob = await links("alice", "bob")
    await meet(alice, bob)
    told_late = []

    class Relapse(list):
        def append(self, event):
            super().append(event)
            if not event[2]:
                told_late.append(event)
                alice.table.set_addresses(b"?" * 16, ("127.0.0.1:9",))
                alice.table.set_addresses(bob.state.peer_id, (at(bob.address),))

    alice.links = Relapse()
    await alice.stop()
    assert told_late
    alice.table.forget(bob.state.peer_id)
    alice.table.set_addresses(bob.state.peer_id, (at(bob.address),))
    assert alice.table.links_up == (0, 0)


# -- addresses -----------------------------------------------------------------------------------


async def test_addresses_are_tried_in_turn(links):
    alice, bob = await links("alice", "bob", run=False)
    await begin(alice, bob)
    bob.expected.add(alice.state.peer_id)
    nobody = await Doorbell().listen()
    nobody.close()
    addresses = ("a..b:1", nobody.address, "127.0.0.1:1", at(bob.address))
    alice.table.set_addresses(bob.state.peer_id, addresses)
    await alice.until(is_up(alice, bob))
    assert alice.log.debugs == 3


async def test_new_addresses_move_the_link(links):
    alice, bob = await links("alice", "bob", run=False)
    await begin(alice, bob)
    bob.expected.add(alice.state.peer_id)
    first, second = [await Doorbell(bob.address).listen() for _ in range(2)]
    alice.table.set_addresses(bob.state.peer_id, (first.address,))
    await alice.until(is_up(alice, bob))
    assert (first.open, second.open) == (1, 0)
    alice.table.set_addresses(bob.state.peer_id, (first.address,))  # told again
    alice.table.set_addresses(bob.state.peer_id, (second.address, first.address))  # one more
    assert alice.links == [(bob.state.peer_id, "outbound", True)]
    alice.table.set_addresses(bob.state.peer_id, (second.address,))
    await alice.until(lambda: len(alice.links) == 3)
    assert [up for _, _, up in alice.links] == [True, False, True]
    await first.until(lambda: first.open == 0)
    assert (first.calls, second.open) == (1, 1)
    assert alice.table.send(bob.state.peer_id, bytes(SIZE)) is None
    await bob.until(lambda: len(bob.packets) == 1)
    first.close()
    second.close()


async def test_new_addresses_end_an_attempt_at_an_old_one(links):
    alice, bob = await links("alice", "bob", run=False)
    alice.config = msgspec.structs.replace(alice.config, connect_timeout_seconds=3600.0)
    await begin(alice, bob)
    bob.expected.add(alice.state.peer_id)
    silent = await Doorbell().listen()
    alice.table.set_addresses(bob.state.peer_id, (silent.address,))
    await silent.until(lambda: silent.open == 1)
    alice.table.set_addresses(bob.state.peer_id, (at(bob.address),))
    await alice.until(is_up(alice, bob))
    await silent.until(lambda: silent.open == 0)
    assert silent.calls == 1
    silent.close()


async def test_a_peer_without_addresses_is_not_dialled_until_it_has_one(links):
    alice, bob = await links("alice", "bob")
    await meet(alice, bob)
    alice.table.set_addresses(bob.state.peer_id, ())
    await alice.until(is_down(alice, bob))
    assert alice.table.send(bob.state.peer_id, bytes(SIZE)) is DropReason.LINK_DOWN
    assert is_up(alice, bob, "inbound")()
    alice.table.set_addresses(bob.state.peer_id, (at(bob.address),))
    await alice.until(is_up(alice, bob))


async def test_what_is_no_address_is_our_own_error(links):
    alice, bob = await links("alice", "bob")
    for bad in ("nonsense", "host:", ":1", "host:65536"):
        with pytest.raises(InvalidInputError):
            alice.table.set_addresses(bob.state.peer_id, (at(bob.address), bad))
    await meet(alice, bob)


# -- what the policy forbids ---------------------------------------------------------------------


async def test_a_forbidden_address_is_never_dialled_nor_a_name_of_it(links):
    alice, bob = await links("alice", "bob", run=False)
    alice.policy.forbidden = {"127.0.0.1", "::1"}
    await begin(alice)
    victim = await Doorbell().listen()
    port = victim.address.rpartition(":")[2]
    # Its last address may be dialled, and answers nobody: when that was tried, so were the others.
    names = [f"{host}:{port}" for host in ("127.0.0.1", "localhost", "127.1", "0x7f000001", "2130706433")]
    alice.table.set_addresses(bob.state.peer_id, (*names, "127.0.0.2:1"))
    await alice.until(lambda: alice.log.debugs == 2)
    assert victim.calls == 0
    assert alice.policy.asked.count("127.0.0.1") >= 2 * len(names)
    assert set(alice.policy.asked) <= {"127.0.0.1", "::1", "127.0.0.2"}
    (warning,) = [fields for event, fields in alice.log.warnings if "policy" in event]  # once in a while
    assert warning["address"] == names[0]
    assert not alice.drops
    victim.close()


@pytest.mark.parametrize(("allow", "listens"), [((), "192.0.2.1:9101"), (("192.0.2.0/24",), "127.0.0.1:1")])
async def test_with_the_real_policy_nobody_is_made_to_knock_at_its_own_services(links, allow, listens):
    alice, bob = await links("alice", "bob", run=False)
    alice.policy = DialPolicy(allow, listens)
    await begin(alice)
    victim = await Doorbell().listen()
    port = victim.address.rpartition(":")[2]
    hosts = ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "127.9.9.9", "0.0.0.0", "0", "[::]")
    addresses = (*(f"{host}:{port}" for host in hosts), "a..b:1")
    alice.table.set_addresses(bob.state.peer_id, addresses)
    await alice.until(lambda: alice.log.debugs == 2)
    assert victim.calls == 0
    victim.close()


async def test_a_forbidden_address_leaves_the_others_of_the_peer(links):
    alice, bob = await links("alice", "bob", run=False)
    alice.policy.forbidden = {"127.0.0.9"}
    await begin(alice, bob)
    bob.expected.add(alice.state.peer_id)
    victim = await Doorbell().listen("127.0.0.9")
    alice.table.set_addresses(bob.state.peer_id, (victim.address, at(bob.address)))
    await alice.until(is_up(alice, bob))
    assert victim.calls == 0
    victim.close()


async def test_of_the_addresses_of_a_name_only_permitted_ones_are_dialled_each_in_turn(links, monkeypatch):
    alice, bob = await links("alice", "bob", run=False)
    alice.policy.forbidden = {"127.0.0.9"}
    await begin(alice, bob)
    bob.expected.add(alice.state.peer_id)
    host, port = bob.address
    victim = await Doorbell().listen("127.0.0.9", port)
    asked = []

    async def resolve(name, of_port):
        asked.append((name, of_port))
        return ["127.0.0.9", "127.0.0.5", host]  # at .5 is nobody

    monkeypatch.setattr(dialler, "_resolve", resolve)
    alice.table.set_addresses(bob.state.peer_id, (f"bob.example:{port}",))
    await alice.until(is_up(alice, bob))
    assert asked == [("bob.example", port)] * 2
    assert alice.log.debugs == 1
    assert victim.calls == 0
    victim.close()


async def test_a_name_that_comes_to_mean_another_address_is_looked_at_anew(links, monkeypatch):
    """DNS rebinding: what was permitted before is not dialled blindly again."""
    alice, bob = await links("alice", "bob", run=False)
    alice.policy.forbidden = {"127.0.0.9"}
    await begin(alice, bob)
    bob.expected.add(alice.state.peer_id)
    port = bob.address[1]
    victim = await Doorbell().listen("127.0.0.9", port)
    meaning = ["127.0.0.1"]

    async def resolve(name, of_port):
        return list(meaning)

    monkeypatch.setattr(dialler, "_resolve", resolve)
    alice.table.set_addresses(bob.state.peer_id, (f"bob.example:{port}",))
    await alice.until(is_up(alice, bob))
    meaning[:] = ["127.0.0.9"]
    alice.policy.asked.clear()
    await bob.stop()
    await alice.until(is_down(alice, bob))
    await alice.until(lambda: any("policy" in event for event, _ in alice.log.warnings))
    assert set(alice.policy.asked) == {"127.0.0.9"}
    assert victim.calls == 0
    victim.close()


@pytest.mark.parametrize(
    "host", ["a..b", "x" * 300, "\0", "a\0b", "\ud800", "%", "::", "[::1", "127.0.0.1%lo", "*", " ", "ü"]
)
async def test_whatever_a_descriptor_says_is_no_crash(links, host):
    alice, bob, carol = await links("alice", "bob", "carol")
    alice.policy.forbidden = {str(ip) for ip in (ipaddress.ip_address("::"), ipaddress.ip_address("::1"))}
    alice.table.set_addresses(carol.state.peer_id, (f"{host}:1", at(carol.address)))
    await meet(alice, bob)
    await alice.until(is_up(alice, carol))


# -- a new authority -----------------------------------------------------------------------------


async def test_new_contexts_let_peers_of_a_second_ca_in_both_ways(links, ca):
    alice, bob, carol = await links("alice", "bob", "carol", run=False)
    second = type(ca)("second")
    both = ca.pem + second.pem
    carol.state = dataclasses.replace(second.issue("carol"), ca_pem=both)
    for peer in (alice, bob, carol):
        await peer.start(peer.addresses)
    await alice.until(lambda: alice.drops[DropReason.HANDSHAKE_FAILED] >= 4)
    await meet(alice, bob)
    assert not any(carol.state.peer_id == peer for peer, _, _ in alice.links)
    alice.links.clear()
    trusting = dataclasses.replace(alice.state, ca_pem=both)
    alice.table.set_tls(server_ssl_context(trusting), client_ssl_context(trusting))
    await alice.until(is_up(alice, carol))
    await alice.until(is_up(alice, carol, "inbound"))
    assert {peer for peer, _, _ in alice.links} == {carol.state.peer_id}  # links that are up stay
    own = dataclasses.replace(second.issue("alice"), ca_pem=both)
    alice.table.set_tls(server_ssl_context(own), client_ssl_context(own))
    alice.table.forget(carol.state.peer_id)
    introduce(alice, carol)
    await carol.until(lambda: carol.shown.get(alice.state.peer_id) is not None)
    await meet(alice, carol)


# -- all at once ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_is_left_of_any_of_it(links, seed):
    """Peers that come, go, move, restart and are cut off at random: what is told of links alternates, what
    is up at the end is up, and when it has ended no connection and no task is left."""
    before = asyncio.all_tasks()
    rng = random.Random(seed)
    peers = await links("alice", "bob", "carol", "dave")
    alice, *others = peers
    for other in others:
        other.proxy = await Doorbell(other.addresses[other.state.peer_id]).listen()
    for _ in range(80):
        other = rng.choice(others)
        match rng.randrange(7):
            case 0:
                alice.expected.discard(other.state.peer_id)
                alice.table.forget(other.state.peer_id)
            case 1 | 2:
                introduce(alice, other)
            case 3:
                alice.table.set_addresses(other.state.peer_id, (other.proxy.address,))
            case 4:
                await other.stop()
                await other.start(other.addresses)
            case 5:
                alice.table.reconsider()
                alice.table.set_tls(server_ssl_context(alice.state), client_ssl_context(alice.state))
            case 6:
                await alice.until(
                    lambda o=other: alice.table.snapshot(o.state.peer_id).outbound != "connecting"
                )
        for _ in range(rng.randrange(40)):
            await asyncio.sleep(0)
    for other in others:
        introduce(alice, other)

    def told():
        sums = Counter()
        for peer, direction, up in alice.links:
            sums[peer, direction] += 1 if up else -1
            assert sums[peer, direction] in (0, 1)
        return sums

    everything = {(other.state.peer_id, way): 1 for other in others for way in ("outbound", "inbound")}
    # Links that are given up for others may still look up for a moment: so all of it at once.
    await alice.until(lambda: told() == everything and len(alice.table._common.open) == len(everything))
    for other in others:
        await meet(alice, other)
    for peer in peers:
        await peer.stop()
        assert peer.table.links_up == (0, 0)
        assert not peer.table._common.open
    assert not +told()
    for other in others:
        other.proxy.close()
        await other.proxy.until(lambda o=other: o.proxy.open == 0)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() <= before
