"""HTTP for sources and plugins: one exchange with a deadline and a bounded answer.

Proxies of the environment and compression are not used, cookies not kept. TLS trusts
what the system trusts.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Literal

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.sources.errors import SourceError, system_reason
from gateway.sources.model import BYTE_LIMIT, HttpSpec
from gateway.sources.threads import Hand, look_up

CHUNK = 64 * 1024
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "tun-gateway"}


class HttpLoader:
    """Reads one URL."""

    def __init__(self, spec: HttpSpec) -> None:
        self._spec = spec
        self._web = Web()

    async def load(self) -> bytes:
        """The body of the answer. SourceError if there is none with status 200."""
        try:
            return await self._web.exchange(
                "GET", self._spec.url, timeout=self._spec.timeout, limit=BYTE_LIMIT, redirects=True
            )
        finally:
            await self._web.close()


class Web:
    """One client. Its session is made at the first exchange and again after `close`."""

    def __init__(
        self, tls: Callable[[], ssl.SSLContext | bool] = lambda: True, server_name: str = ""
    ) -> None:
        """`tls` may block; what it returns is used until `renew`."""
        self._tls = tls
        self._trust: ssl.SSLContext | bool | None = None
        self._hand = Hand("tls-files")
        self._turn = asyncio.Lock()
        self._server_name = server_name or None
        self._resolver = _Resolver()
        self._session: aiohttp.ClientSession | None = None

    async def exchange(
        self,
        method: Literal["GET", "POST"],
        url: str,
        *,
        timeout: float,  # noqa: ASYNC109  aiohttp's own, which names what it waited for
        limit: int,
        redirects: bool = False,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> bytes:
        """The body of an answer with status 200. Raises SourceError only."""
        if not url.startswith(("http://", "https://")):
            raise SourceError("the URL does not begin with http:// or https://")
        trust = await self._trusted()
        try:
            async with self._open().request(
                method,
                url,
                allow_redirects=redirects,
                headers=headers,
                params=params,
                data=body,
                timeout=aiohttp.ClientTimeout(total=timeout),
                ssl=trust,
                server_hostname=self._server_name,
            ) as answer:
                return await _body(answer, limit)
        except TimeoutError:
            raise SourceError(f"no whole answer within {timeout:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise SourceError(_reason(error)) from None

    def renew(self) -> None:
        """The next exchange reads the files of TLS again."""
        self._trust = None

    async def close(self) -> None:
        """Let the connections go."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _trusted(self) -> ssl.SSLContext | bool:
        async with self._turn:
            if self._trust is None:
                self._trust = await self._hand.do(self._tls)
            return self._trust

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=self._resolver),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=_HEADERS,
                auto_decompress=False,
            )
        return self._session


class _Resolver(AbstractResolver):
    """Names by a thread of the source's own."""

    def __init__(self) -> None:
        self._hand = Hand("http-source")

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002  both, always
    ) -> list[ResolveResult]:
        """Every address of the host. OSError if there is none."""
        try:
            found = await look_up(self._hand, host, port)
        except SourceError as error:
            raise OSError(None, str(error)) from None
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address, _ in found
        ]

    async def close(self) -> None:
        """Nothing is kept."""


async def _body(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    if answer.status != 200:
        raise SourceError(f"the server answered with status {answer.status}")
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise SourceError("the answer is compressed, which was not asked for")
    body = bytearray()
    async for chunk in answer.content.iter_chunked(CHUNK):
        body += chunk
        if len(body) > limit:
            raise SourceError(f"the answer is larger than {limit:,} bytes")
    return bytes(body)


def _reason(error: Exception) -> str:
    """A sentence without the URL, which may hold secrets."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return f"TLS failed: {system_reason(error.os_error)}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot be reached: {system_reason(error.os_error)}"
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError):
        return "the connection ended before the answer did"
    if isinstance(error, aiohttp.TooManyRedirects):
        return "too many redirects"
    if isinstance(error, aiohttp.ClientResponseError):
        return "does not answer as an HTTP server"
    if isinstance(error, aiohttp.InvalidURL):
        return "the URL cannot be used"
    if isinstance(error, OSError):
        return f"cannot be reached: {system_reason(error)}"
    return f"cannot be read: {type(error).__name__}"
