"""Routers: what is said becomes a description, and what is wrong a line."""

from ipaddress import ip_address, ip_network

import pytest

from gateway.config.model import FileSpec, HttpSpec, PluginSpec, RedisSpec, Route, RouterSpec
from gateway.errors import ConfigError

TEXT = """\
services:
- name: hub
  addr: :8421
  handler: {{type: tun{handler}}}
  listener: {{type: tun, metadata: {{net: "192.168.123.1/24,fd00::1/64"{listener}}}}}
routers:
{routers}
"""


def text(*routers: str, handler: str = "", listener: str = ", router: lans") -> str:
    return TEXT.format(handler=handler, listener=listener, routers="\n".join(routers))


def inline(*routes: str) -> str:
    return "\n".join(["- name: lans", "  routes:", *(f"  - {{{route}}}" for route in routes)])


def spec(config) -> RouterSpec | None:
    return config.services[0].router


def route(network: str, gateway: str) -> Route:
    return Route(ip_network(network), ip_address(gateway))


def test_inline_routes(load):
    config = load(
        yaml=text(
            inline(
                "dst: 192.168.100.0/24, gateway: 192.168.123.2",
                "net: 10.1.0.9/16, gateway: 192.168.123.3",
                "dst: 10.2.0.7, gateway: 192.168.123.3",
                "dst: 'fd00:7::/32', gateway: 'fd00::2'",
                "dst: '', net: 10.3.0.0/16, gateway: 192.168.123.3",
            )
        )
    )
    assert spec(config) == RouterSpec(
        "lans",
        (
            route("192.168.100.0/24", "192.168.123.2"),
            route("10.1.0.0/16", "192.168.123.3"),
            route("10.2.0.7/32", "192.168.123.3"),
            route("fd00:7::/32", "fd00::2"),
            route("10.3.0.0/16", "192.168.123.3"),
        ),
    )
    assert config.warnings == ()


def test_every_place(load):
    config = load(
        yaml=text(
            "- name: lans",
            "  reload: 90s",
            "  file: {path: /etc/lans}",
            "  redis: {addr: cache, type: set, key: k}",
            '  http: {url: "http://h/p", timeout: 3s}',
        )
    )
    assert spec(config) == RouterSpec(
        "lans",
        (),
        FileSpec("/etc/lans"),
        RedisSpec("cache", key="k", type="set"),
        HttpSpec("http://h/p", 3.0),
        None,
        90.0,
    )
    assert config.warnings == ()


@pytest.mark.parametrize("kind", ["hash", "list", "set"])
def test_every_type_of_a_redis_key(load, kind):
    found = spec(load(yaml=text("- name: lans", f"  redis: {{addr: cache, type: {kind}}}")))
    assert found.redis.type == kind


def test_a_plugin_makes_the_rest_idle(load):
    config = load(
        yaml=text(
            inline("dst: 10.0.0.0/8, gateway: 192.168.123.2"),
            '  plugin: {type: http, addr: "http://p/router", token: t}',
        )
    )
    assert spec(config) == RouterSpec("lans", plugin=PluginSpec("http://p/router", b"t"))
    assert config.warnings == ("g.yaml:8:3: routers.routes: ignored, as a plugin is given",)


@pytest.mark.parametrize(
    ("handler", "listener"),
    [("", ", tun.router: lans"), ("", ", ROUTER: lans"), (", metadata: {router: lans}", "")],
)
def test_every_spelling(load, handler, listener):
    config = load(
        yaml=text(
            inline("dst: 10.0.0.0/8, gateway: 192.168.123.2"), handler=handler, listener=listener
        )
    )
    assert spec(config).name == "lans"
    misplaced = "g.yaml:4:35: router: belongs in the listener.metadata; it is used all the same"
    assert config.warnings == ((misplaced,) if handler else ())


def test_in_a_url(load):
    config = load(
        "tun://:8422?net=10.7.0.1/24&router=lans",
        yaml="routers: [{name: lans, routes: [{dst: 10.8.0.0/16, gateway: 10.7.0.2}]}]",
    )
    assert spec(config).name == "lans"


def test_beside_routes_both_stand(load):
    """GOST: then `routes` are the system's alone."""
    config = load(
        yaml=text(
            inline("dst: 10.1.0.0/16, gateway: 192.168.123.2"),
            listener=", router: lans, route: 10.2.0.0/16",
        )
    )
    assert spec(config).name == "lans"
    assert config.services[0].routes == (Route(ip_network("10.2.0.0/16")),)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (
            ["- name: lan", "  routes: [{dst: 10.0.0.0/8, gateway: 192.168.123.2}]"],
            '5:80: router: there is no router "lans": did you mean lan?',
        ),
        (["- file: {path: x}"], "7:3: routers: a router has no name"),
        (
            ["- {name: lans, file: {path: x}}", "- {name: lans, file: {path: y}}"],
            '8:3: routers: "lans" is there twice, first at g.yaml:7:3: leave one out',
        ),
        (
            ["- {name: lans, routs: []}"],
            "7:16: unknown key routers.routs: did you mean routes?",
        ),
        (
            [inline("dst: 10.0.0.0/8, gateway: 10.9.9.9")],
            "9:5: routers.routes.gateway: 10.9.9.9 is not inside net: no client can have it",
        ),
        (
            [inline("dst: 10.0.0.0/8, gateway: 192.168.123.1")],
            (
                "9:5: routers.routes.gateway: 192.168.123.1 is this host itself: write the "
                "address of a peer"
            ),
        ),
        (
            [inline("dst: 10.0.0.0/8, gateway: 192.168.123.255")],
            (
                "9:5: routers.routes.gateway: 192.168.123.255 is the network or its broadcast "
                "address: no client can have it"
            ),
        ),
        (
            [inline("dst: 10.0.0.0/8, gateway: 'fd00::2'")],
            "9:5: routers.routes: 10.0.0.0/8 by way of fd00::2: IPv4 and IPv6",
        ),
        (
            [inline("dst: 10.0.0.0/8, gateway: hub")],
            '9:32: routers.routes.gateway: "hub" is not an IP address: write the address of a peer',
        ),
        (
            [inline("dst: 10.0.0.0/99, gateway: 192.168.123.2")],
            (
                '9:11: routers.routes.dst: "10.0.0.0/99" is not a network address: write '
                "ADDRESS/LENGTH, for example 192.168.100.0/24"
            ),
        ),
        (
            [inline("gateway: 192.168.123.2")],
            "9:5: routers.routes.dst: missing: write ADDRESS/LENGTH",
        ),
        (
            [
                inline(
                    "dst: 10.0.0.0/8, gateway: 192.168.123.2",
                    "net: 10.1.0.0/8, gateway: 192.168.123.3",
                )
            ],
            "10:5: routers.routes: 10.0.0.0/8 is there twice, first at g.yaml:9:5: leave one out",
        ),
        (
            ["- name: lans", "  redis: {addr: h, type: zset}"],
            '8:26: routers.redis.type: "zset" is none of hash, list, set',
        ),
    ],
)
def test_problems(problems, lines, problem):
    assert f"g.yaml:{problem}" in problems(yaml=text(*lines))


@pytest.mark.parametrize(
    ("lines", "warning"),
    [
        (
            [inline("dst: 10.0.0.0/8")],
            (
                "9:5: routers.routes: 10.0.0.0/8 has no gateway and is passed over: write a "
                "peer's address"
            ),
        ),
        (["- name: lans"], '7:3: routers: "lans" has no routes'),
        (
            ["- {name: lans, file: {path: x}}", "- {name: other, file: {path: y}}"],
            '8:3: routers: "other" is used by no service',
        ),
        (
            [inline("dst: 10.0.0.0/8, net: 10.1.0.0/16, gateway: 192.168.123.2")],
            "9:23: routers.routes.net: ignored, as dst is given",
        ),
    ],
)
def test_warnings(load, lines, warning):
    assert f"g.yaml:{warning}" in load(yaml=text(*lines)).warnings


def test_p2p_makes_a_router_idle(load):
    config = load(
        yaml=text(
            inline("dst: 10.0.0.0/8, gateway: 192.168.123.2"), handler=", metadata: {p2p: true}"
        )
    )
    assert config.services[0].p2p is True
    assert config.warnings == (
        "g.yaml:5:80: router: has no use with p2p: one peer gets every packet",
    )


def test_two_services_share_a_router(load):
    """A gateway need only be a peer of one of them."""
    second = "tun://:8422?net=10.7.0.1/24&router=lans"
    router = inline(
        "dst: 10.1.0.0/16, gateway: 192.168.123.2", "dst: 10.2.0.0/16, gateway: 10.7.0.2"
    )
    config = load(second, yaml=text(router))
    assert [s.router for s in config.services] == [spec(config)] * 2
    assert config.warnings == ()


def test_a_clients_router_beside_its_target(load):
    """As with its `route`: to the target itself is an error, around it a warning."""
    client = "tun://:0/1.2.3.4:8421?net=10.7.0.2/24&router=lans"
    routers = "routers: [{{name: lans, routes: [{{dst: {}, gateway: 10.7.0.1}}]}}]"
    (around,) = load(client, yaml=routers.format("1.2.0.0/16")).warnings
    kept = "the way to it is kept outside the tunnel"
    assert around == f"-L #1: router: 1.2.0.0/16 has the target 1.2.3.4 in it: {kept}"
    with pytest.raises(ConfigError, match=r"1\.2\.3\.4/32 is the target 1\.2\.3\.4: "):
        load(client, yaml=routers.format("1.2.3.4"))
    own = load(client, yaml=routers.format("10.7.0.0/24"))
    assert own.warnings == (
        "-L #1: router: 10.7.0.0/24 is in the tunnel network, which needs no route: leave it out",
    )
