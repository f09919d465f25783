"""Sources of credentials and routes: what the status and the log say of them."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from gateway.config.model import FileSpec, HttpSpec, PluginSpec, RedisSpec
from gateway.log import RateLimiter, event, get_logger
from gateway.protocol.messages import Holder, PluginState, SourceKind, SourceState
from gateway.protocol.status import SourceStatus
from gateway.supervisor.authers import AutherTable
from gateway.supervisor.routers import Routed, RouterTable

LOG_INTERVAL = 60.0
PROBLEMS_SHOWN = 20

_log = get_logger("sources")
_NOTHING: dict[Holder, str] = {
    "auther": "it was never read, so it lets nobody in",
    "router": "it was never read, so it leads nowhere",
}
_PLUGIN: dict[Holder, str] = {
    "auther": "whom it would have to judge waits outside",
    "router": "what it would have to lead is dropped",
}


def sources(
    authers: Sequence[AutherTable],
    routed: Routed | None,
    service: str,
    problems: list[str],
    boot: float,
) -> tuple[SourceStatus, ...]:
    """The sources of a service. One that fails adds a sentence to `problems`."""
    found = [status for table in authers for status in _of("auther", table, boot, _none)]
    if routed is not None:
        found += _of("router", routed.table, boot, routed.problems)
    problems += _sentences(service, found)
    return tuple(found)


class SourceLog:
    """Tells the log what became of sources, once for each change."""

    def __init__(self) -> None:
        self._states: dict[tuple[Holder, str, SourceKind], SourceState] = {}
        self._limiter = RateLimiter(LOG_INTERVAL, burst=PROBLEMS_SHOWN)

    def take(self, state: SourceState, now: float) -> None:
        """A source was read, or could not be."""
        key = (state.holder, state.name, state.source)
        before, self._states[key] = self._states.get(key), state
        whose = {state.holder: state.name, "source": state.label}
        if state.error and (before is None or before.error != state.error):
            held = self._limiter.allow(("failed", key), now)
            if held is not None:
                text = "what was read stays" if state.loaded_at else _NOTHING[state.holder]
                event(
                    _log, logging.WARNING, "source-failed", **whose, error=state.error, text=text,
                    held_back=held or None,
                )  # fmt: skip
        elif not state.error and (before is None or before.error or before.loaded_at is None):
            event(_log, logging.INFO, "source-read", **whose, entries=state.entries)
        known = before.problems if before is not None else ()
        self._tell_entries(state, [line for line in state.problems if line not in known], now)

    def _tell_entries(self, state: SourceState, lines: Iterable[str], now: float) -> None:
        for line in lines:
            held = self._limiter.allow(("entry", state.holder, state.name, state.source), now)
            if held is not None:
                event(
                    _log, logging.WARNING, "entry-left-out", **{state.holder: state.name},
                    text=line, held_back=held or None,
                )  # fmt: skip


def _none(_kind: SourceKind) -> tuple[list[str], int]:
    return [], 0


def _of(
    holder: Holder,
    table: AutherTable | RouterTable,
    boot: float,
    more: Callable[[SourceKind], tuple[list[str], int]],
) -> Iterator[SourceStatus]:
    spec = table.spec
    if spec.plugin is not None:
        yield _plugin(holder, spec.name, spec.plugin, table.plugin, boot)
        return
    places: dict[SourceKind, FileSpec | RedisSpec | HttpSpec | None] = {
        "file": spec.file,
        "redis": spec.redis,
        "http": spec.http,
    }
    if "inline" in table.states:
        yield _source(table.states["inline"], boot, more("inline"))
    for kind, place in places.items():
        if place is not None:
            unread = SourceState(holder, spec.name, kind, place.label, 0, None)
            yield _source(table.states.get(kind, unread), boot, more(kind))


def _plugin(
    holder: Holder, name: str, spec: PluginSpec, known: PluginState | None, boot: float
) -> SourceStatus:
    state = known or PluginState(holder, name, spec.label, 0, 0, 0, 0, None)
    return SourceStatus(
        holder=holder,
        name=name,
        kind="plugin",
        label=state.label,
        entries=0,
        age_seconds=_age(state.answered_at, boot),
        error=state.error,
        asked=state.asked,
        accepted=state.accepted,
        refused=state.refused,
        failed=state.failed,
    )


def _source(state: SourceState, boot: float, more: tuple[list[str], int]) -> SourceStatus:
    lines, count = more
    return SourceStatus(
        holder=state.holder,
        name=state.name,
        kind=state.source,
        label=state.label,
        entries=state.entries,
        age_seconds=_age(state.loaded_at, boot),
        failing_seconds=_age(state.failing_since, boot),
        error=state.error,
        problems=(*state.problems, *lines)[:PROBLEMS_SHOWN],
        problem_count=state.problem_count + count,
    )


def _sentences(service: str, found: Iterable[SourceStatus]) -> Iterator[str]:
    for source in found:
        if not source.error:
            continue
        holder: Holder = "auther" if source.holder == "auther" else "router"
        if source.kind == "plugin":
            effect = _PLUGIN[holder]
        elif source.age_seconds is None:
            effect = _NOTHING[holder]
        else:
            effect = f"what was read {source.age_seconds:.0f} s ago stays"
        whose = f"{source.holder} {source.name}: {source.kind} {source.label}"
        label = whose.replace("redis redis ", "redis ")
        yield f"service {service}: {label} fails: {source.error}; {effect}"


def _age(moment: float | None, boot: float) -> float | None:
    return None if moment is None else max(0.0, boot - moment)
