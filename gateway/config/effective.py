"""What is in effect, as a document in the language that it was said in.

Defaults that matter are there, secrets are not. What is decided at the start is told in
words. Of what was merged (the inline credentials of several authers) the result is shown.
"""

from gateway.config import shown_chains, shown_sources
from gateway.config.model import Choice, Commands, Config, Service, Target
from gateway.config.noted import DEFAULT, Document, Noted, Origins
from gateway.config.shown_sources import HIDDEN, seconds
from gateway.config.tree import Plain
from gateway.protocol.forwarding import Role


def describe(config: Config, origins: Origins, cpus: int = 0) -> Document:
    """The document; `cpus` is how many udp-workers `auto` means here, 0 for unknown."""
    document: dict[str, Document] = {
        "instance": Noted(
            config.instance,
            origins.get(("instance",), f"{DEFAULT}: the first net address"),
            only_said=True,
        ),
        "user": Noted(
            config.user or "gateway where it exists, else nobody",
            origins.get(("user",), DEFAULT),
            only_said=True,
        ),
        "services": [
            *(_Described(s, config.user, origins, cpus).all() for s in config.services),
            *map(shown_chains.relay, config.relays),
        ],
    }
    chains = shown_chains.chains(config.services)
    if chains:
        document["chains"] = chains
    authers = shown_sources.authers(config.services, origins)
    if authers:
        document["authers"] = authers
    routers = shown_sources.routers(config.services, origins)
    if routers:
        document["routers"] = routers
    level = Noted(config.log_level, origins.get(("log", "level"), DEFAULT))
    return {**document, "log": {"level": level}}


class _Described:
    """One service on its way into the document."""

    def __init__(self, service: Service, user: str | None, origins: Origins, cpus: int) -> None:
        self.service = service
        self.user = user
        self.origins = origins
        self.cpus = cpus

    def all(self) -> Document:
        service = self.service
        document: dict[str, Document] = {
            "name": self.own("name", service.name),
            "addr": self.own("addr", shown_sources.endpoint(service.host, service.port)),
            "handler": {
                "type": "tun",
                **self.chain(),
                **self.auth(),
                "metadata": self.handler(),
            },
            "listener": {"type": "tun", "metadata": self.listener()},
        }
        if service.targets:
            document["forwarder"] = self.forwarder()
        if metadata := self.metadata():
            document["metadata"] = metadata
        return document

    def own(self, key: str, value: Plain) -> Noted:
        """A key of the service itself."""
        return Noted(value, self.origins.get((self.service.place, "service", key), DEFAULT))

    def option(self, name: str, value: Plain, default: str = DEFAULT) -> Noted:
        """An option; `default` is the note where nothing was said of it."""
        return Noted(value, self.origins.get((self.service.place, name), default))

    def chain(self) -> dict[str, Document]:
        chain = self.service.chain
        return {} if chain is None else {"chain": Noted(chain.name, self.service.place)}

    def auth(self) -> dict[str, Document]:
        names = shown_sources.auther_names(self.service)
        if not names:
            if self.service.role is Role.CLIENT:
                return {}
            free = "none, so whoever reaches the port may take any address"
            return {"auther": Noted(free, DEFAULT, only_said=True)}
        said: Plain = names[0] if len(names) == 1 else list(names)
        return {"auther" if len(names) == 1 else "authers": self.option("auther", said)}

    def handler(self) -> Document:
        service = self.service
        if service.role is Role.SERVER:
            document: dict[str, Document] = {
                "sourceCheck": self.option("sourceCheck", service.source_check),
                "accept": self.option("accept", _choice(service.accept)),
            }
            if service.p2p:
                document["p2p"] = self.option("p2p", value=True)
            return document
        document = {
            "keepAlive": self.option("keepAlive", service.keepalive),
            "ttl": self.option("ttl", seconds(service.ttl)),
        }
        if service.passphrase:
            document["passphrase"] = self.option("passphrase", HIDDEN)
        document["advertise"] = self.option("advertise", _choice(service.advertise))
        return document

    def listener(self) -> Document:
        service = self.service
        document: dict[str, Document] = {
            "net": self.option("net", ",".join(str(net) for net in service.nets)),
            "name": Noted("the kernel's choice", DEFAULT, only_said=True),
            "mtu": self.option("mtu", service.mtu),
        }
        if service.device is not None:
            document["name"] = self.option("name", service.device)
        if service.routes:
            document["routes"] = self.routes()
        if service.router is not None:
            document["router"] = self.option("router", service.router.name)
        if service.dns:
            document["dns"] = self.option("dns", ",".join(map(str, service.dns)))
        if service.role is Role.SERVER:
            here = f"{DEFAULT}: {self.cpus} here" if self.cpus else DEFAULT
            document["workers"] = self.option("workers", service.workers or "auto", here)
        document["offload"] = self.option("offload", service.offload)
        document["mss"] = self.option("mss", service.mss)
        if service.role is Role.CLIENT:
            document["nat"] = self.option("nat", service.nat)
        return document

    def routes(self) -> Document:
        """Those of `route` and of `routes`, each with the gateway it has in the end."""
        return [
            Noted(
                f"{route.network} {route.gateway}" if route.gateway else str(route.network),
                self.origins.get((self.service.place, "route", str(route.network)), DEFAULT),
            )
            for route in self.service.routes
        ]

    def forwarder(self) -> Document:
        document: dict[str, Document] = {
            "nodes": [self.target(number, target) for number, target in self.targets()]
        }
        if len(self.service.targets) > 1:
            chosen = self.service.selector
            document["selector"] = {
                "strategy": self.option("strategy", chosen.strategy),
                "maxFails": self.option("maxFails", chosen.max_fails),
                "failTimeout": self.option("failTimeout", seconds(chosen.fail_timeout)),
            }
        return document

    def targets(self) -> list[tuple[int, Target]]:
        return list(enumerate(self.service.targets))

    def target(self, number: int, target: Target) -> Document:
        key = (self.service.place, "target", target.host, str(target.port))
        addr = shown_sources.endpoint(target.host, target.port)
        document: dict[str, Document] = {
            "name": target.name or f"target-{number}",
            "addr": Noted(addr, self.origins.get(key, DEFAULT)),
        }
        metadata: dict[str, Document] = {}
        if target.backup:
            metadata["backup"] = True
        if target.weight != 1:
            metadata["weight"] = target.weight
        return {**document, "metadata": metadata} if metadata else document

    def metadata(self) -> dict[str, Document]:
        service = self.service
        document: dict[str, Document] = {}
        if self.user is not None:
            document["user"] = Noted(self.user, self.origins.get(("user",), DEFAULT))
        if service.interface is not None:
            document["interface"] = self.option("interface", service.interface)
        if service.mark:
            document["so_mark"] = self.option("so_mark", service.mark)
        if service.netns is not None:
            document["netns"] = self.option("netns", service.netns)
        if service.netns_out is not None:
            document["netns.out"] = self.option("netns.out", service.netns_out)
        return {**document, **self.commands(service.commands)}

    def commands(self, commands: Commands) -> dict[str, Document]:
        moments = {
            "preUp": commands.pre_up,
            "postUp": commands.post_up,
            "preDown": commands.pre_down,
            "postDown": commands.post_down,
        }
        return {name: self.option(name, list(said)) for name, said in moments.items() if said}


def _choice(chosen: Choice) -> Plain:
    return chosen if isinstance(chosen, str) else [str(network) for network in chosen]
