"""Echo requests over loopback, what is read of answers, and what never reaches the reader."""

import errno
import select
import socket
from ipaddress import ip_address

import pytest
from needs import need

from gateway.linux import filters, icmp
from gateway.linux.icmp import Echoed, TooBig, parse4, parse6
from gateway.protocol.packet import checksum

LOOPBACK = {4: ip_address("127.0.0.1"), 6: ip_address("::1")}


@pytest.fixture
def echoes():
    """A socket of each family by its version."""
    need("root")
    made = {each.version: each for each in icmp.open_echoes()}
    yield made
    for each in made.values():
        each.close()


def waiting(sock, seconds: float = 2.0) -> bool:
    return bool(select.select([sock], [], [], seconds)[0])


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("size", [100, 1448, 60_000])
def test_an_answer_names_its_question(echoes, version, size):
    if version not in echoes:
        pytest.skip("needs IPv6")
    it = echoes[version]
    it.send(LOOPBACK[version], 0, size, 65_535)
    assert waiting(it)
    assert it.receive() == [Echoed(65_535)]
    assert it.receive() == []


@pytest.mark.parametrize("version", [4, 6])
def test_others_do_not_wake_it(echoes, version):
    """Another program's pings, and its own requests as they arrive on loopback."""
    if version not in echoes:
        pytest.skip("needs IPv6")
    others = {each.version: each for each in icmp.open_echoes()}
    try:
        others[version].send(LOOPBACK[version], 0, 100, 7)
        assert waiting(others[version])
        assert others[version].receive() == [Echoed(7)]
    finally:
        for each in others.values():
            each.close()
    assert not waiting(echoes[version], 0)


def error4(ident: int, sequence: int, mtu: int, code: int = 4) -> bytes:
    quoted = bytearray(28)
    quoted[0], quoted[9] = 0x45, 1
    quoted[20] = 8
    quoted[24:28] = ident.to_bytes(2) + sequence.to_bytes(2)
    body = bytearray(bytes((3, code)) + bytes(4) + mtu.to_bytes(2) + quoted)
    body[2:4] = checksum(bytes(body)).to_bytes(2)
    return bytes(body)


def error6(ident: int, sequence: int, mtu: int) -> bytes:
    quoted = bytearray(48)
    quoted[0], quoted[6] = 0x60, 58
    quoted[40] = 128
    quoted[44:48] = ident.to_bytes(2) + sequence.to_bytes(2)
    return bytes((2, 0, 0, 0)) + mtu.to_bytes(4) + quoted


def test_errors_are_read():
    """Given whole, as a filter lets them pass."""
    assert parse4(b"\x45" + bytes(19) + error4(9, 5, 1400)) == TooBig(5, 1400)
    assert parse6(error6(9, 5, 1300)) == TooBig(5, 1300)
    assert parse4(b"\x45" + bytes(19) + error4(9, 5, 1400, code=1)) is None


def test_without_the_right_there_is_no_socket(monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(icmp.socket, "socket", refuse)
    assert icmp.open_echoes() == ()


@pytest.mark.parametrize(
    "packet", [b"", b"\x45", bytes(19), b"\x45" + bytes(26), b"\x4f" + bytes(59)]
)
def test_what_is_cut_says_nothing(packet):
    assert parse6(packet) is None
    assert parse4(packet) in (None, Echoed(0))


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_spare_socket_takes_acks_alone(family):
    """Data of tunnels that are not in use costs no wake-up."""
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with (
        socket.socket(family, socket.SOCK_DGRAM) as spare,
        socket.socket(family, socket.SOCK_DGRAM) as server,
    ):
        spare.bind((host, 0))
        filters.only_acks(spare)
        ack = b"GOST" + bytes(16)
        for datagram in (b"", b"x", ack[:-1], ack + b"x", b"TSOG" + bytes(16), bytes(1400), ack):
            server.sendto(datagram, spare.getsockname())
        spare.settimeout(2.0)
        assert spare.recv(2000) == ack
        assert not waiting(spare, 0)
