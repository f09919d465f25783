"""The whole configuration out of the tree, and what its services demand of each other."""

import re
from collections.abc import Sequence
from typing import Literal

from gateway.config import options, shape
from gateway.config.auth import Auther, parse_authers, tell_doubts
from gateway.config.chain_model import RelaySpec
from gateway.config.chains import Chains
from gateway.config.checks import check_authers, check_relays, check_routers, check_services
from gateway.config.collector import collector_at_rest
from gateway.config.ends import as_meant
from gateway.config.model import Config, Service
from gateway.config.option import nearest
from gateway.config.relays import build_relay, is_relay
from gateway.config.routers import Router, parse_routers
from gateway.config.section import Values
from gateway.config.service import Built, build_service
from gateway.config.tree import Entry, Node, Report, items_of, mapping_of
from gateway.config.values import shown, text

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


@collector_at_rest()
def build(
    tree: Node,
    report: Report,
    *,
    instance: str | None = None,
    debug: bool = False,
) -> Config:
    """The checked configuration. Raises ConfigError with every problem of the report."""
    if isinstance(tree.value, tuple):
        report.error(tree.place, "the configuration: expected keys here: write services: first")
        report.raise_errors()
    top = shape.as_meant(mapping_of(tree, "the configuration", report), shape.TOP)
    shape.check_keys(top, shape.TOP, "", report)
    authers = parse_authers(top, report)
    routers = parse_routers(top, report)
    chains = Chains(top, report)
    built: list[Built] = []
    relays: list[tuple[RelaySpec, Entry | None]] = []
    for service in _services(top, tree, report):
        node = as_meant(service, report)
        if is_relay(node):
            relay = build_relay(node, authers, report)
            relays += [relay] if relay is not None else []
        else:
            found = build_service(node, authers, routers, chains, report)
            built += [found] if found is not None else []
    _tell_doubts(authers, report)
    services = tuple(found.service for found in built)
    check_services(services, report)
    check_relays([spec for spec, _ in relays], services, report)
    check_authers(authers.values(), report)
    check_routers(routers.values(), report)
    user, user_place = _user(built, [asked for _, asked in relays if asked is not None], report)
    level = _level(top, report)
    _name_unused(authers, routers, chains, report)
    if debug:
        report.origins["log", "level"] = "-D"
    if instance is not None:
        report.origins["instance",] = "--instance"
    if user is not None:
        report.origins["user",] = user_place
    name = _instance(instance, services, [spec for spec, _ in relays], report)
    report.raise_errors()
    return Config(
        services=services,
        instance=name,
        log_level="debug" if debug else level,
        user=user,
        relays=tuple(spec for spec, _ in relays),
        warnings=tuple(report.warnings),
    )


def _tell_doubts(authers: dict[str, Auther], report: Report) -> None:
    for auther in authers.values():
        if not auther.used:
            tell_doubts(auther, report)


def _name_unused(
    authers: dict[str, Auther], routers: dict[str, Router], chains: Chains, report: Report
) -> None:
    if report.failed:
        return
    for auther in authers.values():
        if not auther.used:
            report.warn(auther.place, f"authers: {shown(auther.name)} is used by no service")
    for router in routers.values():
        if not router.nets:
            name = shown(router.spec.name)
            report.warn(router.place, f"routers: {name} is used by no service")
    chains.warn_unused()


def _services(top: dict[str, Entry], tree: Node, report: Report) -> tuple[Node, ...]:
    items = items_of(top["services"].node, "services", report) if "services" in top else ()
    if not items and not report.failed:
        report.error(tree.place, "services: there is none: write one, or give -L")
    return items


def _user(
    built: Sequence[Built], relays: Sequence[Entry], report: Report
) -> tuple[str | None, str]:
    """Whom to become, and where that was said."""
    given = [(found.user, found.user_place) for found in built if found.user is not None]
    for asked in relays:
        value = Values({"user": asked}, "metadata", asked.place, report)
        name = value.get("user", options.USER.parse, None)
        given += [(name, asked.place)] if name is not None else []
    for user, place in given[1:]:
        if user != given[0][0]:
            first = f"{shown(given[0][0])} at {given[0][1]}"
            report.error(place, f"user: {shown(user)} differs from {first}: write one")
    return given[0] if given else (None, "")


def _level(top: dict[str, Entry], report: Report) -> Level:
    if "log" not in top:
        return "info"
    log = shape.entries_of(top["log"].node, shape.LOG, "log", report)
    if "level" not in log or log["level"].node.is_empty:
        return "info"
    value = log["level"].node.value
    word = "" if isinstance(value, dict | tuple) else text(value)
    if word.lower() not in _LEVELS:
        near = nearest(word, list(_LEVELS))
        hint = f"did you mean {near}?" if near else f"there are {', '.join(_LEVELS)}"
        report.error(log["level"].node.place, f"log.level: {shown(word)} is no level: {hint}")
    report.origins["log", "level"] = log["level"].node.place
    return _LEVELS.get(word.lower(), "info")


def _instance(
    given: str | None, services: Sequence[Service], relays: Sequence[RelaySpec], report: Report
) -> str:
    if given is None:
        nets = [net for service in services[:1] for net in service.nets]
        if not services and relays:
            return f"relay-{relays[0].port}"
        return str(nets[0].ip) if nets else ""
    if not _INSTANCE.fullmatch(given):
        report.error(
            "--instance",
            f"{shown(given)} is no name: write up to 64 letters, digits, '.', '_', ':', '@' or '-'",
        )
    return given
