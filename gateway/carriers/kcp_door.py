"""The listening end of kcp: one UDP socket, many conversations.

Conversations are keyed by the sender's address. KCP has no handshake: a stranger is who sends
a first segment, and he is a guest once a stream of his was let in. Until then little is kept
for him, for a bounded time, and when there are too many strangers the oldest has to go. A
conversation with another number replaces the one of its address by its first segment.

Everything else that comes is noise, and counted: noise (no packet under this key), bad-kcp,
unknown-session (of a conversation that is over, or was before a restart; a few in each turn
are told so).
"""

import asyncio
import socket
from functools import partial

from gateway.carriers import mux
from gateway.carriers.kcp_crypt import make_crypt
from gateway.carriers.kcp_session import Session, conversation, opening, smux_options
from gateway.carriers.kcp_wire import Address, Wire, prepare
from gateway.carriers.places import Places
from gateway.carriers.stream import Accept, CarrierError, Counts, Listener, Remote
from gateway.carriers.trunk import Trunk
from gateway.protocol import kcp
from gateway.protocol.kcp_options import KcpOptions

MOST_DISOWNED = 32
"""In one turn: noise shall not make us send more than it does."""


class KcpDoor(Listener):
    """Takes the socket over, which its conversations share to the last."""

    def __init__(
        self,
        sock: socket.socket,
        accept: Accept,
        *,
        counts: Counts,
        options: KcpOptions,
        handshake_timeout: float,
        request_timeout: float,
        max_half_open: int,
        max_sessions: int,
    ) -> None:
        prepare(sock, options)
        self._accept = accept
        self._counts = counts
        self._options = options
        self._sessions: dict[Address, Session] = {}
        self._trunks: dict[Session, Trunk] = {}
        self._places: Places[Session] = Places(
            most_strangers=max_half_open,
            most_guests=max_sessions,
            seconds=(handshake_timeout, request_timeout),
            drop=self._drop,
            is_idle=lambda session: self._trunks[session].is_idle,
        )
        self._touched: dict[Session, None] = {}
        self._disowned = 0
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._wire = Wire(sock, make_crypt(options.crypt, options.key), self, counts)
        self.port = self._wire.port

    @property
    def half_open(self) -> int:
        """How many have opened no stream yet."""
        return self._places.shaking

    @property
    def unproven(self) -> int:
        """How many have no stream that was let in so far."""
        return self._places.asking

    async def close(self) -> None:
        self._closing = True
        for session in self._places:
            session.abort()
        self._close_when_done()

    def _close_when_done(self) -> None:
        if self._closing and not self._sessions:
            self._wire.close()
            self._places.close()

    def on_packets(self, address: Address, packets: list[bytes]) -> None:
        """One sender's: of his conversation, or the first of a new one."""
        session = self._sessions.get(address)
        conv = conversation(packets[0])
        if session is None or conv not in {None, session.conv}:
            begun = (opening(packet, replaces=session is not None) for packet in packets)
            conv = next((each for each in begun if each is not None), None)
            if conv is None:
                self._disown(address, packets[0])
                return
            session = self._enter(address, conv, session)
            if session is None:
                return
        session.take(packets)
        self._touched[session] = None

    def on_turn(self) -> None:
        """Everybody's are taken."""
        self._disowned = 0
        touched, self._touched = self._touched, {}
        for session in touched:
            session.turn()

    def on_refused(self) -> None:
        """Of whom is not said."""
        self._counts.count("refused")

    def _disown(self, address: Address, packet: bytes) -> None:
        """Tell who goes on with what is over, if it is one of ours, to begin anew."""
        self._counts.count("unknown-session")
        conv = conversation(packet)
        if conv is not None and not self._closing and self._disowned < MOST_DISOWNED:
            self._disowned += 1
            self._wire.send([kcp.farewell(conv)], address)

    def _enter(self, address: Address, conv: int, former: Session | None) -> Session | None:
        if former:
            self._counts.count("replaced")
            former.abort("replaced by a new conversation")
        if self._closing:
            return None
        remote = Remote(address[0].removeprefix("::ffff:"), address[1])
        session = Session(
            self._wire, remote, conv, self._options, self._counts, self._ended,
            address=address, stranger=True,
        )  # fmt: skip
        self._sessions[address] = session
        self._places.enter(session)
        smux = smux_options(self._options)
        trunk = mux.server(session, self._accept, session.carrier, smux, self._counts)
        trunk.when_proven = partial(self._places.prove, session)
        self._trunks[session] = trunk
        trunk.begin(partial(self._began, session))
        return session

    def _began(self, session: Session, error: CarrierError | None) -> None:
        if error is None:
            self._counts.count("accepted")
            self._places.shaken(session)
        elif session in self._places:
            self._counts.count(error.what)

    def _ended(self, session: Session) -> None:
        self._places.forget(session)
        self._trunks.pop(session, None)
        self._touched.pop(session, None)
        if session.address is not None and self._sessions.get(session.address) is session:
            del self._sessions[session.address]
        self._close_when_done()

    def _drop(self, session: Session, what: str) -> None:
        self._counts.count(what)
        session.abort()
