"""A VPN hub for linking sites over UDP."""

__version__ = "0.1.0"
