"""The whole configuration out of the tree, and what its services demand of each other."""

import re
from collections.abc import Sequence
from typing import Literal

from gateway.config import shape
from gateway.config.auth import Auther, parse_authers
from gateway.config.checks import check_authers, check_routers, check_services
from gateway.config.model import Config, Service
from gateway.config.option import nearest
from gateway.config.routers import Router, parse_routers
from gateway.config.service import Built, build_service
from gateway.config.tree import Entry, Node, Report, items_of, mapping_of
from gateway.config.unchained import refuse_lists
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
    routers = parse_routers(top, report)
    built = [
        found
        for node in _services(top, tree, report)
        if (found := build_service(node, authers, routers, report, chained=chained)) is not None
    ]
    refuse_lists(top, report, chained=chained)
    services = tuple(found.service for found in built)
    check_services(services, report)
    check_authers(authers.values(), report)
    check_routers(routers.values(), report)
    user = _user(built, report)
    level = _level(top, report)
    _name_unused(authers, routers, report)
    if debug:
        report.origins["log", "level"] = "-D"
    if instance is not None:
        report.origins["instance",] = "--instance"
    if user is not None:
        report.origins["user",] = next(found.user_place for found in built if found.user)
    name = _instance(instance, services, report)
    report.raise_errors()
    return Config(
        services=services,
        instance=name,
        log_level="debug" if debug else level,
        user=user,
        warnings=tuple(report.warnings),
    )


def _name_unused(authers: dict[str, Auther], routers: dict[str, Router], report: Report) -> None:
    if report.failed:
        return
    for auther in authers.values():
        if not auther.nets:
            report.warn(auther.place, f"authers: {shown(auther.name)} is used by no service")
    for router in routers.values():
        if not router.nets:
            name = shown(router.spec.name)
            report.warn(router.place, f"routers: {name} is used by no service")


def _services(top: dict[str, Entry], tree: Node, report: Report) -> tuple[Node, ...]:
    items = items_of(top["services"].node, "services", report) if "services" in top else ()
    if not items and not report.failed:
        report.error(tree.place, "services: there is none: write one, or give -L")
    return items


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
    report.origins["log", "level"] = log["level"].node.place
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
