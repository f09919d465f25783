"""Advertisements: which networks lie behind a client, and the server's answer.

Not GOST's: a datagram of our own that a stock server drops in silence. It begins like a
heartbeat, but its size is never 20 + 16k, so neither end can take it for one:

     0       4              20     21     22           26           30
    +-------+--------------+------+------+------------+------------+----------+-- --+
    | GOST  | passphrase   | vers | type | session    | sequence   | part     | ... |
    +-------+--------------+------+------+------------+------------+----------+-- --+

    part:   kind (1)   length (1)   value (length)       kind 0 is one byte alone: padding

Type 1 is the advertisement, type 2 its answer, with 16 NULs for the passphrase and the
session and sequence of what it answers; it goes only to who sent one. Parts of unknown
kinds are skipped, so that new ones can be added; what is known must be exact. Where the
size would come out as 20 + 16k, one byte of padding is added at the end.
docs/advertisements.md has every byte. Parsing raises nothing but `WireError` (I15).
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Network, IPv6Network

from gateway.protocol.approval import MAX_NETWORKS, Reason, Standing
from gateway.protocol.forwarding import ACK_SIZE, MAGIC, Refusal
from gateway.protocol.packet import ADDRESS_SIZE, Network
from gateway.protocol.wire import HEADER_SIZE, PASSPHRASE_SIZE, WireError

VERSION = 1
MAX_SIZE = 1200
"""Bytes of a datagram: it fits the smallest IPv6 path in one piece."""

SOFTWARE_SIZE = 32
"""Characters of a client's name and version."""

UNKNOWN_HOLDER = bytes(ADDRESS_SIZE)

_ADVERTISEMENT, _ANSWER = 1, 2
_FIXED = struct.Struct(">BBII")
_FIRST_PART = HEADER_SIZE + _FIXED.size
_RTT = struct.Struct(">I")
_LOSS = struct.Struct(">H")
_LOSS_SCALE = 100
_FAMILIES = {4: 4, 6: 16}


class Part(IntEnum):
    """Kinds of parts."""

    PADDING = 0
    NETWORK = 1
    RTT = 2
    LOSS = 3
    SOFTWARE = 4
    RESULT = 5


_ONCE = frozenset({Part.RTT, Part.LOSS, Part.SOFTWARE})


@dataclass(frozen=True)
class Advertisement:
    """What a client says of itself.

    `session` is drawn once by each run of a client, `sequence` counts what it sends: see
    `supersedes`. `rtt` is in seconds, to the microsecond; `loss` is a fraction of 1, to
    1/10,000. `software` is printable ASCII.
    """

    passphrase: bytes
    session: int
    sequence: int
    networks: tuple[Network, ...] = ()
    rtt: float | None = None
    loss: float | None = None
    software: str = ""

    def __repr__(self) -> str:
        return f"Advertisement(networks={self.networks!r})"  # a passphrase is never shown

    @classmethod
    def parse(cls, datagram: bytes) -> "Advertisement":
        """Raise WireError unless it is an advertisement, exact in all we know."""
        passphrase, session, sequence, parts = _open(datagram, _ADVERTISEMENT)
        networks: list[Network] = []
        once: dict[int, bytes] = {}
        for kind, value in parts:
            if kind == Part.NETWORK:
                networks.append(_parse_network(value))
            elif kind in _ONCE:
                if kind in once:
                    raise WireError(f"the part {Part(kind).name} comes twice")
                once[kind] = value
        _check_count(networks)
        return cls(
            passphrase.rstrip(b"\0"),
            session,
            sequence,
            tuple(networks),
            _parse_rtt(once.get(Part.RTT)),
            _parse_loss(once.get(Part.LOSS)),
            _parse_software(once.get(Part.SOFTWARE)),
        )

    def build(self) -> bytes:
        """The datagram. ValueError for what no advertisement can carry."""
        if len(self.passphrase) > PASSPHRASE_SIZE:
            raise ValueError("a passphrase has at most 16 bytes")
        if len(self.networks) > MAX_NETWORKS:
            raise ValueError(f"at most {MAX_NETWORKS} networks, not {len(self.networks)}")
        parts = [_part(Part.NETWORK, _pack_network(network)) for network in self.networks]
        if self.rtt is not None:
            if self.rtt < 0:
                raise ValueError("an RTT is not negative")
            microseconds = min(round(self.rtt * 1e6), 0xFFFFFFFF)
            parts.append(_part(Part.RTT, _RTT.pack(microseconds)))
        if self.loss is not None:
            hundredths = round(self.loss * 100 * _LOSS_SCALE)
            if not 0 <= hundredths <= 100 * _LOSS_SCALE:
                raise ValueError("loss is between 0 and 1")
            parts.append(_part(Part.LOSS, _LOSS.pack(hundredths)))
        if self.software:
            parts.append(_part(Part.SOFTWARE, _pack_software(self.software)))
        return _close(self.passphrase, _ADVERTISEMENT, self.session, self.sequence, parts)


@dataclass(frozen=True)
class Result:
    """What became of one network. `holder`: the tunnel address (a16) of who has it already."""

    network: Network
    standing: Standing
    reason: Reason = Reason.NONE
    holder: bytes = UNKNOWN_HOLDER


@dataclass(frozen=True)
class Answer:
    """The server's answer to the advertisement of this session and sequence."""

    session: int
    sequence: int
    results: tuple[Result, ...] = ()

    @classmethod
    def parse(cls, datagram: bytes) -> "Answer":
        """Raise WireError unless it is an answer, exact in all we know."""
        _, session, sequence, parts = _open(datagram, _ANSWER)
        results = [_parse_result(value) for kind, value in parts if kind == Part.RESULT]
        _check_count(results)
        return cls(session, sequence, tuple(results))

    def build(self) -> bytes:
        """The datagram. ValueError for what no answer can carry."""
        if len(self.results) > MAX_NETWORKS:
            raise ValueError(f"at most {MAX_NETWORKS} results, not {len(self.results)}")
        parts = [
            _part(
                Part.RESULT,
                bytes((result.standing, result.reason))
                + _pack_holder(result.holder)
                + _pack_network(result.network),
            )
            for result in self.results
        ]
        return _close(b"", _ANSWER, self.session, self.sequence, parts)


def is_extension(datagram: bytes) -> bool:
    """Whether a datagram with the magic is one of these, by its size: no heartbeat, no ack."""
    size = len(datagram)
    return size > ACK_SIZE and (size - HEADER_SIZE) % ADDRESS_SIZE != 0


def supersedes(new: tuple[int, int], known: tuple[int, int] | None) -> bool:
    """Whether an advertisement's (session, sequence) is newer than the last one's.

    Datagrams overtake each other. Another session is a new run; sequence numbers start
    again at 0 after the last (RFC 1982).
    """
    if known is None or new[0] != known[0]:
        return True
    return 0 < (new[1] - known[1]) & 0xFFFFFFFF < 1 << 31


def _open(datagram: bytes, wanted: int) -> tuple[bytes, int, int, Iterator[tuple[int, bytes]]]:
    data = bytes(datagram)
    if data[: len(MAGIC)] != MAGIC:
        raise WireError("the datagram does not start with GOST")
    if not is_extension(data) or not _FIRST_PART <= len(data) <= MAX_SIZE:
        raise WireError(f"{len(data)} bytes are no size of an advertisement or answer")
    version, kind, session, sequence = _FIXED.unpack_from(data, HEADER_SIZE)
    if version != VERSION:
        raise WireError(f"this is version {version} of advertisements; known is {VERSION}")
    if kind != wanted:
        raise WireError(f"the datagram has the type {kind}, not {wanted}")
    return data[len(MAGIC) : HEADER_SIZE], session, sequence, _parts(data)


def _close(
    passphrase: bytes, kind: int, session: int, sequence: int, parts: Iterable[bytes]
) -> bytes:
    if not 0 <= session <= 0xFFFFFFFF or not 0 <= sequence <= 0xFFFFFFFF:
        raise ValueError("session and sequence have 32 bits")
    data = MAGIC + passphrase.ljust(PASSPHRASE_SIZE, b"\0")
    data += _FIXED.pack(VERSION, kind, session, sequence) + b"".join(parts)
    return data if is_extension(data) else data + bytes((Part.PADDING,))


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = _FIRST_PART
    while at < len(data):
        if data[at] == Part.PADDING:
            at += 1
            continue
        if at + 2 > len(data) or at + 2 + data[at + 1] > len(data):
            raise WireError(f"the part at byte {at} ends behind the datagram's end")
        end = at + 2 + data[at + 1]
        yield data[at], data[at + 2 : end]
        at = end


def _part(kind: Part, value: bytes) -> bytes:
    return bytes((kind, len(value))) + value


def _check_count(found: list[Network] | list[Result]) -> None:
    if len(found) > MAX_NETWORKS:
        raise WireError(f"at most {MAX_NETWORKS} networks, not {len(found)}", Refusal.TOO_MANY)


def _pack_network(network: Network) -> bytes:
    return bytes((network.version, network.prefixlen)) + network.network_address.packed


def _parse_network(value: bytes) -> Network:
    size = _FAMILIES.get(value[0]) if value else None
    if size is None or len(value) != 2 + size:
        raise WireError(f"a network has 6 or 18 bytes and begins with 4 or 6: {value.hex()}")
    try:
        if size == 4:
            return IPv4Network((value[2:], value[1]))
        return IPv6Network((value[2:], value[1]))
    except ValueError as error:
        raise WireError(f"no network: {error}") from None


def _pack_holder(holder: bytes) -> bytes:
    if len(holder) != ADDRESS_SIZE:
        raise ValueError("an address has 16 bytes")
    return holder


def _parse_result(value: bytes) -> Result:
    if len(value) < 2 + ADDRESS_SIZE:
        raise WireError(f"a result has at least 18 bytes, not {len(value)}")
    try:
        standing = Standing(value[0])
    except ValueError:
        raise WireError(f"{value[0]} is no standing of a network") from None
    known = value[1] in Reason._value2member_map_
    return Result(
        _parse_network(value[2 + ADDRESS_SIZE :]),
        standing,
        Reason(value[1]) if known else Reason.UNKNOWN,
        value[2 : 2 + ADDRESS_SIZE],
    )


def _parse_rtt(value: bytes | None) -> float | None:
    if value is None:
        return None
    if len(value) != _RTT.size:
        raise WireError(f"an RTT has 4 bytes, not {len(value)}")
    microseconds: int = _RTT.unpack(value)[0]
    return microseconds / 1e6


def _parse_loss(value: bytes | None) -> float | None:
    if value is None:
        return None
    if len(value) != _LOSS.size:
        raise WireError(f"a loss has 2 bytes, not {len(value)}")
    hundredths: int = _LOSS.unpack(value)[0]
    if hundredths > 100 * _LOSS_SCALE:
        raise WireError(f"a loss of {hundredths / _LOSS_SCALE} percent cannot be")
    return hundredths / (100 * _LOSS_SCALE)


def _pack_software(text: str) -> bytes:
    value = text.encode()
    if len(value) > SOFTWARE_SIZE or not _is_printable(value):
        raise ValueError(f"software is up to {SOFTWARE_SIZE} printable ASCII characters")
    return value


def _parse_software(value: bytes | None) -> str:
    if value is None:
        return ""
    if not 1 <= len(value) <= SOFTWARE_SIZE or not _is_printable(value):
        raise WireError("the software's name is no short printable text")
    return value.decode()


def _is_printable(value: bytes) -> bool:
    return all(0x20 <= byte < 0x7F for byte in value)
