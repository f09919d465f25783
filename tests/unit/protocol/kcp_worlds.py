"""Two ends of KCP with a bad path between them and a clock that nobody waits for.

`Stock` is a slow twin written down from the rules of kcp-go: lists instead of tables, a
flush every 10 ms, 32 segments, time-outs only. Whoever speaks with it speaks with GOST.
"""

import heapq
import importlib.util
import struct
import sys
from pathlib import Path
from random import Random

import gateway.protocol.fec
import gateway.protocol.kcp
from gateway.protocol.kcp import GREETING, GREETINGS
from gateway.protocol.kcp_congestion import Congestion

HEAD = struct.Struct("<IBBHIIII")
PUSH, ACK, ASK, TELL = 0x51, 0x52, 0x53, 0x54
ROOM = 524
MSS = ROOM - 24
CONV = 0x01020304
MASK = 0xFFFFFFFF


def variants(module):
    """The module as installed, and as its source: compiled and read they do the same."""
    path = Path(module.__file__).with_name(module.__name__.rpartition(".")[2] + ".py")
    name = f"{path.stem}_as_source"
    spec = importlib.util.spec_from_file_location(name, path)
    source = importlib.util.module_from_spec(spec)
    sys.modules[name] = source
    spec.loader.exec_module(source)
    return [module, source]


__all__ = ["GREETING", "GREETINGS"]

KCP = variants(gateway.protocol.kcp)
FEC = variants(gateway.protocol.fec)
# For what a compiled module keeps to itself.
KCP_SOURCE, FEC_SOURCE = KCP[1:], FEC[1:]


def names(module):
    return "source" if module.__name__.endswith("_as_source") else "installed"


def pattern(size, seed=1):
    return bytes((seed + number * number // 7) & 0xFF for number in range(size))


def an_end(module=gateway.protocol.kcp, *, send=256, receive=256, **options):
    options.setdefault("congestion", Congestion(send))
    options.setdefault("greets", False)
    return module.Kcp(CONV, ROOM, send_window=send, receive_window=receive, **options)


def segment(cmd, *, sn=0, ts=0, una=0, wnd=32, data=b"", conv=CONV, frg=0):
    return HEAD.pack(conv, cmd, frg, wnd, ts, sn & MASK, una & MASK, len(data)) + data


def segments(packets):
    """(cmd, wnd, ts, sn, una, data) of everything in these packets."""
    found = []
    for packet in packets:
        at = 0
        while at < len(packet):
            conv, cmd, _, wnd, ts, sn, una, length = HEAD.unpack_from(packet, at)
            assert conv == CONV
            at += 24 + length
            found.append((cmd, wnd, ts, sn, una, packet[at - length : at]))
        assert at == len(packet) <= ROOM
    return found


class Stock:
    """What the other end is when it is not ours."""

    interval = 0.01

    def __init__(self, window=32):
        self.window = window
        self.peer_window = 32
        self.out, self.flight = [], []
        self.una = self.next = self.expected = 0
        self.acks, self.early, self.got = [], {}, []
        self.rto = 0.2
        self.flush_at = 0.0

    def write(self, data):
        self.out += [data[at : at + MSS] for at in range(0, len(data), MSS)]

    def read(self):
        got, self.got = self.got, []
        return got

    def due(self):
        return self.flush_at

    @property
    def unsent(self):
        return sum(map(len, self.out))

    def receive(self, packet, now):
        for cmd, wnd, ts, sn, una, data in segments([bytes(packet)]):
            self.peer_window = wnd
            self.una = max(self.una, una)
            self.flight = [one for one in self.flight if one[0] >= self.una]
            if cmd == ACK:
                self.flight = [one for one in self.flight if one[0] != sn]
            if cmd == PUSH and sn < self.expected + self.window:
                self.acks.append((sn, ts))
                if sn >= self.expected:
                    self.early[sn] = data
        while self.expected in self.early:
            self.got.append(self.early.pop(self.expected))
            self.expected += 1

    def flush(self, now):
        if now < self.flush_at:
            return []
        self.flush_at = now + self.interval
        sent = [segment(ACK, sn=sn, ts=ts, una=self.expected) for sn, ts in self.acks]
        self.acks.clear()
        while self.out and self.next < self.una + min(32, self.peer_window):
            self.flight.append([self.next, self.out.pop(0), 0.0])
            self.next += 1
        for one in self.flight:
            if now >= one[2]:
                one[2] = now + self.rto
                stamp = int(now * 1000) & MASK
                sent.append(segment(PUSH, sn=one[0], ts=stamp, una=self.expected, data=one[1]))
        return sent


class Way:
    """Loses, doubles, delays and so mixes up what two ends send each other."""

    def __init__(self, seed, *, loss=0.0, double=0.0, delay=0.01, jitter=0.0):
        self.random = Random(seed)
        self.loss, self.double, self.delay, self.jitter = loss, double, delay, jitter
        self.under_way = []
        self.count = 0

    def carry(self, packets, to, now):
        for packet in packets:
            copies = 1 + (self.random.random() < self.double)
            for _ in range(copies):
                if self.random.random() >= self.loss:
                    at = now + self.delay + self.random.random() * self.jitter
                    self.count += 1
                    heapq.heappush(self.under_way, (at, self.count, to, packet))

    def arrivals(self, now):
        while self.under_way and self.under_way[0][0] <= now:
            _, _, to, packet = heapq.heappop(self.under_way)
            yield to, packet


def run(ends, path, *, until, watch=lambda _: None, deadline=600.0):
    """Turn until `until()`; the seconds it took, by the ends' own clock."""
    now = begin = 1000.0
    while not until():
        assert now - begin < deadline, "it takes too long"
        for end, other in (ends, ends[::-1]):
            path.carry(end.flush(now), other, now)
        watch(now)
        times = [end.due() for end in ends]
        if path.under_way:
            times.append(path.under_way[0][0])
        now = max(now, min(times))
        for end, packet in path.arrivals(now):
            end.receive(packet, now)
    return now - begin
