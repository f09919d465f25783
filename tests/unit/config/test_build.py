"""YAML to services: shape, places, misplaced options, services beside each other."""

import pytest

from gateway.config.model import Target
from gateway.protocol.forwarding import Role

UNSUPPORTED = (
    "not supported by this program: leave it out, or run the rest with --ignore-unsupported"
)
NO_NET = "net: missing: write this host's address in the tunnel, for example net=192.168.123.1/24"

SERVER = """\
services:
- name: hub
  addr: :8421
  handler:
    type: tun
  listener:
    type: tun
    metadata:
      net: 192.168.123.1/24
"""
CLIENT = """\
services:
- name: site
  addr: :0
  handler:
    type: tun
    metadata:
      keepAlive: true
  listener:
    type: tun
    metadata:
      net: 192.168.123.2/24
  forwarder:
    nodes:
    - name: a
      addr: hub.example.com:8421
    - name: b
      addr: "[2001:db8::1]:8421"
"""
FLAT = """\
services:
- addr: :8421
  handler: {{type: tun{handler}}}
  listener: {{type: tun, metadata: {{net: 192.168.123.1/24{listener}}}}}
{rest}"""


def flat(handler="", listener="", rest=""):
    return FLAT.format(handler=handler, listener=listener, rest=rest)


def test_client(load):
    config = load(yaml=CLIENT)
    (service,) = config.services
    assert (service.name, service.role) == ("site", Role.CLIENT)
    assert service.targets == (
        Target("hub.example.com", 8421, "a"),
        Target("2001:db8::1", 8421, "b"),
    )
    assert service.place == "g.yaml:2:3"
    assert config.warnings == ()


def test_keys_have_no_case(load):
    text = CLIENT.replace("services", "Services").replace("metadata", "metaData")
    assert load(yaml=text.replace("keepAlive", "KEEPALIVE")).services[0].keepalive is True


def test_json(load):
    text = (
        '{"services": [{"name": "hub", "addr": ":8421", "handler": {"type": "tun"},'
        '"listener": {"type": "tun", "metadata": {"net": "192.168.123.1/24", "mtu": 1300}}}]}'
    )
    assert load(yaml=text).services[0].mtu == 1300


def test_lists(load):
    text = flat(
        listener=", route: [10.1.0.0/16, 10.2.0.0/16], routes: ['10.3.0.0/16 192.168.123.9']"
    )
    routes = load(yaml=text).services[0].routes
    assert [str(r.network) for r in routes] == ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"]
    assert [str(r.gateway) for r in routes] == ["None", "None", "192.168.123.9"]
    nets = load(yaml=SERVER.replace(": 192.168.123.1/24", ": [192.168.123.1/24, fd00::1/64]"))
    assert [str(n) for n in nets.services[0].nets] == ["192.168.123.1/24", "fd00::1/64"]


def test_null_says_nothing(load):
    text = flat(handler=", auther: null, auth: null, metadata: ~", listener=", mtu:, name: ~")
    config = load(yaml=text)
    assert (config.services[0].mtu, config.services[0].credentials) == (1420, None)
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("level", "expected"),
    [("debug", "debug"), ("TRACE", "debug"), ("warn", "warning"), ("fatal", "error"), ("", "info")],
)
def test_log_level(load, level, expected):
    assert load(yaml=f"{SERVER}log: {{level: {level}}}\n").log_level == expected


def test_a_misplaced_option_works_with_a_warning(load):
    config = load(yaml=flat(handler=", metadata: {mtu: 1300}"))
    assert config.services[0].mtu == 1300
    assert config.warnings == (
        "g.yaml:3:35: mtu: belongs in the listener.metadata; it is used all the same",
    )


def test_an_option_in_its_place_beats_a_misplaced_one(load):
    config = load(yaml=flat(handler=", metadata: {mtu: 1300}", listener=", mtu: 1400"))
    assert config.services[0].mtu == 1400
    assert config.warnings == ("g.yaml:3:35: mtu: ignored: listener.metadata has another",)


def test_what_gost_converts_has_everything_everywhere(load):
    """GOST writes a URL's options into all three metadata."""
    text = """\
services:
- name: service-0
  addr: :0
  handler: {type: tun, metadata: {keepalive: "true", net: 10.0.0.2/24, buffersize: "1"}}
  listener: {type: tun, metadata: {keepalive: "true", net: 10.0.0.2/24, buffersize: "1"}}
  forwarder: {nodes: [{name: target-0, addr: "hub:8421"}]}
  metadata: {keepalive: "true", net: 10.0.0.2/24, buffersize: "1"}
"""
    config = load(yaml=text)
    assert config.services[0].keepalive is True
    assert config.warnings == ("g.yaml:4:72: buffersize: has no use here and is ignored",)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("5", ["g.yaml:1:1: the configuration: expected a mapping of keys to values here"]),
        (
            "services: {a: 1}",
            ["g.yaml:1:11: services: expected a list here (lines that begin with '- ')"],
        ),
        ("services: []", ["g.yaml:1:1: services: there is none: write one, or give -L"]),
        ("services: [{}]", ["g.yaml:1:12: services: an empty service"]),
        ("services: [x]", ["g.yaml:1:12: services: expected a mapping of keys to values here"]),
        (
            "services: [{addr: ':1'}]",
            [
                "g.yaml:1:12: handler.type: missing: write tun",
                "g.yaml:1:12: listener.type: missing: write tun",
                f"g.yaml:1:12: {NO_NET}",
            ],
        ),
        (
            "services: [{addr: ':1', handler: {type: socks5}, listener: {type: tcp}}]",
            [
                f'g.yaml:1:12: a service of "socks5" over "tcp": {UNSUPPORTED}',
            ],
        ),
        (
            "services: [{addr: ':1', handler: {type: tunn}, listener: {type: tunn}}]",
            [
                'g.yaml:1:41: handler.type: unknown type "tunn": write tun',
                'g.yaml:1:65: listener.type: unknown type "tunn": write tun',
                f"g.yaml:1:48: {NO_NET}",
            ],
        ),
        (
            "services: [{addr: ':1', handler: {type: relai}, listener: {type: wss}}]",
            ['g.yaml:1:41: handler.type: unknown type "relai": write relay'],
        ),
        (
            SERVER.replace("addr:", "adr:"),
            ["g.yaml:3:3: unknown key adr: did you mean addr?"],
        ),
        (
            SERVER.replace(":8421", "8421"),
            ['g.yaml:3:9: addr: "8421" has no colon before the port: write :8421'],
        ),
        (
            SERVER.replace("net: 192.168.123.1/24", "net: 192.168.123.1/33"),
            [
                (
                    'g.yaml:9:12: net: "192.168.123.1/33" is not a network address: write '
                    "ADDRESS/LENGTH, for example 192.168.123.1/24"
                )
            ],
        ),
        (
            SERVER.replace("net: 192.168.123.1/24", "nt: 192.168.123.1/24"),
            ["g.yaml:9:7: unknown option nt: did you mean net?"],
        ),
        (
            flat(listener=", net: 10.0.0.1/24, mtu: [1], name: {a: b}, routes: [[1]]"),
            [
                "g.yaml:4:59: net: given twice, first at 4:36",
                "g.yaml:4:93: name: expected one value: device name",
                "g.yaml:4:82: mtu: expected one value: number, 576 to 65507",
                (
                    "g.yaml:4:110: routes: no list or mapping can stand here: write list of "
                    "`NETWORK` or `NETWORK GATEWAY`"
                ),
            ],
        ),
        (
            flat(handler=", keepAlive: true"),
            ["g.yaml:3:24: unknown key handler.keepAlive: keepAlive belongs in handler.metadata"],
        ),
        (
            flat(rest="api: {addr: ':1'}\nserivces: []\ntls: {}\n"),
            [
                "g.yaml:6:1: unknown key serivces: did you mean services?",
                f"g.yaml:5:1: api: {UNSUPPORTED}",
            ],
        ),
        (
            flat(handler=", limiter: x", rest="  admission: y\n"),
            [
                (
                    "2 things here are not supported by this program: leave them out, or run the "
                    "rest with --ignore-unsupported"
                ),
                "  g.yaml:5:3: admission",
                "  g.yaml:3:24: handler.limiter",
            ],
        ),
        (
            flat(rest="chains: [{name: x}]\n"),
            ['g.yaml:5:10: chains: "x" has no hops'],
        ),
        (
            flat(
                rest="  forwarder: {nodes: [{name: a}, {addr: 'hub:1', bypass: x}], "
                "selector: {a: b}}"
            ),
            [
                "g.yaml:5:23: target: missing: write the server's HOST:PORT",
                ("g.yaml:5:74: unknown key selector.a: there are strategy, maxFails, failTimeout"),
                f"g.yaml:5:50: forwarder.nodes.bypass: {UNSUPPORTED}",
            ],
        ),
        (
            flat(rest="log: {level: loud}\n"),
            [
                (
                    'g.yaml:5:14: log.level: "loud" is no level: there are trace, debug, info, '
                    "warn, warning, error, fatal"
                )
            ],
        ),
        (
            flat(rest="log: {levle: info}\n"),
            ["g.yaml:5:7: unknown key log.levle: did you mean level?"],
        ),
    ],
)
def test_problems(problems, text, lines):
    assert problems(yaml=text) == lines


def test_what_is_ignored_is_named(load):
    text = flat(rest="log: {format: json, output: stderr}\ntls: {certFile: x}\n")
    assert load(yaml=text).warnings == (
        "g.yaml:6:1: tls: has no use here and is ignored",
        "g.yaml:5:7: log.format: has no use here and is ignored",
        "g.yaml:5:21: log.output: has no use here and is ignored",
    )


def test_a_target_given_twice(load):
    text = flat(rest="  forwarder: {nodes: [{addr: 'hub:1'}, {addr: 'hub:1'}]}")
    config = load(yaml=text)
    assert config.services[0].targets == (Target("hub", 1),)
    assert config.warnings == ("g.yaml:5:47: target: hub:1 is there twice",)


A = "tun://:8421?net=10.0.0.1/24&name=tun0"


@pytest.mark.parametrize(
    ("second", "line"),
    [
        (
            "tun://:8422?net=10.1.0.1/24&name=tun0",
            'name: the service at -L #1 has the device "tun0" too: change one',
        ),
        (
            "tun://127.0.0.1:8421?net=10.1.0.1/24",
            "addr: the service at -L #1 has the UDP port 8421 too: change one",
        ),
        (
            "tun://:8422?net=10.0.0.1/24",
            "net: 10.0.0.1/24 overlaps 10.0.0.1/24 of another service: change one",
        ),
        (
            "tun://:8422?net=10.0.9.1/16",
            "net: 10.0.9.1/16 overlaps 10.0.0.1/24 of another service: change one",
        ),
        (
            "tun://:8422?net=10.1.0.1/24&user=bob",
            'user: "bob" differs from "gateway" at -L #1: write one',
        ),
    ],
)
def test_two_services_that_cannot_be(problems, second, line):
    assert problems(A + "&user=gateway", second) == [f"-L #2: {line}"]


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ("", "", True),
        ("", "10.9.9.9", True),
        ("[::]", "10.9.9.9", True),
        ("0.0.0.0", "10.9.9.9", True),
        ("0.0.0.0", "[fd09::9]", False),
        ("10.9.9.9", "10.9.9.9", True),
        ("10.9.9.9", "10.9.9.8", False),
    ],
)
def test_one_port_twice(load, problems, first, second, clash):
    hubs = [f"tun://{first}:8421?net=10.0.0.1/24", f"tun://{second}:8421?net=10.1.0.1/24"]
    for listens in (hubs, hubs[::-1]):
        if clash:
            line = "-L #2: addr: the service at -L #1 has the UDP port 8421 too: change one"
            assert problems(*listens) == [line]
        else:
            assert len(load(*listens).services) == 2


def test_several_services(load):
    config = load(
        A,
        "tun://127.0.0.1:8422?net=10.1.0.1/24",
        "tun://127.0.0.2:8422?net=10.2.0.1/24",
        "tun://:8421/hub:8421?net=10.3.0.2/24",
        yaml=SERVER.replace("8421", "8425").replace("hub", "service-1"),
    )
    assert [s.name for s in config.services] == [
        "service-1",
        "service-0",
        "service-2",
        "service-3",
        "service-4",
    ]
    assert config.instance == "192.168.123.1"
    assert config.warnings == ()


def test_two_services_of_one_name(problems):
    second = "- name: hub\n" + flat().partition("\n- ")[2].join(["  ", ""])
    second = second.replace("8421", "8422").replace("192.168.123", "192.168.124")
    assert problems(yaml=SERVER + second) == [
        'g.yaml:10:3: name: the service at g.yaml:2:3 has the name "hub" too: change one'
    ]


@pytest.mark.parametrize("name", ["office", "192.168.123.1", "fd00::1", "a@b", "x" * 64])
def test_instance(load, name):
    assert load(A, instance=name).instance == name


def test_an_ipv6_instance(load):
    assert load("tun://:1?net=fd00::1/64").instance == "fd00::1"


@pytest.mark.parametrize("name", ["", "a/b", "..", "-x", "a b", "é", "x" * 65])
def test_no_instance(problems, name):
    (line,) = problems(A, instance=name)
    assert line.startswith("--instance: ")
    assert line.endswith(" is no name: write up to 64 letters, digits, '.', '_', ':', '@' or '-'")
