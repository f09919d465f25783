"""Transfers between lab hosts that are checked byte by byte; ends.py is what runs there."""

import json
from dataclasses import dataclass
from pathlib import Path

from programs import Managed, listening, wait_for
from traffic import PACKETS

ENDS = Path(__file__).with_name("ends.py")
PORT = 7007
ECHO_PORT = 7008


@dataclass
class Transfer:
    """A running `connect` and its `serve`, as `Managed` processes of lab hosts."""

    near: Managed
    far: Managed

    def received(self) -> int:
        """Bytes that came at the far end so far."""
        lines = self.far.output().split()
        return int(lines[-1]) if lines else 0

    def expect_whole(self) -> None:
        """End it; every flow was whole at both ends."""
        assert self.near.stop(30.0) == 0, self.near.output()
        assert self.far.wait(30.0) == 0, self.far.output()


def transfer(client, server, address: str, *, flows: int = 1, size: int = 0) -> Transfer:
    """Start a transfer between two hosts; without a `size` it goes on until it is ended."""
    far = server.spawn(*server.python(ENDS, "serve", address, PORT, flows, size), name="serve")
    wait_for(lambda: listening(far, PORT), 5.0, f"streams to listen on {address}")
    near = client.spawn(*client.python(ENDS, "connect", address, PORT, flows, size), name="connect")
    return Transfer(near, far)


def exchange(client, server, address: str, *, flows: int = 8, size: int = 2 << 20) -> None:
    """Send `size` bytes on each flow, both ways, and see that all came as they were sent."""
    running = transfer(client, server, address, flows=flows, size=size)
    try:
        assert running.near.wait(40.0) == 0, running.near.output()
        assert running.far.wait(10.0) == 0, running.far.output()
    finally:
        running.near.stop()
        running.far.stop()


def echoed(client, server, address: str, sizes) -> None:
    """See that datagrams of these payload sizes come back from `server` unchanged."""
    echo = server.spawn(*server.python(PACKETS, "echo", address, ECHO_PORT), name="echo")
    try:
        wait_for(lambda: listening(echo, ECHO_PORT, "udp"), 5.0, "the echo to be bound")
        done = client.run(*client.python(ENDS, "echoed", address, ECHO_PORT, *sizes), check=False)
        assert done.returncode == 0, done.stderr
    finally:
        echo.stop()


def order(host, server: str, port: int, *, flows: int, count: int) -> dict[str, int]:
    """Numbered packets among `flows` peers on one host; what came, and what came too late."""
    done = host.run(*host.python(ENDS, "order", server, port, flows, count))
    return json.loads(done.stdout)
