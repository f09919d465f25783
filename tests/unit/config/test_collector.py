"""The collector rests where it has nothing to find, and no longer."""

import gc

import pytest

from gateway.config import build, render, sources
from gateway.config.collector import collector_at_rest
from gateway.config.tree import Report
from gateway.errors import ConfigError


@pytest.fixture(autouse=True)
def enabled():
    gc.enable()
    yield
    gc.enable()


def test_it_rests_inside_only():
    with collector_at_rest():
        assert not gc.isenabled()
        with collector_at_rest():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_who_has_turned_it_off_finds_it_off():
    gc.disable()
    with collector_at_rest():
        pass
    assert not gc.isenabled()


def test_it_rests_while_a_configuration_is_read_and_shown(monkeypatch):
    seen = []

    def watch(module, name):
        inner = getattr(module, name)

        def outer(*args):
            seen.append((name, gc.isenabled()))
            return inner(*args)

        monkeypatch.setattr(module, name, outer)

    watch(sources, "parse_listen")
    watch(build, "build_service")
    watch(render, "describe")
    report = Report()
    tree = sources.read_tree(["tun://:8421?net=10.0.0.1/24"], [], report)
    assert gc.isenabled()
    config = build.build(tree, report)
    assert gc.isenabled()
    render.explained(config, report.origins, 1)
    assert gc.isenabled()
    assert seen == [("parse_listen", False), ("build_service", False), ("describe", False)]


def test_it_works_again_after_an_error():
    report = Report()
    with pytest.raises(ConfigError):
        build.build(sources.read_tree([], [], report), report)
    assert gc.isenabled()
