"""Go-style values, table by table."""

import pytest

from gateway.config import values
from gateway.config.values import BadValueError


@pytest.mark.parametrize("word", ["1", "t", "T", "true", "TRUE", "True", True, 1, -3])
def test_true(word):
    assert values.boolean(word) is True


@pytest.mark.parametrize("word", ["0", "f", "F", "false", "FALSE", "False", False, 0])
def test_false(word):
    assert values.boolean(word) is False


@pytest.mark.parametrize("word", ["", "yes", "on", "tRUE", " true", "2", None])
def test_not_a_boolean(word):
    with pytest.raises(BadValueError, match=r"is not a boolean: write true or false$"):
        values.boolean(word)


@pytest.mark.parametrize(
    ("word", "expected"), [("on", True), ("OFF", False), ("true", True), ("0", False)]
)
def test_switch(word, expected):
    assert values.switch(word) is expected


def test_not_a_switch():
    with pytest.raises(BadValueError, match=r'^"yes" is not a switch: write on or off$'):
        values.switch("yes")


@pytest.mark.parametrize(
    ("word", "expected"), [("7", 7), ("+7", 7), ("-7", -7), ("007", 7), (7, 7), (True, 1)]
)
def test_integer(word, expected):
    assert values.integer(word) == expected


@pytest.mark.parametrize("word", ["", "1.5", "0x10", "1_000", " 1", "1e3", "٣", "9" * 30, None])
def test_not_an_integer(word):
    with pytest.raises(BadValueError, match=r"is not a whole number$"):
        values.integer(word)


@pytest.mark.parametrize(
    ("word", "seconds"),
    [
        ("300ms", 0.3),
        ("10s", 10),
        ("1m30s", 90),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("2.s", 2),
        ("1h0m1s", 3601),
        ("5us", 5e-6),
        ("5µs", 5e-6),
        ("5ns", 5e-9),
        ("-10s", -10),
        ("+10s", 10),
        ("0", 0),
        ("15", 15),
        ("-1", -1),
        (15, 15),
        (0, 0),
    ],
)
def test_duration(word, seconds):
    assert values.duration(word) == pytest.approx(seconds)


@pytest.mark.parametrize("word", ["", "s", "10 s", "1.5", "10S", "1d", "..5s", "--1s", "1s2", True])
def test_not_a_duration(word):
    with pytest.raises(BadValueError, match=r"is not a duration: write for example 10s or 1m30s$"):
        values.duration(word)


@pytest.mark.parametrize("word", ["9999999999h", "999999999999999999", 10**18])
def test_a_duration_go_could_not_hold(word):
    with pytest.raises(BadValueError, match=r"is too long a duration$"):
        values.duration(word)


def test_numbers_and_booleans_are_text():
    assert [values.text(v) for v in (True, False, 12, "x", None)] == [
        "true",
        "false",
        "12",
        "x",
        "",
    ]


def test_ranged():
    parse = values.ranged(1, 64, " of them")
    assert parse("64") == 64
    for word, message in (
        ("65", '"65" is out of range: write a whole number from 1 to 64 of them'),
        (0, "0 is out of range: write a whole number from 1 to 64 of them"),
        ("x", '"x" is not a whole number: write a whole number from 1 to 64 of them'),
    ):
        with pytest.raises(BadValueError) as caught:
            parse(word)
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("word", "expected"), [("auto", "auto"), ("ON", "on"), (True, "on"), (False, "off")]
)
def test_choice(word, expected):
    assert values.choice("auto", "on", "off")(word) == expected


def test_no_choice():
    with pytest.raises(BadValueError, match=r'^"of" is none of auto, on, off$'):
        values.choice("auto", "on", "off")("of")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", '"a"'),
        ('a"b', '"a\\"b"'),
        ("a\nb\x1b[0m", '"a\\nb\\u001b[0m"'),
        ("\u202e", '"\\u202e"'),
        ("é", '"é"'),
        (5, "5"),
        (True, "true"),
        ("x" * 99, '"' + "x" * 57 + '..."'),
    ],
)
def test_shown(value, expected):
    assert values.shown(value) == expected
