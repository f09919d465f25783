"""What is said of sources: in the status at any time, in the log once for each change."""

import logging

import pytest
from msgspec.structs import replace

from gateway.config.model import AutherSpec, FileSpec, PluginSpec
from gateway.protocol.messages import SourceState
from gateway.supervisor.authers import AutherTable
from gateway.supervisor.source_report import SourceLog, sources

GOOD = SourceState("router", "sites", "file", "/routes", 3, 10.0)
BAD = replace(GOOD, failing_since=20.0, error="cannot be read: No such file or directory")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Takes what was logged since the last look."""
    caplog.set_level(logging.INFO)

    class Lines(list[str]):
        def take(self) -> list[str]:
            found = [record.getMessage() for record in caplog.records]
            caplog.clear()
            return found

    return Lines()


def test_a_change_is_told_once(lines) -> None:
    log = SourceLog()
    log.take(GOOD, 0.0)
    assert lines.take() == ["event=source-read router=sites source=/routes entries=3"]
    for _ in range(3):
        log.take(GOOD, 1.0)
    assert lines.take() == []
    for now in (2.0, 3.0):
        log.take(BAD, now)
    [failed] = lines.take()
    assert failed.startswith("event=source-failed router=sites source=/routes error=")
    assert 'text="what was read stays"' in failed
    log.take(GOOD, 4.0)
    assert lines.take() == ["event=source-read router=sites source=/routes entries=3"]


@pytest.mark.parametrize(
    ("holder", "text"), [("router", "it leads nowhere"), ("auther", "it lets nobody in")]
)
def test_what_was_never_read_has_no_effect(lines, holder: str, text: str) -> None:
    state = replace(BAD, holder=holder, loaded_at=None)
    SourceLog().take(state, 0.0)
    [line] = lines.take()
    assert text in line


def test_each_entry_is_one_line_and_no_flood(lines) -> None:
    log = SourceLog()
    wrong = tuple(f"/routes:{n}: no" for n in range(19))
    log.take(replace(GOOD, problems=wrong[:2]), 0.0)
    assert [line.partition("text=")[2] for line in lines.take()[1:]] == [
        '"/routes:0: no"', '"/routes:1: no"',
    ]  # fmt: skip
    log.take(replace(GOOD, problems=wrong), 1.0)
    assert len(lines.take()) == 17, "those that are known already are not told again"
    log.take(replace(GOOD, problems=tuple(f"/routes:{n}: else" for n in range(20))), 2.0)
    assert len(lines.take()) == 1


def test_the_status_of_authers_and_their_plugins() -> None:
    problems: list[str] = []
    table = AutherTable(AutherSpec("staff", file=FileSpec("/users")))
    asked = AutherTable(AutherSpec("asked", plugin=PluginSpec("http://p")))
    [unread, plugin] = sources((table, asked), None, "hub", problems, 50.0)
    assert (unread.kind, unread.age_seconds, unread.label) == ("file", None, "/users")
    assert (plugin.kind, plugin.label, plugin.asked) == ("plugin", "http://p", 0)
    assert problems == []
    table.states["file"] = SourceState("auther", "staff", "file", "/users", 3, 10.0, 30.0, "gone")
    [failing, _] = sources((table, asked), None, "hub", problems, 50.0)
    assert (failing.age_seconds, failing.failing_seconds) == (40.0, 20.0)
    assert problems == [
        "service hub: auther staff: file /users fails: gone; what was read 40 s ago stays"
    ]
