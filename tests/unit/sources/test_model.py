"""Descriptions: labels to show, and secrets not to."""

import pytest

from gateway.sources.model import HttpSpec, PluginSpec, RedisSpec


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        (RedisSpec("127.0.0.1"), "redis 127.0.0.1:6379/0 gost"),
        (RedisSpec("::1", 7000, db=3, key="users"), "redis [::1]:7000/3 users"),
        (HttpSpec("https://me:pw@example.org:8/users?key=x#y"), "https://example.org:8/users"),
        (HttpSpec("http://a@b@h@[::1]:8?x=@/y"), "http://[::1]:8"),
        (HttpSpec("https://h/p@th#a?b"), "https://h/p@th"),
        (HttpSpec("http://[::1"), "an unreadable URL"),
        (HttpSpec("me:pw@h/"), "an unreadable URL"),
        (PluginSpec("http://me@127.0.0.1:8000/auth"), "http://127.0.0.1:8000/auth"),
    ],
)
def test_labels(spec, label: str) -> None:
    assert spec.label == label


def test_no_repr_shows_a_secret() -> None:
    assert "hunter2" not in repr(RedisSpec("h", password=b"hunter2"))
    assert "hunter2" not in repr(PluginSpec("http://hunter2@h/", token=b"hunter2"))
    assert "hunter2" not in repr(HttpSpec("http://me:hunter2@h/?key=hunter2"))
