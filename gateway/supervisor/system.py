"""The host's own routes into the tunnel (`route=`, `routes`).

They are replaced, not added: a former run that was killed may have left them on a
device that outlives it. With a device of our own they vanish together with it.
"""

from collections.abc import Sequence

from gateway.config.model import Route
from gateway.linux import netlink


def add_routes(routes: Sequence[Route], device: str) -> None:
    """Route each network into the device. Raises HostError."""
    for route in routes:
        netlink.replace_route(route.network, device, route.gateway)


def remove_routes(routes: Sequence[Route], device: str) -> None:
    """Withdraw them. What is gone is gone."""
    for route in routes:
        netlink.remove_route(route.network, device)
