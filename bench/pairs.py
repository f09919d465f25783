"""The tunnel inside a carrier: which pairs of programs are compared, and how they start.

    gateway          ours at both ends
    gost             stock at both ends, whatever `gost` is on the PATH
    gateway_to_gost  our clients, a stock server
    gost_to_gateway  stock clients, our server

The server shows a relay listener for the carrier, and one for another, so that two clients
can meet who came by different ways; the TUN service behind them is the recipe's.
"""

from dataclasses import dataclass

from hosts import Host
from lab import Lab
from programs import Managed, NotReachedError, wait_for
from subjects import PORT, available, beside_python, instance, tunnel_address
from traffic import ping

CARRIERS = ("tcp", "tls", "ws", "wss", "mws", "mwss", "grpc", "quic", "kcp")
PAIRS = {
    "gateway": ("gateway", "gateway"),
    "gost": ("gost", "gost"),
    "gateway_to_gost": ("gateway", "gost"),
    "gost_to_gateway": ("gost", "gateway"),
}
"""Name of a pair to the program of its clients, and that of its server."""

SERVER = tunnel_address(0)

_CARRIER_PORT, _OTHER_PORT = 443, 444


@dataclass
class Carried:
    """A started pair: C1 and C2 come by `carrier`, until C2 is moved to the other one."""

    lab: Lab
    pair: str
    carrier: str
    server: Managed
    clients: list[Managed]

    def move_second(self) -> None:
        """C2 comes by the other carrier from now on. Raises NotReachedError."""
        self.clients[1].stop()
        self.clients[1] = _client(self.lab, 2, self.pair, other_than(self.carrier), _OTHER_PORT)
        _expect(self, 2, [SERVER, tunnel_address(1)])

    def stop(self) -> None:
        """End it, clients first."""
        for process in (*self.clients, self.server):
            process.stop()


def other_than(carrier: str) -> str:
    """What the second client comes by when it comes by another."""
    return "tls" if carrier == "wss" else "wss"


def possible(pair: str) -> bool:
    """Whether both programs of a pair are here."""
    return all(available(program) for program in PAIRS[pair])


def start(lab: Lab, pair: str, carrier: str, *, clients: int = 2) -> Carried:
    """Start server and clients, and wait until everyone reaches everyone.

    Raises NotReachedError, with what the programs wrote, where they do not.
    """
    running = Carried(lab, pair, carrier, _server(lab, pair, carrier), [])
    numbers = range(1, clients + 1)
    try:
        for number in numbers:
            running.clients.append(_client(lab, number, pair, carrier, _CARRIER_PORT))
        for number in numbers:
            others = [tunnel_address(each) for each in numbers if each != number]
            _expect(running, number, [SERVER, *others])
    except NotReachedError as error:
        running.stop()
        ends = (running.server, *running.clients)
        words = "\n".join(f"--- {end.name}\n{end.output()}" for end in ends)
        raise NotReachedError(f"{error}\n{words}") from None
    return running


def _server(lab: Lab, pair: str, carrier: str) -> Managed:
    listens = [
        f"tun://:{PORT}?net={SERVER}/24",
        f"relay+{carrier}://:{_CARRIER_PORT}",
        f"relay+{other_than(carrier)}://:{_OTHER_PORT}",
    ]
    words = [word for url in listens for word in ("-L", url)]
    process = _spawn(lab, lab.server, PAIRS[pair][1], words)
    wait_for(lambda: _answers(process, lab.server, SERVER), 10.0, f"the device of {pair}'s server")
    return process


def _client(lab: Lab, number: int, pair: str, carrier: str, port: int) -> Managed:
    listen = f"tun://:0/:{PORT}?net={tunnel_address(number)}/24&keepAlive=true"
    hop = f"relay+{carrier}://{lab.near_address(number)}:{port}"
    words = ["-L", listen, "-F", hop]
    return _spawn(lab, lab.clients[number - 1], PAIRS[pair][0], words)


def _spawn(lab: Lab, host: Host, program: str, words: list[str]) -> Managed:
    if program == "gateway":
        name = instance(lab, host)
        return host.spawn(beside_python(program), "--instance", name, *words, name=program)
    return host.spawn(program, *words, name=program)


def _expect(running: Carried, number: int, addresses: list[str]) -> None:
    host, process = running.lab.clients[number - 1], running.clients[number - 1]
    for address in addresses:
        wait_for(
            lambda a=address: _answers(process, host, a),  # type: ignore[misc]
            15.0,
            f"{host.name} to reach {address} through {running.pair} over {running.carrier}",
        )


def _answers(process: Managed, host: Host, address: str) -> bool:
    process.expect_running()
    return ping(host, address, wait=0.3).received == 1
