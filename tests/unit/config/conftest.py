"""What the tests of the configuration share: one way in, and one to see what it said."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.config.build import build
from gateway.config.model import Config
from gateway.config.sources import read_tree
from gateway.config.tree import Report
from gateway.errors import ConfigError


@pytest.fixture
def load(tmp_path, monkeypatch) -> Callable[..., Config]:
    """The configuration of some URLs and a file g.yaml."""
    monkeypatch.chdir(tmp_path)

    def load(*listens: str, yaml: str = "", instance: str | None = None) -> Config:
        report = Report()
        if yaml:
            Path("g.yaml").write_text(yaml)
        tree = read_tree(listens, ["g.yaml"] if yaml else [], report)
        return build(tree, report, instance=instance)

    return load


@pytest.fixture
def problems(load) -> Callable[..., list[str]]:
    """The errors of such a configuration, a line each."""

    def problems(*listens: str, yaml: str = "", instance: str | None = None) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(*listens, yaml=yaml, instance=instance)
        return str(caught.value).splitlines()

    return problems
