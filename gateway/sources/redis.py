"""Redis keys as sources: a hash, a list or a set, read in one command each.

One command is one moment of the server's: a scan could mix the table before and after
a RENAME. Its size is asked first. A connection lives for one load, so a server that was
restarted is as good as new.
"""

import asyncio

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from gateway.sources.errors import SourceError, system_reason
from gateway.sources.model import BYTE_LIMIT, ENTRY_LIMIT, RedisSpec, RedisType
from gateway.sources.parse import Values
from gateway.sources.threads import Hand, look_up

MEMORY_LIMIT = 4 * BYTE_LIMIT
"""Bytes the server itself needs for the key, which is more than its content."""

CLOSE_SECONDS = 1.0

_SIZE: dict[RedisType, str] = {"hash": "HLEN", "list": "LLEN", "set": "SCARD"}
_READ: dict[RedisType, tuple[str, *tuple[int, ...]]] = {
    "hash": ("HGETALL",),
    "list": ("LRANGE", 0, -1),
    "set": ("SMEMBERS",),
}


_CONFUSED = (AttributeError, LookupError, MemoryError, RecursionError, TypeError)
"""What the client's parsers raise beside their own errors where bytes make no sense."""


class RedisLoader:
    """Reads one key. A key that is not there is an empty table, as in GOST."""

    def __init__(self, spec: RedisSpec) -> None:
        self._spec = spec
        self._hand = Hand("redis-source")

    async def load(self) -> Values:
        """A dict of a hash, a list of a list or set (sorted). SourceError if it fails."""
        spec = self._spec
        failure = SourceError(f"the name {spec.host} has no address")
        for host, port in await look_up(self._hand, spec.host, spec.port):
            client = self._client(host, port)
            try:
                return await self._read(client)
            except AuthenticationError:
                raise SourceError("the server does not accept the username and password") from None
            except (ResponseError, NoPermissionError) as error:
                raise SourceError(f"the server says: {error}") from None
            except TimeoutError:
                failure = SourceError("the server did not answer in time")
            except (RedisError, OSError, ValueError) as error:
                failure = SourceError(_reason(error))
            finally:
                await _close(client)
        raise failure

    def _client(self, host: str, port: int) -> "Redis":
        spec = self._spec
        client = Redis(
            host=host,
            port=port,
            db=spec.db,
            username=spec.username or None,
            password=bytes(spec.password).decode("utf-8", "surrogateescape") or None,
            encoding_errors="surrogateescape",
            socket_timeout=spec.timeout,
            socket_connect_timeout=spec.timeout,
            protocol=2,
            driver_info=None,  # it would look its own version up on disk
            retry=Retry(NoBackoff(), 0),
            single_connection_client=True,
        )
        # They trust the server, and raise anything where the answer is of another shape.
        client.response_callbacks.clear()
        return client

    async def _read(self, client: "Redis") -> Values:
        spec = self._spec
        size = await _ask(client, _SIZE[spec.type], spec.key)
        if not isinstance(size, int):
            raise SourceError("the server's answer is no number")
        if size > ENTRY_LIMIT:
            raise SourceError(f"the key has more than {ENTRY_LIMIT:,} entries")
        await _check_memory(client, spec.key)
        name, *range_ = _READ[spec.type]
        return _checked(await _ask(client, name, spec.key, *range_), spec.type)


async def _ask(client: "Redis", *command: str | int) -> object:
    try:
        answer: object = await client.execute_command(*command)  # type: ignore[no-untyped-call]
    except _CONFUSED:
        raise SourceError("does not answer as a Redis server") from None
    return answer


async def _check_memory(client: "Redis", key: str) -> None:
    try:
        used = await _ask(client, "MEMORY USAGE", key)
    except ResponseError:
        return  # the user may not ask, or the server is too old to know
    if isinstance(used, int) and used > MEMORY_LIMIT:
        raise SourceError(f"the key takes more than {MEMORY_LIMIT:,} bytes")


def _checked(found: object, kind: RedisType) -> Values:
    if not isinstance(found, list) or not all(isinstance(item, bytes) for item in found):
        raise SourceError("the server's answer is no table")
    if kind == "hash":
        pairs = iter(found)
        return dict(zip(pairs, pairs, strict=False))
    return sorted(found) if kind == "set" else found


async def _close(client: "Redis") -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await client.aclose()
    except (RedisError, OSError):
        return


def _reason(error: Exception) -> str:
    """One sentence of the wordy messages that the client makes of system errors."""
    cause = error if isinstance(error, OSError) else error.__cause__ or error.__context__
    if isinstance(cause, OSError):
        return f"cannot be reached: {system_reason(cause)}"
    return f"does not answer as a Redis server: {type(error).__name__}"
