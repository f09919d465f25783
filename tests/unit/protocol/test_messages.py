"""What a child may tell the supervisor: addresses of 16 bytes, and ports that are ports."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from gateway.protocol.bridge_messages import (
    BridgeFigures,
    Dialling,
    StreamEnded,
    StreamFigures,
    StreamOpened,
)
from gateway.protocol.messages import (
    Asked,
    CredentialRow,
    FromChild,
    GatewayRow,
    PuntedDatagram,
    Punts,
    Resolved,
    RouteVerdict,
    SourceCredentials,
    SourceRoutes,
)

ADDRESS = bytes(10) + b"\xff\xff\xc0\x00\x02\x01"
SHORT, LONG = ADDRESS[:15], ADDRESS + b"\x00"
ANY_SIZE = {
    ("PuntedDatagram", "datagram"),
    ("AskRelay", "username"),
    ("AskRelay", "password"),
    ("CredentialRow", "password"),
    ("Prefix", "prefix"),  # judged with its length, by `routes.is_prefix`
}
NUMBERS = {"port": 0xFFFF, "service": 0xFFFF, "scope": 0xFFFF_FFFF, "length": 128}

decode = msgspec.msgpack.Decoder(FromChild).decode
encode = msgspec.msgpack.encode


def punt(**changed: Any) -> Punts:
    right = PuntedDatagram(ADDRESS, 8421, 2, ADDRESS, b"heartbeat")
    return Punts((right, msgspec.structs.replace(right, **changed)))


RIGHT = [
    punt(port=0, scope=0),
    punt(port=0xFFFF, scope=0xFFFF_FFFF),
    Asked((ADDRESS,)),
    Resolved(1, ((ADDRESS, 3),)),
    SourceCredentials("a", "file", 0, 1, True, (CredentialRow(ADDRESS, b"x"),), (ADDRESS,)),
    SourceRoutes("a", "file", 0, 1, True, (GatewayRow(ADDRESS, 128, ADDRESS),)),
    StreamOpened(ADDRESS, 1, 0, "tls", "", 1.0),
    Dialling(1, 0, ADDRESS, 443),
]
WRONG = [
    *(punt(address=address) for address in (b"", SHORT, LONG)),
    *(punt(local=local) for local in (b"", SHORT, LONG)),
    *(punt(port=port) for port in (-1, 0x10000)),
    *(punt(scope=scope) for scope in (-1, 1 << 32)),
    Asked((ADDRESS, SHORT)),
    Resolved(1, ((LONG, 0),)),
    Resolved(1, ((ADDRESS, -1),)),
    RouteVerdict(1, GatewayRow(SHORT, 120, ADDRESS), known=True),
    RouteVerdict(1, GatewayRow(ADDRESS, 129, ADDRESS), known=True),
    RouteVerdict(1, GatewayRow(ADDRESS, 128, LONG), known=True),
    SourceCredentials("a", "file", 0, 1, True, (CredentialRow(SHORT, b"x"),)),
    SourceCredentials("a", "file", 0, 1, True, (), (LONG,)),
    SourceRoutes("a", "file", 0, 1, True, (GatewayRow(ADDRESS, -1, ADDRESS),)),
    StreamOpened(SHORT, 1, 2, "tls", "", 1.0),
    StreamOpened(ADDRESS, -1, 2, "tls", "", 1.0),
    StreamEnded(LONG, 1, 2),
    StreamEnded(ADDRESS, 1, 0x10000),
    BridgeFigures({}, (StreamFigures(SHORT, 1, None, 0, 0),)),
    Dialling(1, 0, SHORT, 443),
    Dialling(1, 0, ADDRESS, 0x10000),
    Dialling(1, 0, ADDRESS, 443, -1),
]


@pytest.mark.parametrize("message", RIGHT)
def test_what_can_be_is_a_message(message: FromChild) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize("message", WRONG)
def test_what_cannot_be_is_none(message: FromChild) -> None:
    """It would raise where nobody expects it."""
    with pytest.raises(msgspec.ValidationError):
        decode(encode(message))


def test_no_field_was_forgotten() -> None:
    """Bytes are an address or may have any size; ports, scopes and lengths have a range."""
    seen = set()
    for struct in structs(inspect.type_info(FromChild)):
        for field in struct.fields:
            where = (struct.cls.__name__, field.name)
            for leaf in leaves(field.type):
                if isinstance(leaf, inspect.BytesType):
                    seen.add(where)
                    size = None if where in ANY_SIZE else 16
                    assert (leaf.min_length, leaf.max_length) == (size, size), where
                elif isinstance(leaf, inspect.IntType) and where[1] in NUMBERS:
                    bounds = (None, None) if where[0] == "Prefix" else (0, NUMBERS[where[1]])
                    assert (leaf.ge, leaf.le) == bounds, where
    assert seen > ANY_SIZE


def structs(found: inspect.Type) -> Iterator[inspect.StructType]:
    """Every struct in it, and in those."""
    for leaf in leaves(found):
        if isinstance(leaf, inspect.StructType):
            yield leaf
            for field in leaf.fields:
                yield from structs(field.type)


def leaves(found: inspect.Type) -> Iterator[inspect.Type]:
    """What unions and tuples are made of."""
    if isinstance(found, inspect.UnionType):
        parts: tuple[inspect.Type, ...] = found.types
    elif isinstance(found, inspect.VarTupleType):
        parts = (found.item_type,)
    elif isinstance(found, inspect.TupleType):
        parts = found.item_types
    else:
        yield found
        return
    for part in parts:
        yield from leaves(part)
