"""The fixture of real gateways on lab hosts; see tests/networks.py."""

from networks import network, pytest_runtest_makereport

__all__ = ["network", "pytest_runtest_makereport"]
