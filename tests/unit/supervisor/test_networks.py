"""Route table, updates, feed and replica together: every FIB ends as the table is (I7)."""

from ipaddress import ip_interface, ip_network

from hypothesis import given
from hypothesis import strategies as st

from gateway.config.model import Route
from gateway.fastpath.fib import Fib
from gateway.protocol.forwarding import LOCAL, NOTHING, VOID, Role
from gateway.protocol.messages import Snapshot, Update
from gateway.protocol.packet import Endpoint, pack_address
from gateway.protocol.peers import Changes, PeerTable, Registered
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
