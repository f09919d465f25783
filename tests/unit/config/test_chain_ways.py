"""By which device and with which mark a chain's sockets leave, said of hops and of nodes."""

from pathlib import Path

import pytest

from gateway.config.build import build
from gateway.config.sources import read_tree
from gateway.config.tree import Report
from gateway.errors import ConfigError

CLIENT = "tun://:0/:8421?net=192.168.123.2/24&keepAlive=true"


HOP = """\
services:
- name: site
  addr: ":0"
  handler: {{type: tun, chain: out}}
  listener: {{type: tun, metadata: {{net: 192.168.123.2/24}}}}
  forwarder: {{nodes: [{{addr: "hub:8421"}}]}}
chains:
- name: out
  hops:
  - name: first
    {hop}
    nodes:
    - {{addr: "a:1", connector: {{type: relay}}, dialer: {{type: tls}}{node}}}
"""


def way(tmp_path: Path, hop: str, node: str = "") -> tuple[str | None, int]:
    (tmp_path / "g.yaml").write_text(HOP.format(hop=hop, node=node))
    report = Report()
    made = build(read_tree([], [str(tmp_path / "g.yaml")], report), report)
    assert made.services[0].chain is not None
    (found,) = made.services[0].chain.hops[0].nodes
    return found.interface, found.mark


@pytest.mark.parametrize(
    ("hop", "node", "expected"),
    [
        ("", "", (None, 0)),
        ("interface: eth0", "", ("eth0", 0)),
        ("metadata: {interface: eth0, so_mark: 7}", "", ("eth0", 7)),
        ("sockopts: {mark: 8}", ", interface: eth1", ("eth1", 8)),
        ("metadata: {so_mark: 7}\n    sockopts: {mark: 8}", "", (None, 8)),
        ("sockopts: {mark: 8}", ", sockopts: {mark: 9}", (None, 9)),
        ("sockopts: {mark: 8}", ", metadata: {so_mark: 10, interface: eth2}", ("eth2", 10)),
    ],
)
def test_the_way_of_a_hops_sockets(tmp_path, hop, node, expected):
    """A node's own word counts before its hop's."""
    assert way(tmp_path, hop, node) == expected


def test_the_way_in_a_url():
    marks, _ = marks_of("relay+tls://h:1?so_mark=7&interface=eth0")
    assert marks == [("eth0", 7)]
    with pytest.raises(ConfigError, match='so_mark: "-1" is out of range'):
        marks_of("relay+tls://h:1?so_mark=-1")


def test_a_later_hop_has_no_socket():
    marks, report = marks_of("relay+tls://a:1?so_mark=6", "relay+tls://b:2?so_mark=7")
    assert marks == [(None, 6), (None, 0)]
    assert any("only the first hop has a socket" in line for line in report.warnings)


def marks_of(*forwards: str) -> tuple[list[tuple[str | None, int]], Report]:
    report = Report()
    made = build(read_tree([CLIENT], [], report, forwards), report)
    assert made.services[0].chain is not None
    nodes = [hop.nodes[0] for hop in made.services[0].chain.hops]
    return [(node.interface, node.mark) for node in nodes], report
