"""Authers and routers as they are in effect, without secrets."""

from collections.abc import Sequence

from gateway.config.model import (
    AutherSpec,
    Credential,
    PluginSpec,
    RedisSpec,
    RouterSpec,
    Service,
)
from gateway.config.noted import DEFAULT, Document, Noted, Origins

HIDDEN = "***"


def auther_names(service: Service) -> list[str]:
    """Whom a service asks: its merged list, and the authers that have other sources."""
    names = [_list_name(service)] if _has_list(service) else []
    return names + [spec.name for spec in service.authers]


def authers(services: Sequence[Service], origins: Origins) -> list[Document]:
    """The `authers` of the document."""
    listed = [_listed(service, origins) for service in services if _has_list(service)]
    specs = {spec.name: spec for service in services for spec in service.authers}
    return [*listed, *(_auther(spec, origins) for spec in specs.values())]


def routers(services: Sequence[Service], origins: Origins) -> list[Document]:
    """The `routers` of the document."""
    specs = {s.router.name: s.router for s in services if s.router is not None}
    return [_router(spec, origins) for spec in specs.values()]


def _has_list(service: Service) -> bool:
    return bool(service.credentials) or (service.credentials == () and not service.authers)


def _list_name(service: Service) -> str:
    """What the merged list is called; the authers with other sources keep their names."""
    taken = {spec.name for spec in service.authers}
    name = service.name
    while name in taken:
        name += "-list"
    return name


def _listed(service: Service, origins: Origins) -> Document:
    credentials = service.credentials or ()
    return {"name": _list_name(service), "auths": _auths(service.place, credentials, origins)}


def _auths(owner: str, credentials: Sequence[Credential], origins: Origins) -> Document:
    return [_credential(owner, found, origins) for found in credentials]


def _credential(owner: str, credential: Credential, origins: Origins) -> Document:
    note = origins.get((owner, "credential", credential.username), DEFAULT)
    document: dict[str, Document] = {
        "username": Noted(credential.username, note),
        "password": HIDDEN,
    }
    if credential.networks:
        document["networks"] = Noted([str(network) for network in credential.networks], "")
    return document


def _auther(spec: AutherSpec, origins: Origins) -> Document:
    document: dict[str, Document] = {"name": _named(spec.name, "authers", origins)}
    if spec.inline:
        document["auths"] = _auths(f"authers {spec.name}", spec.inline, origins)
    return {**document, **_sources(spec)}


def _router(spec: RouterSpec, origins: Origins) -> Document:
    document: dict[str, Document] = {"name": _named(spec.name, "routers", origins)}
    if spec.inline:
        document["routes"] = [
            {
                "dst": Noted(
                    str(route.network),
                    origins.get(("routers", spec.name, str(route.network)), DEFAULT),
                ),
                "gateway": str(route.gateway),
            }
            for route in spec.inline
        ]
    return {**document, **_sources(spec)}


def _named(name: str, key: str, origins: Origins) -> Noted:
    return Noted(name, origins.get((key, name), DEFAULT))


def _sources(spec: AutherSpec | RouterSpec) -> dict[str, Document]:
    document: dict[str, Document] = {}
    if spec.file is not None:
        document["file"] = {"path": spec.file.path}
    if spec.redis is not None:
        document["redis"] = _redis(spec.redis, with_type=isinstance(spec, RouterSpec))
    if spec.http is not None:
        url = _shown_url(spec.http.url, spec.http.label)
        document["http"] = {"url": url, "timeout": seconds(spec.http.timeout)}
    if spec.plugin is not None:
        document["plugin"] = _plugin(spec.plugin)
    elif spec.reload:
        document["reload"] = seconds(spec.reload)
    return document


def _redis(spec: RedisSpec, *, with_type: bool) -> Document:
    document: dict[str, Document] = {"addr": endpoint(spec.host, spec.port), "db": spec.db}
    if spec.username:
        document["username"] = spec.username
    if spec.password:
        document["password"] = HIDDEN
    document["key"] = spec.key
    return {**document, "type": spec.type} if with_type else document


def _plugin(spec: PluginSpec) -> Document:
    document: dict[str, Document] = {"type": "http", "addr": _shown_url(spec.url, spec.label)}
    if spec.token:
        document["token"] = HIDDEN
    document["timeout"] = seconds(spec.timeout)
    named = {
        "serverName": spec.server_name,
        "caFile": spec.ca_file,
        "certFile": spec.cert_file,
        "keyFile": spec.key_file,
    }
    said = {key: value for key, value in named.items() if value}
    if said or not spec.verify:
        document["tls"] = {"secure": spec.verify, **said}
    return document


def _shown_url(url: str, public: str) -> str:
    """Without user, password and query; stars tell that there is more."""
    return public if public == url else f"{public}?{HIDDEN}"


def endpoint(host: str, port: int) -> str:
    """HOST:PORT, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def seconds(value: float) -> str:
    """A duration, as Go reads it."""
    return f"{value:.9f}".rstrip("0").rstrip(".") + "s"
