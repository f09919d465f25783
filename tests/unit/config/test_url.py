"""-L URLs: every part, and what has no use."""

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from gateway.config.model import Route, Target
from gateway.protocol.forwarding import Role

SERVER = "tun://:8421?net=192.168.123.1/24"
CLIENT = "tun://:0/1.2.3.4:8421?net=192.168.123.2/24"


def one(load, url):
    config = load(url)
    assert config.warnings == ()
    return config.services[0]


def test_everything_at_once(load):
    config = load(
        "TUN://10.0.0.1:8421?NET=192.168.123.1/24,fd00::1/64&tun.Name=hub&mtu=1400"
        "&routes=10.1.0.0/16%20192.168.123.2,10.2.0.0/16&gw=192.168.123.3&workers=4"
        "&offload=off&sourceCheck=off&user=nobody"
    )
    service = config.services[0]
    assert (service.role, service.host, service.port) == (Role.SERVER, "10.0.0.1", 8421)
    assert service.nets == (ip_interface("192.168.123.1/24"), ip_interface("fd00::1/64"))
    assert (service.device, service.mtu) == ("hub", 1400)
    assert service.routes == (
        Route(ip_network("10.1.0.0/16"), ip_address("192.168.123.2")),
        Route(ip_network("10.2.0.0/16"), ip_address("192.168.123.3")),
    )
    assert (service.workers, service.offload, service.source_check) == (4, "off", False)
    assert config.user == "nobody"
    assert service.place == "-L #1"
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("tun://:1?net=10.0.0.1/24", "", 1),
        ("  tun://0.0.0.0:1/?net=10.0.0.1/24 ", "0.0.0.0", 1),
        ("tun://[::]:1?net=10.0.0.1/24", "::", 1),
        ("tun://[fe80::1%25eth0]:1?net=10.0.0.1/24", "fe80::1%eth0", 1),
    ],
)
def test_where_a_server_listens(load, url, host, port):
    service = one(load, url)
    assert (service.role, service.host, service.port) == (Role.SERVER, host, port)


@pytest.mark.parametrize(
    ("path", "targets"),
    [
        ("/1.2.3.4:8421", [("1.2.3.4", 8421)]),
        ("/hub.example.com:8421/", [("hub.example.com", 8421)]),
        ("/[2001:db8::1]:8421,hub:9", [("2001:db8::1", 8421), ("hub", 9)]),
        ("/[fe80::1%25eth0]:8421", [("fe80::1%eth0", 8421)]),
    ],
)
def test_targets(load, path, targets):
    for listen in ("tun://:0", "tun://", "tun://:8421", "tun://localhost:0"):
        service = one(load, f"{listen}{path}?net=10.0.0.2/24")
        assert service.role is Role.CLIENT
        assert service.targets == tuple(
            Target(*target, f"target-{index}") for index, target in enumerate(targets)
        )


@pytest.mark.parametrize("key", ["keepAlive", "keepalive", "tun.keepalive", "handler.keepAlive"])
def test_names_of_keepalive(load, key):
    assert one(load, f"{CLIENT}&{key}=1").keepalive is True


@pytest.mark.parametrize("key", ["passphrase", "token", "tun.token", "Token"])
def test_names_of_passphrase(load, key):
    assert one(load, f"{CLIENT}&{key}=a%26b+c%2Bd%23").passphrase == b"a&b c+d#"


@pytest.mark.parametrize(
    ("value", "seconds"), [("15", 15), ("15s", 15), ("1m30s", 90), ("1500ms", 1.5), ("24h", 86400)]
)
def test_ttl(load, value, seconds):
    assert one(load, f"{CLIENT}&ttl={value}").ttl == seconds


@pytest.mark.parametrize(
    ("value", "seconds"), [("100000us", 0.1), ("100ms", 0.1), ("-1h", 10), ("0", 10)]
)
def test_a_ttl_that_is_hardly_meant(load, value, seconds):
    assert load(f"{CLIENT}&ttl={value}").services[0].ttl == seconds


def test_gw_serves_the_routes_of_its_own_version(load):
    service = one(load, f"{SERVER}&route=10.1.0.0/16,fd01::/64&gw=192.168.123.2")
    assert service.routes == (
        Route(ip_network("10.1.0.0/16"), ip_address("192.168.123.2")),
        Route(ip_network("fd01::/64")),
    )


@pytest.mark.parametrize("address", ["", "hub", "[fd00::1]", ":0"])
def test_digits_as_a_password_of_a_client_without_a_port(load, address):
    made = load(f"tun://10.0.0.2:8421@{address}/hub:1?net=10.0.0.2/24")
    assert made.services[0].targets[0].host == "hub"


def test_userinfo_is_a_credential(load):
    (credential,) = one(
        load, "tun://192.168.123.2:p%40ss:word@:8421?net=192.168.123.1/24"
    ).credentials
    assert (credential.username, credential.password) == ("192.168.123.2", b"p@ss:word")
    (credential,) = one(load, "tun://fd00%3a%3A2:x@:8421?net=fd00::1/64").credentials
    assert credential.username == "fd00::2"


@pytest.mark.parametrize("word", ["MTkyLjE2OC4xMjMuMjpzZWNyZXQ=", "MTkyLjE2OC4xMjMuMjpzZWNyZXQ"])
def test_auth_is_userinfo_in_base64(load, word):
    (credential,) = one(load, f"{SERVER}&auth={word}").credentials
    assert (credential.username, credential.password) == ("192.168.123.2", b"secret")


@pytest.mark.parametrize(
    ("query", "warning"),
    [
        ("&bufferSize=4096", "bufferSize: has no use here and is ignored"),
        ("&guid=x&tun.peer=", "guid: has no use here and is ignored"),
        ("&handler.mtu=1400", "mtu: belongs in the listener.metadata; it is used all the same"),
        ("&workers=2", "workers: has no use on a client"),
        ("&sourceCheck=off", "sourceCheck: has no use on a client"),
        ("&ttl=-1s", 'ttl: "-1s" is not above 0: 10s is used, as in GOST'),
        ("&ttl=100ms", 'ttl: "100ms" is below 1s: so many heartbeats are of no use'),
        ("&gw=192.168.123.1", "gw: has no use without route or routes"),
        ("&token=seventeen-letters", "token: longer than 16 bytes: only the first 16 count"),
        ("&accept=off", "accept: has no use on a client"),
        ("&token=", "token: is empty: none is sent"),
        ("&route=10.1.0.0/16&gw=fd00::1", "gw: fd00::1 has no use: there is no route of IPv6"),
        ("&mtu=1400&handler.mtu=1300", "mtu: ignored: listener.metadata has another"),
    ],
)
def test_warnings(load, query, warning):
    assert load(CLIENT + query).warnings[0] == f"-L #1: {warning}"


def test_a_long_passphrase_is_cut(load):
    assert load(f"{CLIENT}&token=seventeen-letters").services[0].passphrase == b"seventeen-letter"


def test_what_a_server_has_no_use_for(load):
    assert load(f"{SERVER}&keepAlive=true&passphrase=x").warnings == (
        (
            "-L #1: keepAlive: has no use on a server: a client has a target, /HOST:PORT in a "
            "URL, forwarder in a file"
        ),
        (
            "-L #1: passphrase: has no use on a server: a server asks for passphrases by "
            "handler.auther or handler.auth"
        ),
    )


def test_userinfo_has_no_use_on_a_client(load):
    config = load("tun://10.0.0.3:x@:0/hub:8421?net=10.0.0.2/24")
    assert config.services[0].credentials is None
    assert config.warnings == ("-L #1: handler.auth: has no use on a client: write passphrase",)


def test_asking_for_nothing_is_no_problem(load):
    assert one(load, f"{CLIENT}&p2p=false&dns=&interface=").role is Role.CLIENT


def test_what_lies_behind_whom(load):
    client = one(load, f"{CLIENT}&nat=true&advertise=192.168.100.7/24,fd00:1::/64&route=::/0")
    networks = (ip_network("192.168.100.0/24"), ip_network("fd00:1::/64"))
    assert (client.nat, client.advertise, client.accept) == (True, networks, "auto")
    assert one(load, CLIENT).advertise == "auto"
    assert one(load, f"{CLIENT}&advertise=OFF").advertise == "off"
    assert one(load, f"{SERVER}&accept=off").accept == "off"
    accepted = one(load, f"{SERVER}&accept=10.0.0.0/8&routes=0.0.0.0/0%20192.168.123.2").accept
    assert accepted == (ip_network("10.0.0.0/8"),)
