"""What is said when a package is missing, and that nothing is imported in vain."""

import subprocess
import sys

import pytest

from gateway.errors import HostError
from gateway.sources.errors import MissingExtraError
from gateway.sources.model import AutherSpec, HttpSpec, PluginSpec, RedisSpec, RouterSpec
from gateway.sources.run import Sources

WEB = HttpSpec("http://127.0.0.1/")
PLUGIN = PluginSpec("http://127.0.0.1/")


async def deliver(_: object) -> None:
    pytest.fail("nothing runs")


@pytest.mark.parametrize(
    ("authers", "routers", "package", "words"),
    [
        ([AutherSpec("staff", http=WEB)], [], "aiohttp", ('auther "staff"', "gateway[http]")),
        ([AutherSpec("staff", plugin=PLUGIN)], [], "aiohttp", ('auther "staff"', "[http]")),
        ([], [RouterSpec("lans", plugin=PLUGIN)], "aiohttp", ('router "lans"', "[http]")),
        ([], [RouterSpec("lans", redis=RedisSpec("h"))], "redis", ('router "lans"', "[redis]")),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    monkeypatch, authers, routers, package: str, words: tuple[str, ...]
) -> None:
    for module in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    for module in ("web", "redis", "plugins"):
        monkeypatch.delitem(sys.modules, f"gateway.sources.{module}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(MissingExtraError) as caught:
        Sources(authers, routers, deliver)
    assert isinstance(caught.value, HostError)
    assert all(word in str(caught.value) for word in (package, "pip install", *words))


def test_what_nobody_asked_for_is_not_imported() -> None:
    code = (
        "import sys, gateway.sources.run, gateway.sources.layers\n"
        "assert not {'redis', 'aiohttp', 'hiredis'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
