"""Our carriers against the stock program's, in both roles, with its relay protocol by hand.

The stock program's relay listener is asked to connect to an echo, and its relay connector
asks our listener, which is the echo itself. Datagrams on the stream are its own kind of
traffic: two writes, so two messages or records, for each.
"""

import asyncio
import hashlib
import os
import random
import socket
import subprocess
from contextlib import ExitStack, asynccontextmanager, contextmanager

import pytest
from carried import Taker, run, serving, until
from needs import need

from gateway.carriers import certificates, tcp, tls, ws
from gateway.carriers.stream import CarrierError
from gateway.carriers.trust import client_tls, server_tls
from gateway.carriers.ws import WsOptions

SIZES = [1, 36, 126, 1452, 65_000 // 2, 300, 2]
OK = bytes.fromhex("01000000")
CARRIERS = ["tcp", "tls", "ws", "wss"]


@pytest.fixture(autouse=True)
def _stock() -> None:
    need("gost")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return certificates.kept(tmp_path_factory.mktemp("state"))


def connect_request(port: int, *, udp: bool) -> bytes:
    """A relay connect request to a port of 127.0.0.1."""
    address = bytes.fromhex("020007 01 7f000001") + port.to_bytes(2, "big")
    if not udp:
        return bytes.fromhex("0101000a") + address
    return bytes.fromhex("0181000f 0400020001") + address


def framed(datagram: bytes) -> bytes:
    return len(datagram).to_bytes(2, "big") + datagram


@contextmanager
def gost(*arguments: str):
    process = subprocess.Popen(
        ["gost", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def entry_to(port: int) -> str:
    """A UDP entry of the stock program's whose sessions outlive their first answer."""
    return f"udp://127.0.0.1:{port}/127.0.0.1:8421?keepalive=true&ttl=60s"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


async def dialled(carrier: str, port: int, **options):
    """A stream to the stock program, as soon as it listens."""
    if carrier in {"tls", "wss"}:
        options.setdefault("tls", client_tls())
    dial = {"tcp": tcp, "tls": tls, "ws": ws, "wss": ws}[carrier].dial
    while True:
        try:
            return await dial("127.0.0.1", port, timeout=5.0, **options)
        except CarrierError as error:
            if error.what != "no-connection":
                raise
            await asyncio.sleep(0.02)


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data, address) -> None:
        self.transport.sendto(data, address)


@asynccontextmanager
async def udp_echo():
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    yield transport.get_extra_info("sockname")[1]
    transport.close()


@pytest.mark.parametrize("carrier", CARRIERS)
def test_datagrams_through_the_stock_relay_come_back(carrier) -> None:
    port = free_port()

    async def main():
        async with udp_echo() as echo:
            stream = await dialled(carrier, port)
            taker = Taker()
            stream.start(taker)
            sent = [os.urandom(size) for size in SIZES]
            stream.write(connect_request(echo, udp=True) + framed(sent[0]))
            expected = OK + framed(sent[0])
            await taker.has(len(expected))
            for datagram in sent[1:]:
                stream.write(framed(datagram))
                expected += framed(datagram)
                await taker.has(len(expected))
            assert taker.got == expected
            assert stream.carrier == carrier
            assert 0 < stream.rtt < 1
            stream.close()
            assert await taker.ended() == ""

    with gost("-L", f"relay+{carrier}://127.0.0.1:{port}"):
        run(main())


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_bulk_through_the_stock_relay_is_whole(carrier) -> None:
    port = free_port()

    async def main():
        async with serving(tcp.listen, echo=True) as echo:
            stream = await dialled(carrier, port)
            taker = Taker()
            stream.start(taker)
            data = random.Random(carrier).randbytes(8 << 20)
            stream.write(connect_request(echo.port, udp=False))
            for start in range(0, len(data), 60_000):
                stream.write(data[start : start + 60_000])
                if stream.backlog > stream.high:
                    rooms = taker.rooms
                    await taker.until(lambda it, rooms=rooms: it.rooms > rooms)
            got = await taker.has(len(OK) + len(data))
            assert hashlib.sha256(got[len(OK) :]).digest() == hashlib.sha256(data).digest()
            stream.abort()
            await taker.ended()

    with gost("-L", f"relay+{carrier}://127.0.0.1:{port}"):
        run(main())


class Relay(Taker):
    """Our side of the stock connector: says yes to its request, then is an echo."""

    def __init__(self, stream, request: bytes) -> None:
        super().__init__()
        self._stream = stream
        self._request = request
        self._answered = 0

    def on_data(self, data) -> None:
        super().on_data(data)
        size = len(self._request)
        if len(self.got) < size:
            return
        assert self.got[:size] == self._request
        if not self._answered:
            self._stream.write(OK)
            self._answered = size
        self._stream.write(bytes(self.got[self._answered :]))
        self._answered = len(self.got)


@asynccontextmanager
async def relay(carrier: str, request: bytes, certificate, **options):
    """Our listener; gives its port, its counts and the relays that were accepted."""
    if carrier in {"tls", "wss"}:
        options.setdefault("tls", server_tls(cert_file=certificate.file))
    relays = []

    def accept(stream):
        relays.append(Relay(stream, request))
        stream.prove()
        stream.start(relays[-1])

    listen = {"tcp": tcp, "tls": tls, "ws": ws, "wss": ws}[carrier].listen
    async with serving(listen, **options) as served:
        served.listener._accept = accept
        yield served.port, served.counts, relays


@pytest.mark.parametrize("carrier", CARRIERS)
def test_datagrams_of_the_stock_connector_come_back(carrier, certificate) -> None:
    async def main():
        request = connect_request(8421, udp=True)
        async with relay(carrier, request, certificate) as (port, counts, relays):
            entry = free_port()
            node = f"relay+{carrier}://127.0.0.1:{port}"
            with gost("-L", entry_to(entry), "-F", node):
                # Its entry reads no more than 4096 bytes of a datagram.
                await echoed(entry, [size for size in SIZES if size <= 4096])
            assert counts["accepted"] == len(relays) == 1
            assert await relays[0].ended() is not None

    run(main())


async def echoed(port: int, sizes: list[int]) -> None:
    """Send datagrams and have each back, the first as often as the entry needs to be there."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(("127.0.0.1", port))
        while True:
            try:
                await loop.sock_sendall(sock, b"first")
                async with asyncio.timeout(0.5):
                    assert await loop.sock_recv(sock, 100) == b"first"
                break
            except (ConnectionRefusedError, TimeoutError):
                await asyncio.sleep(0.02)
        for size in sizes:
            datagram = os.urandom(size)
            await loop.sock_sendall(sock, datagram)
            got = await loop.sock_recv(sock, 65536)
            while got == b"first":
                got = await loop.sock_recv(sock, 65536)
            assert got == datagram


@pytest.mark.parametrize("carrier", ["ws", "wss"])
def test_the_stock_dialer_pings_and_stays(carrier, certificate) -> None:
    async def main():
        request = connect_request(8421, udp=True)
        async with relay(carrier, request, certificate) as (port, _, relays):
            entry = free_port()
            node = f"relay+{carrier}://127.0.0.1:{port}?keepalive=true&ttl=100ms"
            with gost("-L", entry_to(entry), "-F", node):
                await echoed(entry, [1])
                protocol = relays[0]._stream._protocol
                pings = 0
                answered = protocol.send_frame

                def send_frame(frame):
                    nonlocal pings
                    pings += frame.opcode == 0xA
                    answered(frame)

                protocol.send_frame = send_frame
                # Its patience is two periods.
                await until(lambda: pings > 8)
                assert not relays[0].ends

    run(main())


def test_we_ping_the_stock_listener_and_it_answers() -> None:
    port = free_port()

    async def main():
        stream = await dialled("wss", port, ws=WsOptions(keepalive=0.05))
        taker = Taker()
        stream.start(taker)
        await until(lambda: stream._trip is not None or taker.ends)
        seen = stream._heard
        await until(lambda: stream._heard > seen + 0.5 or taker.ends)
        assert not taker.ends
        stream.abort()
        await taker.ended()

    with gost("-L", f"relay+wss://127.0.0.1:{port}"):
        run(main())


def test_the_path_of_the_stock_listener() -> None:
    port = free_port()

    async def main():
        stream = await dialled("ws", port, ws=WsOptions(path="/deep/path"))
        stream.abort()
        with pytest.raises(CarrierError, match="HTTP 404"):
            await dialled("ws", port)

    with gost("-L", f"relay+ws://127.0.0.1:{port}?path=/deep/path"):
        run(main())


def test_the_stock_dialer_on_the_wrong_path_is_counted(certificate) -> None:
    async def main():
        async with relay("ws", b"", certificate, ws=WsOptions(path="/other")) as found:
            port, counts, relays = found
            entry = free_port()
            node = f"relay+ws://127.0.0.1:{port}"
            with ExitStack() as stack:
                stack.enter_context(gost("-L", f"tcp://127.0.0.1:{entry}/127.0.0.1:1", "-F", node))
                stream = await dialled("tcp", entry)
                taker = Taker()
                stream.start(taker)
                await counts.until("wrong-path")
                await taker.ended()
            assert not relays

    run(main())


@pytest.mark.parametrize("carrier", ["tls", "wss"])
def test_the_certificate_of_the_stock_listener_can_be_pinned(carrier, certificate) -> None:
    port = free_port()
    file = certificate.file

    async def main():
        right = await dialled(carrier, port, tls=client_tls(pin=certificate.fingerprint))
        assert right.verified
        right.abort()
        by_authority = client_tls(secure=True, ca_file=file, server_name="gost.run")
        (await dialled(carrier, port, tls=by_authority)).abort()
        with pytest.raises(CarrierError, match="the certificate is sha256:"):
            await dialled(carrier, port, tls=client_tls(pin="sha256:" + "00" * 32))

    with gost("-L", f"relay+{carrier}://127.0.0.1:{port}?cert={file}&key={file}"):
        run(main())


@pytest.mark.parametrize("carrier", ["tls", "wss"])
def test_the_stock_dialer_verifies_our_certificate(carrier, certificate) -> None:
    async def main():
        request = connect_request(8421, udp=True)
        async with relay(carrier, request, certificate) as (port, counts, _):
            node = f"relay+{carrier}://127.0.0.1:{port}?secure=true&ca={certificate.file}"
            for name, welcome in (("gost.run", True), ("other.test", False)):
                entry = free_port()
                with gost("-L", entry_to(entry), "-F", f"{node}&serverName={name}"):
                    if welcome:
                        await echoed(entry, [100])
                        assert not counts["bad-tls"]
                        continue
                    trying = asyncio.create_task(echoed(entry, []))
                    await counts.until("bad-tls")
                    trying.cancel()

    run(main())


@pytest.mark.parametrize("carrier", ["tls", "wss"])
def test_the_stock_listener_wants_our_certificate(carrier, certificate) -> None:
    port = free_port()
    file = certificate.file

    async def ask(echo: int, own) -> str | None:
        """How it ended; None if it was answered."""
        try:
            stream = await dialled(carrier, port, tls=client_tls(cert_file=own))
        except CarrierError as error:
            return str(error)
        taker = Taker()
        stream.start(taker)
        stream.write(connect_request(echo, udp=True) + framed(b"hello"))
        await taker.until(lambda it: it.ends or len(it.got) == len(OK) + 7)
        stream.abort()
        return taker.ends[0] if taker.ends else None

    async def main():
        async with udp_echo() as echo:
            assert await ask(echo, file) is None
            assert "certificate required" in await ask(echo, None)

    options = f"cert={file}&key={file}&ca={file}"
    with gost("-L", f"relay+{carrier}://127.0.0.1:{port}?{options}"):
        run(main())
