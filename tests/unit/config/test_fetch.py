"""A configuration from a web server on loopback."""

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gateway.config import sources
from gateway.config.fetch import fetch
from gateway.config.sources import read_tree
from gateway.config.tree import Report, plain
from gateway.errors import ConfigError

YAML = b"log: {level: debug}\n"
JSON = b'{"log": {"level": "debug"}}'


class Answer(BaseHTTPRequestHandler):
    """What the server's `answers` has for a path: status, headers, body."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        status, headers, body = self.server.answers[self.path.partition("?")[0]]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture
def web():
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.answers, server.asked = {}, []
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        call()
    (line,) = caught.value.problems
    return line


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        ("/a.yaml", "text/plain", YAML),
        ("/a", "application/x-yaml", YAML),
        ("/a", "text/plain", YAML),
        ("/a.json", "text/plain", JSON),
        ("/a", "application/json; charset=utf-8", JSON),
        ("/a", "text/plain", JSON),
    ],
)
def test_every_format(web, path, kind, body):
    web.answers[path] = (200, {"Content-Type": kind}, body)
    report = Report()
    assert plain(read_tree([], [web.url + path], report)) == {"log": {"level": "debug"}}
    assert (report.errors, report.warnings) == ([], [])


def test_the_type_counts_before_the_name(web):
    web.answers["/a.json"] = (200, {"Content-Type": "application/yaml"}, YAML)
    assert fetch(f"{web.url}/a.json").form == "yaml"


def test_who_asks(web):
    web.answers["/a"] = (200, {}, YAML)
    url = web.url.replace("//", "//me:s%C3%A9cret@")
    page = fetch(f"{url}/a?key=geheim#x")
    assert web.asked == [("/a?key=geheim", "Basic bWU6c8OpY3JldA==")]
    assert page.label == f"{web.url}/a"


def test_a_redirect_is_followed_without_the_password(web):
    web.answers["/a"] = (302, {"Location": "/b"}, b"")
    web.answers["/b"] = (200, {}, YAML)
    assert fetch(web.url.replace("//", "//me:x@") + "/a").body == YAML
    assert [auth for _, auth in web.asked] == ["Basic bWU6eA==", None]


@pytest.mark.parametrize("status", [204, 404, 500])
def test_another_status(web, status):
    web.answers["/a"] = (status, {}, b"")
    line = refused(lambda: fetch(f"{web.url}/a?key=geheim"))
    assert line == f"-C {web.url}/a: the answer has status {status}, not 200"


def test_too_long(web):
    web.answers["/a"] = (200, {}, b"x" * 1001)
    assert refused(lambda: fetch(f"{web.url}/a", limit=1000)) == (
        f"-C {web.url}/a: is larger than 1,000 bytes"
    )
    assert len(fetch(f"{web.url}/a", limit=1001).body) == 1001


def test_too_slow():
    """The kernel takes the connection, and nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a"
        line = refused(lambda: fetch(url, seconds=0.1))
    assert line == f"-C {url}: not read within 0.1 seconds"


def test_nobody_there():
    assert refused(lambda: fetch("http://127.0.0.1:1/a")) == (
        "-C http://127.0.0.1:1/a: cannot be read: Connection refused"
    )


def test_what_is_wrong_in_it_has_the_place(web):
    web.answers["/a"] = (200, {}, b"a: 1\nb: [\n")
    report = Report()
    read_tree([], [f"{web.url}/a"], report)
    assert report.errors[0].startswith(f"{web.url}/a:3:1: not YAML: ")


def test_plain_http_over_a_network_is_worth_a_warning(monkeypatch):
    page = sources.Page(YAML, "http://hub/a", "yaml", is_clear=True)
    monkeypatch.setattr(sources, "fetch", {"http://hub/a": page}.get)
    report = Report()
    read_tree([], ["http://hub/a"], report)
    assert report.warnings == [
        "http://hub/a: read over plain HTTP: who is on the way can read and change it"
    ]
