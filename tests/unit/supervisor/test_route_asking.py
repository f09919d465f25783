"""A router's plugin: what is asked, how often, and what becomes of the answers."""

from ipaddress import ip_interface, ip_network

import pytest
from strategies import a16

from gateway.config.model import PluginSpec, Service
from gateway.linux.channel import ChannelGarbledError
from gateway.protocol.forwarding import Role
from gateway.protocol.messages import AskRoute, AuthVerdict, GatewayRow, RouteVerdict
from gateway.protocol.packet import pack_network, unpack_address
from gateway.sources.layers import Changes
from gateway.sources.tables import Prefixed
from gateway.supervisor.resolving import QUESTIONS_KEPT, Resolving
from gateway.supervisor.route_asking import KEPT_SECONDS, NO_SECONDS, RouteAsking

NETS = (ip_interface("192.168.123.1/24"), ip_interface("fd00:123::1/64"))
PLUGIN = PluginSpec("http://p", timeout=2.0, cache=20.0)


class Asked(Resolving):
    """Keeps what would go to the resolver."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[AskRoute] = []

    def _send(self, message) -> None:
        self.sent.append(message)


class Place:
    def __init__(self) -> None:
        self.resolving = Asked()
        self.table: dict[Prefixed, bytes] = {}
        service = Service("hub", Role.SERVER, "", 1, (), NETS)
        self.asking = RouteAsking("sites", PLUGIN, service, self.resolving, self._take)

    def _take(self, changes: Changes[Prefixed]) -> None:
        for prefix in changes.removed:
            del self.table[prefix]
        self.table |= changes.set

    def asked(self, now: float, *addresses: str) -> list[str]:
        """What the plugin is asked because of these."""
        self.resolving.sent.clear()
        self.asking.on_asked(tuple(map(a16, addresses)), now)
        return [str(unpack_address(one.destination)) for one in self.resolving.sent]

    def tick(self, now: float) -> int:
        self.resolving.sent.clear()
        self.asking.tick(now)
        return len(self.resolving.sent)

    def answer(self, network: str = "", gateway: str = "", *, known: bool = True) -> None:
        """To the last question."""
        row = GatewayRow(*pack_network(ip_network(network)), a16(gateway)) if network else None
        query = self.resolving.sent[-1].query
        self.resolving.on_message(RouteVerdict(query, row, known))


def prefix(text: str) -> Prefixed:
    return pack_network(ip_network(text))


def test_what_has_a_holder_or_none_by_its_nature_is_not_asked_for() -> None:
    place = Place()
    never = ["192.168.123.77", "fd00:123::9", "224.0.0.5", "ff02::1", "169.254.1.1", "fe80::1"]
    never += ["127.0.0.1", "::1", "0.0.0.0", "255.255.255.255"]
    assert place.asked(0.0, *never) == []
    assert place.asked(0.0, "10.1.2.3", "fd00:7::1", "8.8.8.8") == [
        "10.1.2.3", "fd00:7::1", "8.8.8.8",
    ]  # fmt: skip


def test_a_question_that_is_open_is_not_asked_again_and_there_are_not_too_many() -> None:
    place = Place()
    assert place.asked(0.0, "10.1.2.3", "10.1.2.3") == ["10.1.2.3"]
    assert place.asked(1.0, "10.1.2.3") == []
    assert place.asked(4.0, "10.1.2.3") == ["10.1.2.3"], "it died with the resolver"
    many = [f"10.2.{n >> 8}.{n & 255}" for n in range(QUESTIONS_KEPT + 50)]
    assert len(place.asked(4.0, *many)) == QUESTIONS_KEPT - 1


def test_a_yes_counts_for_its_network_and_is_looked_at_again() -> None:
    place = Place()
    place.asked(0.0, "10.1.2.3")
    place.answer("10.1.0.0/16", "192.168.123.2")
    assert place.table == {prefix("10.1.0.0/16"): a16("192.168.123.2")}
    assert len(place.asking) == 1
    assert place.tick(19.0) == 0
    assert place.tick(20.0) == 1
    place.answer(known=False)
    assert len(place.table) == 1, "silence takes nothing back"
    assert place.tick(40.0) == 1
    place.answer("10.1.0.0/16", "192.168.123.3")
    assert place.table == {prefix("10.1.0.0/16"): a16("192.168.123.3")}
    assert place.tick(60.0) == 1
    place.answer()
    assert place.table == {}
    assert len(place.asking) == 0


def test_a_no_is_remembered_for_a_while() -> None:
    place = Place()
    for known in (True, False):
        start = 0.0 if known else 100.0
        place.asked(start, "10.1.2.3")
        place.answer(known=known)
        assert place.asked(start + NO_SECONDS - 1, "10.1.2.3") == []
        assert place.asked(start + NO_SECONDS, "10.1.2.3") == ["10.1.2.3"]
        place.answer(known=known)


def test_nothing_is_kept_for_ever() -> None:
    place = Place()
    place.asked(0.0, "10.1.2.3")
    place.answer("10.1.0.0/16", "192.168.123.2")
    now = 0.0
    while now < KEPT_SECONDS:
        assert place.table
        now += 20.0
        if place.tick(now):
            place.answer("10.1.0.0/16", "192.168.123.2")
    assert place.table == {}


@pytest.mark.parametrize(
    "answer",
    [
        AuthVerdict(1, "yes"),
        RouteVerdict(1, GatewayRow(a16("10.1.2.3"), 120, a16("192.168.123.2")), known=True),
    ],
)
def test_a_resolver_whose_answer_is_none_ends_itself(answer: AuthVerdict | RouteVerdict) -> None:
    place = Place()
    place.asked(0.0, "10.1.2.3")
    with pytest.raises(ChannelGarbledError):
        place.resolving.on_message(answer)
    assert not place.table
