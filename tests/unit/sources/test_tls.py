"""Plugins behind TLS: whom the files make us trust, and whom they make us be."""

import datetime as dt
import ssl
from pathlib import Path

import pytest

pytest.importorskip("aiohttp")
pytest.importorskip("cryptography")

from gateway.carriers.certificates import make
from gateway.sources.model import AutherSpec, PluginSpec
from gateway.sources.plugins import AuthPlugin

QUESTION = ("hub", "10.0.0.2", b"secret", "203.0.113.7:40000")
NAME = "plugin.test"


def write(path: Path, name: str = NAME) -> str:
    """A key and its own certificate."""
    path.write_bytes(make(dt.datetime.now(dt.UTC), common_name=name))
    return str(path)


@pytest.fixture
def files(tmp_path) -> dict[str, str]:
    (tmp_path / "empty").write_bytes(b"")
    return {
        "server": write(tmp_path / "server"),
        "client": write(tmp_path / "client", "us"),
        "empty": str(tmp_path / "empty"),
        "none": str(tmp_path / "none"),
    }


def put(source: str, target: str) -> None:
    Path(target).write_bytes(Path(source).read_bytes())


def listening(files: dict[str, str], *, asks: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["server"])
    if asks:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(files["client"])
    return context


@pytest.mark.parametrize(
    ("options", "asks", "error"),
    [
        ({"ca_file": "server", "server_name": NAME}, False, ""),
        ({"ca_file": "server", "server_name": "else"}, False, "not trusted"),
        ({"ca_file": "server"}, False, "not trusted"),
        ({"ca_file": "client", "server_name": NAME}, False, "not trusted"),
        ({"server_name": NAME}, False, "not trusted"),
        ({"verify": False}, False, ""),
        ({"verify": False, "ca_file": "server"}, False, ""),
        ({"verify": False, "ca_file": "client"}, False, "not trusted"),
        ({"verify": False, "cert_file": "client"}, True, ""),
        ({"ca_file": "server", "server_name": NAME, "cert_file": "client"}, True, ""),
        ({"verify": False, "cert_file": "client", "key_file": "client"}, True, ""),
        ({"verify": False}, True, " "),
        ({"cert_file": "client", "key_file": "server"}, True, "key values mismatch"),
        ({"cert_file": "empty"}, True, "and its keyFile: "),
        ({"cert_file": "none"}, True, "cannot be read: No such file"),
        ({"ca_file": "none"}, False, "cannot be read: No such file"),
        ({"ca_file": "empty"}, False, "there is no certificate in it"),
    ],
)
def test_who_is_asked(run, serving, talks, files, options, asks: bool, error: str) -> None:
    named = {
        key: files.get(value, value) if key.endswith("_file") else value
        for key, value in options.items()
    }

    async def body() -> None:
        async with serving(listening(files, asks=asks)) as server:
            server.talk = talks["page"](b'{"ok":true}')
            plugin = AuthPlugin("staff", PluginSpec(server.url, **named))
            assert await plugin.ask(*QUESTION) is (True if not error else None)
            assert error in plugin.asker.state().error
            await plugin.close()

    run(body())


def test_renewed_files_count_after_a_refresh(run, serving, talks, keep, files) -> None:
    async def body() -> None:
        async with serving(listening(files)) as server:
            server.talk = talks["page"](b'{"ok":true}', "200 OK", "Connection: close\r\n")
            put(files["client"], files["none"])
            spec = PluginSpec(server.url, ca_file=files["none"], server_name=NAME)
            async with keep([AutherSpec("staff", plugin=spec)]) as (sources, _):
                assert await sources.ask_auth("staff", *QUESTION) is None
                put(files["server"], files["none"])
                assert await sources.ask_auth("staff", *QUESTION) is None
                sources.refresh()
                assert await sources.ask_auth("staff", *QUESTION) is True

    run(body())
