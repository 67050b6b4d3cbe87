"""HTTP/2 connections and the life of streams (RFC 9113 §3 and §5)."""

import struct

import pytest

from edge import conformance
from edge.conformance import CLOSED, CUT, IGNORED, MOST_STREAMS, NEVER, Case, answer, \
    cases, connection_error, stream_error
from edge.frames import CONTINUATION, DATA, END_HEADERS, END_STREAM, FRAME_SIZE_ERROR, GOAWAY, \
    HEADERS, PING, PREFACE, PRIORITIZED, PROTOCOL_ERROR, REFUSED_STREAM, RST_STREAM, SETTINGS, \
    STREAM_CLOSED, frame, goaway, literal, ping, priority, rst_stream, settings, window_update

UNKNOWN = 0x16


@pytest.fixture(scope="module")
def bench(module_edges, module_keep, configuration):
    yield from conformance.bench(module_edges, module_keep, configuration)


def content(stream=1, payload=b"content", flags=END_STREAM):
    return frame(DATA, flags, stream, payload)


def trailers(c, stream=1):
    return c.headers(stream, [("x-checksum", "1")])


def octet_by_octet(c):
    for octet in PREFACE + settings():
        c.send(bytes([octet]))
    return c.get()


NO_HTTP2 = CLOSED | connection_error(PROTOCOL_ERROR)

PREFACES = [
    Case("9113-3.4-preface-and-request-at-once", lambda c: PREFACE + settings() + c.get(),
         answer(200), handshake=False),
    Case("9113-3.4-preface-octet-by-octet", octet_by_octet, answer(200), handshake=False),
    Case("9113-3.3-prior-knowledge", lambda c: PREFACE + settings() + c.get(), answer(200),
         handshake=False, listener=1),
    *[Case(f"9113-3.4-{name}", lambda c, sent=sent: sent + settings(), NO_HTTP2, handshake=False)
      for name, sent in [
          ("invalid-preface", b"INVALID CONNECTION PREFACE\r\n\r\n"),
          ("preface-wrong-in-its-last-octet", PREFACE[:-1] + b"\r"),
          ("preface-in-lower-case", PREFACE.lower()),
          ("http1-after-h2-was-agreed", b"GET /api/hello?id=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
          ("settings-without-preface", settings() * 3)]],
    Case("9113-3.4-preface-cut-short-in-clear",
         lambda c: PREFACE[:18] + b"XX\r\n\r\n" + settings(), NO_HTTP2, handshake=False,
         listener=1),
    *[Case(f"9113-3.4-{name}-instead-of-settings", lambda c, first=first: PREFACE + first(c),
           connection_error(PROTOCOL_ERROR), handshake=False, seen=NEVER)
      for name, first in [
          ("ping", lambda c: ping()), ("headers", lambda c: c.get()),
          ("window-update", lambda c: window_update(0, 1)), ("goaway", lambda c: goaway()),
          ("acknowledgement", lambda c: settings(ack=True)),
          ("unknown-type", lambda c: frame(UNKNOWN, 0, 0, bytes(4)))]],
    Case("9113-3.4-a-second-preface", lambda c: PREFACE,
         connection_error(PROTOCOL_ERROR, FRAME_SIZE_ERROR)),
]

ILLEGAL = connection_error(PROTOCOL_ERROR)
HALF_CLOSED = stream_error(STREAM_CLOSED)

IDLE = [
    Case("9113-5.1-idle-data", lambda c: content(), ILLEGAL),
    Case("9113-5.1-idle-rst-stream", lambda c: rst_stream(1), ILLEGAL),
    Case("9113-5.1-idle-window-update", lambda c: window_update(1, 100), ILLEGAL),
    Case("9113-5.1-idle-continuation",
         lambda c: frame(CONTINUATION, END_HEADERS, 1, c.block()), ILLEGAL, seen=NEVER),
    Case("9113-5.1-idle-priority", lambda c: priority(1), IGNORED),
    Case("9113-5.1-idle-above-one-in-use", lambda c: c.post() + content(3), ILLEGAL, seen=CUT),
    Case("9113-5.1-idle-of-the-server-data", lambda c: content(2), ILLEGAL),
    Case("9113-5.1-idle-of-the-server-rst-stream", lambda c: rst_stream(2), ILLEGAL),
    Case("9113-5.1-idle-of-the-server-window-update", lambda c: window_update(2, 1), ILLEGAL),
]

# A request that is complete, and an answer that does not come.
HALF = [
    Case(f"9113-5.1-half-closed-{name}{when}",
         lambda c, more=more, play=play: play(c, c.get(path=c.silent)) + more(c), allowed)
    for name, more, allowed in [
        ("data", lambda c: content(), HALF_CLOSED),
        ("empty-data", lambda c: content(payload=b""), HALF_CLOSED),
        ("headers", lambda c: c.get(), HALF_CLOSED),
        ("trailers", trailers, HALF_CLOSED),
        ("continuation", lambda c: frame(CONTINUATION, END_HEADERS, 1, literal("x", "1")),
         HALF_CLOSED | ILLEGAL),
        ("window-update", lambda c: window_update(1, 100), IGNORED),
        ("priority", lambda c: priority(1), IGNORED),
        ("rst-stream", lambda c: rst_stream(1), IGNORED),
        ("unknown-type", lambda c: frame(UNKNOWN, 1, 1, b"x"), IGNORED)]
    for when, play in [("", lambda c, first: first),
                       ("-later", lambda c, first: c.send(first) and c.pinged() or b"")]]


def after_reset(c):
    c.send(c.post() + rst_stream(1))
    c.pinged()
    return b""


def after_answer(c):
    c.send(c.get())
    assert c.finish() == 200
    return b""


def after_upload(c):
    c.send(c.post() + content())
    assert c.finish() == 200
    return b""


# What is closed by the client itself (RST_STREAM, or END_STREAM both ways) takes no more.
GONE = [
    Case(f"9113-5.1-{name}-then-{kind}", lambda c, more=more, play=play: play(c) + more(c), allowed)
    for name, play in [
        ("reset-at-once", lambda c: c.post() + rst_stream(1)), ("reset", after_reset),
        ("answered", after_answer), ("answered-upload", after_upload)]
    for kind, more, allowed in [
        ("data", lambda c: content(), stream_error(STREAM_CLOSED)),
        ("headers", lambda c: c.get(), connection_error(STREAM_CLOSED)),
        ("trailers", trailers, connection_error(STREAM_CLOSED)),
        ("continuation", lambda c: frame(CONTINUATION, END_HEADERS, 1, literal("x", "1")),
         connection_error(STREAM_CLOSED, PROTOCOL_ERROR)),
        ("window-update", lambda c: window_update(1, 100), IGNORED),
        ("priority", lambda c: priority(1, depends_on=3), IGNORED),
        ("rst-stream", lambda c: rst_stream(1), IGNORED)]]


def after_refusal(c):
    """The proxy itself resets a request, whose client does not know it yet."""
    c.send(c.headers(1, c.fields(("Upper", "case"), method="POST"), end=False))
    found = c.until(lambda f: f.stream == 1)
    assert found.kind in (HEADERS, RST_STREAM)
    return b""


def indexed(c):
    """Trailers for a stream that is gone, which name a field for the next request to use."""
    after_refusal(c)
    c.send(frame(HEADERS, 5, 1, b"\x40\x06x-kept\x03yes"))
    return frame(HEADERS, 5, 3, c.block() + b"\xbe")


REFUSED = [
    Case(f"9113-5.1-refused-then-{kind}", lambda c, more=more: after_refusal(c) + more(c), IGNORED,
         seen=NEVER)
    for kind, more in [
        ("data", lambda c: content() * 3), ("trailers", trailers),
        ("trailers-in-two", lambda c: c.headers(1, [("x", "1")], end_headers=False)
         + frame(CONTINUATION, END_HEADERS, 1, literal("y", "2"))),
        ("window-update", lambda c: window_update(1, 100)),
        ("rst-stream", lambda c: rst_stream(1)), ("priority", lambda c: priority(1))]
] + [Case("9113-5.1-blocks-of-refused-streams-count", indexed, answer(200), stream=3)]


def several(count):
    """Requests without end on so many streams."""
    return lambda c: b"".join(c.post(2 * n + 1, path=c.silent) for n in range(count))


def one_for_another(c):
    """As many as are allowed; then one more for one that was given up."""
    c.send(several(MOST_STREAMS)(c))
    c.pinged()
    c.send(rst_stream(5))
    return c.get(2 * MOST_STREAMS + 1) + b"".join(
        rst_stream(2 * n + 1) for n in range(MOST_STREAMS))


def within(c):
    """As many as are allowed are served."""
    c.send(b"".join(c.post(2 * n + 1) for n in range(MOST_STREAMS)))
    c.pinged()
    return b"".join(content(2 * n + 1) for n in reversed(range(MOST_STREAMS)))


IDENTIFIERS = [
    Case("9113-5.1.1-an-even-one", lambda c: c.get(2), ILLEGAL, seen=NEVER),
    Case("9113-5.1.1-a-lower-one", lambda c: c.post(5, path=c.silent) + c.get(3), ILLEGAL,
         seen=NEVER),
    Case("9113-5.1.1-a-lower-one-after-answers",
         lambda c: (c.send(c.get(9)), c.finish(9)) and c.get(7, path=c.silent), ILLEGAL),
    Case("9113-5.1.1-far-below", lambda c: c.post(801, path=c.silent) + c.get(1), ILLEGAL,
         seen=NEVER),
    Case("9113-5.1.1-data-on-one-passed-over",
         lambda c: c.post(5, path=c.silent) + content(3), ILLEGAL | HALF_CLOSED, seen=NEVER),
    Case("9113-5.1.1-the-same-again", lambda c: (c.send(c.get(5)), c.finish(5)) and c.get(5),
         connection_error(STREAM_CLOSED, PROTOCOL_ERROR), stream=5),
    Case("9113-5.1.1-some-left-out", lambda c: c.get(77), answer(200), stream=77),
    Case("9113-5.1.1-the-last-one", lambda c: c.get(0x7FFF_FFFF), answer(200),
         stream=0x7FFF_FFFF, may_end=True),
    Case("9113-5.1.2-as-many-as-allowed", within, answer(200)),
    Case("9113-5.1.2-one-more-than-allowed",
         lambda c: several(MOST_STREAMS)(c) + c.get(2 * MOST_STREAMS + 1),
         stream_error(PROTOCOL_ERROR, REFUSED_STREAM), stream=2 * MOST_STREAMS + 1, seen=NEVER),
    Case("9113-5.1.2-one-for-another", one_for_another, answer(200), stream=2 * MOST_STREAMS + 1),
]


def depends_on_itself(c):
    return frame(HEADERS, PRIORITIZED | 5, 1, struct.pack(">IB", 1, 15) + c.block())


PRIORITIES = [
    Case("7540-5.3.1-headers-that-depend-on-themselves", depends_on_itself,
         stream_error(PROTOCOL_ERROR), seen=NEVER),
    Case("7540-5.3.1-priority-that-depends-on-itself",
         lambda c: c.post() + priority(1, depends_on=1), stream_error(PROTOCOL_ERROR), seen=CUT),
    Case("7540-5.3.3-dependencies-in-a-circle",
         lambda c: priority(1, 3) + priority(3, 5) + priority(5, 1) + c.get(), answer(200)),
    Case("7540-5.3.4-dependency-on-a-closed-stream",
         lambda c: after_answer(c) + priority(3, 1) + c.get(3), answer(200), stream=3),
]

EXTENSIONS = [
    Case("9113-5.5-unknown-type", lambda c: frame(UNKNOWN, 0, 0, b"unknown"), IGNORED),
    Case("9113-5.5-unknown-type-within-a-field-block",
         lambda c: c.headers(1, c.fields(), end_headers=False) + frame(UNKNOWN, 0, 0, b"unknown")
         + frame(CONTINUATION, END_HEADERS, 1), ILLEGAL, seen=NEVER),
    Case("9113-5.5-unknown-settings", lambda c: settings([(0xF0F0, 1)]) + c.get(), answer(200)),
    *[Case(f"9218-7-priority-update-of-{name}",
           lambda c, stream=stream: frame(0x10, 0, 0, struct.pack(">I", stream) + b"u=1, i")
           + c.get(), answer(200)) for name, stream in [("an-idle-stream", 1), ("another", 9)]],
]


@cases(PREFACES, IDLE, HALF, GONE, REFUSED, IDENTIFIERS, PRIORITIES, EXTENSIONS)
def test_a_stream_has_the_outcome_that_the_rfc_allows(bench, case):
    bench.play(case)


@pytest.mark.parametrize("listener", [0, 1])
def test_the_first_frame_of_the_server_is_settings(bench, listener):
    """9113-3.4: the server's preface is SETTINGS, and is no acknowledgement."""
    talk = bench.converse("first-frame", handshake=False, listener=listener)
    with talk.raw:
        talk.send(PREFACE + settings() + ping() + talk.get())
        found = talk.read()
        assert (found.kind, found.flags, found.stream) == (SETTINGS, 0, 0)
        assert talk.finish() == 200


def test_an_error_of_the_connection_names_the_last_stream(bench):
    """9113-5.4.1: GOAWAY with the last stream that was handled, and then the end."""
    talk = bench.converse("last-stream")
    with talk.raw:
        talk.send(talk.get(1), talk.get(3))
        talk.finish(3)
        talk.send(frame(PING, 0, 0, bytes(7)))
        found = talk.until(lambda f: f.kind == GOAWAY)
        assert struct.unpack(">II", found.payload[:8]) == (3, FRAME_SIZE_ERROR)
        assert talk.read() is None


def test_nothing_is_done_after_an_error_of_the_connection(bench):
    """9113-5.4.1: what follows the error in the same octets is not looked at."""
    talk = bench.converse("after-the-error")
    with talk.raw:
        talk.send(frame(PING, 0, 0, bytes(7)) + talk.get(1))
        kinds = [f.kind for f in talk.raw.rest()]
        assert GOAWAY in kinds and HEADERS not in kinds
    assert talk.target not in [request.target for request in bench.upstream.requests]


@pytest.mark.parametrize("fault", [
    lambda c: content(1), lambda c: c.get(1), lambda c: c.get(3), lambda c: priority(0)])
def test_nothing_is_done_after_a_frame_on_a_closed_stream(bench, fault):
    """9113-5.4.1: the same for the errors that concern closed streams."""
    talk = bench.converse("after-the-closed")
    with talk.raw:
        talk.send(talk.get(1, path="/api/hello?id=1"), talk.get(5, path="/api/hello?id=1"))
        for _ in range(2):
            talk.until(lambda f: f.ends_stream)
        talk.send(fault(talk) + talk.get(7) + ping(b"too late"))
        seen = [f.kind for f in talk.raw.rest() if f.stream in (0, 7)]
        assert seen.count(GOAWAY) == 1 and PING not in seen and HEADERS not in seen
    assert talk.target not in [request.target for request in bench.upstream.requests]


def test_a_reset_is_never_answered_with_a_reset(bench):
    """9113-5.4.2: RST_STREAM must not follow RST_STREAM."""
    talk = bench.converse("reset")
    with talk.raw:
        talk.send(talk.post(), rst_stream(1))
        assert talk.goes_on()
        assert not [f for f in talk.raw.frames if f.stream == 1]


def test_content_of_a_stream_too_many_is_ignored(bench):
    """9113-5.1.2: a client that does not know the limit yet sends content on a refused stream."""
    talk = bench.converse("too-many", handshake=False)
    last = 2 * MOST_STREAMS + 1
    with talk.raw:
        talk.send(PREFACE, settings(), several(MOST_STREAMS + 1)(talk))
        talk.send(content(last, flags=0) * 2)
        found = talk.until(lambda f: f.stream == last)
        assert found.kind == RST_STREAM and found.code in (PROTOCOL_ERROR, REFUSED_STREAM)
        talk.send(content(last, flags=0), rst_stream(1))
        assert talk.goes_on()


def test_a_stream_is_reset_once(bench):
    """9113-5.4.2: one RST_STREAM, however much comes for a stream that was reset."""
    talk = bench.converse("reset-once")
    with talk.raw:
        after_refusal(talk)
        talk.send(content(flags=0) * 5, trailers(talk))
        assert talk.goes_on()
        assert len([f for f in talk.raw.frames if f.kind == RST_STREAM]) <= 1
