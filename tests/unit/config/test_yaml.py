"""YAML and JSON into trees with places; tabs by the rules."""

import pytest

from gateway.config import large
from gateway.config.tree import Report, plain
from gateway.config.yaml import _Loader, parse_json, parse_yaml
from gateway.errors import ConfigError


def read(text, parse=parse_yaml):
    report = Report()
    return plain(parse(text, "g", report)), report


def broken(text, parse=parse_yaml):
    with pytest.raises(ConfigError) as caught:
        parse(text, "g", Report())
    (line,) = caught.value.problems
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("True", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("12", 12),
        ("-3", -3),
        ("0", 0),
        ("0123", "0123"),
        ("0x10", "0x10"),
        ("1.50", "1.50"),
        ("1e3", "1e3"),
        ("1:30", "1:30"),
        ("2026-11-22", "2026-11-22"),
        ('"12"', "12"),
        ("'off'", "off"),
        ("!!str 12", "12"),
        ("!!int 12", 12),
        ("!!bool off", "off"),
        ("=", "="),
        ("9" * 25, "9" * 25),
    ],
)
def test_scalars(text, value):
    assert read(f"k: {text}\n")[0] == {"k": value}


def test_places():
    tree = parse_yaml("a:\n- b: 1\n  c: 2\n", "g", Report())
    entry = tree.value["a"]
    inner = entry.node.value[0].value["c"]
    assert (entry.place, inner.place, inner.node.place) == ("g:1:1", "g:3:3", "g:3:6")


def test_keys_are_compared_without_case_and_kept_as_written():
    tree = parse_yaml("keepAlive: true", "g", Report())
    assert list(tree.value) == ["keepalive"]
    assert plain(tree) == {"keepAlive": True}


def test_doubles_are_reported():
    _, report = read("a: 1\nb: 2\nA: 3\n")
    assert report.errors == ["g:3:1: A: given twice, first at 1:1"]


def test_anchors_and_merge_keys():
    tree, report = read("a: &x {p: 1, q: 2}\nb:\n  <<: *x\n  q: 3\nc: *x\n")
    assert tree == {"a": {"p": 1, "q": 2}, "b": {"q": 3, "p": 1}, "c": {"p": 1, "q": 2}}
    assert not report.errors


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("<<: 5", "g:1:5: <<: expected a mapping or a list of mappings"),
        ("? [a]\n: 1", "g:1:3: a key must be a plain word"),
        ("a: !!set {b}", None),
        ("a: !!binary aGk=", "g:1:4: the tag tag:yaml.org,2002:binary has no meaning here"),
    ],
)
def test_what_has_no_place(text, line):
    _, report = read(text)
    assert line is None or report.errors == [line]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "a: b: c",
            (
                "g:1:5: not YAML: mapping values are not allowed here: a blank may be missing "
                "behind a ':' before, or quotes around a value with ': ' in it"
            ),
        ),
        (
            "a: @b",
            (
                "g:1:4: not YAML: found character '@' that cannot start any token: a value that "
                "begins with it needs quotes"
            ),
        ),
        (
            "a: *:8421",
            (
                "g:1:5: not YAML: expected alphabetic or numeric character, but found ':': a value "
                "that begins with * or & needs quotes"
            ),
        ),
        (
            "a:\n  b: 1\n c: 2",
            (
                "g:3:2: not YAML: expected <block end>, but found '<block mapping start>': the "
                "line is not indented as those around it"
            ),
        ),
        (
            'a: "b',
            "g:1:6: not YAML: found unexpected end of stream: a quote is opened and not closed",
        ),
        ("a: [1", "g:1:6: not YAML: expected ',' or ']', but got '<stream end>'"),
        (
            "a: 1\n---\nb: 2",
            "g:2:1: not YAML: expected a single document in the stream but found another document",
        ),
        ("a: *b", "g:1:4: not YAML: found undefined alias 'b'"),
        ("a: &x [*x]", "g:1:4: an alias refers to what it is part of"),
        ("a: \x01", "g:1:4: not YAML: the character U+0001 is not allowed"),
        ('a: "\\UFFFFFFFF"', "g: not YAML: an escape or a number is out of range"),
        ("[" * 5000, "g: nested too deeply"),
    ],
)
def test_broken_yaml(text, line):
    assert broken(text) == line


def test_aliases_of_aliases():
    """Each list is twice the one before: a few lines, more values than there is memory."""
    lines = [f"- &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 64)]
    assert broken("\n".join(["- &a0 [x]", *lines])) == (
        "g:15:3: aliases repeat this and others to more than 100,000 values:"
        " name fewer, or write them out"
    )


def test_aliases_may_repeat_what_is_large():
    text = f"a: &a [{', '.join('x' * 1000)}]\nb: [{', '.join(['*a'] * 100)}]"
    value, _ = read(text)
    assert value == {"a": ["x"] * 1000, "b": [["x"] * 1000] * 100}
    assert "aliases repeat" in broken(text + "\nc: *a")


def test_nothing_is_an_empty_mapping():
    for text in ("", "# only a comment\n", "---\n", "\ufeff"):
        assert read(text)[0] in ({}, None)


@pytest.mark.parametrize(
    ("text", "tree", "warned"),
    [
        ("m:\n    net: 1\n\troute: 2\n", {"m": {"net": 1, "route": 2}}, ["g:3:1"]),
        ("m:\n  net: 1\n  k:\n      a: 1\n\t  b: 2\n", None, ["g:5:1"]),
        ("m:\n      a: 1\n  \tb: 2\n", {"m": {"a": 1, "b": 2}}, ["g:3:3"]),
        ("s:\n    - a: 1\n\t- b: 2\n", {"s": [{"a": 1}, {"b": 2}]}, ["g:3:1"]),
        ("s:\n    - a: 1\n\t  b: 2\n", {"s": [{"a": 1, "b": 2}]}, ["g:3:1"]),
        ("m:\n        k:\n            a: 1\n\t\tb: 2\n", None, ["g:4:1"]),
        ("m:\n    a: 1\n\tb: 2\n\tc: 3\n", {"m": {"a": 1, "b": 2, "c": 3}}, ["g:3:1", "g:4:1"]),
    ],
)
def test_a_leading_tab_is_four_columns(text, tree, warned):
    found, report = read(text)
    assert tree is None or found == tree
    message = "a tab in the indentation was read as 4 columns: use spaces"
    assert report.warnings == [f"{place}: {message}" for place in warned]
    assert report.errors == []


@pytest.mark.parametrize(
    ("text", "place", "column"),
    [
        ("m:\n  net: 1\n\troute: 2\n", "g:3:1", 5),
        ("m:\n\tnet: 1\n", "g:2:1", 5),
        ("m:\n  k:\n\t\ta: 1\n", "g:3:1", 9),
        ("m: text\n\tgoes: on\n", "g:2:1", 5),
        ("m: text\n\tgoes on\n", "g:2:1", 5),
        ("s:\n  - a\n \t- b\n", "g:3:2", 6),
        ("\ta: 1\n", "g:1:1", 5),
    ],
)
def test_a_leading_tab_that_fits_nothing(text, place, column):
    assert broken(text) == (
        f"{place}: a tab in the indentation counts as 4 columns, and column {column} is no "
        "indentation that is open here: use spaces"
    )


def test_another_error_on_a_line_with_a_tab():
    line = broken("m:\n    a: 1\n\tb: c: d\n")
    assert line.startswith("g:3:1: not YAML: ")
    assert line.endswith("; the line begins with a tab: use spaces")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a:\t1\t# note\n", {"a": 1}),
        ("a: 1\t\nb: 2\n", {"a": 1, "b": 2}),
        ("a: 1\n\t\n\t# note\nb: 2\n", {"a": 1, "b": 2}),
        ("a: [1,\n\t2,\n\t\t3]\n", {"a": [1, 2, 3]}),
        ("a: {b: 1,\n\tc: 2}\n", {"a": {"b": 1, "c": 2}}),
        ('a: "x\n\ty"\n', {"a": "x y"}),
        ("a: |\n  x\n  \ty\nb: 1\n", {"a": "x\n\ty\n", "b": 1}),
    ],
)
def test_tabs_that_indent_nothing(text, tree):
    found, report = read(text)
    assert found == tree
    assert report.warnings == []


def test_columns_behind_a_tab_are_those_of_the_text():
    tree = parse_yaml("m:\n    a: 1\n\tb: 2\n", "g", Report())
    entry = tree.value["m"].node.value["b"]
    assert (entry.place, entry.node.place) == ("g:3:2", "g:3:5")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ('{"a":1,"b":[true,null,"x"]}', {"a": 1, "b": [True, None, "x"]}),
        ('{\n\t"a": {\n\t\t"b": "c\\td"\n\t}\n}', {"a": {"b": "c\td"}}),
        ('{"a": "\\ud83d\\ude00", "b": "\\/"}', {"a": "\U0001f600", "b": "/"}),
        ('{"a": 1.5}', {"a": "1.5"}),
        ('{"a": "# no comment", "b": "- x: y"}', {"a": "# no comment", "b": "- x: y"}),
    ],
)
def test_json(text, tree):
    found, report = read(text, parse_json)
    assert found == tree
    assert report.warnings == report.errors == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{", "g:1:2: not JSON: expecting property name enclosed in double quotes"),
        ('{\n"a": x}', "g:2:6: not JSON: expecting value"),
        ("[" * 100000, "g: nested too deeply"),
    ],
)
def test_broken_json(text, line):
    assert broken(text, parse_json) == line


def test_json_places_and_doubles():
    _, report = read('{"a": 1,\n "A": 2}', parse_json)
    assert report.errors == ["g:2:2: A: given twice, first at 1:2"]


def _places(node):
    """Every place of a tree, in order."""
    yield node.place
    if isinstance(node.value, dict):
        for entry in node.value.values():
            yield from (entry.place, *_places(entry.node))
    for item in node.value if isinstance(node.value, tuple) else ():
        yield from _places(item)


SAMPLE = """
- &one {a: 1, b: [true, ~, "x: y", 'it''s'], "c": -3} # words
- <<: *one
  d: |
    two
      lines
  e: >-
    folded
    text
- off: 0x10
  \u00e9\u4e2d: "\u00e9\\u00e9" # \u4e2d
  url: http://host:80/?a=b#c
  time: 1:20:30
  empty:
- - - deep
  - 1.50
"""


@pytest.mark.parametrize("head", ["", "%YAML 1.1\n---\n", "# \u4e2d\r\n"])
def test_a_large_text_is_read_alike(monkeypatch, head):
    text = head + SAMPLE
    seen = []
    for size in (len(text), len(text) + 1):
        monkeypatch.setattr(large, "LARGE", size)
        composed = large.compose_large(text, {})
        assert (composed is None) == (size > len(text))
        tree = parse_yaml(text, "g", Report())
        seen.append((plain(tree), list(_places(tree))))
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    "text",
    [
        "a:\n\t- b",
        "a: [",
        "a: *b",
        "a: \x01",
        "a: 1\na: 2",
        "? [a]\n: b",
        "\ufeffa: b\n",
        "a:\n\ufeff[b]\n",
        "a: b\ufeff\nc: d\n",
    ],
)
def test_a_large_text_is_refused_alike(monkeypatch, text):
    seen = []
    for size in (1, 1 << 20):
        monkeypatch.setattr(large, "LARGE", size)
        report = Report()
        try:
            node = parse_yaml(text, "g", report)
            tree = (plain(node), list(_places(node)))
        except ConfigError as error:
            tree = error.problems
        seen.append((tree, report.errors, report.warnings))
    assert seen[0] == seen[1]


def test_many_thousand_entries_are_not_read_in_python(monkeypatch):
    monkeypatch.setattr(_Loader, "__init__", None)
    text = "".join(f"- username: 10.0.{n >> 8}.{n & 255}\n  password: p\n" for n in range(20_000))
    tree, _ = read(text)
    assert len(tree) == 20_000
    assert tree[257] == {"username": "10.0.1.1", "password": "p"}
