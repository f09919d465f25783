"""GOST's variables of the environment."""

import pytest

from gateway.config.build import build
from gateway.config.environment import with_environment
from gateway.config.tree import Report
from gateway.config.yaml import parse_yaml
from gateway.errors import ConfigError

HUB = """\
services: [{addr: ':1', handler: {type: tun}, listener: {type: tun, metadata: {net: 10.0.0.1/24}}}]
"""


def level(environment, text=HUB, *, debug=False):
    report = Report()
    tree = with_environment(parse_yaml(text, "g.yaml", report), environment, report)
    config = build(tree, report, debug=debug)
    return config.log_level, report.origins.get(("log", "level")), config.warnings


@pytest.mark.parametrize("text", [HUB, HUB + "log: {level: error, format: text}\n", HUB + "log:\n"])
def test_it_beats_the_file(text):
    found, place, _ = level({"GOST_LOGGER_LEVEL": "warn"}, text)
    assert (found, place) == ("warning", "environment GOST_LOGGER_LEVEL")


def test_the_rest_of_log_stays():
    *_, warnings = level({"GOST_LOGGER_LEVEL": "warn"}, HUB + "log: {format: text}\n")
    assert warnings == ("g.yaml:2:7: log.format: has no use here and is ignored",)


def test_a_flag_beats_it():
    assert level({"GOST_LOGGER_LEVEL": "warn"}, debug=True)[:2] == ("debug", "-D")


def test_an_empty_one_says_nothing():
    found = level({"GOST_LOGGER_LEVEL": "", "GOST_API": ""}, HUB + "log: {level: error}")
    assert found == ("error", "g.yaml:2:14", ())


def test_what_it_cannot_be():
    with pytest.raises(ConfigError, match=r'^environment GOST_LOGGER_LEVEL: log.level: "loud" is'):
        level({"GOST_LOGGER_LEVEL": "loud"})


def test_what_has_no_use_here():
    assert level({"GOST_API": ":1", "GOST_PROFILING": ":2"})[2] == (
        "environment: GOST_API, GOST_PROFILING have no use here",
    )
    assert level({"GOST_METRICS": ":1"})[2] == ("environment: GOST_METRICS has no use here",)
