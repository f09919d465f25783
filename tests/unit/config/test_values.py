"""Go-style values, table by table."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    with pytest.raises(BadValueError, match=r"is too long a duration: write"):
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


NANOSECONDS = {
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1000,
    "\u00b5s": 1000,
    "\u03bcs": 1000,
    "ns": 1,
}
PARTS = st.lists(
    st.tuples(
        st.integers(0, 999), st.integers(0, 999) | st.none(), st.sampled_from(list(NANOSECONDS))
    ),
    min_size=1,
    max_size=4,
)


@given(st.sampled_from(["", "+", "-"]), PARTS)
def test_any_duration_of_go(sign, parts):
    """Options and fields of structs read a text with units alike."""
    text, total = sign, 0
    for whole, fraction, unit in parts:
        text += f"{whole}{unit}" if fraction is None else f"{whole}.{fraction:03}{unit}"
        total += whole * NANOSECONDS[unit] + (fraction or 0) * NANOSECONDS[unit] // 1000
    expected = (-total if sign == "-" else total) / 1e9
    assert values.duration(text) == pytest.approx(expected, abs=1e-8)
    assert values.struct_duration(text) == values.duration(text)


@given(st.integers(-(10**9), 10**9))
def test_a_bare_number_is_seconds_of_an_option_and_nanoseconds_of_a_field(number):
    assert values.duration(number) == values.duration(str(number)) == number
    assert values.struct_duration(number) == pytest.approx(number / 1e9)
    if number:
        with pytest.raises(BadValueError):
            values.struct_duration(str(number))


@pytest.mark.parametrize("word", ["0", "+0", "-0"])
def test_zero_needs_no_unit(word):
    assert values.duration(word) == values.struct_duration(word) == 0


TRUE, FALSE = {"1", "t", "T", "true", "TRUE", "True"}, {"0", "f", "F", "false", "FALSE", "False"}


@given(st.sampled_from(sorted(TRUE | FALSE)) | st.text(max_size=5))
def test_any_boolean_of_go(word):
    """What Go takes for false because it cannot read it is an error."""
    if word in TRUE | FALSE:
        assert values.boolean(word) is (word in TRUE)
    else:
        with pytest.raises(BadValueError):
            values.boolean(word)


@given(st.integers())
def test_a_number_is_true_unless_it_is_0(number):
    assert values.boolean(number) is (number != 0)


@given(st.integers(-(10**17), 10**17), st.sampled_from(["", "+", "0", "000"]))
def test_any_integer_of_go(number, prefix):
    text = f"{prefix}{number}" if number >= 0 else str(number)
    assert values.integer(text) == values.integer(number) == number


@given(st.text(max_size=8) | st.floats().map(str))
def test_a_text_is_read_or_refused(word):
    for parse in (values.boolean, values.integer, values.duration, values.struct_duration):
        with suppress(BadValueError):
            parse(word)
