"""Listeners and clients of every carrier that has sessions, whose guests are let in by hand."""

import socket
from contextlib import asynccontextmanager

from carried import Served, Taker, listening

from gateway.carriers import grpc, kcp, mux, quic
from gateway.carriers.sockets import SocketOptions
from gateway.carriers.trust import client_tls, server_tls

SESSIONS = ["mtcp", "mtls", "mws", "mwss", "grpc", "quic", "kcp"]


class Ways:
    """How to listen and to dial; every dialled stream has a session of its own."""

    def __init__(self, papers, carrier: str) -> None:
        theirs, own = {"tls": client_tls()}, {"tls": server_tls(cert_file=papers.server)}
        tcp_alone = {"under": "tcp"}
        self.module, self.dialled, self.listened = {
            "mtcp": (mux, tcp_alone, tcp_alone),
            "mtls": (mux, tcp_alone | theirs, tcp_alone | own),
            "mws": (mux, {}, {}),
            "mwss": (mux, theirs, own),
            "grpc": (grpc, {}, {}),
            "quic": (quic, {}, {"tls": quic.server_tls(cert_file=papers.server)}),
            "kcp": (kcp, {}, {}),
        }[carrier]
        self.carrier = carrier
        self._count = 0

    async def dial(self, port: int):
        self._count += 1
        apart = SocketOptions(user_timeout=30 + self._count / 1000)
        stream = await self.module.dial("127.0.0.1", port, sockets=apart, **self.dialled)
        taker = Taker()
        stream.start(taker)
        return stream, taker

    def beside(self, stream):
        """One more in the same session."""
        session = stream._session if self.carrier == "quic" else stream._trunk
        beside = session.open()
        beside.start(Taker())
        return beside

    @asynccontextmanager
    async def serve(self, **bounds):
        served = Served()
        served.proving = False
        if self.carrier in {"quic", "kcp"}:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind(("127.0.0.1", 0))
        else:
            sock = listening()
        given = self.listened | bounds
        served.listener = await self.module.listen(
            sock, served.accept, counts=served.counts, **given
        )
        try:
            yield served
        finally:
            await served.listener.close()
            for stream in served.streams:
                stream.abort()
            if self.carrier == "quic":
                for session in served.listener.sessions:
                    session.close()
            if self.carrier == "kcp":
                for session in list(served.listener._sessions.values()):
                    session.abort()


async def said(stream, served, word: bytes = b"hello"):
    """Write, and give the stream and its taker at the other end."""
    stream.write(word)
    far, taker = await served.next()
    assert await taker.has(len(word)) == word
    return far, taker
