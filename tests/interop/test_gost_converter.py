"""What stock GOST makes of a URL (`-O`) means to us what the URL itself means."""

import subprocess

import pytest
from msgspec.structs import replace
from needs import need

from gateway.config.build import build
from gateway.config.sources import read_tree
from gateway.config.tree import Report

HUB = "tun://:9421?net=10.66.0.1/24"
SITE = "tun://:0/hub:9421?net=10.66.0.2/24"


def service(listens, configs):
    report = Report()
    config = build(read_tree(listens, configs, report), report)
    assert config.warnings == ()
    return replace(config.services[0], place="")


@pytest.mark.parametrize("form", ["yaml", "json"])
@pytest.mark.parametrize(
    "url",
    [
        HUB,
        f"{HUB},fd66::1/64&name=tun7&mtu=1350",
        f"{HUB}&gw=10.66.0.2&route=10.71.0.0/16,10.72.0.0/16",
        f"{HUB}&routes=10.71.0.0/16%2010.66.0.2,10.72.0.0/16%2010.66.0.3",
        f"{HUB}&p2p=true&dns=10.66.1.53,10.66.2.53",
        f"{HUB}&tun.dns=10.66.1.53,10.66.2.53",
        "tun://10.66.0.2:first%2Dword@127.0.0.1:9421?net=10.66.0.1/24",
        f"{HUB}&auth=MTAuNjYuMC4yOmZpcnN0LXdvcmQ=",
        SITE,
        f"{SITE}&keepalive=true&ttl=1m30s&passphrase=first-word",
        f"{SITE}&keepAlive=1&TTL=15&token=first-word",
        f"{SITE}&interface=eth0&so_mark=100",
        f"{SITE}&netns=blue&netns.out=/run/netns/red",
        f"{SITE}&handler.keepalive=true&listener.mtu=1300",
        "tun://:0/hub:9421-9423,[fd66::9]:1?net=10.66.0.2/24&strategy=rand",
        "tun://:0/hub:1,hub:2?net=10.66.0.2/24&failTimeout=7",
        "tun://:0/hub:1,hub:2?net=10.66.0.2/24&failTimeout=1500ms&strategy=ll",
        "tun://:0/hub:1,hub:2?net=10.66.0.2/24&maxFails=3",
        "tun://:0/hub:1,hub:2?net=10.66.0.2/24&max_fails=3&strategy=ha",
    ],
)
def test_the_converters_output(tmp_path, url, form):
    need("gost")
    done = subprocess.run(["gost", "-L", url, "-O", form], capture_output=True, check=True)
    file = tmp_path / f"out.{form}"
    file.write_bytes(done.stdout)
    assert service([], [str(file)]) == service([url], [])
