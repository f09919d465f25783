import pytest

from gateway import users
from gateway.errors import ConfigError


def test_unknown_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that names the option and the remedy."""
    with pytest.raises(ConfigError, match=r"user=no-such-user.*useradd"):
        users.find_user("no-such-user")
    monkeypatch.setattr(users, "DEFAULT_USERS", ("ghost", "phantom"))
    with pytest.raises(ConfigError, match=r"neither.*useradd --system gateway"):
        users.find_user(None)
    with pytest.raises(ConfigError, match="user=4294967295"):
        users.find_user("4294967295")


def test_a_user_by_number() -> None:
    """With an account or without one, as the documents say."""
    assert users.find_user("0").pw_name == "root"
    unnamed = users.find_user("54321987")
    assert (unnamed.pw_uid, unnamed.pw_gid) == (54321987, 54321987)
