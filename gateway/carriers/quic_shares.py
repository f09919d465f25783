"""The key shares of X25519MLKEM768 that strangers send, looked at before the library does.

Its compiled part panics on one that is too short, or whose numbers are too large: it writes
that to the standard error stream, for anybody who sends a packet. So who stands here in its
place refuses them. Source: draft-ietf-tls-ecdhe-mlkem, section 4; FIPS 203, section 7.2 (the
check of an encapsulation key).
"""

from qh3 import tls
from qh3._hazmat import X25519ML768KeyExchange

_CURVE = 32
_ENCAPSULATION_KEY, _CIPHERTEXT = 1184, 1088
_NUMBERS = 1152
"""Bytes of the key that are numbers of 12 bits, two in three bytes; then comes a seed."""
_MODULUS = 3329


class KeyExchange:
    """The library's, for one handshake. A client asks for its `public_key` first."""

    def __init__(self) -> None:
        self._guarded = X25519ML768KeyExchange()
        self._is_client = False

    def public_key(self) -> bytes:
        """A client's share."""
        self._is_client = True
        return self._guarded.public_key()

    def exchange(self, share: bytes) -> bytes:
        """The secret, by the other end's share. ValueError for one that is none."""
        size = (_CIPHERTEXT if self._is_client else _ENCAPSULATION_KEY) + _CURVE
        if len(share) != size:
            raise ValueError(f"a key share of {len(share)} bytes, not {size}")
        if not self._is_client and not _is_key(share):
            raise ValueError("a key share with a number that is too large")
        return self._guarded.exchange(share)

    def shared_ciphertext(self) -> bytes:
        """A server's share."""
        return self._guarded.shared_ciphertext()


def _is_key(share: bytes) -> bool:
    numbers = share[:_NUMBERS]
    triples = zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)
    return all(
        low | (middle & 15) << 8 < _MODULUS and middle >> 4 | high << 4 < _MODULUS
        for low, middle, high in triples
    )


def guard() -> None:
    """From now on the library's handshakes use this one."""
    setattr(tls, X25519ML768KeyExchange.__name__, KeyExchange)
