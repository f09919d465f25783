"""What -O and -t print, and that it can be read again."""

import json

import pytest
import yaml

from gateway.config import render
from gateway.config.build import build
from gateway.config.sources import read_tree
from gateway.config.tree import Report, plain

SERVER = (
    "tun://192.168.123.2:geheim@:8421?net=192.168.123.1/24,fd00::1/64&name=hub&workers=2"
    "&routes=10.1.0.0/16%20192.168.123.9&user=nobody&offload=off&mss=off&accept=10.0.0.0/8"
)
CLIENT = (
    "tun://:0/[2001:db8::1]:8421,hub:9?net=10.0.0.2/24&keepAlive=true&ttl=1m30s&passphrase=geheim"
    "&mtu=1300&nat=true&advertise=off"
)


def read(listens, configs):
    report = Report()
    tree = read_tree(listens, configs, report)
    return tree, build(tree, report)


def without_places(config):
    return (
        [
            (
                s.name,
                s.role,
                s.host,
                s.port,
                s.targets,
                s.nets,
                s.device,
                s.mtu,
                s.routes,
                s.keepalive,
                s.ttl,
                s.passphrase,
                s.workers,
                s.offload,
                s.mss,
                s.source_check,
                s.nat,
                s.advertise,
                s.accept,
                s.credentials,
            )
            for s in config.services
        ],
        config.instance,
        config.user,
    )


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_what_is_converted_means_the_same(tmp_path, form):
    tree, config = read([SERVER, CLIENT], [])
    file = tmp_path / f"out.{form}"
    file.write_text(render.render(plain(tree), form))
    _, again = read([], [str(file)])
    assert without_places(again) == without_places(config)
    assert again.warnings == ()


def test_the_converter_prints_secrets_as_gost_does():
    tree, _ = read([CLIENT], [])
    assert plain(tree) == {
        "services": [
            {
                "name": "service-0",
                "addr": ":0",
                "handler": {
                    "type": "tun",
                    "metadata": {
                        "keepAlive": "true",
                        "ttl": "1m30s",
                        "passphrase": "geheim",
                        "advertise": "off",
                    },
                },
                "listener": {
                    "type": "tun",
                    "metadata": {"net": "10.0.0.2/24", "mtu": "1300", "nat": "true"},
                },
                "forwarder": {
                    "nodes": [
                        {"name": "target-0", "addr": "[2001:db8::1]:8421"},
                        {"name": "target-1", "addr": "hub:9"},
                    ]
                },
            }
        ]
    }


def test_texts_that_yaml_1_1_would_take_for_something_else_are_quoted():
    document = {"a": ["off", "yes", "1:30", "0123", "1e3", "12", "~", "true", "é", "<<", "="]}
    for form in ("yaml", "json"):
        text = render.render(document, form)
        assert text.isascii()
        assert yaml.safe_load(text) == document


def test_equal_parts_are_written_out():
    part = {"x": ["y"]}
    assert "&" not in render.render({"a": part, "b": part}, "yaml")


def test_effective_hides_secrets_and_fills_in_defaults():
    _, config = read([SERVER, CLIENT], [])
    document = render.effective(config)
    assert "geheim" not in json.dumps(document)
    assert document == {
        "services": [
            {
                "name": "service-0",
                "addr": ":8421",
                "handler": {
                    "type": "tun",
                    "auther": "service-0",
                    "metadata": {"sourceCheck": True, "accept": ["10.0.0.0/8"]},
                },
                "listener": {
                    "type": "tun",
                    "metadata": {
                        "net": "192.168.123.1/24,fd00::1/64",
                        "name": "hub",
                        "mtu": 1420,
                        "routes": ["10.1.0.0/16 192.168.123.9"],
                        "workers": 2,
                        "offload": "off",
                        "mss": "off",
                    },
                },
                "metadata": {"user": "nobody"},
            },
            {
                "name": "service-1",
                "addr": ":0",
                "handler": {
                    "type": "tun",
                    "metadata": {
                        "keepAlive": True,
                        "ttl": "90s",
                        "passphrase": "***",
                        "advertise": "off",
                    },
                },
                "listener": {
                    "type": "tun",
                    "metadata": {
                        "net": "10.0.0.2/24",
                        "mtu": 1300,
                        "offload": "auto",
                        "mss": "auto",
                        "nat": True,
                    },
                },
                "forwarder": {
                    "nodes": [
                        {"name": "target-0", "addr": "[2001:db8::1]:8421"},
                        {"name": "target-1", "addr": "hub:9"},
                    ],
                    "selector": {"strategy": "round", "maxFails": 1, "failTimeout": "10s"},
                },
                "metadata": {"user": "nobody"},
            },
        ],
        "authers": [
            {"name": "service-0", "auths": [{"username": "192.168.123.2", "password": "***"}]}
        ],
        "log": {"level": "info"},
    }


def test_what_is_in_effect_can_be_read_again(tmp_path):
    file = tmp_path / "out.yaml"
    _, config = read([SERVER, CLIENT], [])
    file.write_text(render.render(render.effective(config), "yaml"))
    _tree, again = read([], [str(file)])
    assert render.effective(again) == render.effective(config)
    assert again.warnings == ()
