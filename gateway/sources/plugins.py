"""Plugins: somebody else decides, one question at a time, over HTTP (GOST's formats).

Fails closed: no answer in time, a wrong status, an unreadable answer or too many
questions at once are a no. The same question asked again while it is open is asked once;
a yes is believed for a short while, a no never. What is remembered of a password is a
keyed digest.
"""

import hashlib
import secrets

import msgspec

from gateway.protocol.packet import unpack_address
from gateway.protocol.routes import prefix_of
from gateway.sources.asking import Asker
from gateway.sources.errors import SourceError
from gateway.sources.model import PluginSpec
from gateway.sources.parse import address_of, prefix_of_text
from gateway.sources.tables import Direction, GatewayRow
from gateway.sources.tls import context_of
from gateway.sources.web import Web

ANSWER_LIMIT = 64 * 1024
"""Bytes of an answer."""


class _Question(msgspec.Struct, frozen=True):
    """GOST's auth/plugin/http.go."""

    service: str
    username: str
    password: str
    client: str


class _Permission(msgspec.Struct, frozen=True):
    ok: bool = False


class _Answer(msgspec.Struct, frozen=True):
    """GOST's router/plugin/http.go. Where `dst` is empty, `net` counts."""

    net: str = ""
    dst: str = ""
    gateway: str = ""


class AuthPlugin:
    """An auther's plugin."""

    def __init__(self, name: str, spec: PluginSpec) -> None:
        self._spec = spec
        self._web = Web(lambda: context_of(spec), spec.server_name)
        self._key = secrets.token_bytes(32)
        self.asker: Asker[bool] = Asker("auther", name, spec)

    async def ask(self, service: str, username: str, password: bytes, client: str) -> bool | None:
        """Yes or no; None: there is no answer. Not longer than its timeout; raises nothing.

        Bytes of a password that are no UTF-8 become U+FFFD, as in GOST's JSON. `client`
        is the peer's endpoint.
        """
        if not password:
            return False
        word = password.decode("utf-8", "replace")
        question = msgspec.json.encode(_Question(service, username, word, client))
        key = hashlib.blake2b(question, key=self._key, digest_size=32).digest()
        return await self.asker.decide(key, lambda: self._exchange(question))

    def refresh(self) -> None:
        """The files of TLS are read again."""
        self._web.renew()

    async def close(self) -> None:
        """Give up open questions and connections."""
        await self.asker.close()
        await self._web.close()

    async def _exchange(self, question: bytes) -> bool:
        body = await self._web.exchange(
            "POST",
            self._spec.url,
            timeout=self._spec.timeout,
            limit=ANSWER_LIMIT,
            headers=_headers(self._spec),
            body=question,
        )
        try:
            return msgspec.json.decode(body, type=_Permission).ok
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise SourceError("the answer is not an auther's JSON") from None


class RoutePlugin:
    """A router's plugin."""

    def __init__(self, name: str, spec: PluginSpec) -> None:
        self._spec = spec
        self._web = Web(lambda: context_of(spec), spec.server_name)
        self.asker: Asker[Direction] = Asker("router", name, spec)

    async def ask(self, destination: bytes) -> Direction | None:
        """The route to an a16, False if there is none. As `AuthPlugin.ask` otherwise."""
        return await self.asker.decide(destination, lambda: self._exchange(destination))

    def refresh(self) -> None:
        """The files of TLS are read again."""
        self._web.renew()

    async def close(self) -> None:
        """Give up open questions and connections."""
        await self.asker.close()
        await self._web.close()

    async def _exchange(self, destination: bytes) -> Direction:
        body = await self._web.exchange(
            "GET",
            self._spec.url,
            timeout=self._spec.timeout,
            limit=ANSWER_LIMIT,
            headers=_headers(self._spec),
            params={"dst": str(unpack_address(destination))},
        )
        try:
            found = msgspec.json.decode(body, type=_Answer)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise SourceError("the answer is not a router's JSON") from None
        network = found.dst or found.net
        if not network:
            return False
        prefix = prefix_of_text(network.encode())
        gateway = address_of(found.gateway.encode())
        if prefix is None or gateway is None or not _covers(prefix, destination):
            raise SourceError("the answer names no network of the destination, or no gateway")
        return GatewayRow(*prefix, gateway)


def _headers(spec: PluginSpec) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    if spec.token:
        headers["Authorization"] = f"Bearer {spec.token.decode('latin-1')}"
    return headers


def _covers(prefix: tuple[bytes, int], destination: bytes) -> bool:
    return prefix_of(destination, prefix[1]) == prefix[0]
