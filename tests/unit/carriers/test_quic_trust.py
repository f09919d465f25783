"""Whom a client of quic believes, another key, options that cannot be had."""

import pytest
from carried import run
from unit.carriers.quic_ends import dialled, serving

from gateway.carriers import quic
from gateway.carriers.quic import QuicOptions
from gateway.carriers.quic_core import Connection
from gateway.carriers.stream import CarrierError

CLIENTS = {
    "nothing": ({}, False, None),
    "pin": ({"pin": "PIN"}, True, None),
    "authority": ({"ca_file": "AUTHORITY"}, True, None),
    "itself": ({"ca_file": "SERVER"}, True, None),
    "name": ({"ca_file": "SERVER", "secure": True, "server_name": "server.test"}, True, None),
    "other pin": ({"pin": "sha256:" + "00" * 32}, True, f"is PIN, pin says sha256:{'00' * 32}"),
    "other authority": (
        {"ca_file": "STRANGER"},
        True,
        "PIN does not hold by caFile=STRANGER: none",
    ),
    "other name": ({"ca_file": "SERVER", "secure": True}, True, "not for 127.0.0.1"),
}


@pytest.mark.parametrize("name", CLIENTS)
def test_whom_a_client_believes(papers, name):
    options, verified, refusal = CLIENTS[name]
    words = {
        "PIN": papers.pin,
        "AUTHORITY": papers.authority,
        "SERVER": papers.server,
        "STRANGER": papers.stranger,
    }
    options = {key: words.get(value, value) for key, value in options.items()}
    for word in ("PIN", "STRANGER"):
        refusal = refusal and refusal.replace(word, str(words[word]))

    async def main():
        async with serving(papers) as served:
            tls = quic.client_tls(**options)
            if refusal:
                with pytest.raises(CarrierError, match=refusal) as caught:
                    await quic.dial("127.0.0.1", served.port, tls=tls)
                assert caught.value.what == "bad-tls"
                return
            async with dialled(served.port, tls=tls) as (stream, _):
                assert stream.verified == verified

    run(main())


def test_who_is_refused_learns_nothing_of_ours(papers, monkeypatch):
    """Neither our files nor whom we would have believed."""
    told = []
    close = Connection.close

    def spied(self, **given):
        told.append(given["reason_phrase"])
        close(self, **given)

    monkeypatch.setattr(Connection, "close", spied)

    async def main():
        async with serving(papers) as served:
            tls = quic.client_tls(ca_file=papers.stranger)
            with pytest.raises(CarrierError, match="caFile="):
                await quic.dial("127.0.0.1", served.port, tls=tls)
            assert told[0] == "the certificate does not hold"

    run(main())


def test_another_key_gets_no_answer(papers):
    async def main():
        options = QuicOptions(cipher_key="a" * 16)
        async with serving(papers, quic=options) as served:
            with pytest.raises(CarrierError, match="no answer"):
                await quic.dial("127.0.0.1", served.port, timeout=0.5)
            assert served.counts["noise"] > 0

    run(main())


def test_options_that_cannot_be_had_are_named(papers, tmp_path):
    (tmp_path / "no.pem").write_text("none")
    for make, given, text in (
        (quic.server_tls, {"cert_file": papers.server, "ca_file": "x"}, "caFile=x"),
        (quic.server_tls, {"cert_file": papers.server, "reject_unknown_sni": True}, "SNI"),
        (quic.server_tls, {"cert_file": tmp_path / "no.pem"}, "expected a PEM certificate"),
        (quic.server_tls, {"cert_file": tmp_path / "none"}, "no such file"),
        (quic.client_tls, {"ca_file": tmp_path / "no.pem"}, "expected certificates"),
        (quic.client_tls, {"max_version": "VersionTLS12"}, "TLS 1.3"),
    ):
        with pytest.raises(CarrierError, match=text):
            make(**given)
    for given in ({"cipher_key": "short"}, {"max_streams": 101}, {"keepalive": -1.0}):
        with pytest.raises(ValueError, match=r"quic\."):
            QuicOptions(**given)
    assert "secret" not in repr(QuicOptions(cipher_key="secret16bytes!!!"))
