"""HTTP/2 frames, right and wrong, one by one (RFC 9113 §4, §6 and §7)."""

import struct

import pytest

from edge import conformance
from edge.conformance import CLOSED, CUT, IGNORED, NEVER, PONG, SETTLED, Case, answer, \
    cases, connection_error, stream_error
from edge.frames import ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR, \
    FRAME_SIZE_ERROR, GOAWAY, HEADERS, PADDED, PING, PRIORITIZED, PRIORITY, PROTOCOL_ERROR, \
    PUSH_PROMISE, RST_STREAM, SETTINGS, STREAM_CLOSED, WINDOW_UPDATE, frame, goaway, literal, \
    ping, priority, rst_stream, settings, window_update

UNKNOWN = 0x16
RESERVED = 0x8000_0000
LARGEST = 16_384
DEPENDENCY = struct.pack(">IB", 0, 15)


@pytest.fixture(scope="module")
def bench(module_edges, module_keep, configuration):
    yield from conformance.bench(module_edges, module_keep, configuration)


def padded(payload, count, filler=b"\0"):
    return bytes([count]) + payload + filler * count


def content(stream=1, payload=b"content", flags=END_STREAM):
    return frame(DATA, flags, stream, payload)


def head(c, flags=END_STREAM | END_HEADERS, stream=1, **pseudo):
    """HEADERS of a request with any flags."""
    return frame(HEADERS, flags, stream, c.block(**pseudo))


def unfinished(c, stream=1):
    """HEADERS whose block goes on."""
    return c.headers(stream, c.fields(), end_headers=False)


FORMAT = [
    Case("9113-4.1-unknown-type-on-the-connection",
         lambda c: frame(UNKNOWN, 0, 0, bytes(8)), IGNORED),
    Case("9113-4.1-unknown-type-on-an-idle-stream",
         lambda c: frame(UNKNOWN, 0, 1, bytes(8)), IGNORED),
    Case("9113-4.1-unknown-type-within-a-request",
         lambda c: c.post() + frame(UNKNOWN, 0xFF, 1, bytes(8)) + content(), answer(200)),
    Case("9113-4.1-unknown-type-without-payload", lambda c: frame(0xFF, 0xFF, 7), IGNORED),
    Case("9113-4.1-undefined-flags-of-ping", lambda c: frame(PING, 0xFE, 0, bytes(8)), PONG),
    Case("9113-4.1-undefined-flags-of-settings", lambda c: frame(SETTINGS, 0xFE, 0), SETTLED),
    Case("9113-4.1-undefined-flags-of-headers", lambda c: head(c, 0xD7), answer(200)),
    Case("9113-4.1-undefined-flags-of-data",
         lambda c: c.post() + content(flags=0xF7), answer(200)),
    Case("9113-4.1-undefined-flags-of-window-update",
         lambda c: frame(WINDOW_UPDATE, 0xFF, 0, struct.pack(">I", 1)), IGNORED),
    Case("9113-4.1-undefined-flags-of-priority",
         lambda c: frame(PRIORITY, 0xFF, 1, DEPENDENCY), IGNORED),
    Case("9113-4.1-undefined-flags-of-rst-stream",
         lambda c: c.post() + frame(RST_STREAM, 0xFF, 1, struct.pack(">I", 8)), IGNORED),
    Case("9113-4.1-undefined-flags-of-continuation",
         lambda c: unfinished(c) + frame(CONTINUATION, 0xFF, 1, literal("x-more", "1")),
         answer(200)),
    Case("9113-4.1-reserved-bit-of-ping", lambda c: frame(PING, 0, RESERVED, bytes(8)), PONG),
    Case("9113-4.1-reserved-bit-of-settings", lambda c: frame(SETTINGS, 0, RESERVED), SETTLED),
    Case("9113-4.1-reserved-bit-of-headers-and-data",
         lambda c: head(c, END_HEADERS, RESERVED | 1) + content(RESERVED | 1), answer(200)),
    Case("9113-4.1-reserved-bit-of-an-increment",
         lambda c: c.post() + frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", RESERVED | 1))
         + content(), answer(200)),
]


def oversized(kind, stream, flags=0):
    """A frame beyond SETTINGS_MAX_FRAME_SIZE, whose length is right for its type if it can be."""
    size = LARGEST + 1 + (-(LARGEST + 1) % 6 if kind == SETTINGS else 0)
    return frame(kind, flags, stream, bytes(size))


SIZE = [
    Case("9113-4.2-data-of-the-largest-size",
         lambda c: c.post() + content(payload=bytes(LARGEST)), answer(200)),
    Case("9113-4.2-headers-of-the-largest-size",
         lambda c: c.get(1, ("x-long", "v" * (LARGEST - len(c.block(("x-long", "v" * 9000)))
                                              + 9000))), answer(200)),
    Case("9113-4.2-data-too-large",
         lambda c: c.post() + oversized(DATA, 1), stream_error(FRAME_SIZE_ERROR), seen=CUT),
    Case("9113-4.2-headers-too-large",
         lambda c: head(c, 5, stream=1, path=c.target + "&" + "x" * LARGEST),
         connection_error(FRAME_SIZE_ERROR), seen=NEVER),
    Case("9113-4.2-continuation-too-large",
         lambda c: unfinished(c) + oversized(CONTINUATION, 1, END_HEADERS),
         connection_error(FRAME_SIZE_ERROR), seen=NEVER),
    *[Case(f"9113-4.2-{name}-too-large",
           lambda c, kind=kind, stream=stream: oversized(kind, stream),
           connection_error(FRAME_SIZE_ERROR))
      for name, kind, stream in [
          ("settings", SETTINGS, 0), ("ping", PING, 0), ("goaway", GOAWAY, 0),
          ("window-update", WINDOW_UPDATE, 0), ("unknown-type", UNKNOWN, 0)]],
    Case("9113-4.2-priority-too-large", lambda c: oversized(PRIORITY, 1),
         stream_error(FRAME_SIZE_ERROR)),
    Case("9113-4.2-rst-stream-too-large", lambda c: c.post() + oversized(RST_STREAM, 1),
         connection_error(FRAME_SIZE_ERROR)),
    Case("9113-4.2-headers-shorter-than-their-priority",
         lambda c: frame(HEADERS, PRIORITIZED | 5, 1, bytes(4)),
         connection_error(FRAME_SIZE_ERROR, PROTOCOL_ERROR)),
    Case("9113-4.2-headers-shorter-than-their-pad-length",
         lambda c: frame(HEADERS, PADDED | 5, 1),
         connection_error(FRAME_SIZE_ERROR, PROTOCOL_ERROR)),
    Case("9113-4.2-data-shorter-than-their-pad-length",
         lambda c: c.post() + frame(DATA, PADDED, 1),
         connection_error(FRAME_SIZE_ERROR, PROTOCOL_ERROR), seen=CUT),
    *[Case(f"9113-{section}-{name}-of-{size}-octets",
           lambda c, kind=kind, stream=stream, size=size:
           (c.post() if stream else b"") + frame(kind, 0, stream, bytes(size)),
           connection_error(FRAME_SIZE_ERROR))
      for section, name, kind, stream, sizes in [
          ("6.4", "rst-stream", RST_STREAM, 1, (0, 3, 5)),
          ("6.5", "settings", SETTINGS, 0, (1, 3, 5, 7)), ("6.7", "ping", PING, 0, (0, 6, 7, 9)),
          ("6.8", "goaway", GOAWAY, 0, (0, 4, 7)),
          ("6.9", "window-update", WINDOW_UPDATE, 0, (0, 3, 5)),
          ("6.9", "window-update-of-a-stream", WINDOW_UPDATE, 1, (3, 5))]
      for size in sizes],
    *[Case(f"9113-6.3-priority-of-{size}-octets",
           lambda c, size=size: c.post() + frame(PRIORITY, 0, 1, bytes(size)),
           stream_error(FRAME_SIZE_ERROR)) for size in (0, 4, 6)],
]

BLOCKS = [
    *[Case(f"9113-4.3-{name}-within-a-field-block",
           lambda c, other=other: unfinished(c) + other(c), connection_error(PROTOCOL_ERROR),
           seen=NEVER)
      for name, other in [
          ("priority", lambda c: priority(1)), ("priority-of-another", lambda c: priority(3)),
          ("headers-of-another", lambda c: c.get(3)), ("headers", lambda c: c.get(1)),
          ("data", lambda c: content()), ("rst-stream", lambda c: rst_stream(1)),
          ("settings", lambda c: settings()), ("ping", lambda c: ping()),
          ("goaway", lambda c: goaway()), ("window-update", lambda c: window_update(0, 1)),
          ("unknown-type", lambda c: frame(UNKNOWN, 0, 1, bytes(4))),
          ("unknown-type-on-the-connection", lambda c: frame(UNKNOWN, 0, 0, bytes(4))),
          ("continuation-of-another", lambda c: frame(CONTINUATION, END_HEADERS, 3)),
          ("continuation-of-the-connection", lambda c: frame(CONTINUATION, END_HEADERS, 0))]],
    Case("9113-6.10-one-continuation",
         lambda c: unfinished(c) + frame(CONTINUATION, END_HEADERS, 1, literal("x-more", "1")),
         answer(200)),
    Case("9113-6.10-several-continuations",
         lambda c: unfinished(c) + b"".join(
             frame(CONTINUATION, END_HEADERS if n == 4 else 0, 1, literal(f"x-{n}", "1"))
             for n in range(5)), answer(200)),
    Case("9113-6.10-an-empty-continuation",
         lambda c: unfinished(c) + frame(CONTINUATION, END_HEADERS, 1), answer(200)),
    Case("9113-6.10-a-block-cut-at-every-octet-of-a-name",
         lambda c: frame(HEADERS, END_STREAM, 1, c.block()[:1])
         + frame(CONTINUATION, 0, 1, c.block()[1:7])
         + frame(CONTINUATION, END_HEADERS, 1, c.block()[7:]), answer(200)),
    Case("9113-6.10-headers-without-block-before-continuation",
         lambda c: frame(HEADERS, END_STREAM, 1) + frame(CONTINUATION, END_HEADERS, 1, c.block()),
         answer(200)),
    Case("9113-6.10-after-headers-that-ended-the-block",
         lambda c: c.post() + frame(CONTINUATION, END_HEADERS, 1, literal("x-more", "1")),
         connection_error(PROTOCOL_ERROR), seen=CUT),
    Case("9113-6.10-after-a-continuation-that-ended-the-block",
         lambda c: c.headers(1, c.fields(), end=False, end_headers=False)
         + frame(CONTINUATION, END_HEADERS, 1, literal("x-more", "1"))
         + frame(CONTINUATION, END_HEADERS, 1, literal("x-even-more", "1")),
         connection_error(PROTOCOL_ERROR), seen=CUT),
    Case("9113-6.10-after-data",
         lambda c: c.post() + content(flags=0) + frame(CONTINUATION, END_HEADERS, 1),
         connection_error(PROTOCOL_ERROR), seen=CUT),
    Case("9113-6.10-on-the-connection", lambda c: frame(CONTINUATION, END_HEADERS, 0, c.block()),
         connection_error(PROTOCOL_ERROR), seen=NEVER),
]

DATA_FRAMES = [
    Case("9113-6.1-data", lambda c: c.post() + content(), answer(200)),
    Case("9113-6.1-several-data",
         lambda c: c.post() + content(flags=0) * 3 + content(), answer(200)),
    Case("9113-6.1-empty-data-that-ends", lambda c: c.post() + content(payload=b""), answer(200)),
    Case("9113-6.1-padded-data",
         lambda c: c.post() + content(payload=padded(b"content", 30), flags=PADDED | 1),
         answer(200)),
    Case("9113-6.1-nothing-but-padding",
         lambda c: c.post() + content(payload=padded(b"", 255), flags=PADDED | 1), answer(200)),
    Case("9113-6.1-padding-of-no-octets",
         lambda c: c.post() + content(payload=padded(b"content", 0), flags=PADDED | 1),
         answer(200)),
    Case("9113-6.1-padding-that-is-not-zero",
         lambda c: c.post() + content(payload=padded(b"abc", 9, b"\xff"), flags=PADDED | 1),
         answer(200) | connection_error(PROTOCOL_ERROR)),
    Case("9113-6.1-padding-as-long-as-the-payload",
         lambda c: c.post() + content(payload=b"\x08content", flags=PADDED | 1),
         connection_error(PROTOCOL_ERROR), seen=CUT),
    Case("9113-6.1-padding-longer-than-the-payload",
         lambda c: c.post() + content(payload=b"\xffcontent", flags=PADDED | 1),
         connection_error(PROTOCOL_ERROR), seen=CUT),
    Case("9113-6.1-on-the-connection", lambda c: content(0), connection_error(PROTOCOL_ERROR)),
]

HEADERS_FRAMES = [
    Case("9113-6.2-headers", lambda c: c.get(), answer(200)),
    Case("9113-6.2-padded",
         lambda c: frame(HEADERS, PADDED | 5, 1, padded(c.block(), 99)), answer(200)),
    Case("9113-6.2-with-priority",
         lambda c: frame(HEADERS, PRIORITIZED | 5, 1, DEPENDENCY + c.block()), answer(200)),
    Case("9113-6.2-exclusively-dependent",
         lambda c: frame(HEADERS, PRIORITIZED | 5, 1, struct.pack(">IB", RESERVED | 9, 255)
                         + c.block()), answer(200)),
    Case("9113-6.2-padded-with-priority",
         lambda c: frame(HEADERS, PADDED | PRIORITIZED | 5, 1, padded(DEPENDENCY + c.block(), 7)),
         answer(200)),
    Case("9113-6.2-on-the-connection", lambda c: c.get(0), connection_error(PROTOCOL_ERROR),
         seen=NEVER),
    Case("9113-6.2-padding-longer-than-the-payload",
         lambda c: frame(HEADERS, PADDED | 5, 1, b"\xff" + c.block()[:100]),
         connection_error(PROTOCOL_ERROR), seen=NEVER),
    Case("9113-6.2-padding-as-long-as-the-payload",
         lambda c: frame(HEADERS, PADDED | 5, 1, bytes([21]) + c.block()[:20]),
         connection_error(PROTOCOL_ERROR), seen=NEVER),
    Case("9113-6.2-padding-that-leaves-half-a-priority",
         lambda c: frame(HEADERS, PADDED | PRIORITIZED | 5, 1, padded(b"\0\0", 3)),
         connection_error(PROTOCOL_ERROR, FRAME_SIZE_ERROR), seen=NEVER),
]

PRIORITIES = [
    Case("9113-6.3-least-weight", lambda c: priority(1, weight=0) + c.get(), answer(200)),
    Case("9113-6.3-greatest-weight", lambda c: priority(1, weight=255) + c.get(), answer(200)),
    Case("9113-6.3-dependency", lambda c: priority(1, depends_on=7) + c.get(), answer(200)),
    Case("9113-6.3-exclusive",
         lambda c: priority(1, depends_on=7, exclusive=True) + c.get(), answer(200)),
    Case("9113-6.3-for-an-idle-stream-before-a-lower-one",
         lambda c: priority(9, depends_on=5) + c.get(3), answer(200), stream=3),
    Case("9113-6.3-on-the-connection", lambda c: priority(0), connection_error(PROTOCOL_ERROR)),
]

RESETS = [
    Case("9113-6.4-rst-stream", lambda c: c.post() + rst_stream(1), IGNORED, seen=CUT),
    Case("9113-6.4-twice", lambda c: c.post() + rst_stream(1) * 2, IGNORED | stream_error(
        STREAM_CLOSED), seen=CUT),
    Case("9113-6.4-on-the-connection", lambda c: rst_stream(0), connection_error(PROTOCOL_ERROR)),
    Case("9113-6.4-on-an-idle-stream", lambda c: rst_stream(1), connection_error(PROTOCOL_ERROR)),
    Case("9113-7-unknown-code-of-rst-stream", lambda c: c.post() + rst_stream(1, 0xFF), IGNORED),
    Case("9113-7-unknown-code-of-goaway",
         lambda c: goaway(0, 0xFF) + ping(), PONG | CLOSED | connection_error(0), may_end=True),
]


def setting(name, value):
    return lambda c: settings([(name, value)])


SETTINGS_FRAMES = [
    Case("9113-6.5-settings", lambda c: settings([(3, 100), (4, 65_535)]), SETTLED),
    Case("9113-6.5-no-settings", lambda c: settings(), SETTLED),
    Case("9113-6.5.3-acknowledgement-for-nothing", lambda c: settings(ack=True),
         IGNORED | connection_error(PROTOCOL_ERROR)),
    Case("9113-6.5-settings-ack-with-payload", lambda c: frame(SETTINGS, ACK, 0, bytes(6)),
         connection_error(FRAME_SIZE_ERROR)),
    Case("9113-6.5-settings-ack-of-one-octet", lambda c: frame(SETTINGS, ACK, 0, bytes(1)),
         connection_error(FRAME_SIZE_ERROR)),
    Case("9113-6.5-on-a-stream", lambda c: frame(SETTINGS, 0, 1, bytes(6)),
         connection_error(PROTOCOL_ERROR)),
    Case("9113-6.5-ack-on-a-stream", lambda c: frame(SETTINGS, ACK, 1),
         connection_error(PROTOCOL_ERROR)),
    *[Case(f"9113-6.5.2-{name}-{value}", setting(number, value), allowed)
      for number, name, allowed, values in [
          (1, "header-table-size", SETTLED, (0, 1, 4096, 2**32 - 1)),
          (2, "enable-push", SETTLED, (0, 1)),
          (2, "enable-push", connection_error(PROTOCOL_ERROR), (2, 2**32 - 1)),
          (3, "max-concurrent-streams", SETTLED, (0, 1, 2**32 - 1)),
          (4, "initial-window-size", SETTLED, (0, 1, 2**31 - 1)),
          (4, "initial-window-size", connection_error(FLOW_CONTROL_ERROR), (2**31, 2**32 - 1)),
          (5, "max-frame-size", SETTLED, (16_384, 2**24 - 1)),
          (5, "max-frame-size", connection_error(PROTOCOL_ERROR),
           (0, 16_383, 2**24, 2**32 - 1)),
          (6, "max-header-list-size", SETTLED, (0, 100, 2**32 - 1)),
          (0, "unknown-0", SETTLED, (1,)), (0xFF, "unknown-255", SETTLED, (0, 2**32 - 1)),
          (0xFFFF, "unknown-65535", SETTLED, (7,))] for value in values],
    Case("8441-3-a-client-may-say-extended-connect", setting(8, 1), SETTLED),
    Case("9218-2.1-no-rfc7540-priorities-of-2", setting(9, 2), connection_error(PROTOCOL_ERROR)),
]


def acknowledged(c):
    """Three SETTINGS frames, for which as many acknowledgements must come, then a request."""
    c.send(settings([(4, 1)]) * 3)
    for _ in range(3):
        c.until(lambda f: f.kind == SETTINGS and f.flags & ACK)
    return settings([(4, 65_535)]) + c.get()


def in_order(c):
    """PING frames are answered with their own octets, in their order."""
    marks = [bytes([n]) * 8 for n in range(20)]
    c.send(b"".join(map(ping, marks)))
    seen = [c.until(lambda f: f.kind == PING and f.flags & ACK).payload for _ in marks]
    assert seen == marks
    return c.get()


CONNECTION = [
    Case("9113-6.5.3-each-frame-is-acknowledged", acknowledged, answer(200)),
    Case("9113-6.6-push-promise-on-an-open-stream",
         lambda c: c.post() + frame(PUSH_PROMISE, END_HEADERS, 1, bytes([0, 0, 0, 2]) + c.block()),
         connection_error(PROTOCOL_ERROR), seen=CUT),
    Case("9113-6.6-push-promise-on-an-idle-stream",
         lambda c: frame(PUSH_PROMISE, END_HEADERS, 1, bytes([0, 0, 0, 2]) + c.block()),
         connection_error(PROTOCOL_ERROR), seen=NEVER),
    Case("9113-6.6-push-promise-on-the-connection",
         lambda c: frame(PUSH_PROMISE, END_HEADERS, 0, bytes([0, 0, 0, 2]) + c.block()),
         connection_error(PROTOCOL_ERROR), seen=NEVER),
    Case("9113-6.7-ping", lambda c: ping(), PONG),
    Case("9113-6.7-several-in-order", in_order, answer(200)),
    Case("9113-6.7-acknowledgement-for-nothing", lambda c: ping(ack=True), IGNORED),
    Case("9113-6.7-on-a-stream", lambda c: frame(PING, 0, 1, bytes(8)),
         connection_error(PROTOCOL_ERROR)),
    Case("9113-6.7-ack-on-a-stream", lambda c: frame(PING, ACK, 1, bytes(8)),
         connection_error(PROTOCOL_ERROR)),
    Case("9113-6.8-goaway-without-requests", lambda c: goaway() + ping(),
         PONG | CLOSED | connection_error(0), may_end=True),
    Case("9113-6.8-requests-before-goaway-are-answered",
         lambda c: c.get() + goaway(debug=b"done"), answer(200), may_end=True),
    Case("9113-6.8-a-request-that-goes-on-after-goaway",
         lambda c: c.post() + goaway() + goaway() + content(), answer(200),
         may_end=True),
    Case("9113-6.8-on-a-stream", lambda c: frame(GOAWAY, 0, 1, bytes(8)),
         connection_error(PROTOCOL_ERROR)),
    Case("9113-6.9-window-update-of-the-connection", lambda c: window_update(0, 100), IGNORED),
    Case("9113-6.9-window-update-of-a-stream",
         lambda c: c.post() + window_update(1, 100) + content(), answer(200)),
    Case("9113-6.9-increment-of-0-on-the-connection", lambda c: window_update(0, 0),
         connection_error(PROTOCOL_ERROR)),
    Case("9113-6.9-increment-of-0-on-a-stream", lambda c: c.post() + window_update(1, 0),
         stream_error(PROTOCOL_ERROR), seen=CUT),
    Case("9113-6.9-on-an-idle-stream", lambda c: window_update(1, 100),
         connection_error(PROTOCOL_ERROR)),
]


@cases(FORMAT, SIZE, BLOCKS, DATA_FRAMES, HEADERS_FRAMES, PRIORITIES, RESETS, SETTINGS_FRAMES,
       CONNECTION)
def test_a_frame_has_the_outcome_that_the_rfc_allows(bench, case):
    bench.play(case)
