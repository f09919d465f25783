"""The fixture of hosts with both programs, and stock GOST started on them."""

from collections.abc import Callable

import pytest
from needs import need
from networks import Network, network, pytest_runtest_makereport

__all__ = ["network", "pytest_runtest_makereport", "stock"]


@pytest.fixture
def stock(network: Callable[..., Network]) -> Callable[..., Network]:
    """`network`, on a host that has the stock program."""
    need("gost")
    return network
