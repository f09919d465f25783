"""Overlaps against comparing with all, with pieces so short that they are cut and emptied."""

from ipaddress import ip_network
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from strategies import few_networks

from gateway.protocol import overlaps
from gateway.protocol.overlaps import Overlaps
from gateway.protocol.packet import Network

changes = st.lists(st.tuples(few_networks, st.integers(0, 3), st.booleans()), max_size=60)


@given(changes, changes, st.lists(few_networks, min_size=1, max_size=5))
def test_overlaps_agree_with_a_list(first: list, later: list, asked: list[Network]) -> None:
    """Put and remove at random, some at once and some later."""
    with patch.object(overlaps, "PIECE", 2):
        table = Overlaps((network, owner) for network, owner, _ in first)
        model = {network: owner for network, owner, _ in first}
        for network, owner, keep in later:
            if keep:
                table.put(network, owner)
                model[network] = owner
            else:
                table.remove(network)
                model.pop(network, None)

        for one in asked:
            found = [owner for _, owner in table.overlapping(one)]
            assert sorted(found) == sorted(
                owner
                for network, owner in model.items()
                if network.version == one.version and network.overlaps(one)
            )
        assert len(table) == len(model)


def test_wide_ones_come_first() -> None:
    table = Overlaps((ip_network(f"10.0.0.0/{length}"), length) for length in (32, 8, 24, 16))
    assert [owner for _, owner in table.overlapping(ip_network("10.0.0.0/20"))] == [8, 16, 24, 32]
