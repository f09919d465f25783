"""Run a function on a lab host: in a thread that lives in its namespace."""

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hosts import Host

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def inside(host: Host, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call it there; its result or exception. Sockets it leaves open stay there."""
    results: list[Any] = []
    errors: list[BaseException] = []

    def call() -> None:
        with Path("/run/netns", host.netns).open() as namespace:
            if _libc.setns(namespace.fileno(), CLONE_NEWNET):
                errors.append(OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno())))
                return
        try:
            results.append(function(*arguments, **options))
        except BaseException as error:  # noqa: BLE001 - it is raised again below
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
