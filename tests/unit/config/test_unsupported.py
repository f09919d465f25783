"""A configuration with more in it than a tunnel: refused in one go, or run without."""

import pytest

from gateway.config.build import build
from gateway.config.sources import read_tree
from gateway.config.tree import Report
from gateway.errors import ConfigError
from gateway.protocol.forwarding import Role

MIXED = """\
services:
- name: proxy
  addr: :1080
  handler: {type: socks5, limiter: fast}
  listener: {type: tcp}
- name: hub
  addr: :8421
  admission: office
  handler: {type: tun, observer: eye}
  listener: {type: tun, metadata: {net: 192.168.123.1/24, limiter.in: 1MB}}
- name: web
  addr: :8080
  handler: {type: http}
api: {addr: ":18080"}
admissions: [{name: office}]
resolvers: []
metrics: {addr: ":9000"}
"""
LIST = [
    (
        "8 things here are not supported by this program: leave them out, or run the rest with "
        "--ignore-unsupported"
    ),
    "  g.yaml:14:1: api",
    "  g.yaml:15:1: admissions",
    "  g.yaml:17:1: metrics",
    '  g.yaml:2:3: a service of "socks5" over "tcp"',
    "  g.yaml:8:3: admission",
    "  g.yaml:9:24: handler.observer",
    "  g.yaml:10:59: limiter.in",
    '  g.yaml:11:3: a service of "http" over "tcp"',
]


def run_the_rest(tmp_path, text="", listens=()):
    report = Report(ignore_unsupported=True)
    (tmp_path / "g.yaml").write_text(text)
    tree = read_tree(listens, [str(tmp_path / "g.yaml")] if text else [], report)
    config = build(tree, report)
    return [s.name for s in config.services], [
        line.replace(f"{tmp_path}/", "") for line in config.warnings
    ]


def test_all_of_it_in_one_message(problems):
    assert problems(yaml=MIXED) == LIST


def test_after_the_mistakes(problems):
    text = MIXED.replace("192.168.123.1/24", "192.168.123.1")
    assert problems(yaml=text)[1:] == [line.replace("10:59", "10:56") for line in LIST]
    assert problems(yaml=text)[0].startswith('g.yaml:10:41: net: "192.168.123.1" has no length')


def test_the_rest_runs_with_a_warning_each(tmp_path):
    names, warnings = run_the_rest(tmp_path, MIXED)
    assert names == ["hub"]
    assert warnings == [
        f"{line.strip()}: not supported by this program: ignored" for line in LIST[1:]
    ]


def test_urls(tmp_path):
    names, warnings = run_the_rest(
        tmp_path,
        listens=[":8080", "socks5+wss://u:p@:1080?x=1", "tun://:8421?net=10.0.0.1/24&climiter=5"],
    )
    assert names == ["service-0"]
    assert warnings == [
        f"{what}: not supported by this program: ignored"
        for what in (
            '-L #1: ":8080" has no scheme (a tunnel begins with tun://), a proxy (auto) in GOST',
            '-L #2: a service of "socks5+wss"',
            "-L #3: climiter",
        )
    ]


def test_nothing_of_it_is_ours(tmp_path):
    with pytest.raises(ConfigError) as caught:
        run_the_rest(tmp_path, listens=["socks5://:1080"])
    assert caught.value.problems == (
        "the command line: services: there is none: write one, or give -L",
    )


def test_a_chain_is_never_ignored(tmp_path):
    """Without it the packets would travel in the clear."""
    text = MIXED.replace("{type: tun, observer: eye}", "{type: tun, chain: c}")
    with pytest.raises(ConfigError, match=r'chain: there is no chain "c"'):
        run_the_rest(tmp_path, text)


@pytest.mark.parametrize(
    ("handler", "listener", "line"),
    [
        ("{type: tun}", "{type: tcp}", 'listener.type: "tcp" cannot be with tun: write tun'),
        ("{type: tun}", "{}", "listener.type: missing: write tun"),
        ("{}", "{type: tun}", "handler.type: missing: write tun"),
        ("{type: [tun]}", "{type: tun}", "handler.type: expected one value: write tun"),
    ],
)
def test_half_a_tunnel_is_a_mistake(problems, handler, listener, line):
    text = f"services: [{{addr: ':1', handler: {handler}, listener: {listener}}}]"
    assert any(line in problem for problem in problems(yaml=text))


def test_types_have_no_case(load):
    text = "services: [{addr: ':1', handler: {type: TUN}, listener: {type: Tun, metadata: {net: "
    assert load(yaml=text + "10.0.0.1/24}}}]").services[0].role is Role.SERVER
    assert load("TUN+tun://:1?net=10.0.0.1/24").services[0].role is Role.SERVER


@pytest.mark.parametrize(
    ("service", "line"),
    [
        (
            "handler: {type: tun}, listener: {type: tun, auther: x, metadata: METADATA}",
            "unknown key listener.auther: auther is a key of handler",
        ),
        (
            "authers: [x], handler: {type: tun}, listener: {type: tun, metadata: METADATA}",
            "unknown key authers: authers is a key of handler",
        ),
        (
            "handler: {type: tun, metadata: {auther: x}}, listener: LISTENER",
            (
                "auther: is no option: write it in a file, as a key of handler, or "
                "ADDRESS:PASSWORD@ in a URL"
            ),
        ),
    ],
)
def test_who_may_join_is_never_passed_over(tmp_path, service, line):
    """GOST ignores an auther that stands elsewhere, and lets everybody in."""
    service = service.replace("LISTENER", "{type: tun, metadata: METADATA}")
    service = service.replace("METADATA", "{net: 192.168.123.1/24}")
    text = f"services:\n- {{addr: ':8421', {service}}}\nauthers: [{{name: x}}]\n"
    with pytest.raises(ConfigError) as raised:
        run_the_rest(tmp_path, text)
    assert line in str(raised.value)
