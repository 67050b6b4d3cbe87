"""What may come of frames sent to the proxy, said in the words of RFC 9113 §5.4, and how to tell.

A case sends something on a connection of its own and names every outcome that the RFCs allow:

    Case("9113-6.7-length-7", lambda c: frame(PING, 0, 0, bytes(7)),
         connection_error(FRAME_SIZE_ERROR))

Whatever came of it, a connection that lives must go on to answer a good request.
"""

from dataclasses import dataclass
from typing import Callable, NamedTuple

import hpack
import pytest

from . import frames as h2
from .servers import BlackHole
from .upstream import Upstream
from .waiting import PATIENCE, until

CODES = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT",
         "STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR",
         "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"]

# Streams of the good request that follows a case, and of the first that a case may use.
PROBE, FIRST = 0x2001, 1

# Whether the upstream may see the request of a case: as it likes, never, or never to its end.
ANY, NEVER, CUT = "any", "never", "cut"


class Outcome(NamedTuple):
    """One thing that can come of a case."""

    kind: str
    detail: int = -1

    def __str__(self):
        if "error" in self.kind and self.detail < len(CODES):
            return f"{self.kind} {CODES[self.detail]}"
        return self.kind if self.detail < 0 else f"{self.kind} {self.detail}"


def connection_error(*codes):
    """GOAWAY with one of these codes, then the end of the connection (§5.4.1)."""
    return frozenset(Outcome("connection error", code) for code in codes)


def reset(*codes):
    """RST_STREAM with one of these codes on the case's stream, and nothing worse (§5.4.2)."""
    return frozenset(Outcome("stream error", code) for code in codes)


def stream_error(*codes):
    """A stream error, which may be treated as one of the connection (§5.4.1)."""
    return reset(*codes) | connection_error(*codes)


def answer(*statuses):
    """A whole response on the case's stream."""
    return frozenset(Outcome("answer", status) for status in statuses)


#: The end of the connection without a word.
CLOSED = frozenset([Outcome("closed")])
#: Nothing on the case's stream, and the connection goes on.
IGNORED = frozenset([Outcome("ignored")])
#: A PING frame that acknowledges the last one sent.
PONG = frozenset([Outcome("pong")])
#: An acknowledgement of the case's SETTINGS.
SETTLED = frozenset([Outcome("settled")])
#: A malformed request is refused without harm to its neighbours (§8.1.1).
MALFORMED = reset(h2.PROTOCOL_ERROR) | answer(400)


@dataclass(frozen=True)
class Case:
    """Frames, and what may come of them.

    `play` gets the conversation and returns the bytes that are left to send; `stream` is the one
    whose fate counts; `seen` says what the upstream may have seen of the case's request; with
    `may_end` the connection need not go on, although no error of it is allowed.
    """

    id: str
    play: Callable
    allowed: frozenset
    stream: int = FIRST
    seen: str = ANY
    handshake: bool = True
    may_end: bool = False
    listener: int = 0


def cases(*groups):
    """All cases of some tables as arguments of one test, named by their ids."""
    made = [case for group in groups for case in group]
    assert len({case.id for case in made}) == len(made), "two cases have one id"
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in made])


class Conversation:
    """One connection of one case: builds its frames, and sees what comes of them."""

    def __init__(self, raw, target, piece=None):
        self.raw = raw
        self.piece = piece
        self.target = target
        self.silent = target.replace("/hello", "/never")
        self.status = {}
        self.bodies = {}
        self.has_probed = False

    # Building.

    def fields(self, *more, method="GET", **pseudo):
        """A request's fields: the four pseudo-fields, changed or left out (None), then `more`."""
        named = {"method": method, "scheme": self.raw.scheme, "authority": "localhost",
                 "path": self.target} | pseudo
        return [(f":{name}", value) for name, value in named.items() if value is not None] \
            + list(more)

    def get(self, stream=FIRST, *more, **pseudo):
        """HEADERS that are a whole request, field by field as told."""
        return self.headers(stream, self.fields(*more, **pseudo))

    def post(self, stream=FIRST, *more, **pseudo):
        """HEADERS of a request whose content follows."""
        return self.headers(stream, self.fields(*more, **({"method": "POST"} | pseudo)), end=False)

    def headers(self, stream, fields, end=True, **options):
        return self.raw.headers(stream, fields, end, raw=True, **options)

    def block(self, *more, **pseudo):
        """A request's field block, without the frame around it."""
        return h2.literals(self.fields(*more, **pseudo))

    def send(self, *parts):
        """Writes bytes, if `piece` says so a few at a time; False if the peer is gone."""
        data = b"".join(parts)
        size = self.piece or len(data) or 1
        return all([self.raw.send(data[at:at + size]) for at in range(0, len(data), size)])

    # Seeing.

    def read(self, seconds=PATIENCE):
        """The next frame, with its `fields` and `status` if it is a head; None at the end."""
        found = self.raw.read(seconds)
        if found is None:
            return None
        found.fields, found.status = [], None
        if found.kind == h2.HEADERS:
            found.fields = self.raw.fields(found)
            if ":status" in dict(found.fields):
                found.status = self.status[found.stream] = int(dict(found.fields)[":status"])
        elif found.kind == h2.DATA:
            self.bodies.setdefault(found.stream, bytearray()).extend(found.payload)
        return found

    def until(self, condition, seconds=PATIENCE):
        """Reads up to the first frame for which the condition holds, which must come."""
        while (found := self.read(seconds)) is not None:
            if condition(found):
                return found
        raise AssertionError("the connection ended early")

    def finish(self, stream=FIRST):
        """Reads a whole response; its status."""
        found = self.until(lambda f: f.stream == stream and (
            f.ends_stream or f.kind in (h2.RST_STREAM, h2.GOAWAY)))
        assert found.kind in (h2.HEADERS, h2.DATA), f"no response: {found}"
        return self.status[stream]

    def pinged(self):
        """Waits until the peer has handled all that was sent so far."""
        assert self.raw.lives(), "the connection ended early"

    def probe(self):
        self.has_probed = True
        path = self.target.split("&", 1)[0]
        return self.send(h2.settings([(h2.INITIAL_WINDOW_SIZE, 65_535)]),
                         self.headers(PROBE, self.fields(path=path)))

    def outcome(self, case):
        """What came of the case."""
        if case.allowed & IGNORED:
            self.probe()
        try:
            while (found := self.read()) is not None:
                if seen := self._meaning(case, found):
                    return seen
        except TimeoutError:
            return Outcome("nothing at all")
        except hpack.HPACKError as problem:
            return Outcome(f"a field block that cannot be read ({problem})")
        return Outcome("closed")

    def _meaning(self, case, found):
        if found.kind == h2.GOAWAY:
            self.raw.rest()
            return Outcome("connection error", found.code)
        if found.kind == h2.PING and found.flags & h2.ACK and case.allowed & PONG:
            return Outcome("pong")
        if found.kind == h2.SETTINGS and found.flags & h2.ACK and case.allowed & SETTLED:
            return Outcome("settled")
        if found.kind == h2.RST_STREAM and found.stream == case.stream:
            return self._with_its_stream(case, Outcome("stream error", found.code))
        if found.ends_stream and found.stream == case.stream:
            return Outcome("answer", self.status[case.stream])
        if found.ends_stream and found.stream == PROBE:
            return Outcome("ignored")
        return None

    def _with_its_stream(self, case, error):
        """A stream's error, or the connection's that ends together with the stream."""
        if error in case.allowed:
            return error
        self.send(h2.ping())
        while (found := self.read()) is not None:
            if found.kind == h2.GOAWAY:
                return self._meaning(case, found)
            if found.kind == h2.PING:
                return error
        return Outcome("closed")

    def goes_on(self):
        """Whether the connection answers a good request, if it has not yet."""
        if not self.has_probed:
            self.probe()
        if PROBE not in self.status:
            self.finish(PROBE)
        return self.status[PROBE] == 200


class Bench:
    """A proxy with its upstream, on which cases are played."""

    def __init__(self, edge, upstream):
        self.edge = edge
        self.upstream = upstream
        self.forbidden = {}

    def converse(self, name, handshake=True, listener=0, piece=None):
        raw = self.edge.frames(listener, plain=listener == 1, handshake=handshake)
        return Conversation(raw, f"/api/hello?id=1&case={name}", piece)

    def play(self, case, piece=None):
        """Plays one case, and fails unless what came of it is allowed."""
        talk = self.converse(case.id, case.handshake, case.listener, piece)
        if case.seen != ANY:
            self.forbidden[talk.target] = case
        with talk.raw:
            talk.send(case.play(talk) or b"")
            came = talk.outcome(case)
            wanted = " or ".join(sorted(map(str, case.allowed)))
            assert came in case.allowed, f"{came}, not {wanted}"
            if came.kind not in ("closed", "connection error") and not case.may_end:
                assert talk.goes_on(), "the connection did not go on well"
        assert case.id not in self.wrongly_seen(), "the upstream has seen it"

    def wrongly_seen(self):
        """The cases whose requests the upstream has seen more of than it may."""
        return [case.id for request in list(self.upstream.requests)
                if (case := self.forbidden.get(request.target))
                and (case.seen == NEVER or request.complete)]

    def finish(self):
        """After all cases: the proxy serves others, has lost nothing, and forwarded nothing bad."""
        with self.edge.frames() as raw:
            raw.request(1)
            assert raw.response(1)[0] == 200, "a new connection is not served"
        wrong = self.wrongly_seen()
        assert not wrong, f"the upstream has seen malformed requests: {wrong}"
        until(self._is_at_rest, 20, lambda: f"rest, without drift: {self.edge.registry()}")

    def _is_at_rest(self):
        registry = self.edge.registry()
        ledger = {entry["kind"]: entry for entry in registry["ledger"]}
        return registry["drift"] is False and all(
            ledger[kind]["live"] == 0 for kind in ("exchange", "front_http2"))


def bench(edges, keep, configuration):
    """For a fixture: a proxy whose first listener has TLS and the second has none.

    What is asked of `/hole` waits for a connection that never comes about.
    """
    upstream = keep(Upstream([f"127.0.0.{n + 1}" for n in range(1, 13)]))
    hole = keep(BlackHole("127.0.0.2"))
    made = configuration(upstream, {"limits": {"max_streams": MOST_STREAMS}})
    made["listeners"].append({"address": "127.0.0.1:0"})
    made["routes"].append({"path": "/hole", "id": {"query": "id"},
                           "upstream": f"http://id-{{id}}.apps.test:{hole.port}"})
    played = Bench(edges(made), upstream)
    yield played
    played.finish()


#: Streams that the proxy allows at once here.
MOST_STREAMS = 24
