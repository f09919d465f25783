"""What `gateway -t` looks at beside the configuration's own sense: this host, and files.

All of it is a warning: the configuration may be meant for another host, and a file may be
readable only for the user that the gateway becomes. Nothing here needs to be root.
"""

import importlib.util
import os
import pwd
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TypeVar

from gateway.config.model import (
    Address,
    AutherSpec,
    Config,
    Interface,
    Network,
    RouterSpec,
    Service,
)
from gateway.config.nets import cannot_be_a_peer
from gateway.protocol.forwarding import Role
from gateway.protocol.instances import DEFAULT_USERS
from gateway.protocol.packet import is_v4, unpack_address
from gateway.sources.errors import SourceError
from gateway.sources.files import read_file
from gateway.sources.parse import PROBLEMS_KEPT, Parsed, credentials_of_text, routes_of_text
from gateway.sources.tables import Prefixed

NAMESPACES = Path("/run/netns")
DEVICES = Path("/sys/class/net")

Spec = TypeVar("Spec", AutherSpec, RouterSpec)
K = TypeVar("K")
Nets = tuple[Interface, ...]


def look(config: Config) -> list[str]:
    """One line for each thing that will not work as it is here."""
    lines = [*_user(config)]
    reader = _reader(config)
    for service in config.services:
        lines += _host(service)
    for auther, nets in _together((a, s.nets) for s in config.services for a in s.authers):
        lines += _packages(f'auther "{auther.name}"', auther)
        lines += _credentials(auther, nets)
        lines += _readable(auther, reader)
    routers = ((s.router, s.nets) for s in config.services if s.router is not None)
    for router, nets in _together(routers):
        lines += _packages(f'router "{router.name}"', router)
        lines += _routes(router, nets)
        lines += _readable(router, reader)
    for service in config.services:
        lines += _gateways(service)
    return lines


def _together(given: Iterable[tuple[Spec, Nets]]) -> Iterator[tuple[Spec, Nets]]:
    """Each auther or router once, with the nets of all the services that use it."""
    found: dict[str, tuple[Spec, Nets]] = {}
    for spec, nets in given:
        earlier = found.get(spec.name, (spec, ()))[1]
        found[spec.name] = (spec, earlier + nets)
    yield from found.values()


def _user(config: Config) -> Iterator[str]:
    if config.user is None or config.user.isdigit():
        return
    try:
        pwd.getpwnam(config.user)
    except KeyError:
        yield f'user: "{config.user}" is no user of this host'


def _reader(config: Config) -> pwd.struct_passwd | None:
    """Who reads the files of sources; None: who started, or nobody can say from here."""
    if os.geteuid() != 0:
        return None
    for name in (config.user,) if config.user else DEFAULT_USERS:
        with suppress(KeyError):
            return pwd.getpwnam(name)
    return None


def _readable(spec: AutherSpec | RouterSpec, reader: pwd.struct_passwd | None) -> Iterator[str]:
    """By the modes alone: access lists may say otherwise, so it is a warning."""
    if spec.file is None or reader is None:
        return
    path = Path(spec.file.path)
    for place, bit in ((path, stat.S_IROTH), *((folder, stat.S_IXOTH) for folder in path.parents)):
        try:
            found = place.stat()
        except OSError:
            return  # that was said
        shift = 6 if found.st_uid == reader.pw_uid else 3 if found.st_gid == reader.pw_gid else 0
        if reader.pw_uid != 0 and not found.st_mode & bit << shift:
            what = "read it" if place == path else f"pass {place}"
            remedy = "give it to that user or group, or set user="
            yield f"{path}: the gateway becomes {reader.pw_name}, who may not {what}: {remedy}"
            return


def _host(service: Service) -> Iterator[str]:
    for name, namespace in (("netns", service.netns), ("netns.out", service.netns_out)):
        if namespace is not None and not (NAMESPACES / namespace).exists():
            yield f"{service.place}: {name}: there is no network namespace {namespace} here"
    device = service.interface
    if device is not None and service.netns_out is None and not (DEVICES / device).exists():
        yield f"{service.place}: interface: there is no device {device} here"
    if service.dns and shutil.which("resolvectl") is None:
        yield f"{service.place}: dns: needs resolvectl (systemd-resolved), which is not here"


def _packages(whose: str, spec: AutherSpec | RouterSpec) -> Iterator[str]:
    needs = {
        "redis": ("redis", spec.redis is not None),
        "aiohttp": ("http", spec.http is not None or spec.plugin is not None),
    }
    for package, (extra, needed) in needs.items():
        if needed and importlib.util.find_spec(package) is None:
            remedy = f"install it with: pip install 'tun-gateway[{extra}]'"
            yield f"{whose} needs the Python package {package}, an extra: {remedy}"


def _credentials(auther: AutherSpec, nets: Nets) -> Iterator[str]:
    if auther.file is None:
        return
    path = auther.file.path
    try:
        raw = read_file(path)
        parsed = credentials_of_text(raw, path)
    except SourceError as error:
        yield f"{path}: {error}"
        return
    yield from _problems(path, parsed)
    own = {net.ip for net in nets}
    wrong = {}
    for a16 in parsed.table:
        address = unpack_address(a16)
        if address in own:
            wrong[a16] = f"{address} is the server's own address"
        elif problem := cannot_be_a_peer(address, nets):
            wrong[a16] = f"{address} {problem}"
    yield from _first(path, _placed(path, raw, credentials_of_text, wrong))


def _routes(router: RouterSpec, nets: Nets) -> Iterator[str]:
    if router.file is None:
        return
    path = router.file.path
    try:
        raw = read_file(path)
        parsed = routes_of_text(raw, path)
    except SourceError as error:
        yield f"{path}: {error}"
        return
    yield from _problems(path, parsed)
    own = {net.ip for net in nets}
    wrong = {}
    for prefix, a16 in parsed.table.items():
        gateway = unpack_address(a16)
        if gateway in own:
            wrong[prefix] = f"{_network(prefix)}: {gateway} is this host itself"
        elif problem := cannot_be_a_peer(gateway, nets):
            wrong[prefix] = f"{_network(prefix)}: {gateway} {problem}"
    yield from _first(path, _placed(path, raw, routes_of_text, wrong))


def _placed(
    path: str, raw: bytes, parse: Callable[[bytes, str], Parsed[K]], wrong: Mapping[K, str]
) -> list[str]:
    """Each with the line where it stands first."""
    numbers: dict[K, int] = {}
    for number, line in enumerate(raw.split(b"\n") if wrong else (), 1):
        for key in parse(line, path).table:
            numbers.setdefault(key, number)
    return [f"{path}:{numbers[key]}: {text}" for key, text in wrong.items()]


def _gateways(service: Service) -> Iterator[str]:
    """Gateways that nobody can be, where every credential can be known from here."""
    known = _usernames(service)
    if known is None or service.role is Role.CLIENT:
        return
    wrong = []
    for where, network, gateway in _told(service):
        unknown = gateway not in known and not cannot_be_a_peer(gateway, service.nets)
        if unknown and gateway not in {net.ip for net in service.nets}:
            wrong.append(f"{where}: {network}: {gateway} has no credential: no client can have it")
    yield from _first(service.place, wrong)


def _usernames(service: Service) -> set[Address] | None:
    """The addresses that have a credential; None where auth is off, or others know them."""
    if service.credentials is None:
        return None
    known = {ip_address(each.username) for each in service.credentials}
    for auther in service.authers:
        if auther.redis is not None or auther.http is not None or auther.plugin is not None:
            return None
        known |= {ip_address(each.username) for each in auther.inline}
        if auther.file is not None:
            try:
                parsed = credentials_of_text(read_file(auther.file.path), auther.file.path)
            except SourceError:
                return None
            known |= {unpack_address(a16) for a16 in parsed.table}
    return known


def _told(service: Service) -> Iterator[tuple[str, Network, Address]]:
    """What the server is told of networks: where, which, by way of whom."""
    for route in service.routes:
        if route.gateway is not None:
            yield f"{service.place}: route", route.network, route.gateway
    if service.router is None:
        return
    for route in service.router.inline:
        if route.gateway is not None:
            yield f'router "{service.router.name}"', route.network, route.gateway
    if service.router.file is not None:
        path = service.router.file.path
        try:
            parsed = routes_of_text(read_file(path), path)
        except SourceError:
            return
        for prefix, a16 in parsed.table.items():
            yield path, _network(prefix), unpack_address(a16)


def _problems(path: str, parsed: Parsed[bytes] | Parsed[Prefixed]) -> Iterator[str]:
    yield from parsed.problems
    if parsed.problem_count > len(parsed.problems):
        yield f"{path}: and {parsed.problem_count - len(parsed.problems):,} more like these"


def _first(path: str, lines: Sequence[str]) -> Iterator[str]:
    yield from lines[:PROBLEMS_KEPT]
    if len(lines) > PROBLEMS_KEPT:
        yield f"{path}: and {len(lines) - PROBLEMS_KEPT:,} more like these"


def _network(prefix: Prefixed) -> Network:
    a16, length = prefix
    if is_v4(a16):
        return ip_network(f"{unpack_address(a16)}/{length - 96}")
    return IPv6Network((a16, length))
