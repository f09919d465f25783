"""Keys that are misspelt or in another place: each mistake is told once, and hides no other."""

import pytest

SERVER = """\
services:
- addr: :8421
  handler: {type: tun}
  listener: {type: tun, metadata: {net: 10.0.0.1/24}}
"""
MISSING = "net: missing: write this host's address in the tunnel, for example net=192.168.123.1/24"


@pytest.mark.parametrize(
    ("right", "wrong", "lines"),
    [
        ("handler: {type", "handler: {typ", ["3:13: unknown key handler.typ: did you mean type?"]),
        ("handler:", "handlr:", ["3:3: unknown key handlr: did you mean handler?"]),
        ("listener: {type: tun, ", "listener: {", ["4:3: listener.type: missing: write tun"]),
        ("handler: {type: tun}", "handler:", ["3:3: handler.type: missing: write tun"]),
        ("metadata", "metdata", ["4:25: unknown key listener.metdata: did you mean metadata?"]),
        ("services", "serivces", ["1:1: unknown key serivces: did you mean services?"]),
        ("handler: {type: tun}", "handler: tun",
         ["3:12: handler: expected a mapping here: write type: tun under it"]),
        ("listener: {type: tun, metadata: {net: 10.0.0.1/24}}", "listener: tun",
         ["4:13: listener: expected a mapping here: write type: tun under it", f"4:3: {MISSING}"]),
        ("handler: {type: tun}", "handler: [tun]",
         ["3:12: handler: expected a mapping here: write type: tun under it"]),
        ("{net: 10.0.0.1/24}", "[net]",
         ["4:35: listener.metadata: expected a mapping of keys to values here"]),
        ("metadata: {net: 10.0.0.1/24}", "net: 10.0.0.1/24",
         ["4:25: unknown key listener.net: net belongs in listener.metadata"]),
        ("handler: {type: tun}\n", "handler: {type: tun}\n  net: 10.0.0.1/24\n",
         ["4:3: unknown key net: net belongs in listener.metadata"]),
        (", metadata: {net: 10.0.0.1/24}", "", [f"4:3: {MISSING}"]),
        ("handler: {type: tun}", "type: tun", [
            "2:3: handler.type: missing: write tun",
            "3:3: unknown key type: type is a key of handler, and of listener",
        ]),
        ("net: ", "net:",
         ["4:36: unknown option net:...: a blank is missing behind net:"]),
        ("addr: :8421\n", "{addr: :8421}\n",
         [('2:10: not YAML: expected the node content, but found \':\': between brackets a value '
          'like ":8421" needs quotes')]),
        ("addr: ", "addr:", [("3:10: not YAML: mapping values are not allowed here: a blank may be "
         "missing behind a ':' before, or quotes around a value with ': ' in it")]),
        ("services:\n", "", ["1:1: the configuration: expected keys here: write services: first"]),
        ("addr: :8421", "name: [a]\n  addr: :8421",
         ["2:9: name: expected one value, the service's name"]),
        ("addr: :8421", "addr: :8421\n  nodes: [{addr: 'hub:1'}]",
         ["3:3: unknown key nodes: nodes is a key of forwarder"]),
        ("addr: :8421", "addr: :8421\n  forwarder: {nodes: ['hub:1']}",
         ['3:23: forwarder.nodes: expected a mapping here: write addr: "hub:1"']),
    ],
)  # fmt: skip
def test_one_mistake(problems, right, wrong, lines):
    text = SERVER.replace(right, wrong)
    assert text != SERVER
    assert problems(yaml=text) == [f"g.yaml:{line}" for line in lines]


@pytest.mark.parametrize(
    ("value", "what"), [("[]", "an empty list"), ('[""]', "an empty list"), ('" , "', '" , "')]
)
def test_no_address_at_all(problems, value, what):
    text = SERVER.replace("10.0.0.1/24", value)
    line = f"net: {what} has no address: write for example 192.168.123.1/24"
    assert problems(yaml=text) == [f"g.yaml:4:41: {line}"]


def test_no_mistake_hides_another(problems):
    text = """\
serivces:
- adr: 8421
  hander: {typ: tunn, autherr: one}
  listner: {type: tnu, metdata: {nt: 10.0.0.1/24, mtu: 9}}
  forwader: {node: [{adr: hub, metdata: {wieght: 2}}], selecter: {stratgy: fifo}}
autherz:
- nam: one
  auth: [{usrname: 10.0.0.x, password:geheim}]
log: {levle: info}
"""
    assert problems(yaml=text) == [
        f"g.yaml:{line}"
        for line in (
            "1:1: unknown key serivces: did you mean services?",
            "6:1: unknown key autherz: did you mean authers?",
            "7:3: unknown key authers.nam: did you mean name?",
            "8:3: unknown key authers.auth: did you mean auths?",
            '3:17: handler.type: unknown type "tunn": write tun',
            '4:19: listener.type: unknown type "tnu": write tun',
            "2:3: unknown key adr: did you mean addr?",
            "3:3: unknown key hander: did you mean handler?",
            "4:3: unknown key listner: did you mean listener?",
            "5:3: unknown key forwader: did you mean forwarder?",
            "3:12: unknown key handler.typ: did you mean type?",
            "3:23: unknown key handler.autherr: did you mean auther?",
            "4:24: unknown key listener.metdata: did you mean metadata?",
            "5:14: unknown key forwarder.node: did you mean nodes?",
            "5:56: unknown key forwarder.selecter: did you mean selector?",
            "5:22: unknown key forwarder.nodes.adr: did you mean addr?",
            "5:32: unknown key forwarder.nodes.metdata: did you mean metadata?",
            '5:27: target: "hub" has no port: write the server\'s HOST:PORT',
            "5:42: unknown key forwarder.nodes.metadata.wieght: did you mean weight?",
            '2:8: addr: "8421" has no colon before the port: write :8421',
            "4:34: unknown option nt: did you mean net?",
            "8:11: unknown key authers.auths.usrname: did you mean username?",
            "8:30: unknown key authers.auths.password:...: a blank is missing behind password:",
            (
                '8:20: username: "10.0.0.x" is not an IP address: write the client\'s address in '
                "the tunnel"
            ),
            "4:56: mtu: 9 is out of range: write a whole number from 576 to 65507",
            "5:67: unknown key selector.stratgy: did you mean strategy?",
            "9:7: unknown key log.levle: did you mean level?",
        )
    ]


def test_a_chain_and_a_router(problems):
    text = (
        SERVER.replace("net:", "router: lans, net:")
        + """\
routers:
- nme: lans
  route: [{dest: 10.1.0.0/16, gatway: 10.0.0.2}]
chain:
- nam: out
  hop: [{node: [{adr: 'hub:443', conector: {typ: relay}, dailer: {tpe: wss}}]}]
"""
    )
    assert problems(yaml=text) == [
        f"g.yaml:{line}"
        for line in (
            "8:1: unknown key chain: did you mean chains?",
            "6:3: unknown key routers.nme: did you mean name?",
            "7:3: unknown key routers.route: did you mean routes?",
            "7:12: unknown key routers.routes.dest: did you mean dst?",
            "7:31: unknown key routers.routes.gatway: did you mean gateway?",
            "9:3: unknown key chains.nam: did you mean name?",
            "10:3: unknown key chains.hop: did you mean hops?",
            "10:10: unknown key hops.node: did you mean nodes?",
            "10:18: unknown key nodes.adr: did you mean addr?",
            "10:34: unknown key nodes.conector: did you mean connector?",
            "10:58: unknown key nodes.dailer: did you mean dialer?",
            "10:45: unknown key connector.typ: did you mean type?",
            "10:67: unknown key dialer.tpe: did you mean type?",
        )
    ]


def test_a_service_alone(problems):
    text = SERVER.replace("services:\n- ", "  ")
    assert problems(yaml=text) == [
        f"g.yaml:{line}:3: unknown key {key}: {key} is a key of a service: write it under services"
        for line, key in ((1, "addr"), (2, "handler"), (3, "listener"))
    ]


def test_a_relay(problems):
    text = """\
services:
- adr: :443
  handlr: {typ: relay}
  listner: {tpe: ws}
"""
    assert problems(yaml=text) == [
        "g.yaml:2:3: unknown key adr: did you mean addr?",
        "g.yaml:3:3: unknown key handlr: did you mean handler?",
        "g.yaml:4:3: unknown key listner: did you mean listener?",
        "g.yaml:3:12: unknown key handler.typ: did you mean type?",
        "g.yaml:4:13: unknown key listener.tpe: did you mean type?",
    ]


def test_words_instead_of_ends(problems):
    text = "services:\n- addr: :443\n  handlr: rely\n  listener: wss\n"
    assert problems(yaml=text.replace("handlr: rely", "handler: relay")) == [
        "g.yaml:3:12: handler: expected a mapping here: write type: relay under it",
        "g.yaml:4:13: listener: expected a mapping here: write type: wss under it",
    ]
    assert problems(yaml=text) == [
        "g.yaml:3:11: handler: expected a mapping here: write type: rely under it",
        "g.yaml:4:13: listener: expected a mapping here: write type: wss under it",
        'g.yaml:3:11: handler.type: unknown type "rely": write relay',
        "g.yaml:3:3: unknown key handlr: did you mean handler?",
    ]


NODE = "forwarder.nodes: expected a mapping here: write addr:"
TUN = "expected a mapping here: write type: tun under it"


@pytest.mark.parametrize(
    ("right", "wrong", "lines"),
    [
        ("addr: :8421", "addr: :0\n  forwarder: {nodes: ['relay://u:gEhEiM@1.2.3.4:8421']}",
         [f"3:23: {NODE} HOST:PORT"]),
        ("addr: :8421", "addr: :0\n  forwarder: {nodes: ['u:gEhEiM@1.2.3.4:8421']}",
         [f"3:23: {NODE} HOST:PORT"]),
        ("addr: :8421", "addr: :0\n  forwarder: {nodes: ['gEhEiM']}", [f"3:23: {NODE} HOST:PORT"]),
        ("addr: :8421", "addr: :0\n  forwarder: {nodes: ['[fd00::1]:8421']}",
         [f'3:23: {NODE} "[fd00::1]:8421"']),
        ("handler: {type: tun}", "handler: 'passphrase:gEhEiM'", [f"3:12: handler: {TUN}"]),
        ("handler: {type: tun}", "handler: passphrase=gEhEiM", [f"3:12: handler: {TUN}"]),
        ("handler: {type: tun}", "handler: passphrase gEhEiM", [f"3:12: handler: {TUN}"]),
        ("handler: {type: tun}", "handler: passphrase-gEhEiM", [f"3:12: handler: {TUN}"]),
        ("handler: {type: tun}", "handler: u@gEhEiM", [f"3:12: handler: {TUN}"]),
        ("listener: {type: tun, metadata: {net: 10.0.0.1/24}}", "listener: 'net:gEhEiM'",
         [f"4:13: listener: {TUN}"]),
        ("handler: {type: tun}", "handler: {type: tun, metadata: {'passphrase=gEhEiM': }}",
         ["3:35: unknown option passphrase=...: write passphrase: VALUE"]),
        ("handler: {type: tun}", "handler: {type: tun, metadata: {token-gEhEiM: 1}}",
         ["3:35: unknown option token...: did you mean token?"]),
        ("handler: {type: tun}", "handler: {type: tun, 'Passphrase=gEhEiM': 1}", [
            ("3:24: unknown key handler.Passphrase=...: there are type, auther, authers, auth, "
             "metadata, chain, chainGroup")
        ]),
        ("handler: {type: tun}", ("handler: {type: tun, auth: {username: 10.0.0.2, password: x, "
         "passwordgEhEiM: 1, passwordgEhEiM: 2}}"), [
             "3:83: password...: given twice, first at 3:64",
             "3:64: unknown key handler.auth.password...: did you mean password?",
         ]),
        ("handler: {type: tun}", "handler: {type: tun, chain: 'relay://u:gEhEiM@hub:1'}",
         ["3:31: chain: a URL is no name of a chain: write it behind -F"]),
    ],
)  # fmt: skip
def test_what_may_be_a_secret_is_not_shown(problems, right, wrong, lines):
    text = SERVER.replace(right, wrong)
    assert text != SERVER
    assert problems(yaml=text) == [f"g.yaml:{line}" for line in lines]


def test_a_hops_ends_that_may_be_secrets_are_not_shown(problems):
    node = "{addr: 'hub:1', connector: 'auth:gEhEiM', dialer: u=gEhEiM}"
    text = f"{SERVER}chains:\n- name: out\n  hops: [{{nodes: [{node}]}}]\n"
    assert problems(yaml=text) == [
        "g.yaml:7:46: connector: expected a mapping here: write type: relay under it",
        "g.yaml:7:69: dialer: expected a mapping here: write for example type: tcp under it",
    ]


def test_a_key_of_kcp_is_not_shown(problems):
    dialer = "{type: kcp, metadata: {kcp.config: {key=gEhEiM: , 'key:gEhEiM': }}}"
    node = f"{{addr: 'hub:1', connector: {{type: relay}}, dialer: {dialer}}}"
    text = f"{SERVER}chains:\n- name: out\n  hops: [{{nodes: [{node}]}}]\n"
    assert problems(yaml=text) == [
        "g.yaml:7:105: unknown key kcp.config.key=...: write NAME: VALUE",
        "g.yaml:7:119: unknown key kcp.config.key:...: write NAME: VALUE",
    ]


def test_hops_that_are_not(problems):
    text = (
        SERVER
        + """\
chains:
- name: out
  hops: [one, {name: tow}, {nodes: [{addr: hub, connector: relay, dialer: wsss}]}]
hops: [{name: two}]
"""
    )
    assert problems(yaml=text) == [
        "g.yaml:7:10: hops: expected a mapping here: write name: or nodes:",
        'g.yaml:7:15: hops: there is no hop "tow": did you mean two?',
        "g.yaml:7:60: connector: expected a mapping here: write type: relay under it",
        "g.yaml:7:75: dialer: expected a mapping here: write type: wsss under it",
        'g.yaml:7:75: dialer.type: there is no carrier "wsss": did you mean wss?',
        'g.yaml:7:44: nodes.addr: "hub" has no port: write HOST:PORT',
    ]


def test_a_misspelt_key_beside_the_right_one(problems):
    assert problems(yaml=SERVER.replace("addr:", "adr: 7\n  addr:")) == [
        "g.yaml:2:3: unknown key adr: did you mean addr?"
    ]


def test_what_stands_behind_a_colon_may_be_a_secret(problems):
    text = SERVER.replace("net:", "passphrase:geheim, psphrase:geheim, net:").replace(
        "type: tun}", "type: tun, auth: {username: 10.0.0.2, password:geheim}}"
    )
    found = problems(yaml=text)
    assert len(found) == 3
    assert "geheim" not in "".join(found)


def test_no_nodes_make_a_server(load):
    for nodes in ("nodes: []", "nodes:"):
        config = load(yaml=f"{SERVER}  forwarder:\n    {nodes}\n")
        told = "empty, so this is a server: write the targets of a client, or leave it out"
        assert config.warnings == (f"g.yaml:6:5: forwarder.nodes: {told}",)
