"""Clients of a websocket by hand: requests, frames, everything that is answered."""

import asyncio
import contextlib
import struct

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = (
    b"GET %s HTTP/1.1\r\nHost: x\r\nUser-Agent: Go-http-client/1.1\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n\r\n"
)
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The key and its answer of RFC 6455, section 1.3."""


def frame(opcode: int, data: bytes, *, fin: bool = True, mask: bytes = bytes(4)) -> bytes:
    """A client's frame; a mask of zeros changes nothing."""
    head = bytes([opcode | (0x80 if fin else 0)])
    if len(data) < 126:
        head += bytes([0x80 | len(data)])
    elif len(data) < 65536:
        head += b"\xfe" + struct.pack("!H", len(data))
    else:
        head += b"\xff" + struct.pack("!Q", len(data))
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
    return head + mask + masked


async def said(port: int, request: bytes) -> bytes:
    """Everything that is answered until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = b""
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(65536):
            answer += piece
    writer.close()
    return answer


async def upgraded(port: int):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(UPGRADE % b"/ws")
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"Sec-WebSocket-Accept: " + ACCEPT in answer
    assert b"xtension" not in answer
    return reader, writer
