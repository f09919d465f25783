"""A client with two servers in one process table, and what a server says of a client."""

import socket
from collections.abc import Callable
from contextlib import closing

import pytest
from instance import Gateway, Peer, wait_for

from gateway.ctl.ask import NoAnswer, ask_client

ACK = b"GOST" + bytes(10) + b"\xff\xff\x7f\0\0\1"


class Server:
    """A stock one: it answers heartbeats when it is told to."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(10.0)
        self.port = self.sock.getsockname()[1]

    def answer(self) -> tuple[str, int]:
        """One heartbeat; where it came from."""
        datagram, name = self.sock.recvfrom(2000)
        assert datagram[:4] == b"GOST"
        self.sock.sendto(ACK, name)
        return name

    def close(self) -> None:
        self.sock.close()


def test_a_refusing_server_is_left_for_the_other(start: Callable[..., Gateway]) -> None:
    """The same socket goes on with the second; its heartbeats come from a new port."""
    first, second = Server(), Server()
    targets = [["127.0.0.1", server.port] for server in (first, second)]
    options = {"role": "CLIENT", "nets": ["192.168.123.2/24"], "keepalive": True, "ttl": 1.0}
    with closing(first), closing(second):
        client = start(targets=targets, **options)
        former = first.answer()
        wait_for(lambda: _uplink(client).state == "up", "the first to be used")
        first.close()
        now = second.answer()
        wait_for(lambda: _uplink(client).state == "up", "the second to be used")

        found = _uplink(client)
        assert found.target == f"127.0.0.1:{second.port}"
        assert [target.state for target in found.targets] == ["failed", "used"]
        assert found.strategy == "round"
        assert former != now


def _uplink(client: Gateway):
    found = client.service().uplink
    assert found is not None
    return found


@pytest.fixture
def hub(start: Callable[..., Gateway]) -> Gateway:
    """A server with auth and three credentials."""
    credentials = [["192.168.123.2", "one"], ["192.168.123.3", "two"], ["fd00::2", "one"]]
    options = {"nets": ["192.168.123.1/24", "fd00::1/64"], "credentials": credentials, "mtu": 1400}
    return start(**options).wait_running()


def test_a_credential_is_known(hub: Gateway) -> None:
    facts = ask_client(str(hub.room / "run"), "test", ["192.168.123.2", "fd00::2"])

    assert facts.interfaces == ("192.168.123.2/24", "fd00::2/64")
    assert (facts.known, facts.auth, facts.mtu, facts.port) == ("credential", True, 1400, hub.port)
    assert (facts.reached, facts.routes, facts.listen) == ((), (), "127.0.0.1")


def test_networks_of_credentials_are_reached_before_anybody_has_come(
    start: Callable[..., Gateway],
) -> None:
    """Not those of the client itself, nor an umbrella over what others may have."""
    credentials = [
        ["192.168.123.2", "one", "192.168.100.0/24"],
        ["192.168.123.3", "two", "192.168.101.0/24", "10.0.0.0/8", "192.168.123.0/25"],
        ["192.168.123.4", "three"],
    ]
    hub = start(nets=["192.168.123.1/24"], credentials=credentials).wait_running()

    def routes(address: str) -> tuple[str, ...]:
        return ask_client(str(hub.room / "run"), "test", [address]).routes

    assert routes("192.168.123.2") == ("192.168.101.0/24",)
    assert routes("192.168.123.4") == ("192.168.100.0/24", "192.168.101.0/24")


def test_a_peer_on_this_host_tells_nobody_where_the_server_is(hub: Gateway) -> None:
    with closing(Peer("192.168.123.3", hub.port, b"two").register()):
        facts = ask_client(str(hub.room / "run"), "test", ["192.168.123.4"])

    assert facts.reached == ()
    assert facts.known == "network"


@pytest.mark.parametrize(
    ("addresses", "sentence"),
    [
        (["192.168.123.1"], "is the server's own address"),
        (["192.168.123.255"], "network, broadcast"),
        (["10.0.0.1"], "10.0.0.1: not in the network of this server, 192.168.123.0/24, fd00::/64"),
        (["host"], "'host' is no IP address"),
        ([], "no address"),
    ],
)
def test_what_cannot_be_a_client(hub: Gateway, addresses: list[str], sentence: str) -> None:
    with pytest.raises(NoAnswer, match=sentence):
        ask_client(str(hub.room / "run"), "test", addresses)


def test_no_passphrase_ever_leaves(hub: Gateway) -> None:
    path = str(hub.room / "run" / "test.sock")
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(path)
        asking.sendall(b'{"command": "client", "addresses": ["192.168.123.3"]}\n')
        answer = b"".join(iter(lambda: asking.recv(65536), b""))
    assert b"192.168.123.3" in answer
    assert b"two" not in answer
