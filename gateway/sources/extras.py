"""The clients of Redis and HTTP, which are extras of the package.

They are imported when a description asks for them: then the supervisor is still root
and has not forked, so that a package only root can read works too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gateway.sources.errors import MissingExtraError
from gateway.sources.model import HttpSpec, PluginSpec, RedisSpec

if TYPE_CHECKING:
    from gateway.sources.plugins import AuthPlugin, RoutePlugin
    from gateway.sources.redis import RedisLoader
    from gateway.sources.web import HttpLoader

# `asker` says who wants it, for the message: auther "staff". Each function raises
# MissingExtraError if the package is not installed.


def redis_loader(spec: RedisSpec, asker: str) -> "RedisLoader":
    """Reads a Redis key."""
    with _extra("redis", "redis", asker):
        from gateway.sources.redis import RedisLoader  # noqa: PLC0415
    return RedisLoader(spec)


def http_loader(spec: HttpSpec, asker: str) -> "HttpLoader":
    """Reads a URL."""
    with _extra("http", "aiohttp", asker):
        from gateway.sources.web import HttpLoader  # noqa: PLC0415
    return HttpLoader(spec)


def auth_plugin(name: str, spec: PluginSpec, asker: str) -> "AuthPlugin":
    """Asks an auther's plugin."""
    with _extra("http", "aiohttp", asker):
        from gateway.sources.plugins import AuthPlugin  # noqa: PLC0415
    return AuthPlugin(name, spec)


def route_plugin(name: str, spec: PluginSpec, asker: str) -> "RoutePlugin":
    """Asks a router's plugin."""
    with _extra("http", "aiohttp", asker):
        from gateway.sources.plugins import RoutePlugin  # noqa: PLC0415
    return RoutePlugin(name, spec)


@contextmanager
def _extra(extra: str, package: str, asker: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        remedy = f"install it with: pip install 'tun-gateway[{extra}]'"
        message = f"{asker} needs the Python package {package}, an extra: {remedy}"
        raise MissingExtraError(message) from None
