"""Every carrier against stock GOST, in both roles: what both must do together."""

import pytest
from gost import ONE, SERVER, TWO, linked, nets
from networks import PORT
from programs import wait_for

CARRIERS = ["tcp", "tls", "ws", "wss", "mws", "mwss", "mtls", "grpc", "quic", "kcp"]
KEPT = "&keepAlive=true&ttl=1s"


@pytest.fixture(params=CARRIERS)
def carrier(request) -> str:
    return request.param


def stock_program(net, host, *arguments: str):
    net.stock.append(host.spawn("gost", *arguments))
    return net.stock[-1]


def stock_server(net, carrier: str, *, users: str = "", options: str = ""):
    """Stock TUN server and relay listener on S."""
    return stock_program(
        net, net.lab.server,
        "-L", f"tun://:{PORT}?net={nets(1, two=False)}",
        "-L", f"relay+{carrier}://{users}:443{options}",
    )  # fmt: skip


def stock_client(net, number: int, carrier: str, *, users: str = "", options: str = ""):
    target = f"tun://:0/:{PORT}?net={nets(number + 1, two=False)}{KEPT}"
    hop = f"relay+{carrier}://{users}1.2.3.4:443{options}"
    return stock_program(net, net.lab.clients[number - 1], "-L", target, "-F", hop)


def our_server(net, carrier: str, *, users: str = "", options: str = ""):
    return net.gateway(
        net.lab.server,
        "-L", f"tun://127.0.0.1:{PORT}?net={nets(1, two=False)}",
        "-L", f"relay+{carrier}://{users}:443{options}",
    ).expect_ready()  # fmt: skip


def our_client(net, number: int, carrier: str, *, users: str = "", options: str = ""):
    target = f"tun://:0/:{PORT}?net={nets(number + 1, two=False)}{KEPT}"
    hop = f"relay+{carrier}://{users}1.2.3.4:443{options}"
    host = net.lab.clients[number - 1]
    return net.gateway(host, "-L", target, "-F", hop).expect_ready()


def is_up(client) -> bool:
    return (client.service().get("uplink") or {}).get("state") == "up"


def test_stock_clients_on_our_server(stock, carrier):
    net = stock(2)
    our_server(net, carrier)
    stock_client(net, 1, carrier)
    stock_client(net, 2, carrier, options="?nodelay=true")
    linked(net, SERVER, ONE, TWO)


def test_our_clients_on_a_stock_server(stock, carrier):
    net = stock(2)
    stock_server(net, carrier)
    ours = our_client(net, 1, carrier)
    stock_client(net, 2, carrier)
    linked(net, SERVER, ONE, TWO)
    assert is_up(ours)


def test_a_stock_server_that_answers_at_once(stock, carrier):
    net = stock(1)
    stock_server(net, carrier, options="?nodelay=true")
    our_client(net, 1, carrier)
    linked(net, SERVER, ONE)


def test_users(stock, carrier):
    """Each side's password is the other's: right ones pass, wrong ones do not."""
    net = stock(2)
    our_server(net, carrier, users="user:pass@")
    stock_client(net, 1, carrier, users="user:pass@")
    wrong = our_client(net, 2, carrier, users="user:wrong@")
    linked(net, SERVER, ONE)
    wait_for(lambda: "unauthorized" in wrong.process.output(), 10.0, "the refusal to be told")
    assert not is_up(wrong)


def test_our_user_on_a_stock_server(stock, carrier):
    net = stock(2)
    stock_server(net, carrier, users="user:pass@")
    our_client(net, 1, carrier, users="user:pass@")
    wrong = our_client(net, 2, carrier, users="user:wrong@")
    linked(net, SERVER, ONE)
    wait_for(lambda: "unauthorized" in wrong.process.output(), 10.0, "the refusal to be told")
