"""A gateway whose TUN is a socketpair. Run by path: `program.py SERVICE-AS-JSON TUN-FD`.

Everything else is the program as it is: supervisor, children, rings, sockets, files.
After it has left root it refuses every import: a user's checkout may be closed to the
user it runs as, so what is imported late would be missing when it is needed.
"""

import base64
import importlib.abc
import json
import os
import sys
from collections.abc import Sequence
from ipaddress import ip_interface, ip_network
from types import ModuleType
from typing import Any

import msgspec

from gateway.config import model
from gateway.config.chain_model import RelaySpec
from gateway.errors import GatewayError
from gateway.linux import process
from gateway.linux.netlink import Link
from gateway.protocol.forwarding import Role
from gateway.supervisor.run import run


class PairDevice:
    """A `supervisor.device.Device` without a kernel device behind it."""

    name = "pair0"
    offloads: Sequence[str] = ()
    persistent = False
    former = None

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def configure(self) -> None:
        pass

    def recreate(self) -> None:
        pass

    def tend(self) -> bool:
        return False

    def link(self) -> Link:
        return Link(index=1, name=self.name, mtu=1420, up=True, queue_dropped=0)

    def close(self) -> None:
        os.close(self.fd)


class NoImports(importlib.abc.MetaPathFinder):
    """Says no, and says it where a test looks."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        print(f"IMPORTED LATE: {fullname}", file=sys.stderr, flush=True)
        raise ModuleNotFoundError(fullname)


SOURCES = {
    "file": model.FileSpec,
    "redis": model.RedisSpec,
    "http": model.HttpSpec,
    "plugin": model.PluginSpec,
}


def auther_of(
    name: str,
    reload: float = 0.0,
    inline: Sequence[dict[str, str]] = (),
    **sources: object,
) -> model.AutherSpec:
    """From JSON, where bytes are base64; networks have no types that msgspec converts."""
    credentials = tuple(
        model.Credential(each["username"], base64.b64decode(each["password"])) for each in inline
    )
    made = {kind: msgspec.convert(found, SOURCES[kind]) for kind, found in sources.items()}
    return model.AutherSpec(name, credentials, reload=reload, **made)


def main() -> int:
    options = json.loads(sys.argv[1])
    fd = int(sys.argv[2])
    options["nets"] = tuple(map(ip_interface, options["nets"]))
    options["targets"] = tuple(model.Target(*target) for target in options.get("targets", ()))
    options["role"] = Role[options["role"]]
    options["passphrase"] = options.get("passphrase", "").encode()
    if "credentials" in options:
        options["credentials"] = tuple(
            model.Credential(user, password.encode(), tuple(map(ip_network, networks)))
            for user, password, *networks in options["credentials"]
        )
    options["authers"] = tuple(auther_of(**auther) for auther in options.get("authers", ()))
    relays = tuple(RelaySpec(**each) for each in options.pop("relays", ()))
    service = model.Service(
        **{"name": "tun", "host": "127.0.0.1", "port": 0, "targets": (), **options}
    )
    config = model.Config(services=(service,), instance="test", log_level="debug", relays=relays)

    leave_root = process.leave_root

    def leave_root_and_imports(*arguments: Any) -> str:
        name = leave_root(*arguments)
        sys.meta_path.insert(0, NoImports())
        return name

    process.leave_root = leave_root_and_imports  # type: ignore[assignment]
    try:
        return run(config, open_device=lambda _: PairDevice(fd))
    except GatewayError as error:
        print(error, file=sys.stderr)
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main())
