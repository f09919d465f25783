"""Whom an instance becomes that was started as root."""

import pwd

from gateway.errors import ConfigError

DEFAULT_USERS = ("gateway", "nobody")
"""The first that exists, unless `user` says another."""
NO_ID = (1 << 32) - 1
"""What setresuid(2) takes for "leave it as it is"; ids are below it."""


def find_user(user: str | None) -> pwd.struct_passwd:
    """The account to become. Raises ConfigError when there is none.

    A number needs no account, as in a container; its group has the same number then.
    """
    for name in (user,) if user else DEFAULT_USERS:
        number = int(name) if name.isascii() and name.isdigit() else None
        try:
            if number is None:
                return pwd.getpwnam(name)
            if number < NO_ID:
                return pwd.getpwuid(number)
        except KeyError:
            if number is not None:
                return pwd.struct_passwd((name, "", number, number, "", "/", ""))
    raise ConfigError(
        f"user={user}: no such user on this host; create it (useradd --system {user}) "
        "or leave the option out"
        if user
        else "neither the user 'gateway' nor 'nobody' exists: create one (useradd --system gateway)"
    )
