"""The errors a user can meet, each with the exit status it ends the program with.

    GatewayError            1   it died while running
    ├─ ConfigError          2   the command line or the configuration is wrong
    ├─ HostError            3   this host cannot do it: privilege, device, port
    └─ CrashLoop            4   a child dies again and again

Every message is one line that says what was expected, what was found and what to do.
"""


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


class CrashLoop(GatewayError):
    """A child was replaced too often in too short a time."""

    exit_status = 4
