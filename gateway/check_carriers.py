"""What `gateway -t` finds of carriers: packages, certificates, keys, values of options.

It prepares dialling and listening as the start would, which reads files and opens nothing.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from gateway.carriers.certificates import kept
from gateway.carriers.stream import CarrierError
from gateway.config.model import Config
from gateway.workers.bridge_carriers import prepare_dial, prepare_listen


def carriers_lines(config: Config) -> Iterator[str]:
    """One line for each node of a chain, and each relay listener, that could not start."""
    chains = {service.chain.name: service.chain for service in config.services if service.chain}
    for chain in chains.values():
        for node in (node for hop in chain.hops for node in hop.nodes):
            try:
                prepare_dial(node)
            except CarrierError as error:
                yield f"{node.place}: {error}"
    with tempfile.TemporaryDirectory() as room:
        for relay in config.relays:
            try:
                # The instance's own certificate is not looked for: any will do here.
                prepare_listen(relay, lambda: kept(Path(room)).file)
            except CarrierError as error:
                yield f"{relay.place}: {error}"
