"""What happens to a packet (enums; `decide` below)."""

from enum import IntEnum


class Role(IntEnum):
    """Which side of the tunnel a service is."""

    SERVER = 0
    CLIENT = 1
