"""What is on a wire: delay, order, loss, and whoever tampers with it."""

from __future__ import annotations

from peerd.sim.wires import Wires


def send(wires, count, **options):
    arrived = []
    for number in range(count):
        wires.carry(0, 1, b"%d" % number, lambda cell: arrived.append((wires.now, cell)), **options)
    wires.run(10.0)
    return arrived


def test_order_and_delay():
    arrived = send(Wires(1, latency=0.1, loss=0.0), 50)
    assert [cell for _, cell in arrived] == [b"%d" % number for number in range(50)]
    assert all(0.05 <= moment <= 0.15 for moment, _ in arrived)


def test_loss_is_a_share_and_not_for_what_comes_surely():
    wires = Wires(1, latency=0.1, loss=0.3)
    assert 500 < len(send(wires, 1000)) < 900
    assert len(send(wires, 1000, surely=True)) == 1000


def test_somebody_on_the_wire():
    wires = Wires(1, latency=0.1, loss=0.0)
    wires.tamper = lambda cell: [cell, cell + b"!"]
    assert [cell for _, cell in send(wires, 1)] == [b"0", b"0!"]
    wires.drop = lambda source, target, cell: (source, target, cell) == (0, 1, b"0")
    assert [cell for _, cell in send(wires, 2)] == [b"1", b"1!"]


def test_the_digest_is_of_what_is_sent_and_not_of_what_arrives():
    one, two, three = (Wires(1, latency=0.1, loss=0.0) for _ in range(3))
    two.drop = lambda *_: True
    for wires, cell in ((one, b"a"), (two, b"a"), (three, b"b")):
        wires.carry(0, 1, cell, lambda _cell: None)
    assert one.digest() == two.digest() != three.digest()
