"""Both ends of quic."""

from contextlib import asynccontextmanager

from carried import Served
from unit.carriers.datagrams import a_socket, held

from gateway.carriers import quic


@asynccontextmanager
async def serving(papers, *, sock=None, tls=None, echo=False, **more):
    served = Served()
    served.answering = echo
    served.listener = await quic.listen(
        sock or a_socket(),
        served.accept,
        counts=served.counts,
        tls=tls or quic.server_tls(cert_file=papers.server),
        **more,
    )
    try:
        yield served
    finally:
        await served.listener.close()
        for session in served.listener.sessions:
            session.close()


def dialled(port, host="127.0.0.1", **more):
    return held(quic.dial(host, port, timeout=5.0, **more))
