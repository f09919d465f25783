"""Large YAML texts, read with libyaml: some ten times as fast, for lists of many thousands.

libyaml is PyYAML's own C library and reads what PyYAML reads. What it does not know is our
rule for tabs; it skips byte order marks wherever they are, and its messages differ: so a
text with one of these, and one that it refuses, is left to the reader in Python (`yaml.py`).
What remains is rare: a lone `!` is an empty text here, and a comment may touch `|`. Nodes are
made by PyYAML's composer from the library's events, so that depth is Python's to watch.
"""

import re
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.resolver import Resolver

LARGE = 65_536
"""Characters from which on it is worth it."""

Resolvers = dict[str, list[tuple[str, re.Pattern[str]]]]


def compose_large(text: str, resolvers: Resolvers) -> yaml.Node | None:
    """The document's node; None: it is for the other reader to read or to refuse.

    Raises RecursionError where it is nested too deeply.
    """
    if len(text) < LARGE or not yaml.__with_libyaml__ or "\t" in text or "\ufeff" in text:
        return None
    try:
        node: yaml.Node | None = _composer(text, resolvers).get_single_node()
    except (yaml.YAMLError, ValueError, OverflowError):
        return None
    return node


def _composer(text: str, resolvers: Resolvers) -> Any:
    from yaml._yaml import CParser  # noqa: PLC0415  PyYAML may have been built without it

    class Loader(Composer, CParser, Resolver):
        yaml_implicit_resolvers = resolvers

        def __init__(self) -> None:
            CParser.__init__(self, text)
            Composer.__init__(self)
            Resolver.__init__(self)

    return Loader()
