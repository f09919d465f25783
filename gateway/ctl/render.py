"""The status as a screen for people: what is wrong first, then who, how much and what not.

Nothing is cut: where the screen is too narrow for a table its rows become cards (`tables`).
All text of the status passes `Words.text`, so that nothing in it can steer a terminal.
"""

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.text import Text

from gateway.ctl import bridges, listings, summaries
from gateway.ctl.picking import Pick
from gateway.ctl.tables import Listing, facts, fitted, reasons
from gateway.ctl.terminal import Look
from gateway.ctl.words import Words, count
from gateway.protocol.bridge_counts import DROP_TEXT as DATAGRAM_TEXT
from gateway.protocol.bridge_counts import STRANGER_TEXT
from gateway.protocol.forwarding import DROP_TEXT, REFUSAL_TEXT, DropReason, Refusal
from gateway.protocol.status import (
    ChainStatus,
    NetworkStatus,
    ProcessStatus,
    RelayStatus,
    ServiceStatus,
    Status,
)

EVERY = Pick()


def screen(statuses: Iterable[Status], look: Look, pick: Pick = EVERY) -> bytes:
    """The screens of these instances with the picked peers, an empty line between two."""
    console = _console(look)
    page = _Page(console, Words(look.ascii_only), pick)
    with console.capture() as capture:
        for index, status in enumerate(statuses):
            if index:
                console.print()
            console.print(*page.instance(status), sep="\n")
    return _encoded(capture.get())


def overview(statuses: Iterable[Status], failures: Iterable[tuple[str, str]], look: Look) -> bytes:
    """One line per instance; a failure is an instance and its sentence."""
    console = _console(look)
    listing = listings.instances(statuses, failures, Words(look.ascii_only))
    with console.capture() as capture:
        console.print(fitted(listing, console, indent=0))
    return _encoded(capture.get())


def _console(look: Look) -> Console:
    return Console(
        file=io.StringIO(),
        width=look.width,
        height=look.height,
        color_system="standard" if look.colour else None,
        force_terminal=look.colour,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
    )


def _encoded(drawn: str) -> bytes:
    lines = (line.rstrip() + "\n" for line in drawn.splitlines())
    return "".join(lines).encode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class _Page:
    console: Console
    words: Words
    pick: Pick

    def instance(self, status: Status) -> Iterator[RenderableType]:
        yield summaries.headline(status, self.words)
        yield facts(summaries.instance(status, self.words))
        own = [p for p in (status.supervisor, status.resolver, status.steward) if p is not None]
        yield from self._processes(own)
        for service in status.services:
            yield Text()
            yield from self._service(service)
        for relay in status.relays:
            yield Text()
            yield from self._relay(relay)

    def _service(self, service: ServiceStatus) -> Iterator[RenderableType]:
        yield Text.assemble(
            f"{service.role} ", (self.words.text(service.name), "bold"), style="underline"
        )
        yield facts(summaries.service(service, self.words))
        yield from self._processes(service.processes)
        if service.uplink is not None:
            yield _title("uplink")
            chain = service.chain.name if service.chain is not None else ""
            yield facts(summaries.uplink(service.uplink, chain, self.words))
        if service.chain is not None:
            yield from self._chain(service.chain)
        if service.role == "server":
            picked = self.pick.among(service.peers)
            shown = f"{count(len(picked))} of " if self.pick else ""
            title = f"peers: {shown}{count(len(service.peers))}"
            yield from self._listing(title, listings.peers(picked, self.words))
        if service.sources:
            yield from self._listing("sources", listings.sources(service.sources, self.words))
            if notes := listings.source_notes(service.sources, self.words):
                yield facts(notes)
        if odd := _networks(service, self.pick):
            title = f"advertised networks: {_standings(odd)}"
            yield from self._listing(title, listings.networks(odd, self.words))
        yield from self._listing("traffic", listings.traffic(service.counters, self.words))
        yield from self._listing("rings", listings.rings(service.rings, self.words))
        yield from self._listing("sockets", listings.sockets(service.sockets, self.words))
        yield from self._reasons("packets dropped", service.drops, _texts(DROP_TEXT))
        if service.role == "server":
            yield from self._reasons("heartbeats refused", service.refusals, _texts(REFUSAL_TEXT))

    def _chain(self, chain: ChainStatus) -> Iterator[RenderableType]:
        yield _title(f"chain {self.words.text(chain.name)}")
        yield facts(bridges.chain(chain, self.words))
        yield fitted(bridges.legs(chain.legs, self.words), self.console)
        if notes := bridges.leg_notes(chain.legs, self.words):
            yield facts(notes)
        yield from self._processes(chain.processes)
        drops = bridges.drops(chain.counters)
        yield from self._reasons("datagrams dropped by the chain", drops, DATAGRAM_TEXT)

    def _relay(self, relay: RelayStatus) -> Iterator[RenderableType]:
        yield Text.assemble("relay ", (self.words.text(relay.name), "bold"), style="underline")
        yield facts(bridges.relay(relay, self.words))
        yield from self._processes(relay.processes)
        drops, strangers = bridges.drops(relay.counters), bridges.turned_away(relay.counters)
        yield from self._reasons("datagrams dropped", drops, DATAGRAM_TEXT)
        yield from self._reasons("turned away", strangers, STRANGER_TEXT)

    def _processes(self, found: Sequence[ProcessStatus]) -> Iterator[RenderableType]:
        yield from self._listing("processes", listings.processes(found, self.words))
        if restarted := listings.restarts(found, self.words):
            yield facts(restarted)

    def _listing(self, title: str, listing: Listing) -> Iterator[RenderableType]:
        yield _title(title)
        if listing.rows:
            yield fitted(listing, self.console)

    def _reasons(
        self, title: str, counts: Mapping[str, int], meanings: Mapping[str, str]
    ) -> Iterator[RenderableType]:
        """Every reason (I14): what happened by number, then the names of what did not."""
        happened = sorted(filter(counts.get, counts), key=lambda name: -counts[name])
        yield _title(f"{title}: {sum(counts.values()):,}")
        if happened:
            yield reasons(
                (counts[name], self.words.text(name), meanings.get(name, "")) for name in happened
            )
        names = [self.words.text(name) for name in counts if not counts[name]]
        if names:
            yield facts([("zero", ", ".join(names))])


def _networks(service: ServiceStatus, pick: Pick) -> list[tuple[str, NetworkStatus]]:
    """A client's networks; of a server's peers those that are not in use."""
    own = [("", network) for network in service.advertised]
    return own + [
        (peer.addresses[0] if peer.addresses else "", network)
        for peer in pick.among(service.peers)
        for network in peer.advertised
        if network.standing != "accepted"
    ]


def _standings(found: Sequence[tuple[str, NetworkStatus]]) -> str:
    counts = Counter(network.standing for _, network in found)
    return ", ".join(f"{number:,} {standing}" for standing, number in sorted(counts.items()))


def _title(title: str) -> Text:
    return Text(title, "bold")


def _texts(texts: Mapping[DropReason, str] | Mapping[Refusal, str]) -> dict[str, str]:
    return {reason.name.lower(): text for reason, text in texts.items()}
