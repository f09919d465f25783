"""What addresses and numbers in messages may be; whatever else makes a message none.

The supervisor decodes what its children say, and one that was taken over may say anything.
An address of another length or a port that is none would raise far from where it came in,
and end every service; refused while it is decoded, it ends only who said it.
"""

from typing import Annotated

from msgspec import Meta

from gateway.protocol.packet import ADDRESS_SIZE

A16 = Annotated[bytes, Meta(min_length=ADDRESS_SIZE, max_length=ADDRESS_SIZE)]
Port = Annotated[int, Meta(ge=0, le=0xFFFF)]
Scope = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
"""The interface index of a link-local address."""
PrefixLength = Annotated[int, Meta(ge=0, le=8 * ADDRESS_SIZE)]
