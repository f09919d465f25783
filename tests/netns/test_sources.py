"""Sources that fail, and large ones, beside traffic: not a packet is lost for them.

Redis and the web server are processes on the server's own host.
"""

import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from needs import need
from networks import Gateway, Network, reaches
from programs import Managed, listening, wait_for

SERVER, C1, C2, C3 = (f"192.168.123.{n}" for n in (1, 2, 3, 4))
LAN1, H1 = "192.168.100.0/24", "192.168.100.10"
MANY = 100_000
REDIS_PORT, WEB_PORT = 6379, 8080
WEB = Path(__file__).with_name("slow_web.py")
HUB = """
services:
- name: hub
  addr: ":8421"
  handler: {{type: tun{auther}}}
  listener: {{type: tun, metadata: {{net: 192.168.123.1/24{router}}}}}
{objects}
"""


@pytest.fixture
def net(network):
    return network(2)


def put(path: Path, text: str) -> None:
    """Replace a file as one should: by renaming."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.chmod(0o644)
    new.replace(path)


def hub(net: Network, *, auther: str = "", router: str = "") -> Gateway:
    """A server with one auther, one router, or both; each is the source's YAML."""
    lines = []
    if auther:
        lines += ["authers:", "- name: staff", "  reload: 1s", f"  {auther}"]
    if router:
        lines += ["routers:", "- name: sites", "  reload: 1s", f"  {router}"]
    file = net.lab.directory / "hub.yaml"
    file.write_text(
        HUB.format(
            auther=", auther: staff" if auther else "",
            router=", router: sites" if router else "",
            objects="\n".join(lines),
        )
    )
    return net.gateway(net.lab.server, "-C", str(file)).expect_ready()


def source(gateway: Gateway, kind: str) -> dict:
    """What the status says of the first source of a kind."""
    return next(each for each in gateway.service()["sources"] if each["kind"] == kind)


class Pings:
    """Pings through the gateway, a hundred a second, from C1 to C2."""

    def __init__(self, net: Network) -> None:
        self._process = net.lab.clients[0].spawn("ping", "-n", "-i", "0.01", C2)

    def answers(self) -> int:
        return self._process.output().count(" time=")

    def expect_all(self) -> None:
        """End; each but perhaps the last one was answered."""
        self._process.send(signal.SIGINT)
        self._process.wait()
        text = self._process.output()
        print(text.splitlines()[-1])
        sent, received = (int(word.split()[0]) for word in text.split("---")[-1].split(",")[:2])
        assert received > 0
        assert sent - received <= 1


@contextmanager
def pings(net: Network) -> Iterator[Pings]:
    """They are answered when this begins, and every one of them was when it ends."""
    reaches(net.lab.clients[0], C2)
    stream = Pings(net)
    wait_for(lambda: stream.answers() > 10, 5.0, "the stream")
    yield stream
    before = stream.answers()
    wait_for(lambda: stream.answers() > before + 50, 5.0, "the stream to go on")
    stream.expect_all()


def redis(net: Network) -> Managed:
    """A server on S. It begins with what SAVE has written there."""
    need("redis-server")
    folder = str(net.lab.directory)
    command = ["redis-server", "--bind", "127.0.0.1", "--save", "", "--dir", folder]
    process = net.lab.server.spawn(*command)
    wait_for(lambda: "Ready to accept" in process.output(), 10.0, "Redis")
    return process


def tell_redis(net: Network, *commands: str) -> None:
    net.lab.server.run("redis-cli", stdin="\n".join(commands) + "\n")


@contextmanager
def web(net: Network) -> Iterator[Callable[[str], None]]:
    """A web server on S that answers as the file `mode` says."""
    folder = net.lab.directory / "web"
    folder.mkdir()
    put(folder / "mode", "ok")
    put(folder / "body", "")
    host = net.lab.server
    process = host.spawn(*host.python(WEB, WEB_PORT, folder), name="web")
    wait_for(lambda: listening(process, WEB_PORT), 5.0, "the web server")
    yield lambda mode: put(folder / "mode", mode)
    process.send(signal.SIGKILL)
    process.wait()


def two_clients(net: Network) -> None:
    net.client(1, "&ttl=1s&passphrase=one")
    net.client(2, "&ttl=1s&passphrase=two")


def test_http_slow_and_wrong_and_never(net):
    pytest.importorskip("aiohttp")
    with web(net) as answer:
        body = net.lab.directory / "web" / "body"
        text = f"{C1} one\n{C2} two\n{LAN1} {C1}\n"  # each source leaves the other's lines out
        put(body, text)
        place = f"http: {{url: 'http://127.0.0.1:{WEB_PORT}/', timeout: 2s}}"
        server = hub(net, auther=place, router=place)
        two_clients(net)
        with pings(net):
            answer("wrong")
            wait_for(lambda: "status 500" in source(server, "http")["error"], 5.0, "the error")
            assert server.status()["health"] == "degraded"
            assert "what was read" in server.status()["problems"][0]
            put(body, "<html>please sign in</html>\n")
            answer("ok")
            wait_for(lambda: "its only entry" in source(server, "http")["error"], 5.0, "the page")
            assert server.status()["health"] == "degraded"
            put(body, text)
            answer("never")
            wait_for(lambda: "no whole answer" in source(server, "http")["error"], 9.0, "never")
            age = source(server, "http")["age_seconds"]
            answer("slow")
            wait_for(lambda: source(server, "http")["age_seconds"] < age, 9.0, "a slow answer")
            wait_for(lambda: server.status()["health"] == "healthy", 9.0, "health")
        assert "event=source-failed" in server.process.output()
        assert not {"one", "two"} & set(re.findall(r"\w+", server.process.output()))


def test_redis_stopped_and_started(net):
    """Credentials from a hash; the clients stay, and what changed meanwhile counts afterwards."""
    pytest.importorskip("redis")
    store = redis(net)
    tell_redis(net, f"HSET gost {C1} one {C2} two {C3} three", "SAVE")
    server = hub(net, auther="redis: {addr: '127.0.0.1:6379'}")
    two_clients(net)
    with pings(net):
        store.send(signal.SIGKILL)
        store.wait()
        wait_for(lambda: source(server, "redis")["error"], 5.0, "the error")
        assert "cannot be reached" in server.status()["problems"][0]
        redis(net)
        tell_redis(net, f"HDEL gost {C3}")
        wait_for(lambda: server.status()["health"] == "healthy", 9.0, "health")
        wait_for(lambda: source(server, "redis")["entries"] == 2, 5.0, "what changed")
    assert len(server.service()["peers"]) == 2


@pytest.mark.parametrize("kind", ["hash", "list", "set"])
def test_routes_of_redis(network, kind):
    need("nft")
    pytest.importorskip("redis")
    net = network(2, lans=(1,))
    redis(net)
    begin = {"hash": "HSET", "list": "RPUSH", "set": "SADD"}[kind]
    entry = f"{LAN1} {C1}" if kind == "hash" else f'"{LAN1} {C1}"'
    tell_redis(net, f"{begin} places {entry}")
    server = hub(net, router=f"redis: {{addr: '127.0.0.1:6379', key: places, type: {kind}}}")
    net.client(1, "&nat=true&advertise=off&ttl=1s")
    net.client(2, f"&route={LAN1}&ttl=1s")
    reaches(net.lab.clients[1], H1)
    reaches(net.lab.server, H1)
    tell_redis(net, "DEL places")
    wait_for(lambda: source(server, "redis")["entries"] == 0, 5.0, "an empty table")
    wait_for(lambda: server.peer(C1)["networks"] == [], 5.0, "the route to go")


def credentials(turn: int) -> list[tuple[str, str]]:
    """As many, of which every other differs from turn to turn."""
    return [
        (f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", f"secret{n}-{turn if n % 2 else 0}")
        for n in range(MANY)
    ]


def loaded(server: Gateway, kind: str, began: float) -> Callable[[], bool]:
    """Whether a load that began later than that is there, whole."""

    def done() -> bool:
        found = source(server, kind)
        age = found["age_seconds"]
        fresh = age is not None and age < time.monotonic() - began
        return fresh and found["entries"] == MANY + 2

    return done


@pytest.mark.parametrize("kind", ["file", "redis"])
def test_a_reload_of_100_000_credentials_costs_no_packet(net, kind):
    """Half of them with other passwords, and back, while pings go through."""
    users = net.lab.directory / "users"
    if kind == "redis":
        pytest.importorskip("redis")
        redis(net)

    def fill(turn: int) -> float:
        rows = [*credentials(turn), (C1, "one"), (C2, "two")]
        if kind == "file":
            put(users, "".join(f"{user} {word}\n" for user, word in rows))
            return time.monotonic()
        lines = [
            "HSET new " + " ".join(f"{user} {word}" for user, word in rows[start : start + 1000])
            for start in range(0, len(rows), 1000)
        ]
        tell_redis(net, "DEL new", *lines, "RENAME new gost")
        return time.monotonic()

    began = fill(0)
    place = {"file": f"file: {{path: {users}}}", "redis": "redis: {addr: '127.0.0.1:6379'}"}[kind]
    server = hub(net, auther=place)
    wait_for(loaded(server, kind, began), 20.0, "the first load")
    two_clients(net)
    with pings(net):
        for turn in (1, 2, 3):
            began = fill(turn)
            wait_for(loaded(server, kind, began), 20.0, "the reload")
            print(f"{kind}: reload {turn} within {time.monotonic() - began:.2f} s")
    assert len(server.service()["peers"]) == 2


def test_a_reload_of_100_000_routes_costs_no_packet(net):
    """They come, lead elsewhere and go, in the gateway and on its host, beside the pings."""
    routes = net.lab.directory / "routes"
    put(routes, "")
    server = hub(net, router=f"file: {{path: {routes}}}")
    two_clients(net)
    host = net.lab.server
    networks = [f"10.{n >> 12}.{n >> 4 & 255}.{n % 16 * 16}/28" for n in range(MANY)]

    def leads(network: str, gateway: str) -> bool:
        """Cheap to ask, unlike the whole table: entries are made in the file's order."""
        return gateway in host.run("ip", "route", "show", network).stdout.split()

    def table(gateway: str) -> str:
        return "".join(f"{network} {gateway}\n" for network in networks)

    with pings(net):
        began = time.monotonic()
        put(routes, table(C1))
        wait_for(lambda: source(server, "file")["entries"] == MANY, 20.0, "the table")
        wait_for(lambda: leads(networks[-1], C1), 60.0, "the host's routes")
        print(f"100,000 routes on the host after {time.monotonic() - began:.2f} s")
        put(routes, table(C2))
        wait_for(lambda: leads(networks[-1], C2), 60.0, "the other gateway")
        put(routes, "")
        wait_for(lambda: not leads(networks[-1], C2), 60.0, "the host's routes to go")
    assert host.run("ip", "route", "show", "proto", "71").stdout == ""
    assert server.service()["host"]["problems"] == []
    assert json.dumps(server.status()["problems"]) == "[]"
