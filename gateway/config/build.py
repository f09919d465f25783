"""The whole configuration out of the tree, and what its services demand of each other."""

import re
from collections.abc import Sequence
from itertools import combinations
from typing import Literal

from gateway.config import shape
from gateway.config.auth import parse_authers
from gateway.config.model import Config, Service
from gateway.config.options import nearest
from gateway.config.service import Built, build_service
from gateway.config.tree import Entry, Node, Report, items_of, mapping_of
from gateway.config.values import shown, text
from gateway.protocol.forwarding import Role

Level = Literal["debug", "info", "warning", "error"]

_INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}", re.ASCII)
_LEVELS: dict[str, Level] = {
    "trace": "debug",
    "debug": "debug",
    "info": "info",
    "warn": "warning",
    "warning": "warning",
    "error": "error",
    "fatal": "error",
}


def build(
    tree: Node,
    report: Report,
    *,
    instance: str | None = None,
    debug: bool = False,
    chained: bool = False,
) -> Config:
    """The checked configuration. Raises ConfigError with every problem of the report.

    `chained`: a `-F` was given, and refused by the caller.
    """
    top = mapping_of(tree, "the configuration", report)
    shape.check_keys(top, shape.TOP, "", report)
    authers = parse_authers(top, report)
    built = [
        found
        for node in _services(top, tree, report)
        if (found := build_service(node, authers, report, chained=chained)) is not None
    ]
    _refuse_chains(top, report, chained=chained)
    services = tuple(found.service for found in built)
    _check_services(services, report)
    user = _user(built, report)
    level = _level(top, report)
    for auther in authers.values():
        if not auther.used and not report.errors:
            report.warn(auther.place, f"authers: {shown(auther.name)} is used by no service")
    name = _instance(instance, services, report)
    report.raise_errors()
    return Config(
        services=services,
        instance=name,
        log_level="debug" if debug else level,
        user=user,
        warnings=tuple(report.warnings),
    )


def _services(top: dict[str, Entry], tree: Node, report: Report) -> tuple[Node, ...]:
    items = items_of(top["services"].node, "services", report) if "services" in top else ()
    if not items and not report.errors:
        report.error(tree.place, "services: there is none: write one, or give -L")
    return items


def _refuse_chains(top: dict[str, Entry], report: Report, *, chained: bool) -> None:
    """One sentence is enough: the list of chains is news only where nobody refers to it."""
    if chained or any(shape.NO_CHAINS in line for line in report.errors):
        return
    for key in ("chains", "hops"):
        if key in top and not top[key].node.is_empty:
            report.error(top[key].place, f"{top[key].key}: {shape.NO_CHAINS}")
            return


def _check_services(services: Sequence[Service], report: Report) -> None:
    """Report what two services cannot both have."""
    for first, second in combinations(services, 2):
        there = f"the service at {first.place} has"
        if second.name == first.name and second.name:
            report.error(second.place, f"name: {there} the name {shown(first.name)} too")
        if second.device is not None and second.device == first.device:
            report.error(second.place, f"name: {there} the device {shown(first.device)} too")
        if _same_port(first, second):
            report.error(second.place, f"addr: {there} the UDP port {first.port} too")
        for net in second.nets:
            for other in first.nets:
                same = net.version == other.version
                if same and net.network.overlaps(other.network):
                    report.error(second.place, f"net: {net} overlaps {other} of another service")


def _same_port(first: Service, second: Service) -> bool:
    if first.role is not Role.SERVER or second.role is not Role.SERVER or not first.port:
        return False
    return first.port == second.port and (
        _covers(first.host, second.host) or _covers(second.host, first.host)
    )


def _covers(host: str, other: str) -> bool:
    """Whether listening on `host` takes what arrives for `other` too."""
    return host in ("", "::", other) or (host == "0.0.0.0" and ":" not in other)  # noqa: S104


def _user(built: Sequence[Built], report: Report) -> str | None:
    given = [found for found in built if found.user is not None]
    for found in given[1:]:
        if found.user != given[0].user:
            first = f"{shown(given[0].user)} at {given[0].user_place}"
            report.error(
                found.user_place, f"user: {shown(found.user)} differs from {first}: write one"
            )
    return given[0].user if given else None


def _level(top: dict[str, Entry], report: Report) -> Level:
    if "log" not in top:
        return "info"
    log = mapping_of(top["log"].node, "log", report)
    shape.check_keys(log, shape.LOG, "log", report)
    if "level" not in log or log["level"].node.is_empty:
        return "info"
    value = log["level"].node.value
    word = "" if isinstance(value, dict | tuple) else text(value)
    if word.lower() not in _LEVELS:
        near = nearest(word, list(_LEVELS))
        hint = f"did you mean {near}?" if near else f"there are {', '.join(_LEVELS)}"
        report.error(log["level"].node.place, f"log.level: {shown(word)} is no level: {hint}")
    return _LEVELS.get(word.lower(), "info")


def _instance(given: str | None, services: Sequence[Service], report: Report) -> str:
    if given is None:
        nets = [net for service in services[:1] for net in service.nets]
        return str(nets[0].ip) if nets else ""
    if not _INSTANCE.fullmatch(given):
        report.error(
            "--instance",
            f"{shown(given)} is no name: write up to 64 letters, digits, '.', '_', ':', '@' or '-'",
        )
    return given
