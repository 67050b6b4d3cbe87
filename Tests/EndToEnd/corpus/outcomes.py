"""The outcomes that a case may have: one each, from the smallest vocabulary that tells them apart.

For requests, exactly one well-formed request arrives (`Forwarded`, `Early`: only its head is
needed), or none does. For responses, the client gets one well-formed response (`Passed`), an
answer of the proxy's own (`Refused`), or sees that what it gets is not whole (`Cut`, `Overrun`).
"""

from collections import namedtuple
from dataclasses import dataclass, field

# A request on HTTP/1.1 or an answer on any version: its name, what is sent, what may follow.
Case = namedtuple("Case", "name data outcome")


@dataclass(frozen=True)
class Forwarded:
    """One request arrives, with these properties; further ones on the connection are served."""

    body: bytes = b""
    # Values that must arrive, and names that must not.
    has: dict = field(default_factory=dict)
    lacks: tuple = ()
    trailers: tuple = ()
    target: bytes = b""
    method: bytes = b""
    # The connection ends after the answer.
    closes: bool = False


@dataclass(frozen=True)
class Refused:
    """The proxy answers itself; nothing complete arrives. HTTP/1.1 connections end with it."""

    status: int
    closes: bool = True


@dataclass(frozen=True)
class Early:
    """The upstream's early answer is passed on, then the connection ends; the rest is unread."""


@dataclass(frozen=True)
class Closed:
    """The client leaves within its request: no answer, and no complete request arrives."""


@dataclass(frozen=True)
class Reset:
    """RST_STREAM with one of these codes; the connection and its other streams live."""

    codes: tuple = (1,)


@dataclass(frozen=True)
class Passed:
    """The upstream's response is passed on whole."""

    body: bytes = b"hello"
    status: int = 200
    has: dict = field(default_factory=dict)
    lacks: tuple = ()
    trailers: tuple = ()
    informational: tuple = ()
    # Whether an HTTP/1.1 connection serves the next client.
    reuse: bool = False
    # Bytes that the upstream sends when the client has its answer, unasked.
    unasked: bytes = b""


@dataclass(frozen=True)
class Cut:
    """The head is passed on, then the client sees that the rest is missing."""


@dataclass(frozen=True)
class Overrun:
    """The announced content is passed on and no byte more; the connection, or the stream, ends."""

    body: bytes


def named(cases):
    """The cases by name; no name may occur twice."""
    found = {case.name: case for case in cases}
    assert len(found) == len(cases), sorted(
        case.name for case in cases if [c.name for c in cases].count(case.name) > 1)
    return found
