"""GOST's control datagrams, byte by byte; everything else on the wire is a raw IP packet.

Heartbeat, client to server, 20 + 16k bytes, k from 1 to 16 (k is implied by the size):

     0               4                                              20
    +---------------+-----------------------------------------------+----------------+--
    | G  O  S  T    | passphrase, 16 bytes, NULs at its end         | address 1, a16 | ...
    +---------------+-----------------------------------------------+----------------+--

Ack, server to client, exactly 20 bytes:

     0               4                                              20
    +---------------+-----------------------------------------------+
    | G  O  S  T    | the client's outer address as seen, a16       |
    +---------------+-----------------------------------------------+

No version, nonce, time or MAC. Source: GOST x, handler/tun. A passphrase cannot end in
NUL bytes, as they are its padding. Whatever a peer sends, parsing raises nothing but
`WireError` (I15).
"""

from dataclasses import dataclass

from gateway.protocol.forwarding import ACK_SIZE, MAGIC, Refusal
from gateway.protocol.packet import ADDRESS_SIZE

PASSPHRASE_SIZE = 16
MAX_ADDRESSES = 16
HEADER_SIZE = len(MAGIC) + PASSPHRASE_SIZE


class WireError(ValueError):
    """A peer's bytes are no control datagram. `refusal` is what to count it as."""

    def __init__(self, message: str, refusal: Refusal = Refusal.MALFORMED) -> None:
        super().__init__(message)
        self.refusal = refusal


@dataclass(frozen=True)
class Heartbeat:
    """A registration: who claims which tunnel addresses (a16), in the order of his `net`."""

    passphrase: bytes
    addresses: tuple[bytes, ...]

    def __repr__(self) -> str:
        return f"Heartbeat(addresses={self.addresses!r})"  # a passphrase is never shown

    @classmethod
    def parse(cls, datagram: bytes) -> "Heartbeat":
        """Raise WireError unless it is the magic, a passphrase and 1 to 16 addresses."""
        _check_magic(datagram)
        count, rest = divmod(len(datagram) - HEADER_SIZE, ADDRESS_SIZE)
        if count < 1 or rest:
            raise WireError(f"a heartbeat has 20 + 16k bytes, not {len(datagram)}")
        if count > MAX_ADDRESSES:
            raise WireError(
                f"a heartbeat claims at most {MAX_ADDRESSES} addresses, not {count}",
                Refusal.TOO_MANY,
            )
        data = bytes(datagram)
        return cls(
            passphrase=data[len(MAGIC) : HEADER_SIZE].rstrip(b"\0"),
            addresses=tuple(
                data[at : at + ADDRESS_SIZE] for at in range(HEADER_SIZE, len(data), ADDRESS_SIZE)
            ),
        )

    def build(self) -> bytes:
        """The datagram. ValueError for what no heartbeat can carry."""
        if len(self.passphrase) > PASSPHRASE_SIZE:
            raise ValueError("a passphrase has at most 16 bytes")
        if not 1 <= len(self.addresses) <= MAX_ADDRESSES:
            raise ValueError(f"a heartbeat has 1 to 16 addresses, not {len(self.addresses)}")
        if any(len(address) != ADDRESS_SIZE for address in self.addresses):
            raise ValueError("an address has 16 bytes")
        padded = self.passphrase.ljust(PASSPHRASE_SIZE, b"\0")
        return MAGIC + padded + b"".join(self.addresses)


@dataclass(frozen=True)
class Ack:
    """The answer to a heartbeat: the outer address (a16) it was seen to come from."""

    observed: bytes

    @classmethod
    def parse(cls, datagram: bytes) -> "Ack":
        """Raise WireError unless it is the magic and one address, 20 bytes in all."""
        _check_magic(datagram)
        if len(datagram) != ACK_SIZE:
            raise WireError(f"an ack has 20 bytes, not {len(datagram)}")
        return cls(bytes(datagram[len(MAGIC) :]))

    def build(self) -> bytes:
        """The datagram. ValueError unless `observed` has 16 bytes."""
        if len(self.observed) != ADDRESS_SIZE:
            raise ValueError("an address has 16 bytes")
        return MAGIC + self.observed


def _check_magic(datagram: bytes) -> None:
    if datagram[: len(MAGIC)] != MAGIC:
        raise WireError("the datagram does not start with GOST")
