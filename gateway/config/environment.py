"""What GOST's variables of the environment say. They beat the file; flags beat them."""

from collections.abc import Mapping

from msgspec.structs import replace

from gateway.config.tree import Entry, Node, Report, entry, mapping

LEVEL = "GOST_LOGGER_LEVEL"
UNUSED = ("GOST_API", "GOST_METRICS", "GOST_PROFILING")


def with_environment(tree: Node, environment: Mapping[str, str], report: Report) -> Node:
    """The tree with the level of the log; what else GOST reads is named in one warning."""
    unused = [name for name in UNUSED if environment.get(name)]
    if unused:
        have = "has" if len(unused) == 1 else "have"
        report.warn("environment", f"{', '.join(unused)} {have} no use here")
    level = environment.get(LEVEL, "")
    if not level or not isinstance(tree.value, dict):
        return tree
    place = f"environment {LEVEL}"
    log = tree.value.get("log")
    former = log.node.value if log is not None and isinstance(log.node.value, dict) else {}
    found = {**former, "level": entry("level", level, place)}
    node = mapping(found.values(), log.node.place if log is not None else place)
    changed = replace(log, node=node) if log is not None else Entry("log", place, node)
    return Node({**tree.value, "log": changed}, tree.place)
