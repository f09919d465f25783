"""A stand-in for systemd-resolved: a `resolvectl` that keeps what it was told in files.

As the real one it knows devices by their index, so what it was told of a device that is
gone counts no more.
"""

import stat
from pathlib import Path

from hosts import Host

GOOD = """#!/bin/sh
echo "$*" >> {room}/log
test "$(id -u)" = 0 || exit 1
index=$(cat /sys/class/net/"$2"/ifindex) || exit 1
case "$1:$#" in
    dns:2) echo "Link $index ($2): $(cat {room}/link.$index 2>/dev/null)" ;;
    dns:*) shift 2; echo "$*" > {room}/link.$index ;;
    revert:2) rm -f {room}/link.$index ;;
    *) exit 1 ;;
esac
"""
BAD = "#!/bin/sh\necho 'Failed to connect to bus' >&2\nexit 1\n"
HANGING = "#!/bin/sh\nexec sleep 1000\n"


class Resolved:
    """The stand-in of one test; `environment` has it on its PATH."""

    def __init__(self, room: Path, environment: dict[str, str]) -> None:
        self.room = room / "resolved"
        self.room.mkdir()
        self.room.chmod(0o755)
        self.become(GOOD)
        environment["PATH"] = f"{self.room}:{environment['PATH']}"

    def become(self, script: str) -> None:
        """Do this from now on."""
        program = self.room / "resolvectl"
        program.write_text(script.format(room=self.room))
        program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)

    @property
    def log(self) -> list[str]:
        """What it was called with, call by call."""
        log = self.room / "log"
        return log.read_text().splitlines() if log.exists() else []

    def servers(self, host: Host) -> dict[str, str]:
        """The name servers of each device that there is."""
        found = {}
        for device in host.devices():
            index = host.run("cat", f"/sys/class/net/{device}/ifindex").stdout.strip()
            file = self.room / f"link.{index}"
            if file.exists():
                found[device] = file.read_text().strip()
        return found
