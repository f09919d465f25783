import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigError
from gateway.protocol.instances import (
    DEFAULT_RUN_DIRECTORY,
    SOCKET_PATH_LIMIT,
    instance_of,
    instances_among,
    quote,
    run_directory,
    socket_path,
    unquote,
)

NAMES = [
    ("192.168.123.1", "192.168.123.1"),
    ("fd00::1", "fd00%3A%3A1"),
    ("site/7", "site%2F7"),
    ("..", "%2E."),
    (".", "%2E"),
    ("100%", "100%25"),
    ("Zürich", "Z%C3%BCrich"),
    ("a b\n", "a%20b%0A"),
    ("\udcff", "%FF"),
]


@pytest.mark.parametrize(("instance", "quoted"), NAMES)
def test_a_name_and_its_file_name(instance: str, quoted: str) -> None:
    assert quote(instance) == quoted
    assert unquote(quoted) == instance
    assert socket_path("/run/gateway", instance) == f"/run/gateway/{quoted}.sock"
    assert instance_of(f"{quoted}.sock") == instance


@given(st.text(min_size=1))
def test_every_text_has_one_file_name(instance: str) -> None:
    quoted = quote(instance)
    assert quoted.isascii()
    assert quoted.isprintable()
    assert "/" not in quoted
    assert not quoted.startswith(".")
    assert instance_of(f"{quoted}.sock") == instance


@given(st.text())
def test_a_file_name_is_ours_or_nobodys(file_name: str) -> None:
    instance = instance_of(file_name)
    assert instance is None or f"{quote(instance)}.sock" == file_name


@pytest.mark.parametrize(
    "file_name",
    ["", ".sock", "a", "a.pid", "%4.sock", "%zz.sock", "%41.sock", "%3a.sock", "a b.sock", "a%"],
)
def test_file_names_that_are_not_ours(file_name: str) -> None:
    assert instance_of(file_name) is None


def test_the_listing_is_sorted() -> None:
    assert instances_among(["fd00%3A%3A1.sock", "b.sock", "lock", "a.sock"]) == [
        "a",
        "b",
        "fd00::1",
    ]


def test_the_longest_path_and_one_more() -> None:
    directory = "/run/gateway/"
    room = SOCKET_PATH_LIMIT - len(directory) - len(".sock")
    assert len(socket_path(directory, "a" * room)) == SOCKET_PATH_LIMIT
    with pytest.raises(ConfigError, match=r"108 bytes long, and Linux takes 107.*--instance"):
        socket_path(directory, "a" * (room + 1))


def test_the_limit_counts_bytes() -> None:
    with pytest.raises(ConfigError):
        socket_path("/" + "ü" * 51, "a")


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="empty"):
        socket_path("/run/gateway", "")


def test_the_run_directory() -> None:
    assert run_directory({}) == DEFAULT_RUN_DIRECTORY
    assert run_directory({"GATEWAY_RUN_DIR": ""}) == DEFAULT_RUN_DIRECTORY
    assert run_directory({"GATEWAY_RUN_DIR": "/tmp/x"}) == "/tmp/x"
