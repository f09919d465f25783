"""Whatever the text, the answer is a configuration or a ConfigError of clean lines."""

from contextlib import suppress

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.config import render
from gateway.config.build import build
from gateway.config.options import OPTIONS
from gateway.config.sources import merge, read_tree
from gateway.config.tree import Report
from gateway.config.yaml import parse_json, parse_yaml
from gateway.errors import ConfigError

WORDS = st.sampled_from(
    [
        "net",
        "10.0.0.1/24",
        "fd00::1/64",
        "tun",
        "true",
        "10s",
        ":8421",
        "hub:1",
        "-1",
        "*",
        "0",
        "services",
        "handler",
        "listener",
        "metadata",
        "forwarder",
        "nodes",
        "addr",
        "authers",
        "auths",
        "username",
        "password",
        "auther",
        "auth",
        "type",
        "name",
        "chain",
        "selector",
        "sockopts",
        "mark",
        "routers",
        "router",
        "routes",
        "dst",
        "gateway",
        "file",
        "path",
        "redis",
        "http",
        "url",
        "plugin",
        "reload",
        "10.0.0.2",
        "socks5",
        "api",
        "log",
        "level",
        *(o.name for o in OPTIONS),
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | WORDS | st.text(max_size=5)
TREES = st.recursive(
    SCALARS, lambda t: st.lists(t, max_size=3) | st.dictionaries(WORDS, t, max_size=5), max_leaves=9
)
YAML_PIECES = st.sampled_from(
    [
        "a",
        ":",
        " ",
        "\n",
        "\t",
        "  ",
        "- ",
        "\n\t",
        "\n    ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "'",
        '"',
        "|",
        ">",
        "&a ",
        "*a",
        "<<: ",
        "#",
        "!!str ",
        "%",
        "? ",
        "---",
        "...",
        "\\U",
        "\r",
        "\x85",
        "~",
    ]
)


def check(parse, text):
    """Parse and build; no error but ConfigError may come out, and its lines are whole."""
    for ignore in (False, True):
        _check(parse, text, Report(ignore_unsupported=ignore))


def _check(parse, text, report):
    problems: tuple[str, ...] = ()
    try:
        config = build(merge([parse(text, "g", report)]), report)
        printed = render.explained(config, report.origins, 1)
        assert yaml.safe_load(printed) == render.effective(config)
    except ConfigError as error:
        problems = error.problems or ("",)
    assert all(line and line.isprintable() for line in (*problems, *report.warnings))


@given(st.text() | st.lists(YAML_PIECES).map("".join))
@example("a: &a {<<: *a}")
@example("\ta")
@example('"a\\nb": "\\e[0m"')
@example("a:\n\t- b\n\t- c")
@example("- - - - \t-")
def test_any_text_as_yaml(text):
    check(parse_yaml, text)


@given(st.text() | st.lists(st.sampled_from(list('{}[]",:1a\\ \n\tu'))).map("".join))
def test_any_text_as_json(text):
    check(parse_json, text)


@given(st.dictionaries(WORDS, TREES, max_size=5) | TREES)
def test_any_tree(tree):
    check(parse_yaml, yaml.safe_dump(tree))


SERVICES = st.fixed_dictionaries(
    {},
    optional={
        "name": TREES,
        "addr": TREES,
        "handler": st.fixed_dictionaries(
            {"type": st.just("tun")},
            optional={"auther": TREES, "authers": TREES, "auth": TREES, "metadata": TREES},
        ),
        "listener": st.fixed_dictionaries(
            {"type": st.just("tun"), "metadata": st.dictionaries(WORDS, SCALARS)}
        ),
        "forwarder": st.fixed_dictionaries(
            {"nodes": st.lists(TREES, max_size=2)}, optional={"selector": TREES}
        )
        | TREES,
        "interface": TREES,
        "sockopts": TREES,
        "metadata": TREES,
    },
)


@given(
    st.fixed_dictionaries(
        {"services": st.lists(SERVICES, max_size=3)},
        optional={
            "authers": st.lists(
                st.fixed_dictionaries({"name": WORDS, "auths": st.lists(TREES, max_size=2)}),
                max_size=2,
            ),
            "routers": st.lists(
                st.fixed_dictionaries(
                    {"name": WORDS},
                    optional={
                        "routes": st.lists(
                            st.dictionaries(st.sampled_from(["dst", "net", "gateway"]), TREES)
                        ),
                        "redis": TREES,
                        "reload": TREES,
                    },
                ),
                max_size=2,
            ),
            "log": TREES,
        },
    )
)
def test_any_services(tree):
    check(parse_yaml, yaml.safe_dump(tree))


URLS = st.builds(
    "tun://{}{}?{}".format,
    st.text(max_size=10) | st.sampled_from([":8421", ":0", "a:b@:1", "[::1]:5"]),
    st.text(max_size=10).map("/{}".format) | st.sampled_from(["", "/hub:1", "/:1,a:2"]),
    st.lists(
        st.builds("{}={}".format, WORDS | st.text(max_size=5), WORDS | st.text(max_size=9))
    ).map("&".join),
)


@given(st.lists(st.text() | URLS, min_size=1, max_size=3))
@example(["tun://[::1%25]:1?net=10.0.0.1/24"])
@example(["tun://:1?net=10.0.0.1/" + "9" * 5000])
def test_any_text_as_url(urls):
    report = Report()
    tree = read_tree(urls, [], report)
    with suppress(ConfigError):
        config = build(tree, report)
        assert config.services
        assert config.instance
    assert all(line and line.isprintable() for line in report.errors + report.warnings)
