"""Sources of an auther: what is said becomes a description, and what is wrong a line."""

from pathlib import Path

import pytest

from gateway.config import render
from gateway.config.model import AutherSpec, Credential, FileSpec, HttpSpec, PluginSpec, RedisSpec
from gateway.config.sources import read_tree
from gateway.config.tree import Report, plain

TEXT = """\
services:
- name: hub
  addr: :8421
  handler:
    type: tun
    {handler}
  listener: {{type: tun, metadata: {{net: "192.168.123.1/24,fd00::1/64"}}}}
authers:
{authers}
"""
ONE = "- name: one\n  auths:\n  - {username: 192.168.123.2, password: a}"


def text(handler: str, authers: str) -> str:
    return TEXT.format(handler=handler, authers=authers)


def auther(*lines: str) -> str:
    return "- name: one\n" + "\n".join(f"  {line}" for line in lines)


def spec(config) -> AutherSpec:
    [found] = config.services[0].authers
    return found


def test_every_place_and_its_defaults(load):
    config = load(
        yaml=text(
            "auther: one",
            auther(
                "auths: [{username: 192.168.123.2, password: a}]",
                "file: {path: /etc/users}",
                "redis: {addr: cache}",
                'http: {url: "http://h/p"}',
            ),
        )
    )
    assert spec(config) == AutherSpec(
        "one",
        (Credential("192.168.123.2", b"a"),),
        FileSpec("/etc/users"),
        RedisSpec("cache", 6379, 0, "", b"", "gost"),
        HttpSpec("http://h/p", 10.0),
        None,
        0.0,
    )
    assert config.services[0].credentials == ()
    assert config.warnings == ()


def test_every_field(load):
    config = load(
        yaml=text(
            "auther: one",
            auther(
                'redis: {addr: "[::1]:7000", db: 3, username: u, password: p, key: k}',
                'http: {url: "https://h/p?q=1", timeout: 1m30s}',
                "reload: 1500000000",
            ),
        )
    )
    found = spec(config)
    assert found.redis == RedisSpec("::1", 7000, 3, "u", b"p", "k")
    assert found.http == HttpSpec("https://h/p?q=1", 90.0)
    assert found.reload == 1.5


def test_a_plugin(load):
    config = load(
        yaml=text(
            "auther: one",
            auther(
                'plugin: {type: HTTP, addr: "https://p/auth", token: t, timeout: 500ms,'
                " tls: {secure: true, serverName: q}}",
            ),
        )
    )
    assert spec(config).plugin == PluginSpec(
        "https://p/auth", b"t", 0.5, verify=True, server_name="q"
    )
    assert config.warnings == ()


def test_the_files_of_a_plugins_tls(load):
    config = load(
        yaml=text(
            "auther: one",
            auther(
                'plugin: {type: http, addr: "https://p",'
                " tls: {secure: true, caFile: /ca, certFile: /c, keyFile: /k}}",
            ),
        )
    )
    assert spec(config).plugin == PluginSpec(
        "https://p", ca_file="/ca", cert_file="/c", key_file="/k"
    )
    assert config.warnings == ()


def test_a_plugin_makes_the_rest_idle(load):
    config = load(
        yaml=text(
            "auther: one",
            auther(
                "auths: [{username: 192.168.123.2, password: a}]",
                "file: {path: /u}",
                'plugin: {type: http, addr: "http://p"}',
            ),
        )
    )
    assert spec(config).inline == ()
    assert spec(config).file is None
    assert config.warnings == (
        "g.yaml:10:3: authers.auths: ignored, as a plugin is given",
        "g.yaml:11:3: authers.file: ignored, as a plugin is given",
    )


def test_a_group_of_a_list_and_a_file(load):
    """The list is merged as ever; who has other sources stays apart."""
    second = "- name: two\n  file: {path: /u}\n  auths: [{username: 192.168.123.3, password: b}]"
    config = load(yaml=text("authers: [one, two]", f"{ONE}\n{second}"))
    assert config.services[0].credentials == (Credential("192.168.123.2", b"a"),)
    assert spec(config).name == "two"
    assert spec(config).inline == (Credential("192.168.123.3", b"b"),)


def test_a_relative_path_is_meant_from_the_file_that_names_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("conf").mkdir()
    Path("conf/g.yaml").write_text("authers: [{name: one, file: {path: users}}]")
    tree = read_tree(
        [], ["conf/g.yaml", '{"authers": [{"name": "two", "file": {"path": "u"}}]}'], Report()
    )
    assert plain(tree) == {
        "authers": [
            {"name": "one", "file": {"path": str(tmp_path / "conf" / "users")}},
            {"name": "two", "file": {"path": "u"}},
        ]
    }


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["file: {path: ''}"], "10:3: authers.file.path: missing: write the path of a text file"),
        (["file: users"], "10:9: authers.file: expected a mapping of keys to values here"),
        (["redis: {db: 1}"], "10:3: authers.redis.addr: missing: write the server's HOST:PORT"),
        (
            ["redis: {addr: h, db: x}"],
            (
                '10:24: authers.redis.db: "x" is not a whole number: '
                "write a whole number from 0 to 2147483647"
            ),
        ),
        (
            ["http: {url: 'ftp://u:secret@h'}"],
            "10:15: authers.http.url: is not a URL: write http://HOST/PATH or https://HOST/PATH",
        ),
        (
            ["file: {path: /u}", 'reload: "10"'],
            '11:11: authers.reload: "10" is not a duration: write for example 10s or 1m30s',
        ),
        (["file: {path: /u}", "reload: -1s"], '11:11: authers.reload: "-1s" is below 0'),
        (
            ["plugin: {addr: 'http://h'}"],
            '10:3: authers.plugin.type: "grpc", the default of GOST, is not supported: write http',
        ),
        (
            ["plugin: {type: grpc, addr: 'http://h'}"],
            '10:12: authers.plugin.type: "grpc" is not supported: write http',
        ),
        (
            ["plugin: {type: http, addr: 'http://h', tls: {secure: true, keyFile: x}}"],
            "10:42: authers.plugin.tls.keyFile: has no use without certFile",
        ),
    ],
)
def test_problems(problems, lines, problem):
    assert problems(yaml=text("auther: one", auther(*lines))) == [f"g.yaml:{problem}"]


@pytest.mark.parametrize(
    ("lines", "warning"),
    [
        (
            ["auths: [{username: 192.168.123.2, password: a}]", "reload: 10s"],
            "11:3: authers.reload: has no use without file, redis or http",
        ),
        (
            ["redis: {addr: h, type: set}"],
            "10:20: authers.redis.type: an auther reads a hash",
        ),
        (
            ["plugin: {type: http, addr: 'https://h', tls: {secure: false}}"],
            "10:43: authers.plugin.tls: anybody can pose as the plugin: write secure: true",
        ),
    ],
)
def test_warnings(load, lines, warning):
    assert load(yaml=text("auther: one", auther(*lines))).warnings == (f"g.yaml:{warning}",)


def test_what_is_in_effect_shows_no_secret(load):
    document = auther(
        "auths: [{username: 192.168.123.2, password: geheim}]",
        "file: {path: /etc/users}",
        "redis: {addr: cache, username: u, password: geheim}",
        'http: {url: "https://u:geheim@h/p?k=geheim", timeout: 1500ms}',
        "reload: 1m",
    )
    plugin = '- name: two\n  plugin: {type: http, addr: "http://p", token: geheim}'
    config = load(yaml=text("authers: [one, two]", f"{document}\n{plugin}"))
    shown = render.effective(config)
    assert "geheim" not in str(shown)
    assert shown["services"][0]["handler"]["authers"] == ["one", "two"]
    assert shown["authers"] == [
        {
            "name": "one",
            "auths": [{"username": "192.168.123.2", "password": "***"}],
            "file": {"path": "/etc/users"},
            "redis": {
                "addr": "cache:6379", "db": 0, "username": "u", "password": "***", "key": "gost",
            },
            "http": {"url": "https://h/p?***", "timeout": "1.5s"},
            "reload": "60s",
        },
        {
            "name": "two",
            "plugin": {"type": "http", "addr": "http://p", "token": "***", "timeout": "5s"},
        },
    ]  # fmt: skip
