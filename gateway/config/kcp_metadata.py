"""Options of kcp: `kcp.NAME` in metadata, and the map `kcp.config`, as GOST reads them."""

import dataclasses
from collections.abc import Callable, Iterable

from gateway.config.chain_model import Options
from gateway.config.option import nearest, without_value
from gateway.config.tree import Entry, Report
from gateway.protocol.kcp_options import KcpOptions, kcp_options

_FILES = ("config", "configfile", "c")
_BARE = frozenset({"tcp", "backlog"})
NAMES = (*(f"kcp.{each.name}" for each in dataclasses.fields(KcpOptions)), "kcp.mode")


def kcp_of(
    given: Iterable[Entry], report: Report, known_hint: Callable[[str, str], str]
) -> Options:
    """Fields of `KcpOptions`, each as `kcp.FIELD`. Problems are reported.

    `known_hint` says of an option's name and a carrier what is wrong, where that is known.
    """
    options: dict[str, object] = {}
    config: dict[str, object] | None = None
    place = ""
    for entry in given:
        name = entry.key.lower().removeprefix("kcp.")
        told = without_value(entry.key)
        place = place or entry.place
        if name in _FILES:
            config = _map(entry, report)
        elif told != entry.key or (name == entry.key.lower() and name not in _BARE):
            word = told.rstrip(".:=").lower().removeprefix("kcp.")
            near = nearest(f"kcp.{word}", list(NAMES))
            hint = f"did you mean {near}?" if near else f"there are {', '.join(NAMES)}"
            hint = known_hint(name, "kcp") or hint
            report.error(entry.place, f"unknown option {told}: {hint}")
        elif isinstance(entry.node.value, dict | tuple):
            report.error(entry.place, f"{entry.key}: expected one value")
        elif name != "backlog":
            options[name] = entry.node.value
    try:
        found, warnings = kcp_options(options, config)
    except ValueError as error:
        report.error(place, str(error))
        return {}
    for warning in warnings:
        report.warn(place, warning)
    return {f"kcp.{each.name}": getattr(found, each.name) for each in dataclasses.fields(found)}


def _map(entry: Entry, report: Report) -> dict[str, object]:
    if not isinstance(entry.node.value, dict):
        report.error(
            entry.place, f"{entry.key}: a file is not read by this program: write its values here"
        )
        return {}
    found: dict[str, object] = {}
    for name, each in entry.node.value.items():
        told = without_value(each.key)
        if told == each.key:
            found[name] = each.node.value
        else:
            report.error(each.place, f"unknown key {entry.key}.{told}: write NAME: VALUE")
    return found
