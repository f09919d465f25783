"""Documents with notes, and what -t prints of a whole configuration."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import noted, render
from gateway.config.build import build
from gateway.config.noted import Noted, annotated, bare
from gateway.config.sources import read_tree
from gateway.config.tree import Report

FILE = """\
services:
- name: hub
  addr: :8421
  handler:
    type: tun
    authers: [staff, others]
    metadata: {sourceCheck: off}
  listener:
    type: tun
    metadata:
      net: [192.168.123.1/24, "fd00::1/64"]
      routes: [10.1.0.0/16 192.168.123.3]
      router: lans
      mtu: 1300
  metadata: {preUp: "echo a,b", so_mark: 7}
authers:
- name: staff
  auths:
  - {username: 192.168.123.2, password: geheim, networks: [10.2.0.0/16]}
- name: others
  file: {path: /srv/others}
routers:
- name: lans
  routes: [{dst: 10.3.0.0/16, gateway: 192.168.123.2}]
  redis: {addr: cache, type: list, password: geheim}
"""
SITE = (
    "tun://:0/[fd09::1]:8421,hub:8422?net=10.0.0.2/24&keepAlive=true&passphrase=geheim"
    "&strategy=ha&name=tun7&dns=1.1.1.1&interface=eth0&netns.out=red&workers=auto"
)
PRINTED = """\
# instance: office                            # --instance
# user: gateway where it exists, else nobody  # default
services:
- name: hub                                   # g.yaml:2:9
  addr: :8421                                 # g.yaml:3:9
  handler:
    type: tun
    authers: [hub, others]                    # g.yaml:6:14
    metadata:
      sourceCheck: false                      # g.yaml:7:29
      accept: auto                            # default
  listener:
    type: tun
    metadata:
      net: 192.168.123.1/24,fd00::1/64        # g.yaml:11:12
      # name: the kernel's choice             # default
      mtu: 1300                               # g.yaml:14:12
      routes:
      - 10.1.0.0/16 192.168.123.3             # g.yaml:12:7
      router: lans                            # g.yaml:13:15
      workers: auto                           # default: 3 here
      offload: auto                           # default
      mss: auto                               # default
  metadata:
    so_mark: 7                                # g.yaml:15:42
    preUp: ['echo a,b']                       # g.yaml:15:21
- name: service-0                             # -L #1
  addr: :0                                    # -L #1
  handler:
    type: tun
    metadata:
      keepAlive: true                         # -L #1
      ttl: 10s                                # default
      passphrase: '***'                       # -L #1
      advertise: auto                         # default
  listener:
    type: tun
    metadata:
      net: 10.0.0.2/24                        # -L #1
      name: tun7                              # -L #1
      mtu: 1420                               # default
      dns: 1.1.1.1                            # -L #1
      offload: auto                           # default
      mss: auto                               # default
      nat: false                              # default
  forwarder:
    nodes:
    - name: target-0
      addr: '[fd09::1]:8421'                  # -L #1
    - name: target-1
      addr: hub:8422                          # -L #1
    selector:
      strategy: fifo                          # -L #1
      maxFails: 1                             # -L #1
      failTimeout: 30s                        # -L #1
  metadata:
    interface: eth0                           # -L #1
    netns.out: red                            # -L #1
authers:
- name: hub
  auths:
  - username: 192.168.123.2                   # g.yaml:19:5
    password: '***'
    networks: [10.2.0.0/16]
- name: others                                # g.yaml:20:3
  file:
    path: /srv/others
routers:
- name: lans                                  # g.yaml:23:3
  routes:
  - dst: 10.3.0.0/16                          # g.yaml:24:12
    gateway: 192.168.123.2
  redis:
    addr: cache:6379
    db: 0
    password: '***'
    key: gost
    type: list
log:
  level: debug                                # -D
"""


def read(listens, configs, **given):
    report = Report()
    config = build(read_tree(listens, configs, report), report, **given)
    return config, report


def test_what_is_in_effect_and_where_it_was_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "g.yaml").write_text(FILE)
    config, report = read([SITE], ["g.yaml"], instance="office", debug=True)
    text = render.explained(config, report.origins, cpus=3)
    assert text == PRINTED


def test_it_can_be_read_again(tmp_path):
    (tmp_path / "out.yaml").write_text(PRINTED)
    config, report = read([], [str(tmp_path / "out.yaml")])
    assert report.warnings == []
    again = render.explained(config, {}, cpus=3)
    assert [line.partition("  #")[0].rstrip() for line in again.splitlines()][2:] == [
        line.partition("  #")[0].rstrip() for line in PRINTED.splitlines()
    ][2:]


def test_a_server_that_lets_everybody_in_says_so():
    config, report = read(["tun://:8421?net=10.0.0.1/24"], [])
    lines = render.explained(config, report.origins, cpus=1).splitlines()
    free = "    # auther: none, so whoever reaches the port may take any address"
    assert any(line.startswith(free) and line.endswith("# default") for line in lines)


def test_a_note_stays_on_its_line():
    document = {"a": Noted("x\ny", "g\n.yaml:1 \u20ac"), "b": Noted("z", "n", only_said=True)}
    assert annotated(document) == 'a: "x\\ny"  # g\\n.yaml:1 \\u20ac\n# b: z     # n\n'
    assert bare(document) == {"a": "x\ny"}


SCALARS = st.none() | st.booleans() | st.integers() | st.text()
LEAVES = st.builds(Noted, SCALARS | st.lists(SCALARS, max_size=3), st.text()) | SCALARS
KEYS = st.text("abc", min_size=1, max_size=3)
DOCUMENTS = st.dictionaries(
    KEYS,
    st.recursive(
        LEAVES,
        lambda inner: (
            st.lists(st.dictionaries(KEYS, inner, min_size=1) | LEAVES, max_size=3)
            | st.dictionaries(KEYS, inner, max_size=3)
        ),
        max_leaves=8,
    ),
    min_size=1,
)


@given(DOCUMENTS)
def test_any_document_is_yaml_of_itself(document):
    text = annotated(document)
    assert text.isascii()
    assert yaml.safe_load(text) == bare(document)


WORDS = (
    st.ip_addresses().map(str)
    | st.ip_addresses().map(lambda ip: f"{ip}/{ip.max_prefixlen}")
    | st.from_regex(r"[0-9a-f:.]{1,12}(/[0-9]{1,3})?", fullmatch=True)
    | st.sampled_from(
        ["1:20:30", "1e5", "12.5", "1.2.3.4:80", "::1", "a:", "***", "null", "0:0:0:0"]
    )
    | st.sampled_from(["fd00::/8", "2001:12::/32", "12::/16", "::/0", "fd00::", "1:20/30", "a, b"])
)


@given(WORDS)
def test_a_word_is_written_as_yaml_writes_it(word):
    """Addresses take a short way, as there may be many thousands."""
    text = yaml.dump(word, Dumper=noted._Dumper, width=10**6)
    assert noted._scalar(word) == text.removesuffix("\n").removesuffix("\n...")


@given(st.lists(WORDS, max_size=4), st.integers(20, 100))
def test_a_list_of_words_is_written_as_yaml_writes_it(words, width):
    """So do lists of them, unless one is so long that YAML breaks it."""
    text = yaml.dump(words, Dumper=noted._Dumper, default_flow_style=True, width=width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noted, "_WIDTH", width)
        assert noted._scalar(words) == text.removesuffix("\n")
