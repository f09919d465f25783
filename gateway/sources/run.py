"""All sources of one instance: what the resolver owns.

Building a `Sources` does no I/O but imports what it needs, so it is built before the
fork. `run` keeps every source until it is cancelled, and hands what it has to tell to
`deliver`: of one source one message after the other.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec.structs import replace

from gateway.sources import extras, parse
from gateway.sources.asking import Asker
from gateway.sources.files import FileLoader
from gateway.sources.keeper import Cut, Deliver, Inline, Keeper, Keeping, Kept, Loader
from gateway.sources.model import (
    AutherSpec,
    FileSpec,
    Holder,
    HttpSpec,
    RedisSpec,
    RouterSpec,
    SourceKind,
)
from gateway.sources.parse import Parsed, Values
from gateway.sources.tables import Direction, Prefixed, credential_parts, route_parts

if TYPE_CHECKING:
    from gateway.sources.plugins import AuthPlugin, RoutePlugin

K = TypeVar("K")
R = TypeVar("R")

STATE_SECONDS = 1.0
"""Between two states of one plugin there is at least this."""


class Sources:
    """The keepers and plugins of authers and routers. Names are unique in each list.

    Raises MissingExtraError where a package is missing.
    """

    def __init__(
        self, authers: Iterable[AutherSpec], routers: Iterable[RouterSpec], deliver: Deliver
    ) -> None:
        self._deliver = deliver
        self._keepers: list[Keeping] = []
        self._auth: dict[str, AuthPlugin] = {}
        self._route: dict[str, RoutePlugin] = {}
        for auther in authers:
            if auther.plugin is None:
                self._keepers += _auther_keepers(auther, deliver)
            else:
                asker = f'auther "{auther.name}"'
                self._auth[auther.name] = extras.auth_plugin(auther.name, auther.plugin, asker)
        for router in routers:
            if router.plugin is None:
                self._keepers += _router_keepers(router, deliver)
            else:
                asker = f'router "{router.name}"'
                self._route[router.name] = extras.route_plugin(router.name, router.plugin, asker)

    async def run(self) -> None:
        """Keep everything; ends by being cancelled, and leaves nothing open."""
        plugins: list[AuthPlugin | RoutePlugin] = [*self._auth.values(), *self._route.values()]
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            for plugin in plugins:
                stack.push_async_callback(plugin.close)
                group.create_task(self._watch(plugin.asker))
            for keeper in self._keepers:
                group.create_task(keeper.run())

    def refresh(self) -> None:
        """Load every source again now, and the files of the plugins' TLS."""
        for keeper in self._keepers:
            keeper.refresh()
        plugins: list[AuthPlugin | RoutePlugin] = [*self._auth.values(), *self._route.values()]
        for plugin in plugins:
            plugin.refresh()

    async def ask_auth(
        self, auther: str, service: str, username: str, password: bytes, client: str
    ) -> bool | None:
        """What an auther's plugin says; no, if there is none. See `AuthPlugin.ask`."""
        plugin = self._auth.get(auther)
        return plugin is not None and await plugin.ask(service, username, password, client)

    async def ask_route(self, router: str, destination: bytes) -> Direction | None:
        """What a router's plugin says about an a16; None, if there is no such plugin."""
        plugin = self._route.get(router)
        return None if plugin is None else await plugin.ask(destination)

    async def _watch(self, asker: Asker[bool] | Asker[Direction]) -> None:
        """Tell how a plugin is, at first and after it was asked."""
        while True:
            asker.changed.clear()
            await self._deliver(asker.state())
            await asker.changed.wait()
            await asyncio.sleep(STATE_SECONDS)


def _auther_keepers(spec: AutherSpec, deliver: Deliver) -> Iterator[Keeping]:
    reads: _Reads[bytes] = _Reads(
        "auther",
        parse.credentials_of_text,
        parse.credentials_of_redis,
        credential_parts,
        deliver,
    )
    if spec.inline:
        yield reads.inline(spec, parse.credentials_of_config(spec.inline))
    redis = None if spec.redis is None else replace(spec.redis, type="hash")
    yield from reads.keepers(spec, redis)


def _router_keepers(spec: RouterSpec, deliver: Deliver) -> Iterator[Keeping]:
    reads: _Reads[Prefixed] = _Reads(
        "router", parse.routes_of_text, parse.routes_of_redis, route_parts, deliver
    )
    if spec.inline:
        yield reads.inline(spec, parse.routes_of_config(spec.inline))
    yield from reads.keepers(spec, spec.redis)


@dataclass(frozen=True)
class _Reads(Generic[K]):
    """How the sources of authers, or those of routers, are read."""

    holder: Holder
    text: Callable[[bytes, str], Parsed[K]]
    keys: Callable[[Values, str], Parsed[K]]
    cut: Cut[K]
    deliver: Deliver

    def keepers(self, spec: AutherSpec | RouterSpec, redis: RedisSpec | None) -> Iterator[Keeping]:
        """One for each source but the inline one."""
        asker = f'{self.holder} "{spec.name}"'
        if spec.file is not None:
            yield self._keeper(spec, "file", spec.file, FileLoader(spec.file), self.text)
        if redis is not None:
            loader = extras.redis_loader(redis, asker)
            yield self._keeper(spec, "redis", redis, loader, self.keys)
        if spec.http is not None:
            web = extras.http_loader(spec.http, asker)
            yield self._keeper(spec, "http", spec.http, web, self.text)

    def inline(self, spec: AutherSpec | RouterSpec, parsed: Parsed[K]) -> Keeping:
        """The inline source, which is told once."""
        return Inline(self.holder, spec.name, parsed, self.cut, self.deliver)

    def _keeper(
        self,
        spec: AutherSpec | RouterSpec,
        source: SourceKind,
        place: FileSpec | RedisSpec | HttpSpec,
        loader: Loader[R],
        read: Callable[[R, str], Parsed[K]],
    ) -> Keeping:
        label, timeout, reload = place.label, place.timeout, spec.reload
        kept = Kept(self.holder, spec.name, source, label, timeout, reload, loader, read, self.cut)
        return Keeper(kept, self.deliver)
