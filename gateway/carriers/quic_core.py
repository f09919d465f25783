"""A connection of the QUIC library (qh3), and what it does not promise: all of that is here.

It gives credit to the other end when its events are taken. It takes them at once; `hold` leaves
them where they are, and so the other end stops when it has filled the window. The rest only
looks: whether it is over, before its last timer says so, whether a packet held what it should,
how long there and back takes. Tests fail where a newer library has these no more.

Its server cannot address a client whose connection id is empty, and all of stock GOST's are:
packets go to the id that was put in when it began, which must then be empty too, and the keys
of the first packets, which follow from that id, are put in by us. `nameless` does that, for a
client that came back from a Retry, so that the id it sends to is one of ours.

The library reads strangers' bytes and is young: what it may raise on them is `TROUBLES`. Its
compiled part has errors of its own, and panics, which are no `Exception`: here they become one.
"""

import logging

from qh3 import QuicConfiguration, QuicConnection, QuicConnectionError
from qh3.quic.connection import NetworkAddress
from qh3.quic.events import ConnectionTerminated
from qh3.quic.packet import QuicErrorCode
from qh3.quic.tls_bridge import QuicTlsBridge

from gateway.carriers import quic_shares
from gateway.carriers.quic_packets import VERSION, first_keys

TROUBLES = (
    QuicConnectionError, ValueError, LookupError, AssertionError, ArithmeticError, TypeError,
)  # fmt: skip

_COMPILED = frozenset({"_hazmat", "pyo3_runtime"})
"""Modules that errors of the compiled part say they are of."""

STREAM_WINDOW = 4 << 20
WINDOW = 8 << 20
"""Bytes that may be on their way here, and are kept for who is paused."""

_ACK_DELAY = 2
"""Milliseconds by which we believe that the other end delays acknowledgements, at most."""
_FIRST_CIPHERS = ("aes-128-gcm", "aes-128-ecb")
_DATAGRAM = 1232
"""QUIC bytes a datagram: an IPv6 path of the least MTU. A client finds out whether more fit."""

# It logs what ends a connection as a warning. Peers say that, and it is ours to tell.
logging.getLogger("quic").setLevel(logging.CRITICAL + 1)
quic_shares.guard()


class Connection(QuicConnection):
    """Sans IO: datagrams in and out, events, timers. Times are the loop's."""

    _held = False
    _nameless: bytes | None = None

    def nameless(self, identity: bytes) -> None:
        """The client has no id, and sends to `identity`, which a Retry of ours gave him."""
        self._nameless = self.host_cid = identity

    def hold(self) -> None:
        """Take no events: the other end will feel it."""
        self._held = True

    def release(self) -> bool:
        """Take what has waited, and what comes. False: nothing was held."""
        if not self._held:
            return False
        self._held = False
        self._drain_core()
        return True

    def _create_core(self, remote_addr: NetworkAddress, initial_dcid: bytes, now: float) -> None:
        if self._nameless is None or self._is_client:
            super()._create_core(remote_addr, initial_dcid, now)
            return
        super()._create_core(remote_addr, b"", now)
        for direction, keys in zip(("receive", "send"), first_keys(self._nameless), strict=True):
            self._require_core().install_packet_key(
                direction, 0, _FIRST_CIPHERS, keys.key, keys.iv, keys.hp, 0, keys.secret, VERSION
            )

    def _create_tls(self, remote_source_cid: bytes | None) -> QuicTlsBridge:
        # Clients with an empty id, as quic-go's are, get no connection otherwise.
        bridge = super()._create_tls(remote_source_cid)
        if bridge.remote_initial_source_connection_id is None and not self._is_client:
            bridge.remote_initial_source_connection_id = b""
        return bridge

    def _drain_tls(self) -> None:
        # A probe too many is cheap; one too late stalls a flow whose last packets were lost.
        told = self._tls.remote_transport_parameters if self._tls else None
        if told is not None:
            told.max_ack_delay = min(_ACK_DELAY, told.max_ack_delay or _ACK_DELAY)
        super()._drain_tls()

    def _drain_core(self) -> None:
        if self._held:
            return
        try:
            super()._drain_core()
        except BaseException as error:
            if type(error).__module__ not in _COMPILED:
                raise
            text = f"{type(error).__name__}: {error}"
            raise QuicConnectionError(QuicErrorCode.INTERNAL_ERROR, None, text) from None

    def let_go(self) -> None:
        """It has ended: the parts of the library, which refer to each other, are freed with it."""
        bridge, self._tls = self._tls, None
        if bridge is not None:
            del bridge.tls

    @property
    def over(self) -> ConnectionTerminated | None:
        """Why it is closed, or is being closed."""
        return self._close_event

    @property
    def proven(self) -> bool:
        """A packet came that was sealed as it has to be."""
        return self._core is not None and self._core.received_authenticated_packet

    @property
    def lost(self) -> int:
        """Packets that were lost, since the beginning."""
        return 0 if self._core is None else self._core.loss_total

    @property
    def rtt(self) -> float | None:
        """Seconds there and back."""
        return None if self._core is None else self._core.smoothed_rtt


def configure(*, is_client: bool, idle_timeout: float, probe: bool = True) -> QuicConfiguration:
    """What all connections have in common. TLS is put in by `quic_trust`.

    `probe`: a client finds out how long datagrams may be.
    """
    return QuicConfiguration(
        is_client=is_client,
        idle_timeout=idle_timeout,
        max_data=WINDOW,
        max_stream_data=STREAM_WINDOW,
        max_datagram_size=_DATAGRAM,
        probe_datagram_size=probe,
    )
