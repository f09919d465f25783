"""The bridge of a client's chain: each of its targets is a loopback port, with a stream behind.

A leg is a target: a UDP socket whose only correspondent is the service's uplink, and the
stream through all hops to where the target is. It dials when the first datagram comes, and
again whenever its stream ends, after a jittered wait. A node that fails is followed by the
next one at once; the waits grow with rounds in which all have failed. What comes meanwhile
is dropped and counted: the supervisor has the uplink register anew as soon as there is a
stream.

Before a connection to a first hop is made the supervisor is asked, so that the way there
stays outside the tunnel. Names are looked up before the first of them, and remembered: a
default route may lead into the tunnel afterwards.
"""

import asyncio
import random
import socket
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import islice, product
from math import inf

from gateway.carriers.hop import RelayStream
from gateway.carriers.stream import CarrierError, Stream
from gateway.config.chain_model import HopSpec, NodeSpec
from gateway.protocol.bridge_messages import (
    Dial,
    Dialling,
    LegFigures,
    LegState,
    StreamFigures,
)
from gateway.protocol.messages import ToChild
from gateway.protocol.packet import pack_address
from gateway.protocol.relay import Address, Request
from gateway.protocol.selector import Node, Selector
from gateway.workers.base import Place
from gateway.workers.bridge_base import Bridge
from gateway.workers.bridge_carriers import DialCarrier
from gateway.workers.bridge_crossing import Crossing
from gateway.workers.bridge_hosts import is_literal
from gateway.workers.bridge_leg import Leg
from gateway.workers.bridge_marked import MarkedSockets
from gateway.workers.bridge_race import first_of
from gateway.workers.bridge_round import Round

DIAL_SECONDS = 15.0
ANSWER_SECONDS = 15.0
LOOK_UP_SECONDS = 5.0
PREPARE_SECONDS = 5.0
WANTED_SECONDS = 60.0
"""For how long after its last datagram a leg dials again, where there are others."""
STEADY_SECONDS = 10.0
"""A stream that lived as long was no failure."""
AT_ONCE = frozenset({"parallel", "lowestlatency"})
"""Strategies for which the first node that is up is the right one."""
WAYS_AT_ONCE = 8
"""Ways through the chain that are tried together, where hops are `AT_ONCE`."""
MOST_TRIES = 16
"""One after the other, before there is a wait."""

Way = tuple[Stream, Sequence[int]]
"""A stream to the last hop, and which node of each hop it goes through."""


@dataclass(frozen=True)
class PreparedNode:
    """A node, and how to dial it: certificates are read by now."""

    spec: NodeSpec
    dial: DialCarrier
    marked: MarkedSockets | None = None


@dataclass(frozen=True)
class PreparedHop:
    """The nodes of one hop."""

    spec: HopSpec
    nodes: tuple[PreparedNode, ...]


@dataclass(frozen=True)
class ChainParts:
    """What it works on. Each leg is a socket made by `near.open_leg`, and its target.

    `key` is what the strategy `hash` goes by. `patience`: seconds for which the service's
    heartbeats may bring nothing at all; without heartbeats for ever, as traffic may go one
    way only.
    """

    hops: tuple[PreparedHop, ...]
    legs: tuple[tuple[socket.socket, Address], ...]
    patience: float = inf
    key: bytes | None = None


class ChainBridge(Bridge):
    """Keeps the streams of one client's chain."""

    def __init__(self, place: Place, parts: ChainParts, descriptors: Sequence[int] = ()) -> None:
        super().__init__(place, (*(sock.fileno() for sock, _ in parts.legs), *descriptors))
        self._parts = parts
        self._queries = 0
        self._prepared: dict[int, asyncio.Future[None]] = {}
        self._addresses: dict[str, tuple[str, ...]] = {}
        self._told: dict[int, LegFigures] = {}

    async def open(self) -> None:
        """Listen to the uplink."""
        self._legs = [Leg(i, sock, target) for i, (sock, target) in enumerate(self._parts.legs)]
        self._selectors = [_selector(hop) for hop in self._parts.hops]
        for leg in self._legs:
            self._listen(leg)
            self.begin(self._keep(leg))

    async def close(self) -> None:
        """End the streams in order."""
        for leg in self._legs:
            if leg.stream is not None:
                leg.stream.close()

    def on_message(self, message: ToChild) -> None:
        """The way is prepared."""
        if isinstance(message, Dial):
            self._keep_marked(message.node)
            future = self._prepared.pop(message.query, None)
            if future is not None and not future.done():
                future.set_result(None)

    def _keep_marked(self, index: int) -> None:
        found, self.channel.descriptors = self.channel.descriptors, []
        marked = self._parts.hops[0].nodes[index].marked
        if marked is not None:
            for fd in found:
                marked.put(fd)

    def figures(self) -> tuple[Counter[str], list[StreamFigures]]:
        """Sums over all legs."""
        counts = Counter[str]()
        for leg in self._legs:
            counts += leg.past
            counts["unconnected"] += leg.unconnected
            if leg.crossing is not None:
                counts += leg.crossing.counts()
        counts.pop("dropped", None)
        for leg in self._legs:
            self._tell(leg)
        return counts, []

    def look(self) -> None:
        """Give up streams that everything goes into, and nothing comes out of."""
        now = asyncio.get_running_loop().time()
        for leg in self._legs:
            if leg.is_silent(now, self._parts.patience):
                leg.give_up(f"no answer through the chain for {self._parts.patience:.0f} s")

    def _listen(self, leg: Leg) -> None:
        asyncio.get_running_loop().add_reader(leg.sock.fileno(), self._on_unconnected, leg)

    def _on_unconnected(self, leg: Leg) -> None:
        before = self.packer.datagrams
        if self.packer.receive(leg.sock.fileno()) is not None:
            leg.unconnected += self.packer.datagrams - before
            leg.wanted_at = asyncio.get_running_loop().time()
            leg.wanted.set()

    async def _keep(self, leg: Leg) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await leg.wanted.wait()
            self._become(leg, "dialling")
            began = loop.time()
            try:
                stream, chosen = await self._dial(leg)
            except CarrierError as error:
                leg.error = str(error)
            else:
                answered = await self._run(leg, stream, chosen)
                if answered and loop.time() - began >= STEADY_SECONDS:
                    leg.backoff.succeeded()
            wait = leg.backoff.failed()
            self._become(leg, "waiting")
            if len(self._legs) > 1 and loop.time() - leg.wanted_at > WANTED_SECONDS:
                leg.wanted.clear()
                self._become(leg, "idle")
            await asyncio.sleep(wait)

    async def _run(self, leg: Leg, stream: Stream, chosen: Sequence[int]) -> bool:
        """One stream from its first to its last moment; whether the server answered."""
        loop = asyncio.get_running_loop()
        nodes = [hop.nodes[index].spec for hop, index in zip(self._parts.hops, chosen, strict=True)]
        last = nodes[-1]
        answered = False

        def on_answer() -> None:
            nonlocal answered
            answered = True
            for selector, index in zip(self._selectors, chosen, strict=True):
                selector.succeeded(index)
            self._become(leg, "up")

        request = _request(leg.target, last, udp=True)
        relayed = RelayStream(stream, request, on_answer, server=last.label)
        relayed.verified = stream.verified and all(
            node.tls is None or node.tls.verifies for node in nodes
        )  # of one TLS inside another the stream knows the inner one
        leg.begin(relayed, loop.time())
        leg.crossing = Crossing(relayed, leg.sock, self.packer)
        leg.hops = tuple(node.label for node in nodes)
        patience = None
        if any(len(hop.nodes) > 1 for hop in self._parts.hops):
            patience = loop.call_later(
                ANSWER_SECONDS, lambda: None if answered else relayed.abort()
            )
        leg.crossing.start()
        self._become(leg, "open")
        relayed.start(leg)
        try:
            await leg.ended.wait()
        finally:
            if patience is not None:
                patience.cancel()
            leg.wanted_at = max(leg.wanted_at, leg.crossing.last_datagram)
            leg.crossing.end()
            leg.past += leg.crossing.counts()
            leg.past["dropped"] += leg.crossing.dropped
            leg.crossing = leg.stream = None
            self._listen(leg)
        if not answered or leg.given_up:
            self._selectors[-1].failed(chosen[-1], loop.time())
        return answered

    async def _dial(self, leg: Leg) -> Way:
        """Try one way after the other, until there is a stream or nothing is left to try.

        Raises:
            CarrierError: With the reasons of all.
        """
        round_ = Round([len(selector.nodes) for selector in self._selectors])
        for _ in range(MOST_TRIES):
            try:
                return await self._dial_once(leg, round_)
            except CarrierError:
                if round_.is_over:
                    break
        raise CarrierError("; ".join(round_.reasons))

    async def _dial_once(self, leg: Leg, round_: Round) -> Way:
        """Where a hop's nodes are `AT_ONCE`, all of them are dialled."""
        now = asyncio.get_running_loop().time()
        left = zip(self._selectors, round_.left, strict=True)
        ways = product(
            *(_choices(selector, now, nodes, self._parts.key) for selector, nodes in left)
        )
        tries = [self._dial_by(leg, chosen, round_) for chosen in islice(ways, WAYS_AT_ONCE)]
        if len(tries) == 1:
            return await tries[0]
        return await first_of(tries, lambda way: way[0].abort())

    async def _dial_by(self, leg: Leg, chosen: Sequence[int], round_: Round) -> Way:
        """A stream to the last hop by these nodes, and they again."""
        nodes = [hop.nodes[index] for hop, index in zip(self._parts.hops, chosen, strict=True)]
        stream: Stream | None = None
        for at, node in enumerate(nodes):
            try:
                if stream is None:
                    stream = await self._connect(leg, node)
                else:
                    before = nodes[at - 1].spec
                    there = _request(Address(node.spec.host, node.spec.port), before, udp=False)
                    hop = RelayStream(stream, there, server=before.label)
                    stream = await node.dial(node.spec.host, node.spec.port, DIAL_SECONDS, hop)
            except CarrierError as error:
                self._selectors[at].failed(chosen[at], asyncio.get_running_loop().time())
                round_.failed(at, chosen, str(error))
                raise
        if stream is None:
            raise CarrierError("the chain has no hop")
        return stream, chosen

    async def _connect(self, leg: Leg, node: PreparedNode) -> Stream:
        """The first hop: by address, each prepared by the supervisor."""
        if not self._addresses:
            await asyncio.gather(
                *(self._look_up(each.spec.host) for each in self._parts.hops[0].nodes)
            )
        await self._look_up(node.spec.host)
        addresses = self._addresses.get(node.spec.host, ())
        if not addresses:
            raise CarrierError(f"{node.spec.label}: the name has no address")
        for left in range(len(addresses), 0, -1):
            address = addresses[-left]
            await self._prepare(leg, address, node)
            try:
                return await node.dial(address, node.spec.port, DIAL_SECONDS / left, None)
            except CarrierError:
                if left == 1:
                    raise
        raise AssertionError

    async def _look_up(self, host: str) -> None:
        """Ask for a name; what it stood for before is kept where nobody answers."""
        if is_literal(host):
            self._addresses[host] = (host,)
            return
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError):
            return
        self._addresses[host] = tuple(dict.fromkeys(_text(entry[4]) for entry in found))

    async def _prepare(self, leg: Leg, address: str, node: PreparedNode) -> None:
        host, _, zone = address.partition("%")
        try:
            scope = socket.if_nametoindex(zone) if zone and not zone.isdecimal() else int(zone or 0)
        except OSError:
            raise CarrierError(f"{node.spec.label}: there is no interface {zone}") from None
        query = self._queries = self._queries + 1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._prepared[query] = future
        packed = pack_address(ip_address(host))
        index = next(i for i, each in enumerate(self._parts.hops[0].nodes) if each is node)
        self.tell(Dialling(query, leg.index, packed, node.spec.port, scope, index))
        try:
            async with asyncio.timeout(PREPARE_SECONDS):
                await future
        except TimeoutError:
            raise CarrierError("the supervisor does not answer") from None
        finally:
            self._prepared.pop(query, None)

    def _become(self, leg: Leg, state: LegState) -> None:
        leg.state = state
        self._tell(leg)

    def _tell(self, leg: Leg) -> None:
        figures = leg.figures()
        if figures != self._told.get(leg.index):
            self._told[leg.index] = figures
            self.tell(figures)


def _selector(hop: PreparedHop) -> Selector:
    how = hop.spec.selector
    nodes = [Node(node.spec.backup, node.spec.weight) for node in hop.nodes]
    return Selector(how.strategy, nodes, random.random, how.max_fails, how.fail_timeout)


def _choices(
    selector: Selector, now: float, left: Collection[int], key: bytes | None
) -> Sequence[int]:
    """A node of those `left`, or all to try at once; where all rest, who has rested longest."""
    if selector.strategy in AT_ONCE and (found := selector.candidates(now, left)):
        return found
    chosen = selector.select(now, key, left)
    if chosen is None:
        chosen = min(left, key=selector.failed_at)
    return (chosen,)


def _request(address: Address, node: NodeSpec, *, udp: bool) -> Request:
    """What to ask of a node, as the user that is known there."""
    if node.user is None:
        return Request(address, udp)
    return Request(address, udp, node.user.username, bytes(node.user.password))


def _text(address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]) -> str:
    return str(address[0])
