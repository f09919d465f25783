"""Configurations as text again: what was said (`-O`), and what is in effect (`-t`).

Both are pure ASCII, so that they survive any terminal and locale.
"""

import json

import yaml

from gateway.config.model import Config, Service, Target
from gateway.config.tree import Plain

HIDDEN = "***"


def render(document: Plain, form: str) -> str:
    """A document as YAML, or as JSON if `form` says so; it ends with a line break."""
    if form == "json":
        return json.dumps(document, indent=2) + "\n"
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=10**6)
    return str(text)


class _Dumper(yaml.SafeDumper):
    """Never writes anchors: equal parts are written out."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def effective(config: Config) -> dict[str, Plain]:
    """A configuration with all defaults in place and all secrets hidden.

    What is decided at start (a device's name, the number of workers) is left out.
    """
    document: dict[str, Plain] = {"services": [_service(s, config.user) for s in config.services]}
    if authers := [_auther(s) for s in config.services if s.credentials is not None]:
        document["authers"] = list(authers)
    document["log"] = {"level": config.log_level}
    return document


def _service(service: Service, user: str | None) -> Plain:
    handler: dict[str, Plain] = {"type": "tun"}
    if service.credentials is not None:
        handler["auther"] = service.name
    handler["metadata"] = _handler_metadata(service)
    document: dict[str, Plain] = {
        "name": service.name,
        "addr": _endpoint(service.host, service.port),
        "handler": handler,
        "listener": {"type": "tun", "metadata": _listener_metadata(service)},
    }
    if service.targets:
        document["forwarder"] = {
            "nodes": [_target(index, target) for index, target in enumerate(service.targets)]
        }
    if user is not None:
        document["metadata"] = {"user": user}
    return document


def _handler_metadata(service: Service) -> Plain:
    if not service.targets:
        return {"sourceCheck": service.source_check}
    metadata: dict[str, Plain] = {"keepAlive": service.keepalive, "ttl": f"{service.ttl:g}s"}
    if service.passphrase:
        metadata["passphrase"] = HIDDEN
    return metadata


def _listener_metadata(service: Service) -> Plain:
    metadata: dict[str, Plain] = {"net": ",".join(str(net) for net in service.nets)}
    if service.device is not None:
        metadata["name"] = service.device
    metadata["mtu"] = service.mtu
    if service.routes:
        metadata["routes"] = [
            f"{route.network} {route.gateway}" if route.gateway else str(route.network)
            for route in service.routes
        ]
    if service.workers is not None:
        metadata["workers"] = service.workers
    metadata["offload"] = service.offload
    metadata["mss"] = service.mss
    return metadata


def _target(index: int, target: Target) -> Plain:
    return {"name": f"target-{index}", "addr": _endpoint(target.host, target.port)}


def _endpoint(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _auther(service: Service) -> Plain:
    auths: list[Plain] = [
        {"username": credential.username, "password": HIDDEN}
        for credential in service.credentials or ()
    ]
    return {"name": service.name, "auths": auths}
