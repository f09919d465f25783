"""What is kept, what is told, and that no source waits for another."""

import asyncio
import ipaddress
import os
import threading
from pathlib import Path

import pytest

from gateway.config.model import Credential, Route
from gateway.protocol.packet import pack_address, pack_network
from gateway.sources import keeper
from gateway.sources.keeper import Keeper
from gateway.sources.model import AutherSpec, FileSpec, RouterSpec
from gateway.sources.tables import ROWS_PER_PART, SourceCredentials

LOAD_SECONDS = 2.0
"""What 100,000 credentials may take."""


def a16(text: str) -> bytes:
    return pack_address(ipaddress.ip_address(text))


def test_a_file_and_inline_credentials_are_merged(run, keep, tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text("10.0.0.3 file\n10.0.0.4 file\nalice x\n")
    inline = (Credential("10.0.0.2", b"inline"), Credential("10.0.0.3", b"inline"))
    spec = AutherSpec("staff", inline=inline, file=FileSpec(str(file)))

    async def body() -> None:
        async with keep([spec]) as (_, receiver):
            state = await receiver.state("staff", "file")
            inline_state = await receiver.state("staff", "inline")
            assert (state.entries, state.error, state.problem_count) == (2, "", 1)
            assert state.problems[0].startswith(f"{file}:3: ")
            assert inline_state.entries == 2
            assert dict(receiver.authers["staff"].items()) == {
                a16("10.0.0.2"): b"inline",
                a16("10.0.0.3"): b"file",
                a16("10.0.0.4"): b"file",
            }

    run(body())


def test_routes_are_merged(run, keep, tmp_path: Path) -> None:
    file = tmp_path / "routes"
    file.write_text("10.1.0.0/16 10.0.0.9 # too late\n10.1.2.0/24 10.0.0.3\n")
    lan = ipaddress.ip_network("10.1.0.0/16")
    inline = (Route(lan, ipaddress.ip_address("10.0.0.2")),)
    spec = RouterSpec("lans", inline=inline, file=FileSpec(str(file)))

    async def body() -> None:
        async with keep(routers=[spec]) as (_, receiver):
            await receiver.state("lans", "file")
            await receiver.state("lans", "inline")
            assert dict(receiver.routers["lans"].items()) == {
                pack_network(lan): a16("10.0.0.2"),
                pack_network(ipaddress.ip_network("10.1.2.0/24")): a16("10.0.0.3"),
            }

    run(body())


def test_only_differences_are_told(run, keep, tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text("10.0.0.2 a\n10.0.0.3 b\n")
    spec = AutherSpec("staff", file=FileSpec(str(file)))

    async def body() -> None:
        async with keep([spec]) as (sources, receiver):
            await receiver.state("staff", "file")
            first = receiver.tables()
            assert [(table.fresh, len(table.rows)) for table in first] == [(True, 2)]

            sources.refresh()
            await receiver.next_state("staff", "file")
            assert receiver.tables() == first

            file.write_text("# the same\n10.0.0.3 b\n10.0.0.2 a\n")
            sources.refresh()
            await receiver.next_state("staff", "file")
            assert receiver.tables() == first

            file.write_text("10.0.0.3 B\n10.0.0.4 d\n")
            sources.refresh()
            await receiver.next_state("staff", "file")
            change = receiver.tables()[-1]
            assert not change.fresh
            assert {row.address: row.password for row in change.rows} == {
                a16("10.0.0.3"): b"B",
                a16("10.0.0.4"): b"d",
            }
            assert change.removed == (a16("10.0.0.2"),)

    run(body())


def test_a_file_that_vanishes_keeps_its_table_and_says_since_when(
    run, keep, tmp_path: Path
) -> None:
    file = tmp_path / "users"
    file.write_text("10.0.0.2 a\n")
    spec = AutherSpec("staff", file=FileSpec(str(file)))

    async def body() -> None:
        async with keep([spec]) as (sources, receiver):
            good = await receiver.state("staff", "file")
            file.unlink()
            sources.refresh()
            bad = await receiver.next_state("staff", "file")
            assert "No such file" in bad.error
            assert bad.loaded_at == good.loaded_at
            assert bad.failing_since >= good.loaded_at
            assert bad.entries == 1
            assert receiver.authers["staff"].get(a16("10.0.0.2")) == b"a"

            sources.refresh()
            still = await receiver.next_state("staff", "file")
            assert still.failing_since == bad.failing_since

            file.write_text("10.0.0.3 a\n")
            sources.refresh()
            well = await receiver.next_state("staff", "file")
            assert (well.error, well.failing_since) == ("", None)
            assert receiver.authers["staff"].get(a16("10.0.0.2")) is None

    run(body())


@pytest.mark.parametrize(
    ("useless", "said"),
    [
        ("<html>\n<p>Please sign in\n", "none of its 2 entries can be used"),
        ("alice secret\n", "its only entry cannot be used"),
    ],
)
def test_a_source_without_one_good_entry_has_failed_and_an_empty_one_is_empty(
    run, keep, tmp_path: Path, useless: str, said: str
) -> None:
    file = tmp_path / "users"
    file.write_text("10.0.0.2 a\n")
    spec = AutherSpec("staff", file=FileSpec(str(file)))

    async def body() -> None:
        async with keep([spec]) as (sources, receiver):
            good = await receiver.state("staff", "file")
            file.write_text(useless)
            sources.refresh()
            bad = await receiver.next_state("staff", "file")
            assert bad.error.startswith(f"{said}: {file}:1: ")
            assert "secret" not in bad.error
            assert (bad.loaded_at, bad.entries) == (good.loaded_at, 1)
            assert receiver.authers["staff"].get(a16("10.0.0.2")) == b"a"

            file.write_text("# nobody any more\n")
            sources.refresh()
            empty = await receiver.next_state("staff", "file")
            assert (empty.error, empty.entries) == ("", 0)
            assert receiver.authers["staff"].get(a16("10.0.0.2")) is None

    run(body())


def test_before_the_first_success_nobody_is_let_in_and_others_are(
    run, keep, tmp_path: Path
) -> None:
    missing = FileSpec(str(tmp_path / "missing"))
    spec = AutherSpec("staff", inline=(Credential("10.0.0.2", b"a"),), file=missing)

    async def body() -> None:
        async with keep([spec]) as (_, receiver):
            state = await receiver.state("staff", "file")
            await receiver.state("staff", "inline")
            assert state.loaded_at is None
            assert state.failing_since is not None
            assert dict(receiver.authers["staff"].items()) == {a16("10.0.0.2"): b"a"}
            assert not receiver.authers["staff"].loaded("file")

    run(body())


def test_a_source_that_failed_is_tried_again_even_without_reload(run, keep, tmp_path: Path) -> None:
    file = tmp_path / "users"
    spec = AutherSpec("staff", file=FileSpec(str(file)), reload=0)

    async def body() -> None:
        async with keep([spec]) as (_, receiver):
            await receiver.state("staff", "file", lambda state: bool(state.error))
            file.write_text("10.0.0.2 a\n")
            await receiver.state("staff", "file", lambda state: state.entries == 1)

    run(body())


def test_reload_looks_again(run, keep, tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text("10.0.0.2 a\n")
    spec = AutherSpec("staff", file=FileSpec(str(file)), reload=0.001)

    async def body() -> None:
        async with keep([spec]) as (_, receiver):
            first = await receiver.state("staff", "file")
            file.write_text("10.0.0.2 a\n10.0.0.3 b\n")
            second = await receiver.state("staff", "file", lambda state: state.entries == 2)
            assert second.loaded_at - first.loaded_at >= keeper.RELOAD_MINIMUM

    run(body())


def test_pauses() -> None:
    def pauses(reload: float, failures: int) -> list[float | None]:
        kept = keeper.Kept("auther", "staff", "file", "x", 1.0, reload, None, None, None)
        found = Keeper(kept, None)
        answer = [found._pause()]
        for _ in range(failures):
            found._fail("x")
            answer.append(found._pause())
        return answer

    assert pauses(0, 8) == [None, 1, 2, 4, 8, 16, 32, 60, 60]
    assert pauses(0.2, 2) == [1, 1, 1]
    assert pauses(5, 4) == [5, 1, 2, 4, 5]
    assert pauses(3600, 2000)[-1] == 60


def test_a_source_that_hangs_holds_up_no_other_and_no_stop(
    run, keep, tmp_path: Path, monkeypatch
) -> None:
    """As a file on a network mount whose server is gone."""
    good, hanging = tmp_path / "good", tmp_path / "hanging"
    good.write_text("10.0.0.2 a\n")
    release = threading.Event()
    real = os.open

    def slow(path, *rest, **options):
        if str(path) == str(hanging):
            release.wait()
        return real(path, *rest, **options)

    monkeypatch.setattr(os, "open", slow)
    specs = [
        AutherSpec("staff", file=FileSpec(str(hanging), timeout=0.05)),
        AutherSpec("guests", file=FileSpec(str(good))),
    ]

    async def body() -> None:
        async with keep(specs) as (sources, receiver):
            state = await receiver.state("staff", "file")
            assert state.error == "no whole answer within 0.05 s"
            assert (await receiver.state("guests", "file")).entries == 1
            again = await receiver.state("staff", "file", lambda state: "come back" in state.error)
            assert again.loaded_at is None
            assert threading.active_count() <= 2 + at_start
            hanging.write_text("10.0.0.3 b\n")
            release.set()
            sources.refresh()
            while (await receiver.next_state("staff", "file")).entries != 1:
                sources.refresh()

    at_start = threading.active_count()
    run(body())


def test_a_new_resolver_drops_nobody_while_a_source_is_away(
    run, keep, receiver, tmp_path: Path
) -> None:
    file = tmp_path / "users"
    file.write_text("10.0.0.2 a\n10.0.0.3 b\n")
    spec = AutherSpec("staff", file=FileSpec(str(file)))

    async def body() -> None:
        async with keep([spec], receiver=receiver):
            await receiver.state("staff", "file")
        file.rename(tmp_path / "away")
        async with keep([spec], receiver=receiver) as (sources, _):
            await receiver.next_state("staff", "file")
            assert len(dict(receiver.authers["staff"].items())) == 2
            file.write_text("10.0.0.3 b\n")
            sources.refresh()
            await receiver.state("staff", "file", lambda state: state.entries == 1)
            assert dict(receiver.authers["staff"].items()) == {a16("10.0.0.3"): b"b"}

    run(body())


def test_100_000_credentials_of_a_file_load_in_time_and_reload_for_nothing(
    run, keep, tmp_path: Path
) -> None:
    file = tmp_path / "users"
    hosts = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(100_000)]
    file.write_text("".join(f"{host} passphrase-{n}\n" for n, host in enumerate(hosts)))
    spec = AutherSpec("staff", file=FileSpec(str(file)))

    async def body() -> None:
        async with keep([spec]) as (sources, receiver):
            async with asyncio.timeout(LOAD_SECONDS):
                assert (await receiver.state("staff", "file")).entries == 100_000
            tables = receiver.tables()
            assert len(tables) == 100_000 // ROWS_PER_PART
            assert all(isinstance(table, SourceCredentials) for table in tables)

            file.write_text(
                "".join(f"{host} passphrase-{n}\n" for n, host in enumerate(hosts[1:], 1))
            )
            sources.refresh()
            await receiver.next_state("staff", "file")
            assert receiver.tables()[-1].removed == (a16("10.0.0.0"),)
            assert len(receiver.tables()) == len(tables) + 1

    run(body())
