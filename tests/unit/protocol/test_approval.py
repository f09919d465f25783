"""Which advertised networks are taken up: a table, and properties against a slow model."""

from ipaddress import IPv4Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import a16, few_networks

from gateway.protocol.approval import (
    REASON_TEXT,
    Asker,
    Outcome,
    Policy,
    Reason,
    Standing,
    decide,
    is_private,
)
from gateway.protocol.overlaps import Overlaps

ONE, TWO = a16("192.168.123.2"), a16("192.168.123.3")
TUNNEL = ip_network("192.168.123.0/24")
ME = Asker(1, (ONE,))
OPEN, AUTH = Policy(own=(TUNNEL,)), Policy(own=(TUNNEL,), auth=True)


def nets(*texts: str) -> tuple:
    return tuple(map(ip_network, texts))


def told(*entries: tuple[str, bytes]) -> Overlaps[bytes]:
    return Overlaps((ip_network(text), owner) for text, owner in entries)


@pytest.mark.parametrize(
    ("text", "rules", "asker", "reason"),
    [
        # without auth: private networks
        ("192.168.100.0/24", OPEN, ME, Reason.NONE),
        ("10.1.0.0/16", OPEN, ME, Reason.NONE),
        ("172.31.255.0/24", OPEN, ME, Reason.NONE),
        ("fd00:100::/48", OPEN, ME, Reason.NONE),
        ("192.168.100.7/32", OPEN, ME, Reason.NONE),
        ("172.32.0.0/16", OPEN, ME, Reason.NOT_PRIVATE),
        ("100.64.0.0/24", OPEN, ME, Reason.NOT_PRIVATE),
        ("198.51.100.0/24", OPEN, ME, Reason.NOT_PRIVATE),
        ("2001:db8::/64", OPEN, ME, Reason.NOT_PRIVATE),
        # never
        ("10.0.0.0/15", OPEN, ME, Reason.TOO_WIDE),
        ("0.0.0.0/0", OPEN, ME, Reason.TOO_WIDE),
        ("fd00::/47", OPEN, ME, Reason.TOO_WIDE),
        ("::/0", OPEN, ME, Reason.TOO_WIDE),
        ("127.0.0.0/24", OPEN, ME, Reason.FORBIDDEN),
        ("0.1.0.0/16", OPEN, ME, Reason.FORBIDDEN),
        ("169.254.0.0/16", OPEN, ME, Reason.FORBIDDEN),
        ("224.0.0.0/24", OPEN, ME, Reason.FORBIDDEN),
        ("240.0.0.0/24", OPEN, ME, Reason.FORBIDDEN),
        ("fe80::/64", OPEN, ME, Reason.FORBIDDEN),
        ("ff02::/64", OPEN, ME, Reason.FORBIDDEN),
        ("::1/128", OPEN, ME, Reason.FORBIDDEN),
        ("::ffff:192.168.1.0/120", OPEN, ME, Reason.FORBIDDEN),
        # the server's own
        ("192.168.123.0/24", OPEN, ME, Reason.OVERLAPS_OWN),
        ("192.168.0.0/16", OPEN, ME, Reason.OVERLAPS_OWN),
        ("192.168.123.128/25", OPEN, ME, Reason.OVERLAPS_OWN),
        # with auth: what the credential names
        ("192.168.100.0/24", AUTH, ME, Reason.NOT_APPROVED),
        ("198.51.100.0/24", AUTH, ME, Reason.NOT_APPROVED),
        ("192.168.100.0/24", AUTH, Asker(1, (ONE,), nets("192.168.100.0/24")), Reason.NONE),
        ("192.168.100.0/25", AUTH, Asker(1, (ONE,), nets("192.168.100.0/24")), Reason.NONE),
        ("198.51.100.0/24", AUTH, Asker(1, (ONE,), nets("198.51.0.0/16")), Reason.NONE),
        ("192.168.0.0/17", AUTH, Asker(1, (ONE,), nets("192.168.0.0/24")), Reason.OVERLAPS_OWN),
        ("10.0.0.0/16", AUTH, Asker(1, (ONE,), nets("10.0.0.0/24")), Reason.NOT_APPROVED),
        ("10.0.0.0/8", AUTH, Asker(1, (ONE,), nets("10.0.0.0/8")), Reason.TOO_WIDE),
        ("127.0.0.0/24", AUTH, Asker(1, (ONE,), nets("0.0.0.0/0")), Reason.FORBIDDEN),
        ("fd00:1::/64", AUTH, Asker(1, (ONE,), nets("0.0.0.0/0")), Reason.NOT_APPROVED),
        # accept=
        ("10.1.0.0/24", Policy(enabled=False), ME, Reason.SWITCHED_OFF),
        ("10.1.0.0/24", Policy(accept=nets("10.1.0.0/16")), ME, Reason.NONE),
        ("10.2.0.0/24", Policy(accept=nets("10.1.0.0/16")), ME, Reason.NOT_APPROVED),
        ("198.51.100.0/24", Policy(accept=nets("198.51.100.0/24")), ME, Reason.NONE),
        ("10.1.0.0/24", Policy(auth=True, accept=nets("10.1.0.0/16")), ME, Reason.NONE),
        ("10.1.0.0/24", Policy(accept=()), ME, Reason.NOT_APPROVED),
        # told by the configuration
        ("10.1.0.0/24", Policy(told=told(("10.1.0.0/24", ONE))), ME, Reason.NONE),
        ("10.1.0.0/24", Policy(told=told(("10.1.0.0/24", TWO))), ME, Reason.CONFIGURED),
        ("10.1.0.0/24", Policy(told=told(("10.1.0.7/32", TWO))), ME, Reason.CONFIGURED),
        ("10.1.0.0/24", Policy(told=told(("10.0.0.0/8", TWO))), ME, Reason.CONFIGURED),
        ("10.1.0.0/24", Policy(told=told(("0.0.0.0/0", TWO), ("::/0", TWO))), ME, Reason.NONE),
        ("10.1.0.0/24", Policy(auth=True, told=told(("10.1.0.0/16", ONE))), ME, Reason.NONE),
        (
            "10.1.0.0/24",
            Policy(auth=True, told=told(("10.1.0.0/25", ONE))),
            ME,
            Reason.NOT_APPROVED,
        ),
        ("10.1.0.0/24", Policy(auth=True, told=told(("0.0.0.0/0", ONE))), ME, Reason.NOT_APPROVED),
        ("198.51.100.0/24", Policy(told=told(("198.51.100.0/24", ONE))), ME, Reason.NONE),
    ],
)
def test_each_answer(text: str, rules: Policy, asker: Asker, reason: Reason) -> None:
    network = ip_network(text)
    standing = {Reason.NONE: Standing.ACCEPTED, Reason.NOT_APPROVED: Standing.WAITING}.get(
        reason, Standing.REFUSED
    )

    assert decide([network], asker, rules, Overlaps()) == (Outcome(network, standing, reason),)


@pytest.mark.parametrize(
    ("text", "holder"),
    [
        ("192.168.100.0/24", 2),
        ("192.168.100.128/25", 2),
        ("192.168.100.0/23", 2),
        ("192.168.99.0/24", None),
        ("192.168.101.0/24", None),  # our own
        ("192.168.100.0/22", 2),  # ours and another's
    ],
)
def test_the_first_one_keeps_it(text: str, holder: int | None) -> None:
    taken = Overlaps(
        [*((net, 2) for net in nets("192.168.100.0/24")), (nets("192.168.101.0/24")[0], 1)]
    )

    (found,) = decide(nets(text), ME, OPEN, taken)
    assert found.holder == holder
    assert found.reason is (Reason.NONE if holder is None else Reason.OVERLAPS_PEER)


def test_more_than_sixteen() -> None:
    many = [ip_network(f"10.{n}.0.0/16") for n in range(20)]
    found = decide([*many[:2], *many], ME, OPEN, Overlaps())

    assert [item.network for item in found] == many
    assert [item.reason for item in found] == [Reason.NONE] * 16 + [Reason.TOO_MANY] * 4


def test_ones_own_networks_may_overlap() -> None:
    found = decide(nets("10.1.0.0/16", "10.1.2.0/24"), ME, OPEN, Overlaps())

    assert [item.standing for item in found] == [Standing.ACCEPTED] * 2


def test_every_reason_has_a_text() -> None:
    assert set(REASON_TEXT) == set(Reason)


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(few_networks, max_size=4)), max_size=8))
def test_no_two_peers_ever_share_an_address(rounds: list) -> None:
    """Peers advertise in any order: what is accepted is disjoint, and asking again agrees."""
    taken: Overlaps[int] = Overlaps()
    held: dict[int, list] = {slot: [] for slot in range(4)}
    for slot, wanted in rounds:
        asker = Asker(slot, (bytes([slot]) * 16,))
        outcomes = decide(wanted, asker, OPEN, taken)
        for network in held[slot]:
            taken.remove(network)
        held[slot] = [one.network for one in outcomes if one.standing is Standing.ACCEPTED]
        for network in held[slot]:
            taken.put(network, slot)

        assert decide(wanted, asker, OPEN, taken) == outcomes
        for other, networks in held.items():
            for network in networks if other != slot else ():
                assert not any(
                    network.version == mine.version and network.overlaps(mine)
                    for mine in held[slot]
                )


@given(few_networks)
def test_private_means_every_address(network: IPv4Network) -> None:
    assert is_private(network) == (
        network.is_private and network.prefixlen >= 7 and str(network)[:2] in ("10", "fd")
    )
