"""Chains and relay listeners: URLs and YAML to the same structs, and sentences for the rest."""

from pathlib import Path

import pytest

from gateway.config.build import build
from gateway.config.carrier_options import CARRIERS, OPTIONS, TLS_CARRIERS
from gateway.config.chain_model import CLIENTS, ClientTlsSpec, RelayUser, ServerTlsSpec
from gateway.config.model import Selector, Target
from gateway.config.render import explained
from gateway.config.sources import read_tree
from gateway.config.tree import Report
from gateway.errors import ConfigError

CLIENT = "tun://:0/:8421?net=192.168.123.2/24&keepAlive=true"
SERVER = "tun://:8421?net=192.168.123.1/24"
PIN = "sha256:" + "0f" * 32


def config(*forwards: str, listens: tuple[str, ...] = (CLIENT,)):
    report = Report()
    return build(read_tree(listens, [], report, forwards), report)


def errors(*forwards: str, listens: tuple[str, ...] = (CLIENT,)) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config(*forwards, listens=listens)
    return str(caught.value).splitlines()


def hops(*forwards: str):
    return config(*forwards).services[0].chain.hops


def node(forward: str):
    ((found,),) = (hop.nodes for hop in hops(forward))
    return found


@pytest.mark.parametrize("carrier", CARRIERS)
def test_every_carrier_both_ways(carrier):
    found = node(f"relay+{carrier}://1.2.3.4:443")
    assert (found.carrier, found.host, found.port) == (carrier, "1.2.3.4", 443)
    assert (found.tls is not None) == (carrier in TLS_CARRIERS)
    (relay,) = config(listens=(SERVER, f"relay+{carrier}://:443")).relays
    assert (relay.carrier, relay.host, relay.port) == (carrier, "", 443)
    assert relay.tls == (ServerTlsSpec() if carrier in TLS_CARRIERS else None)


def test_relay_alone_is_over_tcp():
    assert node("relay://1.2.3.4:443").carrier == "tcp"
    assert config(listens=(SERVER, "relay://:443")).relays[0].carrier == "tcp"


def test_all_of_a_node():
    found = node(
        "relay+wss://u%40:p%3A@h.example:443?path=/x&secure=true&serverName=s.example&ca=/ca.pem"
        f"&cert=/c.pem&key=/k.pem&pin={PIN}&tls.minVersion=VersionTLS13&alpn=a,b&host=front"
        "&handshakeTimeout=5s&ttl=20s&weight=3&backup=true&interface=eth0&nodelay=true"
    )
    assert found.user == RelayUser(b"u@", b"p:")
    assert found.tls == ClientTlsSpec(
        server_name="s.example", secure=True, ca_file="/ca.pem", cert_file="/c.pem",
        key_file="/k.pem", pin=PIN, alpn=("a", "b"), min_version="VersionTLS13",
    )  # fmt: skip
    assert found.options == {
        "ws.path": "/x", "ws.host": "front", "handshake_timeout": 5.0, "ws.keepalive": 20.0,
    }  # fmt: skip
    assert (found.weight, found.backup, found.interface) == (3, True, "eth0")
    assert found.label == "wss h.example:443"


def test_the_name_asked_for_is_the_hosts():
    assert node("relay+tls://h.example:443").tls == ClientTlsSpec("h.example")
    assert not node("relay+tls://h.example:443").tls.verifies
    assert node(f"relay+tls://h.example:443?pin={PIN}").tls.verifies


def test_hops_and_nodes():
    first, second = hops("relay+tls://a:1,b:2?strategy=fifo", "relay+grpc://c:3?insecure=true")
    assert [each.label for each in first.nodes] == ["tls a:1", "tls b:2"]
    assert first.selector == Selector("fifo", 1, 30.0)
    assert second.nodes[0].tls is None


def test_auth_in_base64():
    assert node("relay+tls://h:1?auth=dXNlcjpwYXNz").user == RelayUser(b"user", b"pass")


def test_only_clients_are_chained():
    made = config("relay+tls://h:1", listens=(CLIENT, "relay://:9000/1.2.3.4:1"))
    assert made.services[0].chain is not None
    assert made.relays[0].targets == (Target("1.2.3.4", 1, "target-0"),)


@pytest.mark.parametrize(
    ("forward", "line"),
    [
        ("wss://h:1", ('"wss" is an HTTP proxy over wss, which carries no datagrams: write '
         "relay+wss://")),
        ("socks5://h:1", '"socks5" is no relay: write for example "relay+wss://203.0.113.7:443"'),
        ("h:1", 'no scheme in the URL: write for example "relay+wss://203.0.113.7:443"'),
        ("relay+wsss://h:1", '"relay+wsss": there is no carrier "wsss": did you mean relay+wss?'),
        ("relay+tls://h", 'nodes.addr: "h" has no port: write HOST:PORT'),
        ("relay+tls://:443", 'nodes.addr: ":443" has no host: write HOST:PORT'),
        ("relay+tls://443", 'nodes.addr: "443" has no host: write HOST:443'),
        ("relay+tls://0.0.0.0:443", ('nodes.addr: "0.0.0.0:443" has an unspecified address: '
         "write the server's own")),
        ("relay+tls://h:1/x", '"x": a hop has no target: write it behind the / of -L'),
        ("relay+tls://geheim@h:1", "before the @: write USER:PASSWORD"),
        ("relay+wss://h:1?pth=/x", "unknown option pth: did you mean path?"),
        ("relay+wss://h:1?secur=true", "unknown option secur: did you mean secure?"),
        ("relay+tls://h:1?pin=sha256:0f", ('dialer.tls.pin: "sha256:0f" is no pin: write sha256: '
         "and the 64 hexadecimal digits that the server prints")),
        ("relay+tls://h:1?key=/k.pem", "dialer.tls.keyFile: has no use without certFile"),
        ("relay+tls://h:1?tls.minVersion=1.2", ('dialer.tls.options.minVersion: "1.2" is no '
         "version of TLS: write VersionTLS10, VersionTLS11, VersionTLS12, VersionTLS13")),
        ("relay+tls://h:1?maxVersion=VersionTLS12&minVersion=VersionTLS13", (
         "dialer.tls.options.maxVersion: VersionTLS12 is less than VersionTLS13")),
        ("relay+tls://h:1?maxVersion=VersionTLS11", ("dialer.tls.options.maxVersion: VersionTLS11 "
         "is less than VersionTLS12, the least unless minVersion says another")),
        (("relay+tls://h:1?cipherSuites=TLS_AES_128_GCM_SHA256,"
         "TLS_ECDHE_RSA_WIHT_AES_128_GCM_SHA256"), ("dialer.tls.options.cipherSuites: there is no "
         'suite "TLS_ECDHE_RSA_WIHT_AES_128_GCM_SHA256": did you mean '
         "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256?")),
        ("relay+tls://h:1?cipherSuites=HIGH", ("dialer.tls.options.cipherSuites: there is no "
         'suite "HIGH": write names of Go\'s crypto/tls')),
        ("relay+grpc://h:1?insecure=yes", (
         'insecure: "yes" is not a boolean: write true or false')),
        ("relay+ws://h:1?tls.secure=true", ("dialer.tls: ws is not over TLS: leave this out, or "
         "choose another carrier")),
        ("relay+mws://h:1?mux.type=yamux", ('mux.type: "yamux" is not there: this program has smux '
         "only")),
        ("relay+kcp://h:1?secure=true", ("unknown option secure: kcp is not over TLS: leave this "
         "out, or choose another carrier")),
        ("relay+ws://h:1?pin=x", ("unknown option pin: ws is not over TLS: leave this out, or "
         "choose another carrier")),
        ("relay+kcp://h:1?key=x", "unknown option key: did you mean kcp.key?"),
        ("relay+kcp://h:1?kcp.key-gEhEiM=1", "unknown option kcp.key...: did you mean kcp.key?"),
        ("relay+kcp://h:1?kcp.key%3dgEhEiM", "unknown option kcp.key=...: did you mean kcp.key?"),
        ("relay+quic://h:1?cipherKeygEhEiM=1", ("unknown option cipherKey...: did you mean "
         "cipherKey?")),
        ("relay+kcp://h:1?kcp.crypt=rot13", ("kcp.crypt: 'rot13' is none of aes, aes-128, aes-192, "
         "sm4, cast5, blowfish, 3des, xor, none (GOST takes it for aes)")),
        ("relay+wss://h:1?ttl=ten", 'ttl: "ten" is not a duration: write for example 10s or 1m30s'),
        ("relay+wss://h:1?ttl=1ns", 'ttl: "1ns" is out of range: write 100ms to 24h'),
    ],
)  # fmt: skip
def test_bad_hops(forward, line):
    assert errors(forward) == [f"-F #1: {line}"]


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "[::ffff:0.0.0.0]"])
def test_an_unspecified_target_is_the_relays_own_host(host):
    warning = (
        f'target: "{host}:8431" has an unspecified address, read as the relay\'s own host: write '
        ":8431"
    )
    client = f"tun://:0/{host}:8431?net=192.168.123.2/24"
    made = config("relay+tls://h:1", listens=(client,))
    assert made.services[0].targets == (Target("", 8431, "target-0"),)
    assert made.warnings == (f"-L #1: {warning}",)
    made = config(listens=(SERVER, f"relay://:9443/{host}:8431"))
    assert made.relays[0].targets == (Target("", 8431, "target-0"),)
    assert made.warnings == (f"-L #2: {warning}",)
    unchained = f'-L #1: target: "{host}:8431" has an unspecified address: write the server\'s own'
    assert errors(listens=(client,)) == [unchained]


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("0.0.0.0", '"0.0.0.0" has no port: write the server\'s HOST:PORT'),
        ("[::]:0", '"[::]:0" has port 0: write the server\'s HOST:PORT'),
        ("224.0.0.1:8431", '"224.0.0.1:8431" has a multicast address: write the server\'s own'),
    ],
)
def test_targets_that_no_relay_can_reach(target, line):
    relay, client = f"relay://:9443/{target}", f"tun://:0/{target}?net=192.168.123.2/24"
    assert errors(listens=(SERVER, relay)) == [f"-L #2: target: {line}"]
    assert errors("relay+tls://h:1", listens=(client,)) == [f"-L #1: target: {line}"]


def test_a_carrier_over_udp_comes_first():
    (line,) = errors("relay+tls://a:1", "relay+quic://b:2")
    assert line == (
        "-F #2: dialer.type: quic goes over UDP, so it can be the first hop only"
    )  # fmt: skip


def test_all_of_a_listener():
    (relay,) = config(
        listens=(
            SERVER,
            (
                "relay+wss://user:pass@203.0.113.5:443?cert=/c.pem&key=/k.pem&ca=/ca.pem&path=/x"
                "&allow=10.0.0.1:443,next.example:8443&readTimeout=5s&bridges=2&rejectUnknownSNI=true"
                "&clients=100"
            ),
        )
    ).relays
    assert (relay.host, relay.port, relay.bridges, relay.read_timeout) == ("203.0.113.5", 443, 2, 5)
    assert relay.clients == 100
    assert relay.tls == ServerTlsSpec("/c.pem", "/k.pem", "/ca.pem", reject_unknown_sni=True)
    assert relay.users == (RelayUser(b"user", b"pass"),)
    assert relay.allow == (Target("10.0.0.1", 443), Target("next.example", 8443))
    assert relay.options == {"ws.path": "/x"}
    assert "pass" not in repr(relay)


@pytest.mark.parametrize(
    ("listen", "line"),
    [
        ("relay+wsss://:1", '"relay+wsss": there is no carrier "wsss": did you mean relay+wss?'),
        ("relay+tls://", ('addr: "" has no port: a server needs one, for example :8421 (and a '
         "client needs a target)")),
        ("relay+tls://:1?allow=x", 'allow: "x" is not HOST:PORT'),
        ("relay+tls://:1?clients=1", ('handler.metadata.clients: "1" is out of range: write a '
         "whole number from 2 to 1000000")),
        ("relay+tls://:1?bridges=0", ('handler.metadata.bridges: "0" is out of range: write a '
         "whole number from 1 to 64")),
        ("relay+tls://:1?readTimeout=-5s", ('handler.metadata.readTimeout: "-5s" is out of range: '
         "write 100ms to 24h")),
        ("relay+tls://u:@:1", "handler.auth: the password is empty"),
    ],
)  # fmt: skip
def test_bad_listeners(listen, line):
    assert errors(listens=(SERVER, listen)) == [f"-L #2: {line}"]


def test_one_port_for_one():
    (line,) = errors(listens=(SERVER, "relay+tls://:443", "relay+ws://127.0.0.1:443"))
    assert line == "-L #3: addr: the service at -L #2 has the port 443 too: change one"
    (line,) = errors(listens=(SERVER, "relay+quic://:8421"))
    assert line == "-L #2: addr: the service at -L #1 has the UDP port 8421 too: change one"
    assert len(config(listens=(SERVER, "relay+tls://:443", "relay+quic://:443")).relays) == 2


def test_a_listener_that_leads_nowhere():
    made = config(listens=("relay+tls://:443",))
    assert made.instance == "relay-443"
    assert made.warnings == (
        "-L #1: relay: leads nowhere: there is no TUN server here, no target and no allow",
    )


YAML = """\
services:
- name: tun
  addr: :0
  handler: {type: tun, chain: c}
  listener: {type: tun, metadata: {net: 192.168.123.2/24}}
  forwarder: {nodes: [{name: t, addr: ':8421'}]}
chains:
- name: c
  hops:
  - name: first
    selector: {strategy: ha, maxFails: 2, failTimeout: 5s}
    nodes:
    - name: n
      addr: h.example:443
      connector: {type: relay, auth: {username: u, password: p}}
      dialer:
        type: wss
        tls: {secure: true, caFile: ca.pem, serverName: s, options: {minVersion: VersionTLS13}}
        metadata: {path: /x, header: {X-A: b}}
"""


def test_the_same_in_a_file(load, tmp_path):
    (service,) = load(yaml=YAML).services
    (hop,) = service.chain.hops
    (found,) = hop.nodes
    assert hop.selector == Selector("fifo", 2, 5.0)
    assert found.user == RelayUser(b"u", b"p")
    assert found.tls == ClientTlsSpec(
        "s", secure=True, ca_file=str(tmp_path / "ca.pem"), min_version="VersionTLS13"
    )
    assert found.options == {"ws.path": "/x", "ws.headers": {"X-A": "b"}}


def test_hops_by_name(load):
    text = YAML.replace("  hops:\n", "  hops:\n  - name: shared\n").replace("  - name: first", "")
    text = YAML[: YAML.index("chains:")] + (
        "chains: [{name: c, hops: [{name: shared}]}]\n"
        "hops: [{name: shared, nodes: [{name: n, addr: 'h:1', connector: {type: relay}, "
        "dialer: {type: tls}}]}]\n"
    )
    (service,) = load(yaml=text).services
    assert service.chain.hops[0].nodes[0].label == "tls h:1"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("chain: c}", "chain: d}", 'chain: there is no chain "d": there is "c"'),
        ("type: relay", "type: http", ('connector.type: "http": only a relay carries datagrams: '
         "write type: relay")),
        ("{type: relay, auth", "{auth", ('connector.type: "http": only a relay carries datagrams: '
         "write type: relay")),
        ("type: wss", "type: wsss", 'dialer.type: there is no carrier "wsss": did you mean wss?'),
        ("path: /x", "paht: /x", "unknown option paht: did you mean path?"),
        ("secure: true", "secrue: true", "unknown key dialer.tls.secrue: did you mean secure?"),
        ("header: {X-A: b}", "header: x", "header: expected a mapping of names to values"),
    ],
)  # fmt: skip
def test_bad_files(problems, old, new, line):
    assert any(each.endswith(line) for each in problems(yaml=YAML.replace(old, new)))


AUTHERS = """\
services:
- {name: tun, addr: ':8421', handler: {type: tun}, listener: {type: tun, metadata: {net: 10.0.0.1/24}}}
- {name: relay, addr: ':443', handler: {type: relay, auther: staff}, listener: {type: tls}}
authers: [{name: staff, auths: [{username: alice, password: a-password-of-more-than-16-bytes}]}]
"""  # noqa: E501


def test_an_auther_of_a_relay_may_have_any_names(load, problems):
    (relay,) = load(yaml=AUTHERS).relays
    assert relay.users == (RelayUser(b"alice", b"a-password-of-more-than-16-bytes"),)
    both = AUTHERS.replace("{type: tun},", "{type: tun, auther: staff},", 1)
    assert any("username" in line for line in problems(yaml=both))
    nobody = AUTHERS.replace(", auther: staff", "")
    assert any("username" in line for line in problems(yaml=nobody))
    unknown = AUTHERS.replace("auther: staff", "auther: stuff")
    assert any('there is no auther "stuff"' in line for line in problems(yaml=unknown))


def test_an_unused_chain_is_told(load):
    assert load(yaml=YAML.replace(", chain: c", "").replace("':8421'", "'h:1'")).warnings == (
        'g.yaml:8:3: chains: "c" is used by no service',
    )


def test_what_is_in_effect_can_be_read_again_and_tells_no_secret(load, tmp_path):
    """Passwords and keys are stars, all else is the same."""
    listens = (
        CLIENT,
        "relay+kcp://:444/10.0.0.1:1?kcp.key=hush&kcp.mode=fast3&bridges=2&clients=9",
        "relay+tls://:445/10.0.0.1:1?rejectUnknownSNI=true&serverNames=a.b,c.d",
    )
    forward = f"relay+wss://me:hush@h:1,i:2?path=/x&pin={PIN}&backup=true&strategy=fifo"
    made = config(forward, listens=listens)
    text = explained(made, {}, 2)
    assert "hush" not in text
    assert text.isascii()
    again = load(yaml=text)
    (relay, named), (chain,) = again.relays, [service.chain for service in again.services]
    assert named.tls == ServerTlsSpec(reject_unknown_sni=True, server_names=("a.b", "c.d"))
    assert relay.options == made.relays[0].options | {"kcp.key": "***"}
    assert (relay.targets[0].host, relay.bridges, relay.clients) == ("10.0.0.1", 2, 9)
    assert named.clients == CLIENTS
    (hop,), (before,) = chain.hops, made.services[0].chain.hops
    assert hop.selector == before.selector
    for one, other in zip(hop.nodes, before.nodes, strict=True):
        assert (one.label, one.tls, one.options) == (other.label, other.tls, other.options)
        assert (one.backup, one.user) == (True, RelayUser(b"me", b"***"))


def test_maps_tell_no_secret(load):
    """Headers for a server in front, and a key where it has no effect."""
    header = YAML.replace("{X-A: b}", "{Authorization: Basic hush, X-Api-Key: hush, X-A: b}")
    text = explained(load(yaml=header), {}, 2)
    assert "hush" not in text
    assert "X-A: b" in text
    kcp = YAML.replace("type: wss", "type: kcp").replace("        tls: {", "        #: {")
    kcp = kcp.replace("{path: /x, header: {X-A: b}}", "{config: {key: hush, dscp: 46}}")
    text = explained(load(yaml=kcp), {}, 2)
    assert "hush" not in text
    assert "dscp: 46" in text


def test_names_are_one_per_carrier():
    for carrier in CARRIERS:
        names = [
            name.lower()
            for option in OPTIONS
            if carrier in option.carriers
            for name in (option.name, *option.aliases)
        ]
        assert len(names) == len(set(names)), carrier


def test_the_docs_have_every_option():
    page = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()
    for option in OPTIONS:
        if option.standing == "used":
            names = ", ".join(f"`{name}`" for name in (option.name, *option.aliases))
            assert f"| {names} | {', '.join(option.carriers)} | {option.kind} |" in page


@pytest.mark.parametrize("empty", ["{}", "[]", '""'])
def test_an_empty_auth_does_not_let_everybody_in(load, problems, empty):
    """As with a TUN service; a key without any value says nothing."""
    text = AUTHERS.partition("authers:")[0].replace("auther: staff", "auth: VALUE")
    (line,) = problems(yaml=text.replace("VALUE", empty))
    assert line.endswith("3:54: handler.auth: empty: write a username and a password")
    (relay,) = load(yaml=text.replace("VALUE", "null")).relays
    assert relay.users is None
