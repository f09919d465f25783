"""The listening end of quic: one UDP socket, many connections, by the ids we gave them.

A stranger is who has sent a first packet that is sealed as it has to be, until a stream of his
was let in. He has a bounded time for that; when there are too many strangers the oldest has to
go, and from some number on a new one has to show first that he gets what is sent to his
address (Retry), which costs us nothing. So has a client whose own id is empty, like stock
GOST's, always: `quic_core` says why.

Everything else is noise, and counted: noise (no packet of QUIC, or not sealed), wrong-version
(answered), unknown-session (of one that is over, or was before a restart).
"""

import asyncio
import socket
from collections.abc import Callable

from gateway.carriers.places import Places
from gateway.carriers.quic_core import TROUBLES, Connection
from gateway.carriers.quic_packets import (
    LEAST_FIRST,
    VERSION,
    Head,
    Retries,
    build_versions,
    read_head,
)
from gateway.carriers.quic_session import Session
from gateway.carriers.quic_wire import Address, Wire, prepare
from gateway.carriers.stream import Accept, CarrierError, Counts, Listener

RETRY_FROM = 64
"""Strangers above which a new one has to show that his address is his."""

Connect = Callable[[bytes, bytes | None], Connection]
"""A server's connection, by the ids of the first packet, and of our Retry if there was one."""


class QuicDoor(Listener):
    """Takes the socket over, which its connections share to the last."""

    def __init__(
        self,
        sock: socket.socket,
        accept: Accept,
        *,
        counts: Counts,
        connect: Connect,
        key: bytes,
        keepalive: float,
        max_streams: int,
        handshake_timeout: float,
        request_timeout: float,
        max_half_open: int,
        max_sessions: int,
    ) -> None:
        prepare(sock)
        self._accept = accept
        self._counts = counts
        self._connect = connect
        self._keepalive = keepalive
        self._max_streams = max_streams
        self._retry_from = min(RETRY_FROM, max_half_open)
        self._places: Places[Session] = Places(
            most_strangers=max_half_open,
            most_guests=max_sessions,
            seconds=(handshake_timeout, request_timeout),
            drop=self._drop,
            is_idle=lambda session: session.is_idle,
        )
        self._by_id: dict[bytes, Session] = {}
        self._sessions: dict[Session, set[bytes]] = {}
        self._touched: dict[Session, None] = {}
        self._retries = Retries()
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._wire = Wire(sock, key, self, counts)
        self.port = self._wire.port

    @property
    def half_open(self) -> int:
        """How many are not through their handshakes yet."""
        return self._places.shaking

    @property
    def unproven(self) -> int:
        """How many have no stream that was let in so far."""
        return self._places.asking

    @property
    def sessions(self) -> list[Session]:
        """All of them, strangers too."""
        return list(self._sessions)

    async def close(self) -> None:
        self._closing = True
        for session in self._places:
            session.close()
        self._close_when_done()

    def _close_when_done(self) -> None:
        if self._closing and not self._sessions:
            self._wire.close()
            self._places.close()

    # The wire

    def on_burst(self, address: Address, burst: bytes, step: int) -> None:
        """Whose it is says the first of a burst, if the others say the same."""
        identity = burst[1:9]
        if len(burst) > step and not (
            burst[0] < 0x80
            and all(
                burst[at] < 0x80 and burst[at + 1 : at + 9] == identity
                for at in range(step, len(burst), step)
            )
        ):
            for at in range(0, len(burst), step):
                self._on_datagram(address, burst[at : at + step])
            return
        session = self._by_id.get(identity) if burst[0] < 0x80 else None
        if session is None:
            self._on_datagram(address, burst[:step])
            return
        session.take(address, burst, step)
        self._touched[session] = None

    def on_turn(self) -> None:
        """Everybody's are taken."""
        touched, self._touched = self._touched, {}
        for session in touched:
            session.turn()

    def on_refused(self) -> None:
        """Of whom is not said."""
        self._counts.count("refused")

    def _on_datagram(self, address: Address, datagram: bytes) -> None:
        head = read_head(datagram)
        if head is None:
            self._counts.count("noise")
            return
        session = self._by_id.get(head.destination)
        if session is None:
            session = self._answer(address, head, datagram)
        if session is not None:
            session.take(address, datagram, len(datagram))
            self._touched[session] = None

    def _answer(self, address: Address, head: Head, datagram: bytes) -> Session | None:
        """To a packet that is nobody's."""
        if head.version is None:
            self._counts.count("unknown-session")
            return None
        if len(datagram) < LEAST_FIRST or head.version == 0:
            self._counts.count("noise")
            return None
        if head.version != VERSION:
            self._counts.count("wrong-version")
            self._wire.send([build_versions(head)], address)
            return None
        if not head.is_initial or self._closing:
            self._counts.count("unknown-session")
            return None
        return self._enter(address, head)

    # Strangers

    def _enter(self, address: Address, head: Head) -> Session | None:
        place, now = f"{address[0]} {address[1]}", self._loop.time()
        original = self._retries.original(head, place, now) if head.token else None
        crowded = self._places.shaking + self._places.asking >= self._retry_from
        if original is None and (crowded or not head.source):
            self._counts.count("retry")
            self._wire.send([self._retries.build(head, place, now)], address)
            return None
        try:
            connection = self._connect(
                original or head.destination, head.destination if original else None
            )
        except TROUBLES:
            self._counts.count("noise")
            return None
        if not head.source:
            connection.nameless(head.destination)
        session = Session(
            self._wire, connection, address, self, connected=False,
            keepalive=self._keepalive, accept=self._accept, max_streams=self._max_streams,
        )  # fmt: skip
        self._sessions[session] = set()
        self._places.enter(session)
        self.on_id(session, head.destination, known=True)
        self.on_id(session, connection.host_cid, known=True)
        return session

    def on_id(self, session: Session, identity: bytes, *, known: bool) -> None:
        """The library's servers give ids and take them back."""
        ids = self._sessions.get(session)
        if ids is None:
            return
        if known:
            ids.add(identity)
            self._by_id[identity] = session
        elif identity in ids:
            ids.discard(identity)
            self._by_id.pop(identity, None)

    def on_ready(self, session: Session) -> None:
        """The stranger is through his handshakes."""
        if session in self._places:
            self._counts.count("accepted")
            self._places.shaken(session)

    def on_proven(self, session: Session) -> None:
        """The stranger has become a guest."""
        self._places.prove(session)

    def on_end(self, session: Session, error: CarrierError) -> None:
        """Whoever it was is gone."""
        if self._places.forget(session) and not session.ready:
            self._counts.count("handshake-ended" if error.what == "closed" else error.what)
        self._touched.pop(session, None)
        for identity in self._sessions.pop(session, ()):
            self._by_id.pop(identity, None)
        self._close_when_done()

    def _drop(self, session: Session, what: str) -> None:
        self._counts.count(what)
        session.close()
