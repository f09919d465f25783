"""What has ended is freed with its last reference, and waits for no collector.

The collector knows of objects, not of what OpenSSL and others keep for them, and comes to the
older ones only when there are many: until then a thousand streams would lie there, again and
again, and each time elsewhere in memory.
"""

import asyncio
import gc
import socket
import sys
import warnings
from collections import Counter
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime

import pytest
from carried import until

from gateway.carriers import certificates, pool
from gateway.carriers.hop import RelayStream
from gateway.carriers.stream import CarrierError
from gateway.config.chain_model import ClientTlsSpec, NodeSpec, RelaySpec, ServerTlsSpec
from gateway.fastpath.frames import pack
from gateway.linux import memory
from gateway.protocol.bridge_messages import StreamEnded
from gateway.protocol.relay import Address, Request
from gateway.protocol.relay_access import Own
from gateway.workers import bridge_base
from gateway.workers.bridge_carriers import DATAGRAMS, prepare_dial, prepare_listen
from gateway.workers.bridge_relay import RelayBridge, RelayParts

CARRIERS = ("tcp", "tls", "mtls", "ws", "wss", "mws", "mwss", "grpc", "quic", "kcp")
TLS = frozenset({"tls", "mtls", "wss", "mwss", "grpc", "quic"})
VISITS = 3
PATIENCE = 5.0
OURS = ("gateway", "ssl", "websockets", "qh3", "hpack")


class Visitor:
    """A receiver: `came` once something did, `ended` at the end."""

    def __init__(self) -> None:
        self.came = asyncio.Event()
        self.ended = asyncio.Event()

    def on_data(self, _data) -> None:
        self.came.set()

    def on_room(self) -> None:
        pass

    def on_end(self, _reason) -> None:
        self.ended.set()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "certificate.pem"
    path.write_bytes(certificates.make(datetime.now(UTC)))
    return path


@asynccontextmanager
async def relay(boss, working, carrier, certificate, service, read_timeout=15.0):
    tls = ServerTlsSpec() if carrier in TLS else None
    spec = RelaySpec("relay", carrier, "", 0, tls, read_timeout=read_timeout)
    if carrier in DATAGRAMS:
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.bind(("127.0.0.1", 0))
    else:
        listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    own = (Own("", service.port, "127.0.0.1"),)
    listen = prepare_listen(spec, lambda: certificate)
    parts = RelayParts(listener, listen, read_timeout=read_timeout, auth=False, own=own)
    async with working(boss, RelayBridge(boss.place, parts)) as bridge:
        await until(lambda: bridge._listener is not None)
        yield port


def living() -> Counter:
    """How many there are of each type of ours, and of the libraries that carriers use."""
    names = (f"{type(each).__module__}.{type(each).__name__}" for each in gc.get_objects())
    return Counter(name for name in names if name.startswith(OURS))


@contextmanager
def uncollected():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # a bridge that failed closed nothing
        gc.collect()
        gc.collect()  # what a former loop's sessions were kept by went just now
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def visit(dial, port, service_port, *, close):
    lower = await dial("127.0.0.1", port, 10.0, None)
    stream = RelayStream(lower, Request(Address("", service_port)))
    visitor = Visitor()
    stream.start(visitor)
    stream.write(pack(b"hello", 0))
    await visitor.came.wait()
    (stream.close if close else stream.abort)()
    await visitor.ended.wait()


async def refused(dial, port):
    """Asks for what nobody may have."""
    stream = RelayStream(await dial("127.0.0.1", port, 10.0, None), Request(Address("", 22)))
    visitor = Visitor()
    stream.start(visitor)
    stream.write(pack(b"hello", 0))
    await visitor.ended.wait()


async def garbage(port, said):
    """Says what is no handshake, and waits for the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    with suppress(ConnectionError):
        await reader.read()
    writer.close()


def dialler(carrier):
    tls = ClientTlsSpec("relay") if carrier in TLS else None
    return prepare_dial(NodeSpec("node", carrier, "127.0.0.1", 1, tls=tls))


async def gone(before):
    """What there is more than before, when there is nothing or after a while."""
    pool._places.clear()  # it keeps the last session to each place
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            await until(lambda: not living() - before)
    return living() - before


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_stream_that_ended_is_freed(run, boss, working, service, certificate, carrier):
    async def body() -> None:
        tun, chief = service(lambda data: data), boss()
        dial = dialler(carrier)
        async with relay(chief, working, carrier, certificate, tun) as port:
            with uncollected():
                before = living()
                for number in range(VISITS):
                    await visit(dial, port, tun.port, close=number != 0)
                await chief.until(lambda: len(chief.all(StreamEnded)) == VISITS)
                assert not await gone(before)
        tun.close()

    run(body())


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_stranger_who_was_refused_is_freed(run, boss, working, service, certificate, carrier):
    async def body() -> None:
        tun, chief = service(), boss()
        dial = dialler(carrier)
        async with relay(chief, working, carrier, certificate, tun) as port:
            with uncollected():
                before = living()
                for _ in range(VISITS):
                    await refused(dial, port)
                assert not await gone(before)
        tun.close()

    run(body())


@pytest.mark.parametrize("carrier", [name for name in CARRIERS if name not in DATAGRAMS])
@pytest.mark.parametrize("said", [b"\0" * 40, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\0\4none"])
def test_noise_leaves_nothing(run, boss, working, service, certificate, carrier, said):
    async def body() -> None:
        tun, chief = service(), boss()
        async with relay(chief, working, carrier, certificate, tun, read_timeout=0.1) as port:
            with uncollected():
                before = living()
                for _ in range(VISITS):
                    await garbage(port, said)
                assert not await gone(before)
        tun.close()

    run(body())


@pytest.mark.skipif(
    sys.version_info < (3, 11, 2), reason="needs an asyncio that forgets a dial (3.11.0 does not)"
)
@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_dial_that_failed_is_freed(run, carrier):
    async def body() -> None:
        dial = dialler(carrier)
        kind = socket.SOCK_DGRAM if carrier in DATAGRAMS else socket.SOCK_STREAM
        with socket.socket(socket.AF_INET, kind) as deaf:  # bound, and nobody listens
            deaf.bind(("127.0.0.1", 0))
            with uncollected():
                before = living()
                for _ in range(VISITS):
                    with suppress(CarrierError):
                        await dial("127.0.0.1", deaf.getsockname()[1], 0.2, None)
                assert not await gone(before)

    run(body())


@pytest.mark.parametrize("carrier", [name for name in CARRIERS if name not in DATAGRAMS])
@pytest.mark.parametrize("said", [b"none of it" * 10, b"HTTP/1.1 404 Not Found\r\n\r\n"])
def test_a_dial_that_met_something_else_is_freed(run, carrier, said):
    async def answer(_reader, writer) -> None:
        writer.write(said)
        writer.close()

    async def body() -> None:
        dial = dialler(carrier)
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            with uncollected():
                before = living()
                for _ in range(VISITS):
                    with suppress(CarrierError):
                        stream = await dial(*server.sockets[0].getsockname(), 5.0, None)
                        stream.abort()
                        del stream
                assert not await gone(before)

    run(body())


def test_memory_is_given_back_once_many_have_gone(
    run, boss, working, service, certificate, monkeypatch
):
    async def body() -> None:
        tun, chief = service(lambda data: data), boss()
        given = []
        monkeypatch.setattr(bridge_base, "FALLEN", 4)
        monkeypatch.setattr(
            memory, "give_back", lambda: given.append(chief.figures.get("streams", 0))
        )
        dial = dialler("tcp")
        async with relay(chief, working, "tcp", certificate, tun) as port:
            streams = []
            for _ in range(5):
                stream = RelayStream(
                    await dial("127.0.0.1", port, 10.0, None), Request(Address("", tun.port))
                )
                visitor = Visitor()
                stream.start(visitor)
                stream.write(pack(b"hello", 0))
                await visitor.came.wait()
                streams.append(stream)
            await chief.until(lambda: chief.figures.get("streams") == 5)
            assert not given
            for stream in streams[:-1]:
                stream.abort()
            await until(lambda: given)
            assert chief.figures.get("streams", 0) == 1
            streams.pop().abort()
            await chief.until(lambda: chief.figures.get("streams", 0) == 0)
            assert len(given) == 1
        tun.close()

    run(body())
