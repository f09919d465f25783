"""Configurations as text again: what was said (`-O`), and what is in effect (`-t`).

Both are pure ASCII, so that they survive any terminal and locale.
"""

import json

import yaml

from gateway.config.collector import collector_at_rest
from gateway.config.effective import describe
from gateway.config.model import Config
from gateway.config.noted import Origins, annotated, bare
from gateway.config.tree import Plain


def render(document: Plain, form: str) -> str:
    """A document as YAML, or as JSON if `form` says so; it ends with a line break."""
    if form == "json":
        return json.dumps(document, indent=2) + "\n"
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=10**6)
    return str(text)


class _Dumper(yaml.SafeDumper):
    """Never writes anchors: equal parts are written out."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def effective(config: Config) -> Plain:
    """A configuration with all defaults in place and all secrets hidden."""
    return bare(describe(config, {}))


@collector_at_rest()
def explained(config: Config, origins: Origins, cpus: int) -> str:
    """The same as YAML, with where each value comes from in a comment beside it.

    `cpus`: how many udp-workers `workers: auto` means here.
    """
    return annotated(describe(config, origins, cpus))
