"""Counter pages: the closed lists, and one writer that everybody may watch (I6, I14)."""

import os
import struct
import time

import pytest
from fastpath.rig import Rig, memory, new_page, tunnel_address
from strategies import a16, echo_request

from gateway.fastpath.counters import NAMES, PEER_NAMES, REASONS, Page
from gateway.protocol.forwarding import DropReason


def test_both_lists_of_reasons_are_one():
    assert tuple(reason.name.lower() for reason in sorted(DropReason)) == REASONS
    assert [reason.value for reason in DropReason] == list(range(len(REASONS)))


def test_every_reason_has_a_counter_for_each_side():
    for side in ("drop_", "ring_drop_"):
        assert [name for name in NAMES if name.startswith(side)] == [side + r for r in REASONS]
    assert len(set(NAMES)) == len(NAMES)


def test_a_new_page_is_empty():
    page = new_page(3)

    assert page.read() == dict.fromkeys(NAMES, 0)
    assert [page.peer(slot) for slot in range(3)] == [(0,) * len(PEER_NAMES)] * 3
    assert page.pulse() == 0
    assert page.peers == 3


def test_there_is_no_row_behind_the_last():
    with pytest.raises(IndexError, match="slot 3 of 3"):
        new_page(3).peer(3)


def test_a_page_is_taken_up_as_it_is_and_nothing_else_is():
    place = memory(Page.bytes_for(2))
    Page(place, 2).beat()

    assert Page(place, 2).pulse() > 0
    with pytest.raises(ValueError, match="something else"):
        Page(place, 1)
    with pytest.raises(ValueError, match="aligned"):
        Page(place, 3)
    with pytest.raises(ValueError, match="aligned"):
        Page(place[8:], 1)
    place[:4] = struct.pack("I", 77)
    with pytest.raises(ValueError, match="something else"):
        Page(place, 2)


def test_a_pulse_is_the_monotonic_clock():
    page, before = new_page(), time.monotonic_ns()

    page.beat()

    assert before <= page.pulse() <= time.monotonic_ns()


def test_another_process_is_seen_at_work():
    ping = echo_request(a16("192.0.2.1"), tunnel_address(0))
    with Rig() as rig:
        rig.peer(0)
        rig.host.send(bytes(10) + ping)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                rig.reader.run(0)
                rig.worker.run(0)
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0

        assert rig.reader_page.read()["queued_packets"] == 1
        assert rig.counted("sent_packets") == 1
        assert rig.page.peer(0)[2:4] == (1, len(ping))
        assert rig.page.pulse() > 0
        rig.check_sums()


def test_each_byte_counter_goes_with_its_packets():
    ping = echo_request(tunnel_address(0), a16("10.0.0.1"), data=bytes(100))
    back = echo_request(a16("10.0.0.1"), tunnel_address(0), data=bytes(50))
    with Rig() as rig:
        rig.peer(0)
        rig.send(0, ping, ping)
        rig.from_host(bytes(10) + back)

        rig.work()

        reader, worker = rig.reader_page.read(), rig.page.read()
        assert (reader["tun_read_packets"], reader["tun_read_bytes"]) == (1, len(back))
        assert (reader["queued_packets"], reader["queued_bytes"]) == (1, len(back))
        assert (worker["ring_packets"], worker["ring_bytes"]) == (1, len(back))
        assert (worker["sent_packets"], worker["sent_bytes"]) == (1, len(back))
        assert worker["udp_received_bytes"] == worker["delivered_bytes"] == 2 * len(ping)
        assert rig.page.peer(0) == (2, 2 * len(ping), 1, len(back), 0, 0)
