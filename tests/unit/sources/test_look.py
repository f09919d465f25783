"""Files of sources as -t sees them: the quick look beside a slow twin; each file read once."""

from ipaddress import ip_interface

from hypothesis import given
from hypothesis import strategies as st

from gateway.config.nets import cannot_be_a_peer
from gateway.protocol.packet import unpack_address
from gateway.sources import look
from gateway.sources.parse import credentials_of_text, routes_of_text

NETS = [
    ip_interface(text)
    for text in ("10.0.0.5/29", "10.0.0.9/31", "10.0.1.1/32", "fd00::1/125", "10.0.0.1/24")
]
ADDRESSES = st.one_of(
    st.integers(0, 300).map(lambda n: f"10.0.{n // 256}.{n % 256}"),
    st.integers(0, 16).map(lambda n: f"fd00::{n:x}"),
    st.just("::ffff:10.0.0.3"),
)


@given(st.lists(ADDRESSES, max_size=12), st.lists(st.sampled_from(NETS), max_size=4))
def test_the_quick_look_misses_nothing(addresses, nets):
    raw = "".join(f"{address} x\n" for address in dict.fromkeys(addresses)).encode()
    loaded = look.Loaded("people", raw, credentials_of_text(raw, "people"), credentials_of_text)
    own = {net.ip for net in nets}
    wrong = [
        address
        for address in map(unpack_address, loaded.parsed.table)
        if address in own or cannot_be_a_peer(address, nets)
    ]
    lines = list(look.credentials_lines(loaded, nets))[loaded.parsed.problem_count :]
    assert [line.split()[1] for line in lines] == [str(address) for address in wrong]


def test_a_file_is_read_once(monkeypatch):
    read = []
    monkeypatch.setattr(look, "read_file", lambda path: read.append(path) or b"10.0.0.1 x\n")
    files = look.Files()
    assert files.credentials("a") is files.credentials("a")
    assert files.routes("b") is files.routes("b")
    files.credentials("b")
    assert read == ["a", "b", "b"]
    look.Files().credentials("a")
    assert len(read) == 4, "another look reads anew"


def test_a_route_is_named_by_its_network():
    raw = b"10.1.0.0/16 10.9.0.2\nfd07::/64 fd09::2\n"
    loaded = look.Loaded("lans", raw, routes_of_text(raw, "lans"), routes_of_text)
    assert [line.split()[:3] for line in look.routes_lines(loaded, NETS)] == [
        ["lans:1:", "10.1.0.0/16:", "10.9.0.2"],
        ["lans:2:", "fd07::/64:", "fd09::2"],
    ]
