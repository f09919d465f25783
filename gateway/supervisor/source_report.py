"""The part of the status about sources of credentials: what was read, when, and what is wrong."""

from collections.abc import Iterable, Iterator, Sequence

from gateway.config.model import FileSpec, HttpSpec, RedisSpec
from gateway.protocol.messages import PluginState, SourceKind, SourceState, SourceStatus
from gateway.supervisor.authers import AutherTable


def credential_sources(
    tables: Sequence[AutherTable], service: str, problems: list[str], boot: float
) -> tuple[SourceStatus, ...]:
    """The sources of a service's authers. One that fails adds a sentence to `problems`."""
    found = tuple(status for table in tables for status in _of(table, boot))
    problems += _sentences(service, found)
    return found


def _of(table: AutherTable, boot: float) -> Iterator[SourceStatus]:
    spec = table.spec
    if spec.plugin is not None:
        state = table.plugin or PluginState(
            "auther", spec.name, spec.plugin.label, 0, 0, 0, 0, None
        )
        yield SourceStatus(
            holder="auther",
            name=spec.name,
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
        return
    places: dict[SourceKind, FileSpec | RedisSpec | HttpSpec | None] = {
        "file": spec.file,
        "redis": spec.redis,
        "http": spec.http,
    }
    if "inline" in table.states:
        yield _source(table.states["inline"], boot)
    for kind, place in places.items():
        if place is not None:
            unread = SourceState("auther", spec.name, kind, place.label, 0, None)
            yield _source(table.states.get(kind, unread), boot)


def _source(state: SourceState, boot: float) -> SourceStatus:
    return SourceStatus(
        holder=state.holder,
        name=state.name,
        kind=state.source,
        label=state.label,
        entries=state.entries,
        age_seconds=_age(state.loaded_at, boot),
        failing_seconds=_age(state.failing_since, boot),
        error=state.error,
        problems=state.problems,
        problem_count=state.problem_count,
    )


def _sentences(service: str, found: Iterable[SourceStatus]) -> Iterator[str]:
    for source in found:
        if not source.error:
            continue
        if source.kind == "plugin":
            effect = "whom it would have to judge waits outside"
        elif source.age_seconds is None:
            effect = "it was never read, so it lets nobody in"
        else:
            effect = f"what was read {source.age_seconds:.0f} s ago stays"
        whose = f"{source.holder} {source.name}: {source.kind} {source.label}"
        label = whose.replace("redis redis ", "redis ")
        yield f"service {service}: {label} fails: {source.error}; {effect}"


def _age(moment: float | None, boot: float) -> float | None:
    return None if moment is None else max(0.0, boot - moment)
