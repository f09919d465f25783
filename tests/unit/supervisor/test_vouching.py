"""Peers whom a plugin let in: asked about again behind their back; peers that wait."""

from ipaddress import ip_address, ip_interface

from gateway.config.model import AutherSpec, PluginSpec
from gateway.protocol.messages import AuthVerdict
from gateway.protocol.packet import ANY, Endpoint, pack_address
from gateway.protocol.peer import Peer
from gateway.protocol.peer_changes import Registered
from gateway.protocol.peers import PeerTable
from gateway.protocol.wire import Heartbeat
from gateway.supervisor.admission import Admission, digest_of
from gateway.supervisor.authers import Authers
from gateway.supervisor.resolving import Resolving
from gateway.supervisor.vouching import ASK_AGAIN, Unrestored, Vouching

KEY = bytes(range(32))
ADDRESS = pack_address(ip_address("192.168.123.2"))
ENDPOINT = Endpoint(pack_address(ip_address("203.0.113.7")), 40000)
SPEC = AutherSpec("asked", plugin=PluginSpec("http://p", timeout=1.0))


def heartbeat(passphrase: bytes = b"secret") -> Heartbeat:
    return Heartbeat.parse(b"GOST" + passphrase.ljust(16, b"\0") + ADDRESS)


def registered(peers: PeerTable, now: float) -> Peer:
    found = peers.register(
        (ADDRESS,), ENDPOINT, ANY, now, authenticated=True, data_seen=lambda _: 0.0,
        credential=digest_of(b"secret", KEY),
    )  # fmt: skip
    assert isinstance(found, Registered)
    return found.peer


def make() -> tuple[Resolving, Vouching]:
    authers = Authers([SPEC], lambda password: digest_of(password, KEY), 0.0)
    nets = (ip_interface("192.168.123.1/24"),)
    resolving = Resolving()
    return resolving, Vouching("hub", Admission(nets, (), KEY, authers.of([SPEC])), resolving)


def test_who_stands_is_who_was_vouched_for() -> None:
    _, vouching = make()
    peer = registered(PeerTable(), 0.0)
    assert not vouching.stands(peer, heartbeat())
    vouching.note(peer, 0.0, vouched=True)
    assert vouching.stands(peer, heartbeat())
    assert not vouching.stands(peer, heartbeat(b"wrong"))
    vouching.end([peer.slot])
    assert not vouching.vouched(peer)


def test_a_no_behind_the_back_revokes_and_silence_does_not() -> None:
    resolving, vouching = make()
    peer = registered(PeerTable(), 0.0)
    vouching.note(peer, 0.0, vouched=True)
    revoked: list[float] = []

    def again(now: float) -> None:
        vouching.ask_again(peer, heartbeat(), now, lambda: revoked.append(now))

    again(ASK_AGAIN - 1)
    resolving.on_message(AuthVerdict(1, "no"))
    assert revoked == []
    again(ASK_AGAIN)
    resolving.on_message(AuthVerdict(1, "unknown"))
    assert revoked == []
    again(2 * ASK_AGAIN)
    resolving.on_message(AuthVerdict(2, "no"))
    assert revoked == [2 * ASK_AGAIN]


def test_peers_that_wait_to_be_restored_grow_older() -> None:
    peers = PeerTable()
    registered(peers, 100.0)
    state = peers.export(100.0)
    waiting = Unrestored(state, before=3.0, since=50.0)
    [before], [after] = state.peers, waiting.records(52.0)
    assert (after.left, after.age) == (before.left - 5.0, before.age + 5.0)
    assert list(waiting.records(50.0 + before.left)) == []
