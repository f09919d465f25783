"""How much slower a look-up is with 100,000 prefixes than with ten.

    python bench/lookups.py [--seconds 0.2] [--rounds 5]

Prints JSON: look-ups a second of the compiled FIB, by pattern of destinations and number
of prefixes, and the ratio of the two, each the best of some rounds that take turns: what
else the machine does only ever slows them down. The prefixes are private IPv4 networks
of 16 to 32 bits in the mix of a large site list (most of them /24, some hosts), spread over
10.0.0.0/8 and 172.16.0.0/12. Ten of them are what a small table has.

    traffic    10,000 flows of 500 destinations: Zipf, in runs of 1 to 16 packets
    repeated   the same, in runs of 32: bulk transfers
    random     every destination below a random prefix, each a new one
    everywhere every destination random in the private space, most of them in no prefix
"""

import argparse
import json
import random
import time

from gateway.fastpath.fib import Fib

MAPPED = bytes(10) + b"\xff\xff"
FEW, MANY = 10, 100_000
ASKED = 1 << 16
LENGTHS = (
    {16: 1, 17: 1, 18: 2, 19: 3, 20: 5, 21: 5, 22: 8, 23: 8}
    | {24: 40, 25: 4, 26: 4, 27: 4, 28: 5, 29: 4, 30: 3, 31: 1, 32: 12}
)  # fmt: skip
"""How many of a hundred prefixes have which length."""

Prefix = tuple[int, int]


def prefixes(count: int, rng: random.Random) -> list[Prefix]:
    """As many different ones."""
    lengths, weights = list(LENGTHS), list(LENGTHS.values())
    found: dict[Prefix, None] = {}
    while len(found) < count:
        (length,) = rng.choices(lengths, weights)
        base = 0x0A000000 | rng.getrandbits(24)
        if rng.random() < 0.1:
            base = 0xAC100000 | rng.getrandbits(20)
        found[base >> 32 - length << 32 - length, length] = None
    return list(found)


def fib_of(table: list[Prefix]) -> Fib:
    """A FIB with these, each to one of 256 peers."""
    fib = Fib(256)
    for number, (base, length) in enumerate(table):
        fib.set_route(MAPPED + base.to_bytes(4), 96 + length, number % 256)
    return fib


def below(prefix: Prefix, rng: random.Random) -> int:
    """An address in a prefix."""
    base, length = prefix
    return base | rng.getrandbits(32) & (1 << 32 - length) - 1


def runs(table: list[Prefix], longest: int, rng: random.Random) -> list[int]:
    """Destinations of packets that come in runs; few of them get most."""
    hosts = [below(rng.choice(table), rng) for _ in range(500)]
    weights = [1 / (rank + 1) for rank in range(len(hosts))]
    asked: list[int] = []
    while len(asked) < ASKED:
        (host,) = rng.choices(hosts, weights)
        asked += [host] * (longest if longest > 16 else rng.randint(1, longest))
    return asked[:ASKED]


def destinations(table: list[Prefix], rng: random.Random) -> dict[str, bytes]:
    """By pattern, as `Fib.lookup_all` takes them."""
    patterns = {
        "traffic": runs(table, 16, rng),
        "repeated": runs(table, 32, rng),
        "random": [below(rng.choice(table), rng) for _ in range(ASKED)],
        "everywhere": [0x0A000000 | rng.getrandbits(24) for _ in range(ASKED)],
    }
    return {
        name: b"".join(MAPPED + host.to_bytes(4) for host in hosts)
        for name, hosts in patterns.items()
    }


def rate(fib: Fib, asked: bytes, seconds: float) -> float:
    """Look-ups a second."""
    count, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        fib.lookup_all(asked)
        count += ASKED
    return count / spent


def measure(seconds: float, rounds: int) -> dict[str, dict[str, float]]:
    """Look-ups a second by pattern; `ratio` is many to few."""
    rng = random.Random(7)
    tables = {"few": prefixes(FEW, rng), "many": prefixes(MANY, rng)}
    fibs = {name: fib_of(table) for name, table in tables.items()}
    asked = {name: destinations(table, rng) for name, table in tables.items()}
    figures: dict[str, dict[str, float]] = {}
    for pattern in asked["few"]:
        best = dict.fromkeys(fibs, 0.0)
        for _ in range(rounds):
            for name, fib in fibs.items():
                best[name] = max(best[name], rate(fib, asked[name][pattern], seconds))
        figures[pattern] = {**best, "ratio": best["many"] / best["few"]}
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    figures = measure(options.seconds, options.rounds)
    print(json.dumps({"prefixes": {"few": FEW, "many": MANY}, "lookups": figures}, indent=2))


if __name__ == "__main__":
    main()
