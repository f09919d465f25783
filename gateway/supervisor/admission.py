"""Who may register: the inline credentials, and what is remembered of them.

Fails closed: with auth on, every claimed address must have a credential and one
password must be that of each of them. Comparisons take the same time for every wrong
answer, and an unknown address costs as much as a known one. What the state file keeps
of a passphrase is a keyed digest, whose key is in the same file of mode 0600.
"""

import hashlib
import hmac
import secrets
from collections import defaultdict
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from gateway.config.model import Credential, Interface
from gateway.linux.process import wipe
from gateway.protocol.claims import check_claim
from gateway.protocol.forwarding import Refusal
from gateway.protocol.packet import pack_address
from gateway.protocol.peer import PeerRecord

DIGEST_BYTES = 16
KEY_BYTES = 32


def new_key() -> bytes:
    """A key for the digests of one state file."""
    return secrets.token_bytes(KEY_BYTES)


class Admission:
    """The rules of one server. `credentials` None: auth is off."""

    def __init__(
        self,
        nets: tuple[Interface, ...],
        credentials: Sequence[Credential] | None,
        key: bytes,
    ) -> None:
        self._nets = nets
        self._key = key
        self.auth = credentials is not None
        self._passwords: dict[bytes, list[bytes]] = defaultdict(list)
        for credential in credentials or ():
            address = pack_address(ip_address(credential.username))
            self._passwords[address].append(credential.password)

    def refusal(self, addresses: Iterable[bytes], passphrase: bytes) -> tuple[Refusal, str] | None:
        """Why not, and a sentence without secrets; None: welcome."""
        claimed = tuple(addresses)
        unfit = check_claim(claimed, self._nets)
        if unfit is not None:
            return unfit[0], f"address {unfit[1]}"
        if not self.auth:
            return None
        known, right = True, True
        for address in claimed:
            passwords = self._passwords.get(address, ())
            known &= bool(passwords)
            right &= self._any_equal(passwords or (b"",), passphrase)
        if not known:
            return Refusal.UNKNOWN_ADDRESS, "no credential names the address"
        if not right:
            return Refusal.WRONG_PASSPHRASE, "the passphrase is not the address's"
        return None

    def digest(self, passphrase: bytes) -> bytes:
        """What is remembered of a passphrase that was right; nothing while auth is off."""
        if not self.auth:
            return b""
        return hashlib.blake2b(passphrase, key=self._key, digest_size=DIGEST_BYTES).digest()

    def accepts_again(self, record: PeerRecord) -> bool:
        """Whether a peer of a former run would be let in today."""
        if check_claim(record.addresses, self._nets) is not None:
            return False
        if not self.auth:
            return True
        return all(
            any(
                hmac.compare_digest(self.digest(password), record.credential)
                for password in self._passwords.get(address, ())
            )
            for address in record.addresses
        )

    def forget(self) -> None:
        """Wipe everything; called in children."""
        for passwords in self._passwords.values():
            for password in passwords:
                wipe(password)
        self._passwords.clear()
        wipe(self._key)

    @staticmethod
    def _any_equal(passwords: Iterable[bytes], passphrase: bytes) -> bool:
        equal = False
        for password in passwords:
            equal |= hmac.compare_digest(password, passphrase) and bool(password)
        return equal
