"""Every form in GOST's pages on TUN, routers, authers and selectors, with data of our own.

A URL and a file that stand side by side there mean the same here. The recipe's own
commands and files are in test_recipe.py.
"""

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from gateway.config.model import (
    AutherSpec,
    Credential,
    FileSpec,
    HttpSpec,
    PluginSpec,
    RedisSpec,
    Route,
    RouterSpec,
    Selector,
    Target,
)
from gateway.protocol.forwarding import Role

NET = (ip_interface("10.66.0.1/24"),)
SITE_NET = (ip_interface("10.66.0.2/24"),)
TARGETS = (Target("198.51.100.7", 9421, "target-0"),)
SERVER = {"role": Role.SERVER, "host": "", "port": 9421, "nets": NET, "targets": ()}
CLIENT = {"role": Role.CLIENT, "nets": SITE_NET, "targets": TARGETS}
SITE_URL = "tun://:0/198.51.100.7:9421?net=10.66.0.2/24"


def route(network: str, gateway: str | None = None) -> Route:
    return Route(ip_network(network), ip_address(gateway) if gateway else None)


def hub(handler: str = "", metadata: str = "", rest: str = "") -> str:
    """A server's file, with lines added to its parts."""
    return "\n".join(
        [
            "services:",
            "- name: service-0",
            "  addr: :9421",
            "  handler:",
            "    type: tun",
            *(f"    {line}" for line in handler.splitlines()),
            "  listener:",
            "    type: tun",
            "    metadata:",
            "      net: 10.66.0.1/24",
            *(f"      {line}" for line in metadata.splitlines()),
            *rest.splitlines(),
        ]
    )


def site(handler: str = "", metadata: str = "", forwarder: str = "") -> str:
    """A client's file, with lines added to its parts."""
    return "\n".join(
        [
            "services:",
            "- name: service-0",
            "  addr: :0",
            "  handler:",
            "    type: tun",
            *(f"    {line}" for line in handler.splitlines()),
            "  listener:",
            "    type: tun",
            "    metadata:",
            "      net: 10.66.0.2/24",
            *(f"      {line}" for line in metadata.splitlines()),
            "  forwarder:",
            "    nodes:",
            "    - name: target-0",
            "      addr: 198.51.100.7:9421",
            *(f"    {line}" for line in forwarder.splitlines()),
        ]
    )


@dataclass(frozen=True)
class Example:
    """What is written, by URL and by file, and what it means."""

    about: str
    expected: dict[str, object]
    url: str = ""
    file: str = ""
    warnings: tuple[str, ...] = field(default=())
    """Without their places."""


TUN = (
    Example("a server", SERVER, "tun://:9421?net=10.66.0.1/24", hub()),
    Example(
        "a server with name, MTU and GOST's bufferSize",
        {**SERVER, "device": "tun7", "mtu": 1350},
        "tun://:9421?net=10.66.0.1/24&name=tun7&mtu=1350&bufferSize=1500",
        hub("metadata:\n  bufferSize: 1500", "name: tun7\nmtu: 1350"),
        ("bufferSize: has no use here and is ignored",),
    ),
    Example(
        "a server with name servers for the device",
        {**SERVER, "dns": (ip_address("10.66.1.53"), ip_address("10.66.2.53"))},
        "tun://:9421?net=10.66.0.1/24&tun.dns=10.66.1.53,10.66.2.53",
        hub(metadata="dns: 10.66.1.53,10.66.2.53"),
    ),
    Example(
        "two addresses",
        {**SERVER, "nets": (*NET, ip_interface("fd66::1/64"))},
        "tun://:9421?net=10.66.0.1/24,fd66::1/64",
        hub().replace("10.66.0.1/24", "10.66.0.1/24,fd66::1/64"),
    ),
    Example("a client", {**CLIENT, "keepalive": False}, SITE_URL, site()),
    Example(
        "a client with heartbeats",
        {**CLIENT, "keepalive": True, "ttl": 15.0},
        f"{SITE_URL}&keepalive=true&ttl=15s",
        site("metadata:\n  keepAlive: true\n  ttl: 15s"),
    ),
    Example(
        "the peer of macOS",
        CLIENT,
        f"{SITE_URL}&peer=10.66.0.1",
        site(metadata="peer: 10.66.0.1"),
        ("peer: has no use here and is ignored",),
    ),
    Example(
        "all options of the page's first line",
        {
            **CLIENT,
            "device": "tun7",
            "mtu": 1420,
            "routes": (route("10.100.0.0/16", "10.66.0.1"),),
        },
        f"{SITE_URL}&name=tun7&mtu=1420&route=10.100.0.0/16&gw=10.66.0.1",
        site(metadata="name: tun7\nmtu: 1420\nroute: 10.100.0.0/16\ngw: 10.66.0.1"),
    ),
    Example(
        "a default gateway on the server",
        {
            **SERVER,
            "routes": (route("10.71.0.0/16", "10.66.0.2"), route("10.72.0.0/16", "10.66.0.2")),
        },
        "tun://:9421?net=10.66.0.1/24&gw=10.66.0.2&route=10.71.0.0/16,10.72.0.0/16",
        hub(metadata="gw: 10.66.0.2\nroute: 10.71.0.0/16,10.72.0.0/16"),
    ),
    Example(
        "a gateway for each route",
        {
            **SERVER,
            "routes": (route("10.71.0.0/16", "10.66.0.2"), route("10.72.0.0/16", "10.66.0.3")),
        },
        "tun://:9421?net=10.66.0.1/24&routes=10.71.0.0/16%2010.66.0.2,10.72.0.0/16%2010.66.0.3",
        hub(metadata="routes:\n- 10.71.0.0/16 10.66.0.2\n- 10.72.0.0/16 10.66.0.3"),
    ),
    Example(
        "one peer",
        {**SERVER, "p2p": True},
        "tun://:9421?net=10.66.0.1/24&p2p=true",
        hub("metadata:\n  p2p: true"),
    ),
    Example(
        "a router",
        {
            **SERVER,
            "router": RouterSpec(
                "lans",
                (route("10.71.0.0/16", "10.66.0.2"), route("192.168.7.0/24", "10.66.0.3")),
            ),
        },
        file=hub(
            metadata="router: lans",
            rest="routers:\n- name: lans\n  routes:\n"
            "  - net: 10.71.0.0/16\n    gateway: 10.66.0.2\n"
            "  - net: 192.168.7.0/24\n    gateway: 10.66.0.3",
        ),
    ),
    Example(
        "an auther",
        {
            **SERVER,
            "credentials": (
                Credential("10.66.0.2", b"first-word"),
                Credential("10.66.0.3", b"second-word"),
            ),
        },
        file=hub(
            "auther: staff",
            rest="authers:\n- name: staff\n  auths:\n"
            "  - username: 10.66.0.2\n    password: first-word\n"
            "  - username: 10.66.0.3\n    password: second-word",
        ),
    ),
    Example(
        "one credential",
        {**SERVER, "credentials": (Credential("10.66.0.2", b"first-word"),)},
        "tun://10.66.0.2:first-word@:9421?net=10.66.0.1/24",
        hub("auth:\n  username: 10.66.0.2\n  password: first-word"),
    ),
    Example(
        "one credential in base64",
        {**SERVER, "credentials": (Credential("10.66.0.2", b"first-word"),)},
        "tun://:9421?net=10.66.0.1/24&auth=MTAuNjYuMC4yOmZpcnN0LXdvcmQ=",
    ),
    Example(
        "a passphrase",
        {**CLIENT, "passphrase": b"first-word", "keepalive": True},
        f"{SITE_URL}&passphrase=first-word&keepAlive=true",
        site('metadata:\n  keepAlive: true\n  passphrase: "first-word"'),
    ),
    Example(
        "a namespace for the device",
        {**CLIENT, "netns": "blue"},
        f"{SITE_URL}&netns=blue",
        site() + "\n  metadata:\n    netns: blue",
    ),
    Example(
        "a namespace for the socket, by path",
        {**CLIENT, "netns": "blue", "netns_out": "/run/netns/red"},
        f"{SITE_URL}&netns=blue&netns.out=/run/netns/red",
        site() + "\n  metadata:\n    netns: blue\n    netns.out: /run/netns/red",
    ),
)

SELECTORS = (
    Example(
        "two targets in turn",
        {
            "targets": (*TARGETS, Target("198.51.100.8", 9421, "target-1")),
            "selector": Selector("round", 1, 30.0),
        },
        "tun://:0/198.51.100.7:9421,198.51.100.8:9421?net=10.66.0.2/24"
        "&strategy=round&maxFails=1&failTimeout=30s",
        site(forwarder="- name: target-1\n  addr: 198.51.100.8:9421\n")
        + "\n    selector:\n      strategy: round\n      maxFails: 1\n      failTimeout: 30s",
    ),
    Example(
        "weights and a backup",
        {
            "targets": (
                *TARGETS,
                Target("198.51.100.8", 9421, "b", weight=20),
                Target("198.51.100.9", 9421, "c", backup=True),
            ),
            "selector": Selector("random", 1, 10.0),
        },
        file=site(
            forwarder="- name: b\n  addr: 198.51.100.8:9421\n  metadata:\n    weight: 20\n"
            "- name: c\n  addr: 198.51.100.9:9421\n  metadata:\n    backup: true"
        )
        + "\n    selector:\n      strategy: rand\n      maxFails: 1\n      failTimeout: 10s",
    ),
    Example(
        "by hash",
        {"selector": Selector("hash", 1, 30.0)},
        "tun://:0/198.51.100.7:9421,198.51.100.8:9421?net=10.66.0.2/24&strategy=hash",
    ),
)

AUTHERS = (
    Example(
        "a group",
        {"credentials": (Credential("10.66.0.2", b"a"), Credential("10.66.0.3", b"b"))},
        file=hub(
            "authers:\n- one\n- two",
            rest="authers:\n"
            "- name: one\n  auths:\n  - username: 10.66.0.2\n    password: a\n"
            "- name: two\n  auths:\n  - username: 10.66.0.3\n    password: b",
        ),
    ),
    Example(
        "every source, read again and again",
        {
            "authers": (
                AutherSpec(
                    "staff",
                    (),
                    FileSpec("/srv/people"),
                    RedisSpec("127.0.0.1", 6379, 1, "teller", b"654321", "vpn:people"),
                    HttpSpec("http://127.0.0.1:8000", 10.0),
                    None,
                    10.0,
                ),
            )
        },
        file=hub(
            "auther: staff",
            rest="authers:\n- name: staff\n  reload: 10s\n  file:\n    path: /srv/people\n"
            "  redis:\n    addr: 127.0.0.1:6379\n    db: 1\n    username: teller\n"
            "    password: 654321\n    key: vpn:people\n"
            "  http:\n    url: http://127.0.0.1:8000\n    timeout: 10s",
        ),
    ),
    Example(
        "a plugin",
        {"authers": (AutherSpec("staff", plugin=PluginSpec("http://127.0.0.1:8000/people")),)},
        file=hub(
            "auther: staff",
            rest="authers:\n- name: staff\n  plugin:\n    type: http\n"
            "    addr: http://127.0.0.1:8000/people",
        ),
    ),
)

ROUTERS = (
    Example(
        "inline, a single address among them",
        {
            "router": RouterSpec(
                "lans",
                (
                    route("10.71.0.1/32", "10.66.0.2"),
                    route("192.168.7.0/24", "10.66.0.3"),
                ),
            )
        },
        file=hub(
            metadata="router: lans",
            rest="routers:\n- name: lans\n  routes:\n"
            "  - dst: 10.71.0.1\n    gateway: 10.66.0.2\n"
            "  - dst: 192.168.7.0/24\n    gateway: 10.66.0.3",
        ),
    ),
    Example(
        "every source, read again and again",
        {
            "router": RouterSpec(
                "lans",
                (),
                FileSpec("/srv/lans"),
                RedisSpec("127.0.0.1", 6379, 1, "", b"654321", "vpn:lans", "hash"),
                HttpSpec("http://127.0.0.1:8000", 10.0),
                None,
                10.0,
            )
        },
        file=hub(
            metadata="router: lans",
            rest="routers:\n- name: lans\n  reload: 10s\n  file:\n    path: /srv/lans\n"
            "  redis:\n    addr: 127.0.0.1:6379\n    db: 1\n    password: 654321\n"
            "    key: vpn:lans\n    type: hash\n"
            "  http:\n    url: http://127.0.0.1:8000\n    timeout: 10s",
        ),
    ),
    Example(
        "a plugin",
        {"router": RouterSpec("lans", plugin=PluginSpec("http://127.0.0.1:8000/lans"))},
        file=hub(
            metadata="router: lans",
            rest="routers:\n- name: lans\n  plugin:\n    type: http\n"
            "    addr: http://127.0.0.1:8000/lans",
        ),
    ),
)

EXAMPLES = [
    pytest.param(example, form, id=f"{example.about}, {form}")
    for example in (*TUN, *SELECTORS, *AUTHERS, *ROUTERS)
    for form in ("url", "file")
    if getattr(example, form)
]


@pytest.mark.parametrize(("example", "form"), EXAMPLES)
def test_example(load, example, form):
    config = load(example.url) if form == "url" else load(yaml=example.file)
    (service,) = config.services
    found = {name: getattr(service, name) for name in example.expected}
    assert found == example.expected
    assert tuple(line.partition(": ")[2] for line in config.warnings) == example.warnings


@pytest.mark.parametrize("source", ["auther", "router"])
def test_the_grpc_plugin_is_refused(problems, source):
    entry = f"{source}s:\n- name: x\n  plugin:\n    type: grpc\n    addr: 127.0.0.1:8000"
    text = hub("auther: x", rest=entry) if source == "auther" else hub("", "router: x", entry)
    assert f'{source}s.plugin.type: "grpc" is not supported: write http' in problems(yaml=text)[0]


def test_a_device_over_a_chain(load):
    """Its server listens as relay over wss, its client has a chain."""
    config = load("tun://:9421?net=10.66.0.1/24", "relay+wss://:9443")
    assert [(relay.carrier, relay.port) for relay in config.relays] == [("wss", 9443)]
