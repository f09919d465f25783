"""Who may use a relay listener: names and passwords, inline or of the authers' tables.

A table names its users by tunnel addresses, so such a user is one who writes an address as
his name. Comparisons take the same time for every wrong answer, and passwords are kept as
keyed digests. Fails closed, as `admission` does.
"""

import hmac
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Literal

from gateway.config.chain_model import RelayUser
from gateway.config.model import PASSPHRASE_LIMIT
from gateway.linux.process import wipe
from gateway.protocol.packet import pack_address
from gateway.supervisor.admission import digest_of
from gateway.supervisor.authers import AutherTable


class RelayUsers:
    """The users of one listener. `users` None: everybody may in."""

    def __init__(
        self, users: Sequence[RelayUser] | None, key: bytes, tables: Sequence[AutherTable] = ()
    ) -> None:
        self.auth = users is not None
        self.tables = tuple(tables)
        self.plugins = tuple(each.spec for each in tables if each.spec.plugin is not None)
        self._key = key
        self._secrets = [user.password for user in users or ()]
        self._digests: dict[bytes, list[bytes]] = {}
        for user in users or ():
            self._digests.setdefault(user.username, []).append(digest_of(user.password, key))
        self._nobody = digest_of(b"", key)

    def judge(self, username: bytes, password: bytes) -> Literal["yes", "no"]:
        """What is known here; plugins may say more (`address_of`)."""
        if not self.auth:
            return "yes"
        whole = digest_of(password, self._key)
        short = digest_of(password[:PASSPHRASE_LIMIT], self._key)
        good = self._digests.get(username, [])
        right = _any_equal(good or [self._nobody], whole) and bool(good)
        address = address_of(username)
        if address is not None:
            for table in self.tables:
                digest = table.layers.get(address)
                right |= bool(digest) and hmac.compare_digest(digest or self._nobody, short)
        return "yes" if right else "no"

    def forget(self) -> None:
        """Wipe everything; called in children."""
        for password in self._secrets:
            wipe(password)
        self._digests.clear()


def address_of(username: bytes) -> bytes | None:
    """The tunnel address (a16) a user's name is, if it is one."""
    try:
        return pack_address(ip_address(username.decode("ascii", "replace")))
    except ValueError:
        return None


def _any_equal(digests: Sequence[bytes], digest: bytes) -> bool:
    equal = False
    for good in digests:
        equal |= hmac.compare_digest(good, digest)
    return equal
