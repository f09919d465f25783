"""Hostile bytes for the compiled KCP modules, which read without a look at where bytes end.

Beside each runs its slow twin, the same source as Python reads it: where a check is missing
the twin raises IndexError, and what lies beyond the bytes is read by nobody unnoticed. What
both leave out alike is told by the verdicts written down here. Every run is the same one.
"""

import importlib.util
import struct
import sys
import zlib
from pathlib import Path
from random import Random

import pytest
from unit.protocol.kcp_worlds import ACK, ASK, CONV, GREETING, HEAD, MASK, PUSH, TELL, an_end

from gateway.protocol import fec, kcp, kcp_arrivals, kcp_bursts, kcp_segments
from gateway.protocol.kcp_options import MOST_MTU
from gateway.protocol.wire import WireError

COMPILED = (kcp_segments, kcp_arrivals, kcp_bursts, fec, kcp)
EDGES = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFE8, 0xFFFFFFFF)
COMMANDS = (PUSH, PUSH, PUSH, PUSH, ACK, ACK, ASK, TELL)
WINDOW = 12


def read_as_source():
    """All of them as they are read, none of which knows a compiled one."""
    kept = {module.__name__: sys.modules[module.__name__] for module in COMPILED}
    try:
        for module in COMPILED:
            name = module.__name__
            path = Path(module.__file__).with_name(name.rpartition(".")[2] + ".py")
            spec = importlib.util.spec_from_file_location(name, path)
            sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
        return tuple(sys.modules[name] for name in kept)
    finally:
        sys.modules.update(kept)


SOURCES = read_as_source()
BURSTS, FEC, KCP = zip(COMPILED[2:], SOURCES[2:], strict=True)


def test_one_of_the_two_is_compiled():
    assert {Path(module.__file__).suffix for module in COMPILED} == {".so"}
    assert {Path(module.__file__).suffix for module in SOURCES} == {".py"}


def outcome(call, *arguments):
    """What it gives, or how it refuses; anything but a WireError is a failure."""
    try:
        return call(*arguments)
    except WireError as error:
        return f"refused: {error}"


def agree(both, call):
    """The same of both twins."""
    compiled, source = (call(each) for each in both)
    assert compiled == source
    return source


def number_near(random, base):
    return random.choice((base, base + random.randint(-3, WINDOW + 3), random.choice(EDGES)))


def a_segment(random, end):
    size = random.choice((0, 1, 2, 23, 24, 25, random.randint(0, 90)))
    length = size if random.random() < 0.9 else random.choice((size + 1, abs(size - 1), *EDGES))
    conv = CONV if random.random() < 0.98 else random.choice(EDGES)
    cmd = random.choice(COMMANDS) if random.random() < 0.97 else random.randint(0, 255)
    una = end._una + random.randint(0, 2) if random.random() < 0.95 else random.choice(EDGES)
    sn = number_near(random, end.arrivals.expected if cmd == PUSH else end._una)
    if cmd == TELL:
        sn = random.choice((0, GREETING, GREETING, sn))
    stamps = [each.stamp for each in end._flight.values()] or [0]
    head = (conv, cmd, random.choice((0, 255)), random.choice((0, 1, 32, 0xFFFF)))
    numbers = (random.choice((*stamps, *EDGES)), sn & MASK, una & MASK, length & MASK)
    return HEAD.pack(*head, *numbers) + random.randbytes(size)


def a_packet(random, end):
    """Mostly KCP, then cut short, bent, or larger than any."""
    packet = bytearray().join(a_segment(random, end) for _ in range(random.randint(1, 4)))
    chance = random.random()
    if chance < 0.2:
        del packet[random.randint(0, len(packet)) :]
    elif chance < 0.3:
        for _ in range(random.randint(1, 4)):
            packet[random.randrange(len(packet))] ^= 1 << random.randrange(8)
    elif chance < 0.35:
        packet = bytearray(random.randbytes(random.randint(0, 60)))
    elif chance < 0.4:
        at = len(packet) + HEAD.size
        data = bytes(random.choice((MOST_MTU, MOST_MTU + 1)) - at)
        packet += HEAD.pack(CONV, PUSH, 0, 32, 0, 0, 0, len(data)) + data
    return bytes(packet)


def is_kcp(packet, una, following):
    """The verdict, by the drawing of the head alone."""
    if len(packet) < HEAD.size:
        return False
    at = 0
    while len(packet) - at >= HEAD.size:
        conv, cmd, _, _, _, _, low, length = HEAD.unpack_from(packet, at)
        at += HEAD.size + length
        ahead = (low - una) & MASK
        if conv != CONV or at > len(packet) or not PUSH <= cmd <= TELL:
            return False
        if ahead < 0x80000000:
            una += ahead
        if una > following:
            return False
    return True


def pieces_in(packet):
    """The data of its segments, as far as they are whole."""
    at = 0
    while len(packet) - at >= HEAD.size:
        length = HEAD.unpack_from(packet, at)[7]
        at += HEAD.size + length
        if at <= len(packet):
            yield packet[at - length : at]


def state(end):
    arrivals = end.arrivals
    return (
        end.kin, end.left, end.dead, end.srtt, end.rto, end.peer_window, end.unsent, end.resent,
        end.timeouts, end.acknowledged, end.owed, end.due(), arrivals.expected, arrivals.repeats,
        arrivals.tell, arrivals.free(),
    )  # fmt: skip


def pass_on(random, both, packet, now):
    """Either way in; the verdict is the one that was written down."""
    source = both[1]
    good = is_kcp(packet, source._una, source._next)
    if random.random() < 0.5:
        others = agree(both, lambda end: end.receive_all([packet], now))
        assert others == ([] if good and len(packet) <= MOST_MTU else [packet])
        return good
    fresh = random.random() < 0.8
    said = agree(both, lambda end: outcome(end.receive, packet, now, fresh))
    assert (said is None) == good, said
    return good


@pytest.mark.parametrize("seed", range(8))
def test_no_packet_is_taken_for_more_than_it_is(seed):
    random = Random(seed)
    good = taken = 0
    for _ in range(50):
        both = [an_end(module, receive=WINDOW, greets=True) for module in KCP]
        now, said = 1000.0, set()
        for _ in range(40):
            now += random.choice((0.0, 0.001, 0.3))
            data = random.randbytes(random.choice((0, 0, 10, 900)))
            agree(both, lambda end, data=data: end.write(data))
            agree(both, lambda end, now=now: end.flush(now))
            packet = a_packet(random, both[1])
            said.update(pieces_in(packet))
            good += pass_on(random, both, packet, now)
            agree(both, state)
            arrivals = both[1].arrivals
            assert len(arrivals._early) + len(arrivals._ready) <= WINDOW
            assert max(arrivals._early, default=0) < arrivals.expected + arrivals.free()
            if random.random() < 0.3:
                pieces = agree(both, lambda end: end.read())
                assert said.issuperset(pieces)
                taken += len(pieces)
    assert 600 < good < 1400
    assert taken > 300


def bent(random, packet):
    """An FEC packet cut short, longer, or with another head."""
    chance = random.random()
    if chance < 0.15:
        return packet[: random.randint(0, len(packet))]
    if chance < 0.3:
        return packet + random.randbytes(random.randint(1, 40))
    if chance < 0.45:
        seq = random.choice((*EDGES, random.randint(0, 60)))
        return struct.pack("<IH", seq, random.choice((0xF1, 0xF2))) + packet[6:]
    if chance < 0.6:
        return packet[:6] + struct.pack("<H", random.choice((0, 1, 2, 3, 0xFFFF))) + packet[8:]
    return packet


@pytest.mark.parametrize("form", [(3, 2), (1, 1), (10, 3), (0, 0)])
def test_shards_of_any_lengths_make_the_same_packets(form):
    random = Random(sum(form))
    recovered = 0
    for turn in range(40):
        share = (0.1, 1.0)[turn % 2]
        encoders = [module.Encoder(form[0] or 4, form[1] or 2) for module in FEC]
        both = [module.Decoder(*form) for module in FEC]
        for _ in range(100):
            packet = random.randbytes(random.choice((0, 1, 7, 8, 9, random.randint(0, 120))))
            for sent in agree(encoders, lambda end, packet=packet: end.encode([packet])):
                hostile = bent(random, sent) if random.random() < share else sent
                if random.random() < 0.2:
                    continue
                said = agree(both, lambda end, it=hostile: outcome(end.decode, it))
                assert isinstance(said, str) == (len(hostile) < 8)
        recovered += agree(both, lambda end: end.recovered)
    assert recovered > 50


@pytest.mark.parametrize("module", FEC, ids=["compiled", "source"])
def test_a_shard_that_lies_about_its_size_is_nothing(module):
    """One and one: the parity is the shard itself."""
    for length in range(40):
        for size in (*range(45), 0x7FFF, 0x8000, 0xFFFF):
            data = struct.pack("<H", size) + bytes(range(length))
            packet = struct.pack("<IH", 1, 0xF2) + data
            _, recovered = module.Decoder(1, 1).decode(packet)
            honest = 2 < size <= len(data)
            assert recovered == ([data[2:size]] if honest else [])


def sealed_by_nobody(random):
    """A datagram as it is when it was opened: with the right CRC, a wrong one, or too short."""
    packet = random.randbytes(random.choice((0, 1, 2, 15, 16, 17, random.randint(0, 1500))))
    crc = zlib.crc32(packet) ^ (random.random() < 0.2)
    opened = random.randbytes(16) + struct.pack("<I", crc) + packet
    return opened[: random.randint(0, len(opened))] if random.random() < 0.2 else opened


def burst(name, *arguments):
    """What this does to a burst in both twins."""
    return agree(BURSTS, lambda module: getattr(module, name)(*arguments))


@pytest.mark.parametrize("block", [8, 16])
def test_a_burst_of_any_datagrams_is_cut_and_checked_as_it_is(block):
    random = Random(block)
    for _ in range(300):
        datagrams = [sealed_by_nobody(random) for _ in range(random.randint(0, 12))]
        laid = burst("lay_sealed", datagrams, bytes(block))
        assert len(laid) == sum(block + len(each) + -len(each) % block for each in datagrams)
        right = [
            each[20:]
            if len(each) > 20 and each[16:20] == struct.pack("<I", zlib.crc32(each[20:]))
            else None
            for each in datagrams
        ]
        assert burst("checked", laid, datagrams, block) == right
        short = random.randint(0, len(laid))
        ends, at = [], 0
        for each in datagrams:
            ends.append(at + block + len(each))
            at = ends[-1] + -len(each) % block
        there = [each if end <= short else None for each, end in zip(right, ends, strict=True)]
        assert burst("checked", laid[:short], datagrams, block) == there
        half = len(laid) // 2
        spans = [(0, half, random.randint(1, 1500)), (half, len(laid), 700)]
        assert b"".join(burst("cut", laid, spans)) == laid


@pytest.mark.parametrize("module", BURSTS, ids=["compiled", "source"])
def test_no_packet_lies_outside_what_was_opened(module):
    opened = bytes(16) + struct.pack("<I", zlib.crc32(b"packet")) + b"packet"
    assert module.packet_in(opened, 0, 26) == b"packet"
    for begin in range(-30, 60):
        for end in range(-30, 90):
            if (begin, end) != (0, 26):
                assert module.packet_in(opened, begin, end) is None
