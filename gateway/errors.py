"""The errors a user can meet, each with the exit status it ends the program with.

    GatewayError            1   it died while running
    ├─ ConfigError          2   the command line or the configuration is wrong
    ├─ HostError            3   this host cannot do it: privilege, device, port
    │  └─ NoRoomError           not now: no descriptor, process or memory is left
    └─ CrashLoop            4   a child dies again and again

Every message is one line that says what was expected, what was found and what to do.
"""

import errno

_MEMORY = "give the host more memory"
_REMEDIES = {
    errno.EMFILE: "raise the limit of descriptors (ulimit -n, LimitNOFILE= of the unit)",
    errno.ENFILE: "raise fs.file-max",
    errno.EAGAIN: "raise the limit of processes (ulimit -u, TasksMax= of the unit)",
    errno.ENOMEM: _MEMORY,
    errno.ENOBUFS: _MEMORY,
}
NO_ROOM = frozenset(_REMEDIES)
"""What the kernel answers where something is used up, which may pass."""


class GatewayError(Exception):
    """Root of what this program reports to its user."""

    exit_status = 1


class ConfigError(GatewayError):
    """What the user said cannot be done. Carries one line per problem."""

    exit_status = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class HostError(GatewayError):
    """The host lacks something. The message names the remedy."""

    exit_status = 3


class NoRoomError(HostError):
    """Something is used up that may be there again later: who runs already tries again."""


class CrashLoop(GatewayError):
    """A child was replaced too often in too short a time."""

    exit_status = 4


def host_error(what: str, error: OSError) -> HostError:
    """`what` with the kernel's reason; NoRoomError where that may pass by itself."""
    text = f"{what}: {error.strerror or error}"
    return NoRoomError(f"{text}; {remedy(error)}") if error.errno in NO_ROOM else HostError(text)


def remedy(error: OSError) -> str:
    """What to do where something of `NO_ROOM` is used up."""
    return _REMEDIES[error.errno or 0]
