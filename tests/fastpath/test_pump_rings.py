"""Rings and bells between the reader and its workers, as the pump uses them."""

import os

import pytest
from fastpath.flows import TCP4, TCP6, tcp, to_peer, udp
from fastpath.rig import Rig, ends_in_time, tunnel_address
from fastpath.twins import cut, needs_checksum, plain, super_packet
from strategies import echo_request

from gateway.fastpath.pump import Reader


def test_a_full_ring_drops_and_counts():
    """No byte of what is in the ring is touched, and it comes out whole."""
    record = super_packet(tcp(size=60_000), 1380)
    with Rig(capacity=1 << 17) as rig:
        peer = rig.peer(0)
        rig.from_host(*[record] * 4)
        segments = len(cut(record))

        queued = rig.reader_page.read()["queued_packets"]
        lost = rig.drops(rig.reader_page)["ring_full"]
        rig.work()

        assert queued % segments == 0
        assert 0 < queued == 4 * segments - lost
        assert rig.rings[0].dropped == lost // segments
        assert rig.reader_page.peer(0)[4] == lost
        assert peer.receive(queued) == cut(record) * (queued // segments)
        rig.check_sums()


def test_what_was_queued_for_a_former_peer_is_not_sent_to_the_next():
    with Rig() as rig:
        peer = rig.peer(0)
        rig.from_host(TCP4)
        rig.admit(0, incarnation=2)

        rig.work()

        assert rig.drops(prefix="ring_drop_") == {"stale_peer": 4}
        assert peer.nothing_came()
        rig.check_sums()


def test_what_was_queued_for_a_peer_that_left_is_dropped():
    with Rig() as rig:
        rig.peer(0)
        rig.from_host(plain(tcp(size=10)))
        rig.fib.drop_peer(0)

        rig.work()

        assert rig.drops(prefix="ring_drop_") == {"stale_peer": 1}


def test_what_is_queued_for_a_slot_that_is_empty_is_dropped():
    """No incarnation is nobody's, not everybody's."""
    with Rig() as rig:
        rig.fib.set_route(tunnel_address(5), 128, 5)
        rig.from_host(plain(echo_request(*to_peer(slot=5))))

        rig.work()

        assert rig.drops(prefix="ring_drop_") == {"stale_peer": 1}
        rig.check_sums()


def test_a_record_for_a_slot_that_is_none_is_dropped():
    """The ring's memory is another process's too."""
    with Rig() as rig:
        assert rig.rings[0].push(plain(tcp(size=10)), 2**31, 1)

        rig.work()

        assert rig.drops(prefix="ring_drop_") == {"stale_peer": 1}


def test_a_route_to_a_slot_that_is_none_drops_before_the_ring():
    with Rig() as rig:
        rig.fib.set_route(tunnel_address(5), 128, 8)
        rig.from_host(plain(echo_request(*to_peer(slot=5))))

        assert rig.drops(rig.reader_page) == {"stale_peer": 1}
        assert rig.rings[0].pop() is None
        rig.check_sums()


def test_each_ring_has_its_peers_and_one_ring_of_the_bell():
    """The bell is rung once per burst, and only for a ring that got something (I4)."""
    with Rig(rings=3) as rig:
        for slot in range(5):
            rig.peer(slot)
        records = [plain(echo_request(*to_peer(slot=slot))) for slot in (0, 3, 1, 4, 0)]
        for record in records:
            rig.host.send(record)

        assert rig.reader.run(0) == 0

        assert [os.eventfd_read(bell) for bell in rig.bells[:2]] == [1, 1]
        with pytest.raises(BlockingIOError):
            os.eventfd_read(rig.bells[2])
        popped = [list(iter(ring.pop, None)) for ring in rig.rings]
        assert [[record[1] for record in queue] for queue in popped] == [[0, 3, 0], [1, 4], []]
        assert [[record[0] for record in queue] for queue in popped[:2]] == [
            [records[0], records[1], records[4]],
            [records[2], records[3]],
        ]

        rig.from_host(plain(echo_request(*to_peer(slot=2))))

        assert os.eventfd_read(rig.bells[2]) == 1
        for bell in rig.bells[:2]:
            with pytest.raises(BlockingIOError):
                os.eventfd_read(bell)


def test_the_worker_empties_its_bell():
    """One that stays full would wake it for ever."""
    with Rig() as rig:
        rig.peer(0)
        rig.from_host(TCP4, TCP6)

        rig.work()

        assert rig.counted("sent_packets") == 8
        with pytest.raises(BlockingIOError):
            os.eventfd_read(rig.bells[0])


def test_a_successor_of_the_worker_sends_the_same_bytes_again():
    """A death costs at most a burst sent twice (I3), completed checksums included."""
    record = needs_checksum(udp(size=333))
    with Rig() as rig:
        peer = rig.peer(0)
        rig.from_host(record, TCP6)
        head = rig.ring_memory[0][128:132]  # ring.h: the consumer's cache line
        before = bytes(head)
        rig.work()
        first = peer.receive(5)
        head[:] = before  # as if it had died before the release

        rig.succeed()
        rig.work()

        assert peer.receive(5) == first == cut(record) + cut(TCP6)


def test_a_successor_of_the_reader_goes_on_behind_what_was_published():
    with Rig() as rig:
        peer = rig.peer(0)
        rig.from_host(TCP4)
        rig.succeed()
        rig.from_host(TCP6)

        rig.work()

        assert peer.receive(8) == cut(TCP4) + cut(TCP6)


def test_a_bell_that_never_stops_does_not_keep_the_worker():
    with Rig() as rig:
        semaphore = os.eventfd(1 << 31, os.EFD_NONBLOCK | os.EFD_SEMAPHORE)
        rig.closing.callback(os.close, semaphore)
        rig.worker_parts["doorbell"] = semaphore
        rig.succeed()

        assert ends_in_time(lambda: rig.worker.run(0.02) == 0)


def test_the_reader_wants_as_many_bells_as_rings():
    with Rig() as rig, pytest.raises(ValueError, match="doorbells"):
        Reader(rings=rig.rings, doorbells=[], page=rig.reader_page, **rig.reader_parts)
