"""Authers with sources: tables by digest, groups, what plugins are asked, who waits."""

from ipaddress import ip_address, ip_interface

from gateway.config.model import AutherSpec, Credential, FileSpec, HttpSpec, PluginSpec, RedisSpec
from gateway.protocol.forwarding import Refusal
from gateway.protocol.messages import AskAuth, AuthVerdict, SourceState
from gateway.protocol.packet import pack_address
from gateway.sources.tables import credential_parts
from gateway.supervisor.admission import Admission, digest_of
from gateway.supervisor.authers import Authers
from gateway.supervisor.resolving import QUESTIONS_KEPT, Resolving

NETS = (ip_interface("192.168.123.1/24"),)
KEY = bytes(range(32))
STAFF = AutherSpec(
    "staff", (Credential("192.168.123.2", b"inline"),), FileSpec("/users"), RedisSpec("cache")
)
GUESTS = AutherSpec("guests", file=FileSpec("/guests"))
ASKED = AutherSpec("asked", plugin=PluginSpec("http://p", b"token"))


def a16(text: str) -> bytes:
    return pack_address(ip_address(text))


def digest(password: bytes) -> bytes:
    return digest_of(password, KEY)


def make(*specs: AutherSpec) -> tuple[Authers, Admission]:
    authers = Authers(specs, digest, boot=1.0)
    return authers, Admission(NETS, (), KEY, authers.of(specs))


def tell(authers: Authers, name: str, kind: str, table: dict[str, bytes], *removed: str) -> None:
    rows = {a16(address): password for address, password in table.items()}
    fresh = not removed
    for part in credential_parts(name, kind, rows, [a16(r) for r in removed], fresh=fresh):
        authers.on_message(part)
    authers.on_message(SourceState("auther", name, kind, "there", len(table), 2.0))


def refusal(admission: Admission, address: str, passphrase: bytes) -> Refusal | None:
    found = admission.refusal((a16(address),), passphrase)
    return found[0] if found else None


def test_inline_entries_count_before_the_resolver_has_said_anything() -> None:
    _, admission = make(STAFF)
    assert refusal(admission, "192.168.123.2", b"inline") is None
    assert refusal(admission, "192.168.123.2", b"other") is Refusal.WRONG_PASSPHRASE
    assert admission.unread() == ["/users", "redis cache:6379/0 gost"]


def test_of_one_auther_the_later_source_counts_and_of_a_group_each() -> None:
    authers, admission = make(STAFF, GUESTS)
    tell(authers, "staff", "file", {"192.168.123.2": b"file"})
    tell(authers, "guests", "file", {"192.168.123.2": b"guest"})
    assert refusal(admission, "192.168.123.2", b"inline") is Refusal.WRONG_PASSPHRASE
    assert refusal(admission, "192.168.123.2", b"file") is None
    assert refusal(admission, "192.168.123.2", b"guest") is None
    assert admission.unread() == ["redis cache:6379/0 gost"]


def test_no_passphrase_is_never_good() -> None:
    authers, admission = make(STAFF)
    tell(authers, "staff", "file", {"192.168.123.3": b"x"})
    for address in ("192.168.123.2", "192.168.123.3"):
        assert refusal(admission, address, b"") is Refusal.WRONG_PASSPHRASE
    assert refusal(admission, "192.168.123.4", b"") is Refusal.UNKNOWN_ADDRESS


def test_changes_are_told_by_address_and_hold_no_password() -> None:
    authers, admission = make(STAFF)
    heard: list[set[bytes]] = []
    authers.changed = lambda _, addresses: heard.append(set(addresses))
    tell(authers, "staff", "file", {"192.168.123.3": b"secret", "192.168.123.4": b"secret"})
    assert heard == [{a16("192.168.123.3"), a16("192.168.123.4")}, set()]
    heard.clear()
    tell(authers, "staff", "file", {"192.168.123.4": b"new"}, "192.168.123.3")
    assert heard == [{a16("192.168.123.3"), a16("192.168.123.4")}]
    assert not admission.holds((a16("192.168.123.3"),), digest(b"secret"))
    assert not admission.holds((a16("192.168.123.4"),), digest(b"secret"))
    assert admission.holds((a16("192.168.123.4"),), digest(b"new"))
    table = dict(authers.tables["staff"].layers.items())
    assert table[a16("192.168.123.4")] == digest(b"new")


def test_what_is_left_to_a_plugin() -> None:
    authers, admission = make(GUESTS, ASKED)
    tell(authers, "guests", "file", {"192.168.123.3": b"x"})
    both = (a16("192.168.123.3"), a16("192.168.123.4"))
    assert admission.left_to_plugins(both, b"x") == (both[1],)
    assert admission.plugins == (ASKED,)


def test_the_resolver_gets_no_inline_entries_and_the_others_no_access() -> None:
    token = PluginSpec("http://p", bytes(bytearray(b"token")))
    page = HttpSpec("http://me:word@w")
    authers, _ = make(STAFF, AutherSpec("asked", http=page, plugin=token))
    assert [spec.inline for spec in authers.for_resolver()] == [(), ()]
    authers.forget()
    assert bytes(token.token) == bytes(5)
    assert {*page.url, *token.url} == {"\0"}


def ask(resolving: Resolving, key: object, now: float, answers: list[str]) -> bool:
    def question(number: int) -> AskAuth:
        return AskAuth(number, ("a",), "hub", (), b"secret", "")

    return resolving.ask_auth(key, question, 5.0, now, answers.append)


def test_one_question_a_key_and_an_answer_once() -> None:
    resolving, answers = Resolving(), []
    assert ask(resolving, "k", 0.0, answers)
    assert ask(resolving, "k", 1.0, answers)
    resolving.on_message(AuthVerdict(1, "yes"))
    resolving.on_message(AuthVerdict(1, "yes"))
    assert answers == ["yes"]


def test_questions_are_bounded_and_old_ones_forgotten() -> None:
    resolving, answers = Resolving(), []
    assert all(ask(resolving, key, 0.0, answers) for key in range(QUESTIONS_KEPT))
    assert not ask(resolving, "one more", 4.0, answers)
    assert ask(resolving, "one more", 5.0, answers)
    resolving.on_message(AuthVerdict(1, "yes"))
    assert answers == []


def test_a_question_shows_no_password() -> None:
    assert "secret" not in repr(AskAuth(1, ("a",), "hub", (), b"secret", ""))
