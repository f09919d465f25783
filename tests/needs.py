"""What a test may need of its host, and what becomes of it where that is missing.

    need("root", "tun", "netns")

skips the test with a reason that names what is missing. A word that is in the
environment variable `REQUIRE` (words separated by commas or blanks) turns that skip into
a failure: the gate sets it, so that a suite nobody can run is not taken for a green one.

Words are the conditions below and the programs of `PROGRAMS`.
"""

import errno
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from fastpath import sanitized
from hosts import entering

from gateway.linux import landlock

PROGRAMS = frozenset(
    {
        "ethtool", "gost", "ip", "ip6tables-legacy", "ip6tables-nft", "iperf3", "iptables",
        "iptables-legacy", "iptables-nft", "nft", "nmap", "nsenter", "ping", "redis-server",
        "setpriv", "ss", "sudo", "tc", "tcpdump", "unshare",
    }
)  # fmt: skip


def need(*words: str) -> None:
    """Skip, or fail under `REQUIRE`, unless the host has all of `words`."""
    for word in words:
        missing = lack(word)
        if not missing:
            continue
        if word in required():
            pytest.fail(f"REQUIRE names {word}: {missing}", pytrace=False)
        pytest.skip(f"needs {word}: {missing}")


def required() -> frozenset[str]:
    """The words of `REQUIRE`. A word nobody knows is an error: it would require nothing."""
    words = frozenset(os.environ.get("REQUIRE", "").replace(",", " ").split())
    unknown = words - PROGRAMS - CONDITIONS.keys()
    if unknown:
        known = ", ".join(sorted(PROGRAMS | CONDITIONS.keys()))
        message = f"REQUIRE has unknown words: {', '.join(sorted(unknown))}; known: {known}"
        raise pytest.UsageError(message)
    return words


@cache
def lack(word: str) -> str:
    """Say why the host does not have `word`; empty when it has."""
    if word in CONDITIONS:
        return CONDITIONS[word]()
    if word not in PROGRAMS:
        message = f"need({word!r}): neither a condition nor a program of tests/needs.py"
        raise LookupError(message)
    return "" if shutil.which(word) else f"{word} is not on the PATH"


def lack_root() -> str:
    return "" if os.geteuid() == 0 else f"running as uid {os.geteuid()}"


def lack_tun() -> str:
    """A TUN device can be made, in a network namespace that goes away with the attempt."""
    return failure("unshare", "--net", "ip", "tuntap", "add", "name", "probe", "mode", "tun")


def lack_netns() -> str:
    """`ip netns` works: it needs mount and network namespaces, and a writable /run."""
    name = f"probe-{os.getpid()}"
    reason = failure("ip", "netns", "add", name)
    if reason:
        return reason
    reason = failure(*entering(name), "true")
    return failure("ip", "netns", "delete", name) or reason


def lack_ipv6() -> str:
    """The loopback interface has its IPv6 address."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return f"::1 on the loopback interface: {error.strerror}"
        raise
    return ""


def lack_clang() -> str:
    """Clang compiles with ThreadSanitizer, and the result runs."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("int main(void) { return 0; }\n")
        program = str(Path(folder, "probe"))
        options = ["-std=gnu11", "-fsanitize=thread", "-g", "-o", program, str(source)]
        return failure("clang", *options) or failure(program)


def lack_asan() -> str:
    """Extension modules can be built with AddressSanitizer, and this Python runs with it."""
    if importlib.util.find_spec("Cython") is None:
        return "Cython is not installed"
    if missing := lack("clang"):
        return missing
    if not sanitized.library():
        return "clang has no shared library of AddressSanitizer"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("#include <Python.h>\n")
        options = [*sanitized.SANITIZER, *sanitized.SHARED, "-o", f"{folder}/probe.so"]
        if reason := failure("clang", *options, str(source)):
            return reason
    preload = [f"LD_PRELOAD={sanitized.library()}", "ASAN_OPTIONS=detect_leaks=0"]
    return failure("env", *preload, sys.executable, "-c", "")


def failure(*command: str) -> str:
    """Run `command`; give the last line of its complaint, or an empty string."""
    try:
        result = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=60, errors="replace"
        )
    except FileNotFoundError:
        return f"{command[0]} is not on the PATH"
    if result.returncode == 0:
        return ""
    complaint = (result.stderr or result.stdout).strip().splitlines()
    return complaint[-1] if complaint else f"{command[0]} ended with {result.returncode}"


def lack_landlock() -> str:
    """Every right over files that is asked for."""
    known = landlock.version()
    return "" if known >= 3 else f"this kernel offers version {known} of Landlock, not 3"


def lack_landlock_signals() -> str:
    known = landlock.version()
    return "" if known >= landlock.WITH_SIGNALS else f"version {known} of Landlock has no signals"


CONDITIONS: dict[str, Callable[[], str]] = {
    "root": lack_root,
    "tun": lack_tun,
    "netns": lack_netns,
    "ipv6": lack_ipv6,
    "clang": lack_clang,
    "asan": lack_asan,
    "landlock": lack_landlock,
    "landlock-signals": lack_landlock_signals,
}
