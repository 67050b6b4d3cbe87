"""Floods of HTTP/2 streams and heads: each ends, soon and cheaply, and nobody else notices."""

import itertools

import pytest

from edge.floods import ends, get, gone, post, start, streams, table
from edge.frames import (
    CONTINUATION, DATA, END_HEADERS, END_STREAM, FRAME_SIZE_ERROR, HEADERS, NO_ERROR, PREFACE,
    PRIORITIZED, PROTOCOL_ERROR, STREAM_CLOSED, frame, literal, literals, priority, rst_stream,
    settings, window_update)

FLOODS, flood = table()


# Streams that are opened and cancelled.

@flood("rapid reset", "cancelled_stream")
def rapid_reset(client):
    # CVE-2023-44487
    for stream in streams():
        yield get(client, stream)
        yield rst_stream(stream)


@flood("rapid reset of uploads", "cancelled_stream")
def rapid_reset_uploads(client):
    for stream in streams():
        yield post(client, stream)
        yield frame(DATA, 0, stream, b"x" * 100)
        yield rst_stream(stream)


@flood("rapid reset with NO_ERROR", "cancelled_stream")
def rapid_reset_without_error(client):
    for stream in streams():
        yield get(client, stream)
        yield rst_stream(stream, NO_ERROR)


@flood("rapid reset of requests that the proxy answers", "cancelled_stream")
def rapid_reset_refused(client):
    for stream in streams():
        yield get(client, stream, path="/nowhere")
        yield rst_stream(stream)


# Streams that the proxy is made to reset (CVE-2025-8671).

@flood("made you reset: window overflow", "provoked_reset window_update", batch=2, reads=False)
def window_overflow(client):
    for stream in streams():
        yield get(client, stream)
        yield window_update(stream, 0x7FFF_FFFF)
        gone(client, stream)


@flood("made you reset: zero increment", "", PROTOCOL_ERROR)
def zero_increment(client):
    for stream in streams():
        yield get(client, stream)
        yield window_update(stream, 0)


@flood("made you reset: DATA after END_STREAM", "", STREAM_CLOSED)
def data_after_end(client):
    for stream in streams():
        yield get(client, stream)
        yield frame(DATA, 0, stream, b"x")


@flood("made you reset: less content than announced", "provoked_reset", batch=2, reads=False)
def content_too_short(client):
    for stream in streams():
        yield post(client, stream, [("content-length", "5")])
        yield frame(DATA, END_STREAM, stream, b"abc")
        gone(client, stream)


@flood("made you reset: more content than announced", "provoked_reset", batch=2, reads=False)
def content_too_long(client):
    for stream in streams():
        yield post(client, stream, [("content-length", "1")])
        yield frame(DATA, 0, stream, b"abc")
        gone(client, stream)


def bad_head(client, stream, *fields):
    return client.headers(stream, client.head(fields=fields), raw=True)


@flood("made you reset: a field name in capitals", "provoked_reset")
def invalid_name(client):
    for stream in streams():
        yield bad_head(client, stream, ("X-Capital", "1"))


@flood("made you reset: a connection field", "provoked_reset")
def connection_field(client):
    for stream in streams():
        yield bad_head(client, stream, ("connection", "close"))


@flood("made you reset: no :path", "provoked_reset")
def no_path(client):
    for stream in streams():
        yield client.headers(stream, client.head(path=None), raw=True)


@flood("made you reset: an invalid value", "provoked_reset")
def invalid_value(client):
    for stream in streams():
        yield bad_head(client, stream, ("x", "a\x00b"))


@flood("made you reset: a stream that depends on itself", "", PROTOCOL_ERROR)
def depends_on_itself(client):
    yield get(client, 1)
    while True:
        yield priority(1, depends_on=1)


@flood("made you reset: HEADERS that depend on themselves", "", PROTOCOL_ERROR)
def head_depends_on_itself(client):
    for stream in streams():
        yield get(client, stream, flags=PRIORITIZED, before=stream.to_bytes(4, "big") + b"\x0f")


@flood("made you reset: HEADERS on a half-closed stream", "", STREAM_CLOSED)
def headers_after_end(client):
    for stream in streams():
        yield get(client, stream)
        yield get(client, stream)


@flood("made you reset: a frame above the limit", "", FRAME_SIZE_ERROR)
def oversize(client):
    for stream in streams():
        yield post(client, stream)
        yield frame(DATA, 0, stream, b"x" * 16_385)


@flood("made you reset: a frame too short for its type", "", FRAME_SIZE_ERROR)
def undersize(client):
    for stream in streams():
        yield get(client, stream)
        yield frame(3, 0, stream, b"abc")


@flood("made you reset: trailers that do not end the stream", "provoked_reset", batch=2,
       reads=False)
def trailers_without_end(client):
    for stream in streams():
        yield post(client, stream)
        yield client.headers(stream, [("x-trailer", "1")], end=False)
        gone(client, stream)


@flood("streams above the limit", "", PROTOCOL_ERROR)
def too_many_streams(client):
    for stream in streams():
        yield get(client, stream)


@flood("streams above the limit before it is acknowledged",
       "refused_stream ignored_frame unread_acknowledgements", handshake=False, reads=False)
def too_many_streams_unacknowledged(client):
    yield PREFACE + settings()
    for stream in streams():
        yield get(client, stream)


# Heads without end.

@flood("endless CONTINUATION", "continuation")
def continuation(client):
    yield client.headers(1, client.head(), end_headers=False)
    for number in itertools.count():
        yield frame(CONTINUATION, 0, 1, literal(f"x-{number}", "v" * 100))


@flood("empty CONTINUATION", "continuation")
def empty_continuation(client):
    yield client.headers(1, client.head(), end_headers=False)
    while True:
        yield frame(CONTINUATION, 0, 1)


@flood("CONTINUATION of one octet", "continuation")
def continuation_by_octet(client):
    # Long enough that it cannot be written to its end before the proxy has said what it thinks.
    block = literals(client.head() + [("x", "y" * 20_000)])
    yield frame(HEADERS, END_STREAM, 1, block[:1])
    for octet in block[1:]:
        yield frame(CONTINUATION, 0, 1, bytes([octet]))


@flood("empty HEADERS", "empty_frame provoked_reset")
def empty_headers(client):
    for stream in streams():
        yield frame(HEADERS, END_HEADERS | END_STREAM, stream)


@flood("empty trailers", "empty_frame", batch=2, reads=False)
def empty_trailers(client):
    for stream in streams():
        yield post(client, stream, path="/nowhere")
        yield frame(HEADERS, END_HEADERS | END_STREAM, stream)
        gone(client, stream)


@flood("HPACK bombs", "provoked_reset", batch=8)
def hpack_bomb(client):
    # One entry of 4 000 octets, then 12 000 octets that name it once each: 48 MB a head.
    entry = b"\x40\x01b\x7f\xa1\x1e" + b"v" * 4000
    yield client.headers(1, client.head(), raw=True, after=entry)
    for stream in streams(3):
        yield client.headers(stream, client.head(), raw=True, after=b"\xbe" * 12_000)


@pytest.fixture
def edge(edges, configuration, upstream):
    return start(edges, configuration, upstream)


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.name)
def test_a_flood_ends(flood, edge, record_property):
    ends(edge, flood, record_property)


@pytest.mark.parametrize(
    "flood", [flood for flood in FLOODS if flood.name in ("rapid reset", "HPACK bombs")],
    ids=lambda flood: flood.name)
def test_a_flood_over_tls_ends(flood, edge, record_property):
    ends(edge, flood, record_property, plain=False)


def test_a_request_cancelled_in_the_same_breath_reaches_no_service(edge, upstream):
    seen = len(upstream.requests)
    with edge.frames() as client:
        for first in range(1, 401, 100):
            client.send(*(piece for stream in range(first, first + 100, 2)
                          for piece in (get(client, stream), rst_stream(stream))))
        assert client.lives()
        assert edge.metric("edge_oddities_total", kind="cancelled_stream") == 200
        # A TLS record may end between a request and its reset: those few were begun, and ended.
        edge.settled()
        assert len(upstream.requests) - seen < 20
