"""Who may register: credentials of the configuration, of sources, and what is remembered.

Fails closed: with auth on, every claimed address must have a credential, inline or in one
of the authers' tables, whose password the passphrase is; a source that was never read
lets nobody in. Passwords are kept as keyed digests, and comparisons take the same time
for every wrong answer, for an unknown address as for a known one. The key of the digests
is in the state file of mode 0600, as are those of the peers' passphrases.

An auther with a plugin has no table: which addresses are left for it is told here, and
the hub asks.
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
from gateway.protocol.packet import pack_address, unpack_address
from gateway.protocol.peer import PeerRecord
from gateway.supervisor.authers import AutherTable

DIGEST_BYTES = 16
KEY_BYTES = 32


def new_key() -> bytes:
    """A key for the digests of one state file."""
    return secrets.token_bytes(KEY_BYTES)


def digest_of(passphrase: bytes, key: bytes) -> bytes:
    """What is remembered of a passphrase or password."""
    return hashlib.blake2b(passphrase, key=key, digest_size=DIGEST_BYTES).digest()


class Admission:
    """The rules of one server. `credentials` None: auth is off."""

    def __init__(
        self,
        nets: tuple[Interface, ...],
        credentials: Sequence[Credential] | None,
        key: bytes,
        tables: Sequence[AutherTable] = (),
    ) -> None:
        self._nets = nets
        self._key = key
        self.auth = credentials is not None
        self.tables = tuple(tables)
        self.plugins = tuple(table.spec for table in tables if table.spec.plugin is not None)
        inline = (credential for table in tables for credential in table.spec.inline)
        self._secrets = [credential.password for credential in (*(credentials or ()), *inline)]
        self._digests: dict[bytes, list[bytes]] = defaultdict(list)
        self._nobody = digest_of(b"", key)
        for credential in credentials or ():
            if credential.password:
                address = pack_address(ip_address(credential.username))
                self._digests[address].append(digest_of(credential.password, key))

    def refusal(self, addresses: Iterable[bytes], passphrase: bytes) -> tuple[Refusal, str] | None:
        """Why not, and a sentence without secrets; None: welcome. Plugins are not asked."""
        claimed = tuple(addresses)
        unfit = check_claim(claimed, self._nets)
        if unfit is not None:
            return unfit[0], f"address {unfit[1]}"
        if not self.auth:
            return None
        digest, known, right = digest_of(passphrase, self._key), True, True
        for address in claimed:
            good = self._good(address)
            known &= bool(good)
            right &= _any_equal(good or [self._nobody], digest) and bool(good)
        if not known:
            return Refusal.UNKNOWN_ADDRESS, f"no credential names {_texts(claimed)}{self._unread()}"
        if not right:
            return Refusal.WRONG_PASSPHRASE, f"the passphrase is not that of {_texts(claimed)}"
        return None

    def left_to_plugins(self, addresses: Iterable[bytes], passphrase: bytes) -> tuple[bytes, ...]:
        """The claimed addresses that no table gives to this passphrase."""
        digest = digest_of(passphrase, self._key)
        return tuple(a for a in addresses if not _any_equal(self._good(a), digest))

    def digest(self, passphrase: bytes) -> bytes:
        """What is remembered of a passphrase that was right; nothing while auth is off."""
        return digest_of(passphrase, self._key) if self.auth else b""

    def holds(self, addresses: Iterable[bytes], digest: bytes) -> bool:
        """Whether what once let a peer in does so now. Plugins are not asked."""
        return not self.auth or all(_any_equal(self._good(a), digest) for a in addresses)

    def accepts_again(self, record: PeerRecord) -> bool:
        """Whether a peer of a former run would be let in today."""
        fit = check_claim(record.addresses, self._nets) is None
        return fit and self.holds(record.addresses, record.credential)

    def knows(self, address: bytes) -> bool:
        """Whether some credential names the address. Plugins are not asked."""
        return bool(self._good(address))

    def unread(self) -> list[str]:
        """The sources that were never read."""
        return [label for table in self.tables for label in table.unread()]

    def forget(self) -> None:
        """Wipe everything; called in children."""
        for password in self._secrets:
            wipe(password)
        self._digests.clear()
        wipe(self._key)

    def _good(self, address: bytes) -> list[bytes]:
        """The digests of which any lets in."""
        found = (table.layers.get(address) for table in self.tables)
        return [*self._digests.get(address, ()), *(digest for digest in found if digest)]

    def _unread(self) -> str:
        unread = self.unread()
        return f"; not read yet: {', '.join(unread)}" if unread else ""


def _texts(addresses: Iterable[bytes]) -> str:
    return ", ".join(str(unpack_address(address)) for address in addresses)


def _any_equal(digests: Iterable[bytes], digest: bytes) -> bool:
    equal = False
    for good in digests:
        equal |= hmac.compare_digest(good, digest)
    return equal
