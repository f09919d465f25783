"""Log lines and the rate limiter."""

import io
import logging
import os
import re

import pytest

from gateway import log

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (\w+) (.*)\n")


@pytest.fixture
def stream():
    root = logging.getLogger()
    own = logging.getLogger("gateway")
    before = (root.handlers[:], root.level, own.level)
    stream = io.StringIO()
    log.setup("info", stream)
    yield stream
    root.handlers[:], root.level = before[:2]
    own.setLevel(before[2])


def lines(stream):
    return [LINE.fullmatch(line).groups() for line in stream.getvalue().splitlines(keepends=True)]


def test_an_event_is_a_line(stream):
    logger = log.get_logger("supervisor")
    log.event(
        logger,
        logging.INFO,
        "peer-up",
        service="tun",
        peer="192.168.123.2",
        endpoint="[2001:db8::1]:5",
        lease_seconds=35.0,
        moves=0,
        auth=True,
        note=None,
    )
    assert lines(stream) == [
        (
            "INFO",
            (
                "event=peer-up service=tun peer=192.168.123.2 endpoint=[2001:db8::1]:5 "
                "lease-seconds=35 moves=0 auth=true"
            ),
        )
    ]


def test_the_time_is_utc(stream, monkeypatch):
    record = logging.makeLogRecord({"msg": "x", "created": 1795341600.5, "levelname": "INFO"})
    logging.getLogger().handlers[0].handle(record)
    assert stream.getvalue().startswith("2026-11-22T10:00:00Z INFO event=log ")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", '""'),
        ("a b", '"a b"'),
        ('a"b', '"a\\"b"'),
        ("a=b", '"a=b"'),
        ("a\\b", '"a\\\\b"'),
        ("a\nevent=x", '"a\\nevent=x"'),
        ("\x1b[0m\x7f\x9b", '"\\u001b[0m\\u007f\\u009b"'),
        ("\u202eé", '"\\u202e\\u00e9"'),
        ("\udcff", '"\\udcff"'),
        (b"\xff", "\"b'\\\\xff'\""),
        ("x" * 300, "x" * 197 + "..."),
        (0.1234567, "0.123457"),
    ],
)
def test_what_strangers_say_stays_in_its_field(value, text):
    assert log.fields_text(text=value) == f"text={text}"


def test_the_level_counts(stream):
    logger = log.get_logger("x")
    log.event(logger, logging.DEBUG, "quiet")
    assert stream.getvalue() == ""
    log.setup("debug", stream)
    log.event(logger, logging.DEBUG, "loud")
    assert lines(stream) == [("DEBUG", "event=loud")]


def test_lines_of_others(stream):
    other = logging.getLogger("pyroute2.netlink")
    other.info("not shown")
    other.warning("two\nlines of %s", "text")
    assert lines(stream) == [
        ("WARNING", 'event=log logger=pyroute2.netlink text="two\\nlines of text"')
    ]


def test_one_event_then_one_an_interval():
    limiter = log.RateLimiter(10.0)
    assert limiter.allow("a", 0.0) == 0
    assert [limiter.allow("a", t) for t in (1.0, 5.0, 9.9)] == [None] * 3
    assert limiter.allow("a", 10.0) == 3
    assert limiter.allow("a", 20.0) == 0
    assert limiter.allow("b", 20.0) == 0


def test_a_burst():
    limiter = log.RateLimiter(10.0, burst=3)
    assert [limiter.allow("a", 0.0) for _ in range(4)] == [0, 0, 0, None]
    assert limiter.allow("a", 1000.0) == 1
    assert [limiter.allow("a", 1000.0) for _ in range(3)] == [0, 0, None]


def test_time_that_goes_back_gains_nothing():
    limiter = log.RateLimiter(10.0)
    assert limiter.allow("a", 100.0) == 0
    assert limiter.allow("a", 50.0) is None
    assert limiter.allow("a", 59.0) is None


def test_causes_of_strangers_fill_no_memory():
    limiter = log.RateLimiter(10.0, causes=2)
    for cause in range(100):
        assert limiter.allow(cause, 0.0) == 0
    assert limiter.allow(99, 0.0) is None
    assert limiter.allow(0, 0.0) == 0


def test_a_log_that_nobody_reads_holds_up_nobody():
    """What has no room is dropped and counted; the next line that fits says how much."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", buffering=1) as stream:
        logger = log.setup("info", stream)
        for _ in range(4000):
            log.event(logger, logging.INFO, "flood", text="x" * 150)
        os.set_blocking(reader, False)
        while True:
            try:
                os.read(reader, 1 << 20)
            except BlockingIOError:
                break
        log.event(logger, logging.INFO, "after")
        text = os.read(reader, 1 << 20).decode()
    os.close(reader)

    assert text.startswith("event=log-lost lines=")
    assert text.endswith("event=after\n")
