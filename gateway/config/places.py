"""Where an auther, or a router, has its entries from: `file`, `redis`, `http`, `plugin`, `reload`.

The durations are those of Go's structs, unlike options: a text has a unit, and a bare
number is nanoseconds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import msgspec

from gateway.config import addresses, shape
from gateway.config.model import (
    FILE_SECONDS,
    HTTP_SECONDS,
    PLUGIN_SECONDS,
    REDIS_KEY,
    FileSpec,
    HttpSpec,
    PluginSpec,
    RedisSpec,
    RedisType,
    public_url,
)
from gateway.config.section import Values
from gateway.config.tree import Entry, Report, Scalar
from gateway.config.values import (
    BadValueError,
    boolean,
    choice,
    printable,
    ranged,
    shown,
    struct_duration,
    text,
)

REDIS_PORT = 6379
DATABASE_LIMIT = (1 << 31) - 1
RELOAD_LIMIT = 366 * 86400.0
TIMEOUT_LIMIT = 3600.0


@dataclass(frozen=True, slots=True)
class Places:
    """What is there beside the inline entries. `reload` in seconds."""

    file: FileSpec | None = None
    redis: RedisSpec | None = None
    http: HttpSpec | None = None
    plugin: PluginSpec | None = None
    reload: float = 0.0

    @property
    def any(self) -> bool:
        """Whether the resolver has something to do."""
        return any((self.file, self.redis, self.http, self.plugin))


def parse_places(entries: dict[str, Entry], where: str, report: Report) -> Places:
    """The places of one entry of `authers` or `routers`; `where` is that word."""
    places = Places(
        file=_file(entries, where, report),
        redis=_redis(entries, where, report),
        http=_http(entries, where, report),
        plugin=_plugin(entries, where, report),
        reload=_reload(entries, where, report),
    )
    loads = any((places.file, places.redis, places.http))
    if places.plugin is not None:
        for key in ("auths", "routes", "file", "redis", "http", "reload"):
            if key in entries and not entries[key].node.is_empty:
                name = f"{where}.{entries[key].key}"
                report.warn(entries[key].place, f"{name}: ignored, as a plugin is given")
    elif places.reload and not loads:
        report.warn(
            entries["reload"].place, f"{where}.reload: has no use without file, redis or http"
        )
    return places


def _section(
    entries: dict[str, Entry], key: str, where: str, known: shape.Shape, report: Report
) -> Values | None:
    if key not in entries or entries[key].node.is_empty:
        return None
    name = f"{where}.{key}"
    found = shape.entries_of(entries[key].node, known, name, report)
    return Values(found, name, entries[key].place, report) if found else None


def _reload(entries: dict[str, Entry], where: str, report: Report) -> float:
    whole = Values(entries, where, "", report)
    return whole.seconds("reload", _bounded(RELOAD_LIMIT), 0.0)


def _file(entries: dict[str, Entry], where: str, report: Report) -> FileSpec | None:
    section = _section(entries, "file", where, shape.SOURCE_FILE, report)
    if section is None:
        return None
    path = section.needed("path", printable, "write the path of a text file")
    return FileSpec(path, FILE_SECONDS) if path else None


def _redis(entries: dict[str, Entry], where: str, report: Report) -> RedisSpec | None:
    section = _section(entries, "redis", where, shape.SOURCE_REDIS, report)
    if section is None:
        return None
    server = section.needed("addr", _redis_server, "write the server's HOST:PORT")
    kind = section.get("type", choice("hash", "list", "set"), "hash")
    if where == "authers" and kind != "hash":
        report.warn(section.entries["type"].place, "authers.redis.type: an auther reads a hash")
        kind = "hash"
    return server and RedisSpec(
        host=server[0],
        port=server[1],
        db=section.get("db", ranged(0, DATABASE_LIMIT), 0),
        username=section.get("username", text, ""),
        password=section.secret("password"),
        key=section.get("key", text, REDIS_KEY),
        type=cast("RedisType", kind),
    )


def _redis_server(value: Scalar) -> tuple[str, int]:
    host, port = addresses.endpoint(text(value))
    if not host:
        raise BadValueError(f"{shown(value)} has no host: write the server's HOST:PORT")
    return host, port or REDIS_PORT


def _http(entries: dict[str, Entry], where: str, report: Report) -> HttpSpec | None:
    section = _section(entries, "http", where, shape.SOURCE_HTTP, report)
    if section is None:
        return None
    url = section.needed("url", _url, "write the URL of a text")
    timeout = section.seconds("timeout", _bounded(TIMEOUT_LIMIT), 0.0) or HTTP_SECONDS
    return HttpSpec(url, timeout) if url else None


def _plugin(entries: dict[str, Entry], where: str, report: Report) -> PluginSpec | None:
    section = _section(entries, "plugin", where, shape.PLUGIN, report)
    if section is None:
        return None
    kind = section.get("type", text, "grpc").lower()
    if kind != "http":
        found = section.entries.get("type")
        place = found.place if found is not None else section.place
        default = "" if found is not None else ", the default of GOST,"
        report.error(
            place, f"{where}.plugin.type: {shown(kind)}{default} is not supported: write http"
        )
    url = section.needed("addr", _url, "write the plugin's URL")
    timeout = section.seconds("timeout", _bounded(TIMEOUT_LIMIT), 0.0) or PLUGIN_SECONDS
    token = section.secret("token")
    return _tls(section, PluginSpec(url, token, timeout)) if url else None


def _tls(section: Values, plugin: PluginSpec) -> PluginSpec:
    """The plugin with what `tls` says of it. Without, it is verified, as in GOST."""
    where = f"{section.where}.tls"
    tls = _section(section.entries, "tls", section.where, shape.PLUGIN_TLS, section.report)
    if tls is None:
        return plugin
    verify, authority = tls.get("secure", boolean, False), tls.get("cafile", printable, "")
    if not verify and not authority:
        tls.report.warn(tls.place, f"{where}: anybody can pose as the plugin: write secure: true")
    certificate, key = tls.get("certfile", printable, ""), tls.get("keyfile", printable, "")
    if key and not certificate:
        tls.report.error(tls.place, f"{where}.keyFile: has no use without certFile")
    return msgspec.structs.replace(
        plugin,
        verify=verify,
        server_name=tls.get("servername", printable, ""),
        ca_file=authority,
        cert_file=certificate,
        key_file=key,
    )


def _url(value: Scalar) -> str:
    """An http or https URL. The message does not show it, as it may hold a password."""
    word = printable(value)
    try:
        parts = urlsplit(public_url(word))
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise BadValueError("is not a URL: write http://HOST/PATH or https://HOST/PATH")
    return word


def _bounded(limit: float) -> Callable[[Scalar], float]:
    def parse(value: Scalar) -> float:
        seconds = struct_duration(value)
        if seconds < 0:
            raise BadValueError(f"{shown(value)} is below 0")
        if seconds > limit:
            raise BadValueError(f"{shown(value)} is too long: at most {limit / 3600:.0f}h")
        return seconds

    return parse
