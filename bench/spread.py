"""Whether 64 source ports reach every worker, at several numbers of workers.

The peers are 64 sockets on C1 that speak the tunnel's protocol themselves, so that
each has an outer source port of its own; a TUN client would have one.
"""

from typing import Any

from lab import Lab
from programs import wait_for
from subjects import PORT, healthy, server_url, spawn, status
from traffic import flows

FLOWS = 64
PACKETS = 50


def spread(lab: Lab, workers: int, cpus: int) -> dict[str, Any]:
    """Start the server with `workers`, send, and say what each worker received."""
    process = spawn("gateway", lab, lab.server, server_url(f"&workers={workers}"))
    try:
        wait_for(lambda: healthy(lab, lab.server), 10.0, f"the server with {workers} workers")
        traffic = flows(lab.clients[0], lab.near_address(1), PORT, count=FLOWS, packets=PACKETS)
        sockets = _sockets(lab)
        service = status(lab, lab.server)["services"][0]
    finally:
        process.stop()
    children = [one for one in service["processes"] if one["kind"] == "udp-worker"]
    received = [one["counters"]["udp_received_packets"] for one in children]
    pinned = {cpu for one in children for cpu in one["cpus"]}
    return {
        "workers": workers,
        "peers_answered": traffic["acks"],
        "packets_sent": traffic["sent"],
        "packets_received": traffic["received"],
        "received_per_worker": received,
        "sockets": sockets,
        "cpus": sorted(pinned),
        "met": len(received) == workers
        and min(received) > 0
        and sockets >= workers
        and len(pinned) >= min(workers, cpus),
    }


def _sockets(lab: Lab) -> int:
    """How many sockets `ss` shows on the tunnel's port."""
    return len(lab.server.run("ss", "-Huan", f"sport = :{PORT}").stdout.splitlines())
