"""Authers with sources: what the resolver said, kept through its deaths (I7).

A table holds keyed digests, not passwords: what lets somebody in is compared with what is
remembered of a peer, and a child forgets all of them by forgetting the key.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from msgspec.structs import replace

from gateway.config.model import AutherSpec
from gateway.linux.process import wipe, wipe_text
from gateway.protocol.messages import (
    CredentialRow,
    FromChild,
    PluginState,
    SourceCredentials,
    SourceKind,
    SourceState,
)
from gateway.sources.layers import CredentialLayers
from gateway.sources.parse import credentials_of_config
from gateway.sources.tables import credential_parts

Digest = Callable[[bytes], bytes]
"""What is remembered of a password."""


@dataclass
class AutherTable:
    """One auther. `states` of its sources, and of its plugin, as they were last told."""

    spec: AutherSpec
    layers: CredentialLayers = field(default_factory=CredentialLayers)
    states: dict[SourceKind, SourceState] = field(default_factory=dict)
    plugin: PluginState | None = None

    def unread(self) -> Iterator[str]:
        """The sources that have not been read yet: they let nobody in."""
        spec = self.spec
        places = {"file": spec.file, "redis": spec.redis, "http": spec.http}
        for kind, state in self.states.items():
            if state.loaded_at is not None:
                places.pop(kind, None)
        return (place.label for place in places.values() if place is not None)


class Authers:
    """All of one instance, by name. `changed` hears of an auther and of addresses in it."""

    def __init__(self, specs: Iterable[AutherSpec], digest: Digest, boot: float) -> None:
        self.tables = {spec.name: AutherTable(spec) for spec in specs}
        self.changed: Callable[[str, Iterable[bytes]], None] = lambda _name, _addresses: None
        self._digest = digest
        self._bare = [replace(table.spec, inline=()) for table in self.tables.values()]
        for table in self.tables.values():
            self._take_inline(table, boot)

    def of(self, specs: Iterable[AutherSpec]) -> tuple[AutherTable, ...]:
        """The tables of one service."""
        return tuple(self.tables[spec.name] for spec in specs)

    def for_resolver(self) -> list[AutherSpec]:
        """What the resolver keeps: the inline entries are here already."""
        return self._bare

    def on_message(self, message: FromChild) -> None:
        """From the resolver."""
        if isinstance(message, SourceCredentials):
            table = self.tables.get(message.name)
            if table is not None:
                self._take(table, message)
        elif isinstance(message, SourceState | PluginState) and message.holder == "auther":
            self._note(message)

    def forget(self) -> None:
        """Wipe what only the resolver needs; called in other children."""
        for spec in (*self._bare, *(table.spec for table in self.tables.values())):
            if spec.redis is not None:
                wipe(spec.redis.password)
            if spec.http is not None:
                wipe_text(spec.http.url)
            if spec.plugin is not None:
                wipe(spec.plugin.token)
                wipe_text(spec.plugin.url)

    def _note(self, message: SourceState | PluginState) -> None:
        table = self.tables.get(message.name)
        if table is None:
            return
        if isinstance(message, PluginState):
            table.plugin = message
            return
        before = table.states.get(message.source)
        table.states[message.source] = message
        if message.loaded_at is not None and (before is None or before.loaded_at is None):
            self.changed(message.name, ())

    def _take(self, table: AutherTable, message: SourceCredentials) -> None:
        rows = tuple(CredentialRow(row.address, self._digest(row.password)) for row in message.rows)
        changes = table.layers.apply(replace(message, rows=rows))
        if changes.set or changes.removed:
            self.changed(message.name, (*changes.set, *changes.removed))

    def _take_inline(self, table: AutherTable, boot: float) -> None:
        """The entries of the configuration need no resolver."""
        name, inline = table.spec.name, table.spec.inline
        if not inline:
            return
        parsed = credentials_of_config(inline)
        for part in credential_parts(name, "inline", parsed.table, (), fresh=True):
            self._take(table, part)
        label = "the configuration"
        table.states["inline"] = SourceState(
            "auther", name, "inline", label, len(parsed.table), boot
        )
