"""What `gateway -t` looks at beside the configuration's own sense: this host, and files.

All of it is a warning: the configuration may be meant for another host, and a file may be
readable only for the user that the gateway becomes. Nothing here needs to be root.
"""

import importlib.util
import os
import pwd
import shutil
import stat
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

from gateway.config.model import AutherSpec, Config, Interface, RouterSpec, Service
from gateway.config.nets import cannot_be_a_peer
from gateway.errors import ConfigError
from gateway.protocol.forwarding import Role
from gateway.protocol.packet import pack_address, pack_network, unpack_address
from gateway.protocol.routes import network_of
from gateway.sources.look import Files, credentials_lines, first, routes_lines
from gateway.sources.parse import credentials_of_config, routes_of_config
from gateway.sources.tables import Prefixed
from gateway.users import find_user

NAMESPACES = Path("/run/netns")
DEVICES = Path("/sys/class/net")

Spec = TypeVar("Spec", AutherSpec, RouterSpec)
Nets = tuple[Interface, ...]


def look(config: Config) -> list[str]:
    """One line for each thing that will not work as it is here."""
    lines = [*_user(config)]
    reader, files = _reader(config), Files()
    for service in config.services:
        lines += _host(service)
    for auther, nets in _together((a, s.nets) for s in config.services for a in s.authers):
        lines += _packages(f'auther "{auther.name}"', auther)
        if auther.file is not None:
            lines += credentials_lines(files.credentials(auther.file.path), nets)
        lines += _readable(auther, reader)
    routers = ((s.router, s.nets) for s in config.services if s.router is not None)
    for router, nets in _together(routers):
        lines += _packages(f'router "{router.name}"', router)
        if router.file is not None:
            lines += routes_lines(files.routes(router.file.path), nets)
        lines += _readable(router, reader)
    for service in config.services:
        lines += _gateways(service, files)
    if config.relays or any(service.chain is not None for service in config.services):
        from gateway.check_carriers import carriers_lines  # noqa: PLC0415  (not everybody's)

        lines += carriers_lines(config)
    return lines


def _together(given: Iterable[tuple[Spec, Nets]]) -> Iterator[tuple[Spec, Nets]]:
    """Each auther or router once, with the nets of all the services that use it."""
    found: dict[str, tuple[Spec, Nets]] = {}
    for spec, nets in given:
        earlier = found.get(spec.name, (spec, ()))[1]
        found[spec.name] = (spec, earlier + nets)
    yield from found.values()


def _user(config: Config) -> Iterator[str]:
    if config.user is None:
        return
    try:
        find_user(config.user)
    except ConfigError:
        yield f'user: "{config.user}" is no user of this host'


def _reader(config: Config) -> pwd.struct_passwd | None:
    """Who reads the files of sources; None: who started, or nobody can say from here."""
    if os.geteuid() != 0:
        return None
    try:
        return find_user(config.user)
    except ConfigError:
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


def _gateways(service: Service, files: Files) -> Iterator[str]:
    """Gateways that nobody can be, where every credential can be known from here."""
    known = _usernames(service, files)
    if known is None or service.role is Role.CLIENT:
        return
    wrong = []
    own = {net.ip for net in service.nets}
    for where, network, a16 in _told(service, files):
        gateway = unpack_address(a16) if a16 not in known else None
        if gateway is None or gateway in own or cannot_be_a_peer(gateway, service.nets):
            continue
        shown = network_of(*network)
        wrong.append(f"{where}: {shown}: {gateway} has no credential: no client can have it")
    yield from first(service.place, wrong)


def _usernames(service: Service, files: Files) -> set[bytes] | None:
    """Who has a credential, by a16; None where auth is off, or others know them."""
    if service.credentials is None:
        return None
    known = {pack_address(ip_address(each.username)) for each in service.credentials}
    for auther in service.authers:
        if auther.redis is not None or auther.http is not None or auther.plugin is not None:
            return None
        known |= credentials_of_config(auther.inline).table.keys()
        if auther.file is not None:
            loaded = files.credentials(auther.file.path)
            if loaded.error:
                return None
            known |= loaded.parsed.table.keys()
    return known


def _told(service: Service, files: Files) -> Iterator[tuple[str, Prefixed, bytes]]:
    """What the server is told of networks: where, which, by way of whom (a16)."""
    router = service.router
    for route in service.routes:
        if route.gateway is not None:
            yield (
                f"{service.place}: route",
                pack_network(route.network),
                pack_address(route.gateway),
            )
    if router is None:
        return
    for prefix, a16 in routes_of_config(router.inline).table.items():
        yield f'router "{router.name}"', prefix, a16
    if router.file is not None:
        path = router.file.path
        for prefix, a16 in files.routes(path).parsed.table.items():
            yield path, prefix, a16
