"""The few colours: good, odd (look at it) and bad (act on it)."""

from rich.text import Text

from gateway.ctl.words import Words, count
from gateway.protocol.status import Status

GOOD = "green"
ODD = "yellow"
BAD = "bold red"


def health(status: Status) -> Text:
    """The word, loud when it is not `healthy`."""
    healthy = status.health == "healthy"
    return Text(status.health, GOOD) if healthy else Text(status.health.upper(), BAD)


def switch(on: bool, danger: str, words: Words) -> Text:
    """`on`, or what it means that it is not."""
    return Text("on", GOOD) if on else Text(words.text(f"OFF: {danger}"), BAD)


def odd(number: int) -> Text:
    """A count that should be zero."""
    return Text(count(number), ODD if number else "")


def odd_if_any(number: int, sentence: str) -> Text:
    """The sentence with the number in place of {}, or nothing for zero."""
    return Text(sentence.format(count(number)), ODD) if number else Text()
