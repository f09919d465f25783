"""Route table, updates, feed and replica together: every FIB ends as the table is (I7)."""

from ipaddress import ip_interface, ip_network
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from gateway.config.model import Route
from gateway.fastpath.fib import Fib
from gateway.protocol.forwarding import LOCAL, NOTHING, VOID, Role
from gateway.protocol.messages import Snapshot, Update
from gateway.protocol.packet import Endpoint, pack_address
from gateway.protocol.peer_changes import Changes, Registered
from gateway.protocol.peers import PeerTable
from gateway.supervisor import networks as networks_module
from gateway.supervisor.networks import Networks
from gateway.workers.replica import Replica

NETS = (ip_interface("192.168.123.1/24"),)
GATEWAY = pack_address(ip_interface("192.168.123.3").ip)
ROUTES = (Route(ip_network("10.1.0.0/16"), ip_interface("192.168.123.3").ip),)
SLOTS = 8
ADDRESSES = [pack_address(ip_interface(f"192.168.123.{i}").ip) for i in range(2, 8)]
PROBES = [
    *ADDRESSES,
    *(pack_address(ip_interface(text).ip) for text in ("192.168.123.1", "10.1.2.3", "8.8.8.8")),
]


def endpoint(number: int) -> Endpoint:
    return Endpoint(pack_address(ip_interface("127.0.0.1").ip), 1000 + number)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5),
            st.sets(st.sampled_from(ADDRESSES), min_size=1, max_size=2),
            st.booleans(),
            st.booleans(),
        ),
        max_size=30,
    )
)
def test_a_replica_heals(steps: list[tuple[int, set[bytes], bool, bool]]) -> None:
    """Random registrations, expiries and losses of messages: a snapshot later all agree."""
    peers = PeerTable(capacity=SLOTS)
    networks = Networks(Role.SERVER, NETS, ROUTES)
    replica = Replica(Fib(SLOTS))
    for part in networks.snapshot():
        replica.apply(part)
    now = 0.0
    for who, claimed, lost, expires in steps:
        now += 100_000.0 if expires else 1.0
        _, changes = peers.expire(now, lambda _: False)
        networks.apply(changes)
        result = peers.register(
            claimed, endpoint(who), bytes(16), now,
            authenticated=True, data_seen=lambda _: 0.0,
        )  # fmt: skip
        if isinstance(result, Registered):
            networks.apply(result.changes)
        update = networks.publish()
        if update is not None and not lost:
            _deliver(replica, update, networks)
    networks.apply(Changes())
    if replica.generation != networks.generation:
        for part in networks.snapshot():
            assert replica.apply(part) is None

    assert [replica.fib.lookup(a) for a in PROBES] == [networks.table.lookup(a) for a in PROBES]
    for who in range(6):
        peer = peers.at_endpoint(endpoint(who))
        assert replica.fib.peer_at(*endpoint(who)) == (peer.slot if peer is not None else -1)


def _deliver(replica: Replica, message: Update | Snapshot, networks: Networks) -> None:
    if replica.apply(message) is not None:
        for part in networks.snapshot():
            assert replica.apply(part) is None


def test_server_routes() -> None:
    """Own address to the host, the net void, a network behind a gateway with its peer."""
    peers = PeerTable(capacity=SLOTS)
    networks = Networks(Role.SERVER, NETS, ROUTES)
    behind = pack_address(ip_interface("10.1.2.3").ip)

    assert networks.table.lookup(pack_address(NETS[0].ip)) == LOCAL
    assert networks.table.lookup(GATEWAY) == VOID
    assert networks.table.lookup(behind) == VOID
    result = peers.register(
        [GATEWAY], endpoint(1), bytes(16), 0.0, authenticated=False, data_seen=lambda _: 0.0
    )
    assert isinstance(result, Registered)
    networks.apply(result.changes)
    assert networks.table.lookup(behind) == result.peer.slot
    networks.apply(peers.remove(result.peer))
    assert networks.table.lookup(behind) == VOID


def test_client_routes() -> None:
    """Everything to the server but its own address."""
    networks = Networks(Role.CLIENT, NETS, ())

    assert networks.table.lookup(pack_address(NETS[0].ip)) == LOCAL
    assert networks.table.lookup(pack_address(ip_interface("8.8.8.8").ip)) == 0
    assert networks.table.lookup(pack_address(ip_interface("2001:db8::1").ip)) == 0


def test_nothing_changed_is_no_update() -> None:
    """A renewal costs no message."""
    networks = Networks(Role.SERVER, NETS, ())
    assert networks.publish() is not None

    assert networks.publish() is None
    assert networks.table.lookup(pack_address(ip_interface("8.8.8.8").ip)) == NOTHING


NET = (pack_address(ip_interface("10.2.0.0").ip), 112)
OTHER = pack_address(ip_interface("192.168.123.4").ip)
INSIDE = pack_address(ip_interface("10.2.3.4").ip)


def registered(peers: PeerTable, who: int, address: bytes) -> Registered:
    result = peers.register(
        [address], endpoint(who), bytes(16), 0.0, authenticated=True, data_seen=lambda _: 0.0
    )
    assert isinstance(result, Registered)
    return result


def test_a_told_network_follows_its_gateway_and_beats_what_is_advertised() -> None:
    peers, networks = PeerTable(capacity=SLOTS), Networks(Role.SERVER, NETS, ())
    one, two = registered(peers, 1, GATEWAY), registered(peers, 2, OTHER)
    networks.apply(one.changes)
    networks.apply(two.changes)
    networks.lead(one.peer.slot, [NET])
    assert networks.table.lookup(INSIDE) == one.peer.slot

    networks.tell({NET: OTHER})
    assert networks.table.lookup(INSIDE) == two.peer.slot
    assert networks.led(one.peer.slot) == ()
    networks.lead(one.peer.slot, [NET])
    assert networks.table.lookup(INSIDE) == two.peer.slot
    networks.apply(peers.remove(one.peer))
    assert networks.table.lookup(INSIDE) == two.peer.slot, "what the peer led is not his to take"

    networks.tell({NET: GATEWAY})
    assert networks.table.lookup(INSIDE) == VOID
    assert dict(networks.told()) == {NET: GATEWAY}
    networks.tell({}, [NET])
    assert networks.table.lookup(INSIDE) == NOTHING
    assert not networks.told()


def test_what_was_told_no_more_can_be_advertised_in_the_same_breath() -> None:
    peers, networks = PeerTable(capacity=SLOTS), Networks(Role.SERVER, NETS, ())
    one = registered(peers, 1, GATEWAY)
    networks.apply(one.changes)
    networks.tell({NET: OTHER})
    with patch.object(networks_module, "SLICE", 0):
        networks.publish()
        networks.tell({}, [NET])
        assert networks.unsettled
        networks.lead(one.peer.slot, [NET])
    networks.settle()
    assert networks.table.lookup(INSIDE) == one.peer.slot


many_gateways = st.lists(
    st.tuples(st.sampled_from(["tell", "untell", "come", "go", "publish"]), st.integers(0, 5)),
    max_size=40,
)


@given(many_gateways)
def test_slices_end_as_if_there_were_none(steps: list[tuple[str, int]]) -> None:
    """Networks, gateways and peers in any order, three networks a slice.

    A replica that got every update and a late snapshot agree with the plain truth. No slot
    that is given to somebody else is led to by what its former peer had.
    """
    peers, networks = PeerTable(capacity=2), Networks(Role.SERVER, NETS, ())
    replica = Replica(Fib(2))
    for part in networks.snapshot():
        replica.apply(part)
    told: dict[tuple[bytes, int], bytes] = {}
    with patch.object(networks_module, "SLICE", 3):
        for what, number in steps:
            address = ADDRESSES[number]
            block = [(bytes(10) + b"\xff\xff" + bytes((10, number, n, 0)), 120) for n in range(5)]
            peer = peers.at_address(address)
            if what == "tell":
                gateway = ADDRESSES[(number * 5 + 1) % 6]
                told |= dict.fromkeys(block, gateway)
                networks.tell(dict.fromkeys(block, gateway))
            elif what == "untell":
                networks.tell({}, block)
                for prefix in block:
                    told.pop(prefix, None)
            elif what == "come" and peer is None:
                result = peers.register(
                    [address], endpoint(number), bytes(16), 0.0,
                    authenticated=True, data_seen=lambda _: 0.0,
                )  # fmt: skip
                if isinstance(result, Registered):
                    networks.apply(result.changes)
                    slot = result.peer.slot
                    for prefix, length in told:
                        route = networks.table.get(prefix, length)
                        if route is not None and route.target == slot:
                            assert told[prefix, length] == address
            elif what == "go" and peer is not None:
                networks.apply(peers.remove(peer))
            else:
                update = networks.publish()
                if update is not None:
                    assert replica.apply(update) is None
        while (update := networks.publish()) is not None or networks.unsettled:
            if update is not None:
                assert replica.apply(update) is None
    late = Replica(Fib(2))
    for part in networks.snapshot():
        late.apply(part)
    for (prefix, _), gateway in told.items():
        holder = peers.at_address(gateway)
        expected = VOID if holder is None else holder.slot
        assert networks.table.lookup(prefix) == expected
        assert replica.fib.lookup(prefix) == late.fib.lookup(prefix) == expected
    everything = [
        bytes(10) + b"\xff\xff" + bytes((10, n, m, 0)) for n in range(6) for m in range(5)
    ]
    for prefix in everything:
        if (prefix, 120) not in told:
            assert replica.fib.lookup(prefix) == NOTHING


def test_p2p_leads_everything_to_the_last_who_called() -> None:
    peers = PeerTable(capacity=SLOTS)
    networks = Networks(Role.SERVER, NETS, ROUTES, p2p=True)
    far = pack_address(ip_interface("8.8.8.8").ip)
    assert networks.table.lookup(far) == VOID
    one, two = registered(peers, 1, GATEWAY), registered(peers, 2, OTHER)
    for result in (one, two):
        networks.apply(result.changes)
        networks.point(result.peer.slot)
    networks.lead(one.peer.slot, [NET])
    networks.tell({NET: GATEWAY})
    for address in (far, GATEWAY, OTHER, INSIDE, pack_address(ip_interface("2001:db8::1").ip)):
        assert networks.table.lookup(address) == two.peer.slot
    assert networks.table.lookup(pack_address(NETS[0].ip)) == LOCAL
    networks.point(one.peer.slot)
    assert networks.table.lookup(OTHER) == one.peer.slot
    networks.apply(peers.remove(two.peer))
    assert networks.table.lookup(far) == one.peer.slot
    networks.apply(peers.remove(one.peer))
    assert networks.table.lookup(far) == VOID


def test_a_slot_given_away_takes_nothing_of_its_former_peer_along() -> None:
    """His networks would lead to a stranger, who could also pose as them."""
    peers, networks = PeerTable(capacity=1), Networks(Role.SERVER, NETS, ())
    one = registered(peers, 1, GATEWAY)
    networks.apply(one.changes)
    networks.tell({NET: GATEWAY})
    networks.publish()
    with patch.object(networks_module, "SLICE", 0):
        networks.publish()
        networks.apply(peers.remove(one.peer))
        assert networks.unsettled
        two = registered(peers, 2, OTHER)
        networks.apply(two.changes)
    assert two.peer.slot == one.peer.slot
    assert networks.table.lookup(INSIDE) == VOID
