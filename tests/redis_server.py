"""A redis-server of a test's own, on loopback."""

import socket
import subprocess
from pathlib import Path

import pytest
from redis import Redis


class RedisServer:
    """It may be stopped and started again; it has then what SAVE wrote, else nothing."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None

    def start(self, *options: str) -> Redis:
        """Start it, and wait until it says that it is ready."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--dir", str(self.folder), "--daemonize", "no", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if "Ready to accept connections" in line:
                return Redis(port=self.port)
        pytest.fail("".join(lines))

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process = None


def free_port() -> int:
    """A TCP port of loopback that nobody has now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
