"""What figures were measured on: they mean nothing without."""

import os
import platform
import subprocess
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

_CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")


def describe(cpus: int, every_cpu: AbstractSet[int], *, gost: bool) -> dict[str, Any]:
    """`cpus` are to be used of `every_cpu`."""
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cpus": len(every_cpu),
        "cpus_used": min(cpus, len(every_cpu)),
        "load_at_end": os.getloadavg()[0],
        "tcp_congestion_control": _CONGESTION.read_text().strip(),
        "gost": _version("gost") if gost else None,
    }


def _version(program: str) -> str:
    done = subprocess.run([program, "-V"], check=False, capture_output=True, text=True, timeout=10)
    return done.stdout.strip()
