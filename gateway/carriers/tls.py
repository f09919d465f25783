"""TLS on top of any stream, by the standard library's OpenSSL in memory.

A stream's bytes go through two memory BIOs, so that TLS over a socket and TLS over a relayed
stream are the same code. A client that is told nothing verifies nothing, as GOST's
(`secure=false`); `verified` says which it was, and who starts it warns.
"""

import hashlib
import hmac
import socket
import ssl
from contextlib import suppress

from gateway.carriers.buffers import borrow, give_back
from gateway.carriers.layer import Layer, shake
from gateway.carriers.listening import Door
from gateway.carriers.sockets import DEFAULTS, SocketOptions
from gateway.carriers.stream import Accept, CarrierError, Counts, Remote, Stream
from gateway.carriers.tcp import dial as dial_tcp
from gateway.carriers.trust import ClientTls, ServerTls, client_tls

_RECORD = 16 * 1024
_MOST_SHAKEN = {True: 32 * 1024, False: 256 * 1024}
"""Bytes of a handshake: what a client may say to a server, and what a server may show."""
_UNREAD = 1 << 20
"""Bytes beyond `high` that an end may let wait which does not read what it asked for."""


class TlsStream(Layer):
    """One side of a TLS connection over `lower`."""

    carrier = "tls"

    def __init__(self, lower: Stream, tls: ClientTls | ServerTls, host: str = "") -> None:
        super().__init__(lower)
        self._tls = tls
        self._host = host
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object: ssl.SSLObject | None = None
        self._shaken = 0
        self._first = bytearray()

    @property
    def alpn(self) -> str | None:
        """The protocol both agreed on; None if they did not."""
        return self._object.selected_alpn_protocol() if self._object else None

    @property
    def fingerprint(self) -> str | None:
        """Of the certificate the other end showed, as `pin` takes it; None if none."""
        shown = self._object.getpeercert(binary_form=True) if self._object else None
        return f"sha256:{hashlib.sha256(shown).hexdigest()}" if shown else None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._ready or self._closing or self._ended is not None or not self._object:
            return
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._object.write(rest) :]
        except ssl.SSLError as error:
            self._loop.call_soon(self._finish, f"tls: {_text(error)}")
            return
        self._send()

    def _greet(self) -> None:
        if isinstance(self._tls, ClientTls):
            self._shake_hands()

    def _take(self, data: bytes | bytearray | memoryview) -> None:
        self._incoming.write(data)
        if self._ready:
            return
        self._shaken += len(data)
        self._shake_hands()
        is_server = isinstance(self._tls, ServerTls)
        if self._done and self._shaken > _MOST_SHAKEN[is_server]:
            text = f"tls {self.remote}: a handshake of {self._shaken} bytes"
            self._fail(CarrierError(text, "bad-tls"))

    def _shake_hands(self) -> None:
        # Only now: a stranger who has not said a whole record costs no TLS state.
        if self._object is None and isinstance(self._tls, ServerTls):
            self._first += self._incoming.read()
            if not _is_record(self._first):
                return
            self._incoming.write(bytes(self._first))
            self._first.clear()
        try:
            if self._object is None:
                self._object = self._tls.wrap(self._incoming, self._outgoing, self._host)
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            self._send()
            return
        except (ssl.SSLError, ValueError) as error:  # ValueError: no name TLS can carry
            self._send()
            self._fail(CarrierError(f"tls {self.remote}: {_text(error)}", "bad-tls"))
            return
        self._send()
        refusal = self._unpinned()
        if refusal:
            self._fail(CarrierError(f"tls {self.remote}: {refusal}", "bad-pin"))
            return
        self.verified = self._tls.verified
        self._succeed()

    def _unpinned(self) -> str:
        pin = self._tls.pin if isinstance(self._tls, ClientTls) else None
        if pin is None:
            return ""
        shown = self.fingerprint or "nothing"
        if hmac.compare_digest(shown, f"sha256:{pin.hex()}"):
            return ""
        return f"the certificate is {shown}, pin says sha256:{pin.hex()}"

    def _give(self) -> None:
        while not self._held and self._ended is None and not self._closing:
            buffer = borrow()
            try:
                size, last = self._decrypt(buffer)
                # Reading may owe an answer: a key update. Some ask for many and read none.
                self._send()
                if self._lower.backlog > 4 * self._lower.high + _UNREAD:
                    size, last = 0, "tls: does not read the answers to its key updates"
                    self._lower.abort()
                if size and self._receiver:
                    self._receiver.on_data(buffer[:size])
            finally:
                give_back(buffer)
            if last is not None:
                self._finish(last)
            if not size:
                return

    def _has_more(self) -> bool:
        return bool(self._incoming.pending or (self._object and self._object.pending()))

    def _decrypt(self, buffer: memoryview) -> tuple[int, str | None]:
        """How many bytes now lie in `buffer`, and why there will be no more, if so."""
        if self._object is None:
            return 0, None
        size = 0
        room = len(buffer) - _RECORD
        while size <= room and (self._incoming.pending or self._object.pending()):
            try:
                got = self._object.read(_RECORD, buffer[size:])
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                return size, ""
            except ssl.SSLError as error:
                return size, f"tls: {_text(error)}"
            if not got:
                return size, ""
            size += int(got)
        return size, None

    def _send(self) -> None:
        if self._outgoing.pending:
            self._lower.write(self._outgoing.read())

    def _say_goodbye(self) -> None:
        if self._object is None:
            return
        # It wants the other end's goodbye too, which nobody waits for.
        with suppress(ssl.SSLError):
            self._object.unwrap()
        self._send()


async def dial(
    host: str,
    port: int,
    *,
    timeout: float = 15.0,
    over: Stream | None = None,
    tls: ClientTls | None = None,
    sockets: SocketOptions = DEFAULTS,
) -> TlsStream:
    """A TLS connection to `host`, whose name is asked for unless `tls` says another.

    Raises:
        CarrierError: No connection, no handshake, or a certificate that is not right.
    """
    lower = await dial_tcp(host, port, timeout=timeout, over=over, sockets=sockets)
    stream = TlsStream(lower, tls or client_tls(), host)
    await shake(stream, f"tls {Remote(host, port)}", timeout)
    return stream


async def listen(
    sock: socket.socket,
    accept: Accept,
    *,
    counts: Counts,
    tls: ServerTls,
    handshake_timeout: float = 15.0,
    max_half_open: int = 1024,
    sockets: SocketOptions = DEFAULTS,
) -> Door:
    """Take TLS connections on a listening socket."""
    return Door(
        sock,
        [lambda lower: TlsStream(lower, tls)],
        accept,
        counts=counts,
        handshake_timeout=handshake_timeout,
        max_half_open=max_half_open,
        sockets=sockets,
    )


def _is_record(data: bytes | bytearray) -> bool:
    """Whether a record is whole, or is none (RFC 8446, 5.1)."""
    if data[:1] != b"\x16" or data[1:2] not in (b"", b"\3"):
        return True
    return len(data) > _RECORD or (
        len(data) >= 5 and len(data) >= 5 + int.from_bytes(data[3:5], "big")
    )


def _text(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate does not hold: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return str(error)
