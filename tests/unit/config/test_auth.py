"""Who may join: authers merged, and nothing that fails open."""

import pytest

TEXT = """\
services:
- name: hub
  addr: :8421
  handler:
    type: tun
{handler}
  listener: {{type: tun, metadata: {{net: "192.168.123.1/24,fd00::1/64"}}}}
authers:
{authers}
"""
ONE = "- name: one\n  auths:\n  - {username: 192.168.123.2, password: a}"
TWO = (
    "- name: two\n  auths:\n  - {username: 192.168.123.3, password: b}\n"
    "  - {username: 192.168.123.2, password: c}\n  - {username: 192.168.123.2x, password: c}"
).replace("\n  - {username: 192.168.123.2x, password: c}", "")


def text(handler, authers=ONE):
    return TEXT.format(handler=f"    {handler}", authers=authers)


def pairs(config):
    credentials = config.services[0].credentials
    return [(c.username, bytes(c.password)) for c in credentials]


def test_one_auther(load):
    config = load(yaml=text("auther: one"))
    assert pairs(config) == [("192.168.123.2", b"a")]
    assert config.warnings == ()


def test_any_member_of_a_group_lets_in(load):
    config = load(yaml=text("authers: [one, two]", f"{ONE}\n{TWO}"))
    assert pairs(config) == [
        ("192.168.123.2", b"a"),
        ("192.168.123.3", b"b"),
        ("192.168.123.2", b"c"),
    ]


def test_auther_and_authers_are_one_group(load):
    config = load(yaml=text("auther: two\n    authers: [one, two]", f"{ONE}\n{TWO}"))
    assert [username[-1] for username, _ in pairs(config)] == ["3", "2", "2"]


def test_handler_auth(load):
    config = load(yaml=text("auth: {username: FD00:0::2, password: 12345678}", "  []"))
    assert pairs(config) == [("fd00::2", b"12345678")]


def test_mapped_addresses_count_as_ipv4(load):
    config = load(yaml=text('auth: {username: "::ffff:192.168.123.9", password: off}', "  []"))
    assert pairs(config) == [("192.168.123.9", b"off")]


def test_auth_beside_an_auther_is_ignored(load):
    config = load(yaml=text("auther: one\n    auth: {username: 192.168.123.9, password: x}"))
    assert pairs(config) == [("192.168.123.2", b"a")]
    assert config.warnings == ("g.yaml:7:5: handler.auth: ignored, as an auther is given",)


def test_an_empty_auther_lets_nobody_in(load):
    config = load(yaml=text("auther: none", "- name: none"))
    assert pairs(config) == []
    assert config.warnings == ('g.yaml:9:3: authers: "none" has no auths: it lets nobody in',)


def test_an_auther_without_a_service(load):
    config = load(yaml=text("auther: one", f"{ONE}\n{TWO}"))
    assert config.warnings == ('g.yaml:12:3: authers: "two" is used by no service',)


def test_a_long_password(load):
    config = load(yaml=text("auth: {username: 192.168.123.2, password: sixteen-letters-x}", "  []"))
    assert pairs(config) == [("192.168.123.2", b"sixteen-letters-")]
    assert config.warnings == (
        (
            "g.yaml:6:47: password: the password of 192.168.123.2 is longer than 16 bytes: "
            "only the first 16 count"
        ),
    )


def auths(*entries):
    return "- name: one\n  auths:\n" + "\n".join(f"  - {{{entry}}}" for entry in entries)


@pytest.mark.parametrize(
    ("handler", "authers", "lines"),
    [
        (
            "auther: onee",
            ONE,
            ['6:13: handler.auther: there is no auther "onee": did you mean one?'],
        ),
        (
            "auther: xyz",
            f"{ONE}\n{TWO}",
            [
                '6:13: handler.auther: there is no auther "xyz" in authers (there is "one", "two")',
            ],
        ),
        (
            "authers: [xyz]",
            "  []",
            ['6:15: handler.auther: there is no auther "xyz" in authers (there is none)'],
        ),
        ("auther: [one]", ONE, ["6:13: handler.auther: expected the name of an auther"]),
        (
            "authers: one",
            ONE,
            ["6:14: handler.authers: expected a list here (lines that begin with '- ')"],
        ),
        ("authers: [~]", ONE, ["6:15: handler.auther: expected the name of an auther"]),
        ("auth: {}", "  []", ["6:11: handler.auth: empty: write a username and a password"]),
        (
            "auther: one",
            auths("username: bob, password: x"),
            [
                (
                    '11:16: username: "bob" is not an IP address: write the client\'s address '
                    "in the tunnel"
                )
            ],
        ),
        (
            "auther: one",
            auths("password: x"),
            ["11:5: username: missing: write the client's address in the tunnel"],
        ),
        (
            "auther: one",
            auths('username: 192.168.123.2, password: ""'),
            ["11:41: password: the password of 192.168.123.2 is empty: nobody could use it"],
        ),
        (
            "auther: one",
            auths("username: 192.168.123.2"),
            ["11:5: password: the password of 192.168.123.2 is empty: nobody could use it"],
        ),
        (
            "auther: one",
            auths('username: 192.168.123.2, password: "a\\0"'),
            ["11:41: password: the password of 192.168.123.2 must not contain NUL characters"],
        ),
        (
            "auther: one",
            auths("username: 192.168.123.2, password: x", "username: 192.168.123.2, password: y"),
            ["12:5: username: 192.168.123.2 is there twice, first at g.yaml:11:5: leave one out"],
        ),
        (
            "auther: one",
            auths("username: 192.168.123.1, password: x", 'username: "fd00::1", password: y'),
            [
                "11:5: username: 192.168.123.1 is the server's own address",
                "12:5: username: fd00::1 is the server's own address",
            ],
        ),
        (
            "auther: one",
            auths("username: 192.168.123.2, pasword: x"),
            ["11:31: unknown key authers.auths.pasword: did you mean password?"],
        ),
        (
            "auther: one",
            auths("username: 192.168.123.2, password: x, networks: [10.1.0.0]"),
            [
                (
                    '11:55: networks: "10.1.0.0" has no length: write ADDRESS/LENGTH, for '
                    "example 192.168.100.0/24"
                )
            ],
        ),
        (
            "auther: one",
            f"{ONE}\n{ONE}",
            ['12:3: authers: "one" is there twice, first at g.yaml:9:3: leave one out'],
        ),
        ("auther: one", f"{ONE}\n- auths: []", ["12:3: authers: an auther has no name"]),
    ],
)
def test_problems(problems, handler, authers, lines):
    assert problems(yaml=text(handler, authers)) == [f"g.yaml:{line}" for line in lines]


def test_a_server_address_counts_for_its_own_service_only(load):
    second = "tun://:8422?net=10.0.0.1/24"
    config = load(second, yaml=text("auther: one", ONE.replace("192.168.123.2", "10.0.0.1")))
    assert pairs(config) == [("10.0.0.1", b"a")]
