import pytest

from gateway.ctl.words import Words, count, cpus, duration, milliseconds, octets, percent

UNICODE = Words()
ASCII = Words(ascii_only=True)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.0314, "31ms"),
        (0.9999, "1.0s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (3599.6, "1h00m"),
        (11520, "3h12m"),
        (86399.7, "1d00h"),
        (1_051_200, "12d04h"),
        (-3, "-3.0s"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (99_999, "99,999"),
        (100_000, "100k"),
        (999_499, "999k"),
        (999_500, "1.00M"),
        (12_345_678, "12.3M"),
        (2**64, "18.4E"),
    ],
)
def test_count(number: int, text: str) -> None:
    assert count(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1.00kB"), (1_410_000_000, "1.41GB"), (2**64, "18.4EB")],
)
def test_octets(number: int, text: str) -> None:
    assert octets(number) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0%"), (0.01, "<0.1%"), (0.42, "0.4%"), (9.96, "10%"), (100, "100%")]
)
def test_percent(share: float, text: str) -> None:
    assert percent(share) == text


def test_milliseconds() -> None:
    assert [milliseconds(n) for n in (0.421, 23.456, 120.4)] == ["0.42ms", "23.5ms", "120ms"]


@pytest.mark.parametrize(
    ("numbers", "text"), [((), ""), ((3,), "3"), ((0, 1, 2, 3), "0-3"), ((6, 0, 1), "0-1,6")]
)
def test_cpus(numbers: tuple[int, ...], text: str) -> None:
    assert cpus(numbers) == text


def test_a_bar_is_never_empty_for_something() -> None:
    assert ASCII.bar(0, 100) == "..........    0%"
    assert ASCII.bar(1, 100_000) == "#......... <0.1%"
    assert ASCII.bar(100, 100) == "##########  100%"
    assert ASCII.bar(200, 100) == "##########  100%"
    assert ASCII.bar(1, 0) == "..........    0%"
    assert UNICODE.bar(50, 100).startswith("█████░░░░░")


@pytest.mark.parametrize(
    "hostile", ["\x1b[2J", "\x9b2J", "a\rb", "a\nb", "\u202e", "\x07", "\udc9b"]
)
def test_nothing_steers_a_terminal(hostile: str) -> None:
    for words in (UNICODE, ASCII):
        text = words.text(hostile)
        assert text.isprintable()
        assert text.encode("utf-8")


def test_ascii_only() -> None:
    assert ASCII.text("a \N{EN DASH} b → c … Zürich") == "a - b -> c ... Z\\xfcrich"
    assert UNICODE.text("a \N{EN DASH} b") == "a \N{EN DASH} b"
    assert (ASCII.known(None, str), UNICODE.known(None, str)) == ("-", "\N{EN DASH}")
