"""One host of a lab: a network namespace, and the programs that run on it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from programs import Managed

_CAPABILITIES = {12: "CAP_NET_ADMIN", 21: "CAP_SYS_ADMIN"}


class LabUnavailable(Exception):  # noqa: N818 - a state of this host, not a fault
    """No lab can be built on this host. `lacks` is one word: root, tun or netns."""

    def __init__(self, lacks: str, sentence: str) -> None:
        super().__init__(sentence)
        self.lacks = lacks


def check_host(*, tun: bool = True) -> None:
    """Raise LabUnavailable, with one sentence, where a lab cannot be built."""
    if shutil.which("ip") is None:
        raise LabUnavailable("netns", "the command ip is missing: install iproute2")
    effective = 0
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
    for bit, name in _CAPABILITIES.items():
        if not effective >> bit & 1:
            raise LabUnavailable(
                "root", f"{name} is missing: run this as root (in a container: --privileged)"
            )
    if not tun:
        return
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        raise LabUnavailable(
            "tun",
            f"/dev/net/tun cannot be opened ({error.strerror}): load the module tun, "
            "or pass the device into this container",
        ) from None


def entering(netns: str) -> list[str]:
    """What comes before a command that runs in a namespace.

    `ip netns exec` mounts a /sys of the namespace, which it cannot in a chroot whose / is no
    mount point. There the namespace is entered without: /sys shows the devices outside.
    """
    if own_root():
        return ["ip", "netns", "exec", netns]
    return ["nsenter", f"--net=/run/netns/{netns}", "--"]


@cache
def own_root() -> bool:
    """Whether / is a mount point, as it is but in a chroot."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == "/" for line in mounts)


Starter = Callable[[str, Sequence[str], Mapping[str, str] | None], Managed]


class Host:
    """One namespace. `ipv4` and `ipv6` are its own addresses on the lab's links."""

    def __init__(
        self, name: str, netns: str, start: Starter, ipv4: str = "", ipv6: str = ""
    ) -> None:
        self.name = name
        self.netns = netns
        self._start = start
        self.ipv4 = ipv4
        self.ipv6 = ipv6

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def argv(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` here; exec, so the pid is the command's."""
        return [*entering(self.netns), *command]

    def run(
        self, *command: str, timeout: float = 20.0, check: bool = True, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end, output captured; with `check` a failure raises with what it wrote."""
        done = subprocess.run(
            self.argv(command),
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout,
            input=stdin,
        )
        if check and done.returncode:
            raise RuntimeError(
                f"on {self.name}: {' '.join(command)}: exit {done.returncode}: "
                f"{done.stderr.strip() or done.stdout.strip()}"
            )
        return done

    def spawn(
        self, *command: str, name: str = "", environment: Mapping[str, str] | None = None
    ) -> Managed:
        """Start a process that the lab ends at the latest when it closes."""
        title = f"{name or Path(command[0]).name} on {self.name}"
        return self._start(title, self.argv(command), environment)

    def python(self, program: Path, *arguments: object) -> list[str]:
        """The command that runs one of our Python programs with this interpreter."""
        return [sys.executable, "-I", str(program), *map(str, arguments)]

    def ip(self, *lines: str) -> None:
        """Give `ip` some commands, each as one string without the leading `ip`."""
        self.run("ip", "-batch", "-", stdin="\n".join(lines) + "\n")

    def sysctl(self, **values: object) -> None:
        """Set keys of /proc/sys/net, written with two underscores for a slash."""
        writes = [f"echo {v} > /proc/sys/net/{k.replace('__', '/')}" for k, v in values.items()]
        self.run("sh", "-ec", "\n".join(writes))

    def mtu(self, size: int, device: str = "wan0") -> None:
        """The MTU of a device; for a path MTU set the other end of the link too."""
        self.ip(f"link set dev {device} mtu {size}")

    def pids(self) -> list[int]:
        """The processes that live in this namespace now."""
        return [int(pid) for pid in ip("netns", "pids", self.netns).split()]

    def devices(self) -> list[str]:
        """The names of this host's network devices."""
        lines = self.run("ip", "-o", "link", "show").stdout.splitlines()
        return [line.split(": ")[1].partition("@")[0] for line in lines]


def ip(*arguments: str, stdin: str | None = None) -> str:
    """Run `ip`; its output, or RuntimeError with its complaint."""
    done = subprocess.run(
        ["ip", *arguments], check=False, capture_output=True, text=True, input=stdin
    )
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
