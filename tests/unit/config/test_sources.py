"""Files, standard input, inline JSON, default places, and how they are merged."""

import io
import json
import sys

import pytest

from gateway.config.build import build
from gateway.config.sources import default_file, merge, read_tree
from gateway.config.tree import Report, plain
from gateway.config.yaml import parse_yaml

HUB = """\
services:
- addr: :{port}
  handler: {{type: tun, auther: sites}}
  listener: {{type: tun, metadata: {{net: 10.{port}.0.1/24}}}}
"""
SITES = "authers: [{name: sites, auths: [{username: 10.1.0.2, password: a}]}]\n"


def errors(*configs):
    report = Report()
    read_tree([], configs, report)
    return report.errors


def test_sources_are_joined_from_left_to_right(tmp_path):
    (tmp_path / "a.yaml").write_text(HUB.format(port=1) + "log: {level: debug}\n")
    (tmp_path / "b.yml").write_text(HUB.format(port=2) + SITES + "log: {level: error}\n")
    report = Report()
    tree = read_tree(
        ["tun://:3?net=10.3.0.1/24"], [f"{tmp_path}/a.yaml", f"{tmp_path}/b.yml"], report
    )
    config = build(tree, report)
    assert [s.port for s in config.services] == [1, 2, 3]
    assert [s.name for s in config.services] == ["service-0", "service-1", "service-2"]
    assert [s.place for s in config.services] == [
        f"{tmp_path}/a.yaml:2:3",
        f"{tmp_path}/b.yml:2:3",
        "-L #1",
    ]
    assert config.log_level == "error"
    assert config.instance == "10.1.0.1"


def test_lists_are_joined_and_the_rest_is_replaced():
    trees = [
        parse_yaml(text, "g", Report())
        for text in ("a: [1]\nb: {x: 1}\nc: 1", "A: [2]\nB: {y: 1}\nd: 1")
    ]
    assert plain(merge(trees)) == {"a": [1, 2], "B": {"y": 1}, "c": 1, "d": 1}


def test_inline_json():
    report = Report()
    text = '{"services": [{"addr": ":1", "handler": {"type": "tun"}, "listener": {"type": "tun", '
    tree = read_tree([], [text + '"metadata": {"net": "10.0.0.1/24"}}}]}'], report)
    assert build(tree, report).services[0].place == "-C #1:1:15"


@pytest.mark.parametrize("text", [SITES, '{"authers": [{"name": "sites"}]}'])
def test_standard_input(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    report = Report()
    tree = read_tree([], ["-"], report)
    assert tree.value["authers"].place.startswith("<stdin>:1:")
    assert report.errors == []


def test_a_byte_order_mark_is_no_trouble(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + SITES.encode())
    assert errors(f"{tmp_path}/a.yaml") == []


def test_what_cannot_be_read(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe9\n")
    (tmp_path / "a.toml").write_text("")
    (tmp_path / "bad.json").write_text("{,}")
    assert errors(
        f"{tmp_path}/none.yaml",
        f"{tmp_path}",
        f"{tmp_path}/latin.yaml",
        f"{tmp_path}/a.toml",
        f"{tmp_path}/bad.json",
        "http://u:geheim@127.0.0.1:1/gost.yaml?k=geheim",
        "a\0b",
    ) == [
        f"-C {tmp_path}/none.yaml: cannot be read: No such file or directory",
        f"-C {tmp_path}: cannot be read: Is a directory",
        f"{tmp_path}/latin.yaml:2: the text is not UTF-8",
        f"-C {tmp_path}/a.toml: a configuration is .yaml, .yml or .json",
        f"{tmp_path}/bad.json:1:2: not JSON: expecting property name enclosed in double quotes",
        "-C http://127.0.0.1:1/gost.yaml: cannot be read: Connection refused",
        r"-C a\x00b: cannot be read: embedded null byte",
    ]


def test_default_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "home"
    environment = {"HOME": str(home)}
    etc = tmp_path / "etc"
    assert default_file(environment, etc) is None
    (tmp_path / "gost.json").write_text("{}")
    assert str(default_file(environment, etc)) == "gost.json"
    (tmp_path / "gateway.yml").write_text("")
    assert str(default_file(environment, etc)) == "gateway.yml"
    (home / ".gost").mkdir(parents=True)
    (home / ".gost" / "gost.yaml").write_text("")
    assert default_file(environment, etc) == home / ".gost" / "gost.yaml"
    assert str(default_file({}, etc)) == "gateway.yml"
    for name in ("gost/gost.yml", "gateway/gost.json", "gateway/gateway.json"):
        (etc / name).parent.mkdir(parents=True, exist_ok=True)
        (etc / name).write_text("")
        assert default_file(environment, etc) == etc / name


def test_names_are_given_to_those_without(tmp_path):
    text = "services: [{name: service-0, addr: a}, {addr: b}, {name: '', addr: c}, x]"
    (tmp_path / "a.yaml").write_text(text)
    tree = read_tree(["tun://:1"], [f"{tmp_path}/a.yaml"], Report())
    names = [s["name"] if isinstance(s, dict) else s for s in plain(tree)["services"]]
    assert names == ["service-0", "service-1", "service-2", "x", "service-3"]


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ({"services": [{"name": "b"}]}, {"services": [{"name": "a"}, {"name": "b"}]}),
        ({"services": None}, {"services": [{"name": "a"}]}),
        ({"log": {"format": "json"}}, {"log": {"format": "json"}}),
        ({"log": None}, {"log": {"level": "info"}}),
        ({"log": {}}, {"log": {}}),
        ({"api": {"addr": ":2"}}, {"api": {"addr": ":2"}}),
        ({"TLS": {"certFile": "x"}}, {"TLS": {"certFile": "x"}}),
    ],
)
def test_merging(tmp_path, second, expected):
    """Lists are joined, of anything else the later counts as a whole; null says nothing."""
    first = {"services": [{"name": "a"}], "log": {"level": "info"}, "api": {"addr": ":1"}}
    paths = []
    for name, document in (("1.json", first), ("2.json", second)):
        (tmp_path / name).write_text(json.dumps(document))
        paths.append(str(tmp_path / name))
    merged = plain(read_tree([], paths, Report()))
    assert merged == {**first, **expected}
