"""Configurations as text again: what was said (`-O`), and what is in effect (`-t`).

Both are pure ASCII, so that they survive any terminal and locale.
"""

import json
from collections.abc import Iterable

import yaml

from gateway.config.model import (
    AutherSpec,
    Choice,
    Config,
    Credential,
    PluginSpec,
    RedisSpec,
    Service,
    Target,
)
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
    listed = [_listed(s) for s in config.services if _has_list(s)]
    specs = {spec.name: _auther(spec) for s in config.services for spec in s.authers}
    if listed or specs:
        document["authers"] = [*listed, *specs.values()]
    document["log"] = {"level": config.log_level}
    return document


def _service(service: Service, user: str | None) -> Plain:
    handler: dict[str, Plain] = {"type": "tun"}
    names = [_list_name(service)] if _has_list(service) else []
    names += [spec.name for spec in service.authers]
    if len(names) == 1:
        handler["auther"] = names[0]
    elif names:
        handler["authers"] = list(names)
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
        return {"sourceCheck": service.source_check, "accept": _choice(service.accept)}
    metadata: dict[str, Plain] = {"keepAlive": service.keepalive, "ttl": f"{service.ttl:g}s"}
    if service.passphrase:
        metadata["passphrase"] = HIDDEN
    metadata["advertise"] = _choice(service.advertise)
    return metadata


def _choice(chosen: Choice) -> Plain:
    return chosen if isinstance(chosen, str) else [str(network) for network in chosen]


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
    if service.targets:
        metadata["nat"] = service.nat
    return metadata


def _target(index: int, target: Target) -> Plain:
    return {"name": f"target-{index}", "addr": _endpoint(target.host, target.port)}


def _endpoint(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _has_list(service: Service) -> bool:
    return bool(service.credentials) or (service.credentials == () and not service.authers)


def _list_name(service: Service) -> str:
    """What the merged list is called; the authers with other sources keep their names."""
    taken = {spec.name for spec in service.authers}
    name = service.name
    while name in taken:
        name += "-list"
    return name


def _listed(service: Service) -> Plain:
    return {"name": _list_name(service), "auths": _auths(service.credentials or ())}


def _auths(credentials: Iterable[Credential]) -> list[Plain]:
    return [_credential(found) for found in credentials]


def _credential(credential: Credential) -> Plain:
    document: dict[str, Plain] = {"username": credential.username, "password": HIDDEN}
    if credential.networks:
        document["networks"] = [str(network) for network in credential.networks]
    return document


def _auther(spec: AutherSpec) -> Plain:
    document: dict[str, Plain] = {"name": spec.name}
    if spec.inline:
        document["auths"] = _auths(spec.inline)
    if spec.file is not None:
        document["file"] = {"path": spec.file.path}
    if spec.redis is not None:
        document["redis"] = _redis(spec.redis)
    if spec.http is not None:
        url = _shown_url(spec.http.url, spec.http.label)
        document["http"] = {"url": url, "timeout": _seconds(spec.http.timeout)}
    if spec.plugin is not None:
        document["plugin"] = _plugin(spec.plugin)
    elif spec.reload:
        document["reload"] = _seconds(spec.reload)
    return document


def _redis(spec: RedisSpec) -> Plain:
    document: dict[str, Plain] = {"addr": _endpoint(spec.host, spec.port), "db": spec.db}
    if spec.username:
        document["username"] = spec.username
    if spec.password:
        document["password"] = HIDDEN
    return {**document, "key": spec.key}


def _plugin(spec: PluginSpec) -> Plain:
    document: dict[str, Plain] = {"type": "http", "addr": _shown_url(spec.url, spec.label)}
    if spec.token:
        document["token"] = HIDDEN
    document["timeout"] = _seconds(spec.timeout)
    if spec.server_name or not spec.verify:
        tls: dict[str, Plain] = {"secure": spec.verify}
        document["tls"] = {**tls, "serverName": spec.server_name} if spec.server_name else tls
    return document


def _shown_url(url: str, public: str) -> str:
    """Without user, password and query; stars tell that there is more."""
    return public if public == url else f"{public}?{HIDDEN}"


def _seconds(value: float) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".") + "s"
