"""Options of what is around a service, in URLs and files; the selector and its nodes."""

from ipaddress import ip_address

import pytest

from gateway.config.model import Commands, Selector, Target

SERVER = "tun://:8421?net=192.168.123.1/24"
CLIENT = "tun://:0/hub:8421,hub:8422?net=192.168.123.2/24"
FILE = """\
services:
- addr: :0
  handler: {{type: tun{handler}}}
  listener: {{type: tun, metadata: {{net: 192.168.123.2/24{listener}}}}}
  forwarder:
    nodes: [{nodes}]
{rest}
"""


def file(handler="", listener="", rest="", nodes="{addr: 'hub:8421'}, {addr: 'hub:8422'}"):
    return FILE.format(handler=handler, listener=listener, rest=rest, nodes=nodes)


def test_nothing_said(load):
    service = load(SERVER).services[0]
    assert (service.router, service.p2p, service.dns) == (None, False, ())
    assert (service.interface, service.mark) == (None, 0)
    assert (service.netns, service.netns_out, service.commands) == (None, None, Commands())
    assert service.selector == Selector("round", 1, 10.0)


@pytest.mark.parametrize("name", ["dns", "tun.dns", "DNS", "listener.dns"])
@pytest.mark.parametrize("value", ["1.1.1.1,fd00::53", "1.1.1.1, fd00::53,1.1.1.1,"])
def test_name_servers_of_a_url(load, name, value):
    found = load(f"{CLIENT}&{name}={value.replace(' ', '%20')}")
    assert found.services[0].dns == (ip_address("1.1.1.1"), ip_address("fd00::53"))
    assert found.warnings == ()


@pytest.mark.parametrize("value", ['"1.1.1.1,fd00::53"', '[1.1.1.1, "fd00::53"]'])
def test_name_servers_of_a_file(load, value):
    found = load(yaml=file(listener=f", tun.dns: {value}"))
    assert found.services[0].dns == (ip_address("1.1.1.1"), ip_address("fd00::53"))


def test_name_servers_in_a_namespace(load):
    assert load(f"{CLIENT}&dns=1.1.1.1&netns=blue").warnings == (
        "-L #1: dns: systemd-resolved does not look into netns: they are not set",
    )


def test_too_many_name_servers(problems):
    many = ",".join(f"10.0.0.{n}" for n in range(17))
    assert problems(f"{CLIENT}&dns={many}") == ["-L #1: dns: 17 name servers are too many: 16"]


@pytest.mark.parametrize("value", ["true", "1", "T"])
def test_p2p(load, value):
    assert load(f"{SERVER}&p2p={value}").services[0].p2p is True
    assert load(f"{CLIENT}&p2p={value}").warnings == ("-L #1: p2p: has no use on a client",)


def test_the_outer_socket(load):
    service = load(f"{CLIENT}&interface=eth0&so_mark=100&netns=a&netns.out=/proc/1/ns/net")
    found = service.services[0]
    assert (found.interface, found.mark) == ("eth0", 100)
    assert (found.netns, found.netns_out) == ("a", "/proc/1/ns/net")
    assert service.warnings == ()


@pytest.mark.parametrize("value", ["192.0.2.1", "2001:db8::1", "eth0,eth1"])
def test_an_interface_is_one_device(problems, value):
    shown = f'interface: "{value}" is no device: write the name of one'
    assert problems(f"{CLIENT}&interface={value}") == [f"-L #1: {shown}"]


@pytest.mark.parametrize(
    "rest",
    [
        "  interface: eth0\n  sockopts: {mark: 7}",
        "  metadata: {interface: eth0, so_mark: 7}",
        "  metadata: {interface: eth0, so_mark: '7'}\n  interface: eth0",
    ],
)
def test_the_outer_socket_in_a_file(load, rest):
    config = load(yaml=file(rest=rest))
    assert (config.services[0].interface, config.services[0].mark) == ("eth0", 7)
    assert config.warnings == ()


def test_two_marks(problems):
    assert problems(yaml=file(rest="  metadata: {so_mark: 8}\n  sockopts: {mark: 7}")) == [
        "g.yaml:8:14: mark: given twice, with another value before"
    ]


def test_misplaced_ones_work_with_one_warning_each(load):
    config = load(
        yaml=file(
            handler=", metadata: {so_mark: 5, dns: 1.1.1.1}", listener=", netns.out: x, ttl: 20s"
        )
    )
    service = config.services[0]
    assert (service.mark, service.netns_out, service.ttl) == (5, "x", 20.0)
    assert config.warnings == (
        "g.yaml:4:73: ttl: belongs in the handler.metadata; it is used all the same",
        "g.yaml:3:47: dns: belongs in the listener.metadata; it is used all the same",
        "g.yaml:3:35: so_mark: belongs in the metadata; it is used all the same",
        "g.yaml:4:59: netns.out: belongs in the metadata; it is used all the same",
    )


def test_commands(load):
    by_url = load(f"{CLIENT}&preUp=echo%20a,b&postDown=x%20%26%20y").services[0]
    assert by_url.commands == Commands(pre_up=("echo a,b",), post_down=("x & y",))
    rest = "  metadata: {preUp: 'echo a,b', postUp: [c, 'd e'], preDown: [], postDown: f}"
    by_file = load(yaml=file(rest=rest)).services[0]
    assert by_file.commands == Commands(("echo a,b",), ("c", "d e"), (), ("f",))


def test_a_command_is_in_no_message(problems):
    rest = '  metadata: {preUp: ["geheim\\0"], postUp: [[geheim]]}'
    lines = problems(yaml=file(rest=rest))
    assert lines == [
        "g.yaml:7:22: preUp: must not contain NUL characters",
        (
            "g.yaml:7:44: postUp: no list or mapping can stand here: write command, or list of "
            "commands"
        ),
    ]


WORDS = [
    ("round", "round"), ("rr", "round"), ("random", "random"), ("rand", "random"),
    ("fifo", "fifo"), ("ha", "fifo"), ("hash", "hash"), ("parallel", "parallel"),
    ("lowestlatency", "lowestlatency"), ("lowest", "lowestlatency"), ("ll", "lowestlatency"),
]  # fmt: skip


@pytest.mark.parametrize(("word", "strategy"), WORDS)
def test_every_word_for_a_strategy(load, word, strategy):
    assert load(f"{CLIENT}&strategy={word}").services[0].selector.strategy == strategy
    rest = f"    selector: {{strategy: {word}}}"
    assert load(yaml=file(rest=rest)).services[0].selector.strategy == strategy


@pytest.mark.parametrize(
    ("query", "selector"),
    [
        ("", Selector("round", 1, 10.0)),
        ("&strategy=&maxFails=", Selector("round", 1, 10.0)),
        ("&strategy=fifo", Selector("fifo", 1, 30.0)),
        ("&maxFails=3", Selector("round", 3, 30.0)),
        ("&max_fails=3", Selector("round", 3, 30.0)),
        ("&failTimeout=1m", Selector("round", 1, 60.0)),
        ("&failTimeout=7", Selector("round", 1, 7.0)),
        ("&fail_timeout=7&strategy=ha&MAXFAILS=2", Selector("fifo", 2, 7.0)),
    ],
)
def test_the_selector_of_a_url(load, query, selector):
    """GOST: what is not given of the three has other defaults once one is."""
    config = load(CLIENT + query)
    assert config.services[0].selector == selector
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("given", "selector"),
    [
        ("{strategy: fifo}", Selector("fifo", 1, 10.0)),
        ("{maxFails: 3, failTimeout: 1500ms}", Selector("round", 3, 1.5)),
        ("{failTimeout: 2000000000}", Selector("round", 1, 2.0)),
        ("{maxFails: 0, failTimeout: 0s}", Selector("round", 1, 10.0)),
        ("{}", Selector("round", 1, 10.0)),
    ],
)
def test_the_selector_of_a_file(load, given, selector):
    config = load(yaml=file(rest=f"    selector: {given}"))
    assert config.services[0].selector == selector
    assert config.warnings == ()


def test_nanoseconds_that_nobody_means(load):
    config = load(yaml=file(rest="    selector: {failTimeout: 5}"))
    assert config.services[0].selector.fail_timeout == pytest.approx(5e-9)
    assert config.warnings == (
        (
            "g.yaml:7:29: selector.failTimeout: 5 is that many nanoseconds, as in GOST: write for "
            "example 5s"
        ),
    )


def test_a_misplaced_selector(load):
    config = load(yaml=file(rest="  metadata: {strategy: ha, failTimeout: 7}"))
    assert config.services[0].selector == Selector("fifo", 1, 7.0)
    assert config.warnings == (
        "g.yaml:7:14: strategy: belongs in the forwarder.selector; it is used all the same",
        "g.yaml:7:28: failTimeout: belongs in the forwarder.selector; it is used all the same",
    )


def test_a_selector_without_targets(load):
    assert load(f"{SERVER}&strategy=ha").warnings == (
        "-L #1: strategy, maxFails, failTimeout: have no use on a server",
    )


def test_nodes(load):
    nodes = (
        "{name: a, addr: 'hub:1', metadata: {weight: 20}}, {addr: 'hub:2', metadata: {backup: 1}}"
    )
    assert load(yaml=file(nodes=nodes)).services[0].targets == (
        Target("hub", 1, "a", backup=False, weight=20),
        Target("hub", 2, "", backup=True, weight=1),
    )


@pytest.mark.parametrize(
    ("nodes", "rest", "line"),
    [
        (
            "{addr: 'hub:1', metadata: {weight: 0}}",
            "",
            (
                "6:48: forwarder.nodes.metadata.weight: 0 is out of range: write a whole number "
                "from 1 to 65536"
            ),
        ),
        (
            "{addr: 'hub:1', metadata: {backup: maybe}}",
            "",
            (
                '6:48: forwarder.nodes.metadata.backup: "maybe" is not a boolean: write true or '
                "false"
            ),
        ),
        (
            "{addr: 'hub:1', metadata: {wieght: 1}}",
            "",
            "6:40: unknown key forwarder.nodes.metadata.wieght: did you mean weight?",
        ),
        (
            "{addr: 'hub:1-3'}",
            "",
            '6:20: target: "hub:1-3" is a range of ports, which only a URL may have',
        ),
        (
            "{addr: 'hub:1'}",
            "    selector: {failTimeout: '10'}",
            ('7:29: selector.failTimeout: "10" is not a duration: write for example 10s or 1m30s'),
        ),
    ],
)
def test_problems(problems, nodes, rest, line):
    assert problems(yaml=file(nodes=nodes, rest=rest)) == [f"g.yaml:{line}"]


def test_ranges_of_ports(load):
    config = load("tun://:0/hub:8421-8423,[fd00::9]:1-2?net=192.168.123.2/24")
    assert [(t.host, t.port, t.name) for t in config.services[0].targets] == [
        ("hub", 8421, "target-0"),
        ("hub", 8422, "target-1"),
        ("hub", 8423, "target-2"),
        ("fd00::9", 1, "target-3"),
        ("fd00::9", 2, "target-4"),
    ]


def test_a_range_to_listen_on_is_a_service_each(problems):
    """They would all have one tunnel network, and that cannot be."""
    assert problems("tun://:8421-8422?net=192.168.123.1/24") == [
        "-L #1: net: 192.168.123.1/24 overlaps 192.168.123.1/24 of another service: change one"
    ]
