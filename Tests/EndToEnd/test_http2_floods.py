"""Floods of HTTP/2 frames that open no streams: each ends, and nobody else notices."""

import itertools

import pytest

from edge.floods import LARGE, answered, ends, get, next_content, post, start, streams, table
from edge.frames import (
    DATA, END_HEADERS, FLOW_CONTROL_ERROR, INITIAL_WINDOW_SIZE, PADDED, PROTOCOL_ERROR,
    PUSH_PROMISE, RST_STREAM, SETTINGS, STREAM_CLOSED, frame, goaway, ping, priority,
    rst_stream, settings, window_update)

FLOODS, flood = table()


# Frames about the connection.

@flood("SETTINGS", "settings")
def settings_flood(client):
    while True:
        yield settings()


@flood("SETTINGS with many entries", "settings")
def settings_entries(client):
    payload = b"".join(number.to_bytes(2, "big") + bytes(4) for number in range(100, 132))
    while True:
        yield frame(SETTINGS, 0, 0, payload)


@flood("SETTINGS with too many entries", "")
def settings_too_many(client):
    payload = b"".join(number.to_bytes(2, "big") + bytes(4) for number in range(100, 2000))
    while True:
        yield frame(SETTINGS, 0, 0, payload)


@flood("SETTINGS that move a hundred windows", "settings")
def settings_windows(client):
    for stream in itertools.islice(streams(), 100):
        yield get(client, stream)
    for number in itertools.count():
        yield settings({INITIAL_WINDOW_SIZE: 65_535 if number % 2 else 0})


@flood("SETTINGS that overflow windows", "", FLOW_CONTROL_ERROR)
def settings_overflow(client):
    for stream in itertools.islice(streams(), 20):
        yield get(client, stream)
        yield window_update(stream, 1 << 30)
    while True:
        yield settings({INITIAL_WINDOW_SIZE: 0x7FFF_FFFF})


@flood("SETTINGS acknowledgements", "", PROTOCOL_ERROR)
def settings_acknowledgements(client):
    while True:
        yield settings(ack=True)


@flood("PING", "ping")
def ping_flood(client):
    while True:
        yield ping()


@flood("PING acknowledgements", "stray_acknowledgement")
def ping_acknowledgements(client):
    while True:
        yield ping(ack=True)


@flood("PING from a client that does not read", "ping", None, reads=False, receive_buffer=4096)
def ping_unread(client):
    while True:
        yield ping()


@flood("GOAWAY", "goaway")
def goaway_flood(client):
    for stream in itertools.islice(streams(), 100):
        yield get(client, stream)
    while True:
        yield goaway()


@flood("PRIORITY", "priority")
def priority_flood(client):
    for stream in itertools.cycle(range(1, 20_000, 2)):
        yield priority(stream)


@flood("PRIORITY_UPDATE", "unknown_frame")
def priority_update(client):
    for stream in itertools.cycle(range(1, 20_000, 2)):
        yield frame(0x10, 0, 0, stream.to_bytes(4, "big") + b"u=1")


@flood("PUSH_PROMISE", "", PROTOCOL_ERROR)
def push_promise(client):
    yield get(client, 1)
    while True:
        yield frame(PUSH_PROMISE, END_HEADERS, 1, (2).to_bytes(4, "big"))


@flood("small frames of an unknown type", "unknown_frame")
def unknown_small(client):
    for number in itertools.count():
        yield frame(0xE0 + number % 16, 0xFF, number % 7, b"x")


@flood("large frames of an unknown type", "unknown_frame")
def unknown_large(client):
    while True:
        yield frame(0xE0, 0, 0, b"x" * 16_384)


# Windows.

@flood("WINDOW_UPDATE of the connection", "window_update")
def update_connection(client):
    while True:
        yield window_update(0, 1)


@flood("WINDOW_UPDATE of a stream", "window_update")
def update_stream(client):
    yield get(client, 1)
    while True:
        yield window_update(1, 1)


@flood("WINDOW_UPDATE of a closed stream", "window_update")
def update_closed(client):
    answered(client)
    while True:
        yield window_update(1, 1)


@flood("WINDOW_UPDATE of an idle stream", "", PROTOCOL_ERROR)
def update_idle(client):
    while True:
        yield window_update(99, 1)


@flood("windows of one octet", "tiny_window", batch=1, reads=False,
       values=((INITIAL_WINDOW_SIZE, 1),))
def windows_of_one(client):
    for stream in itertools.islice(streams(), 20):
        yield get(client, stream, LARGE)
    while True:
        yield window_update(next_content(client), 1)


@flood("a window that opens by one octet at a time", "tiny_window", batch=1, reads=False,
       values=((INITIAL_WINDOW_SIZE, 0),))
def window_by_octet(client):
    yield get(client, 1, LARGE)
    while True:
        yield window_update(1, 1)
        next_content(client)


# Content.

@flood("empty DATA", "empty_frame")
def empty_data(client):
    yield post(client, 1)
    while True:
        yield frame(DATA, 0, 1)


@flood("DATA of nothing but padding", "empty_frame")
def data_of_padding(client):
    yield post(client, 1)
    while True:
        yield frame(DATA, PADDED, 1, b"\xff" + bytes(255))


@flood("DATA with more padding than content", "padding")
def padded_data(client):
    yield post(client, 1)
    while True:
        yield frame(DATA, PADDED, 1, b"\xff" + b"x" + bytes(255))


# Streams that are not open.

@flood("RST_STREAM of an idle stream", "", PROTOCOL_ERROR)
def reset_idle(client):
    while True:
        yield rst_stream(99)


@flood("RST_STREAM of a closed stream", "stray_reset")
def reset_closed(client):
    answered(client)
    while True:
        yield rst_stream(1)


@flood("DATA on a closed stream", "", STREAM_CLOSED)
def data_on_closed(client):
    answered(client)
    while True:
        yield frame(DATA, 0, 1, b"x")


@flood("HEADERS on a closed stream", "", STREAM_CLOSED)
def headers_on_closed(client):
    answered(client)
    while True:
        yield get(client, 1)


@flood("DATA on a cancelled stream", "", STREAM_CLOSED)
def data_on_cancelled(client):
    yield post(client, 1)
    yield rst_stream(1)
    while True:
        yield frame(DATA, 0, 1, b"x" * 1000)


@flood("DATA on a stream that the proxy has reset", "ignored_frame")
def data_on_reset(client):
    # Right for as long as the reset is under way, and waste after that.
    client.send(post(client, 1, path="/nowhere"))
    client.until(lambda f: f.kind == RST_STREAM)
    while True:
        yield frame(DATA, 0, 1, b"x" * 10)


@pytest.fixture
def edge(edges, configuration, upstream):
    return start(edges, configuration, upstream)


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.name)
def test_a_flood_ends(flood, edge, record_property):
    ends(edge, flood, record_property)


@pytest.mark.parametrize(
    "flood", [flood for flood in FLOODS if flood.name in ("PING", "empty DATA")],
    ids=lambda flood: flood.name)
def test_a_flood_over_tls_ends(flood, edge, record_property):
    ends(edge, flood, record_property, plain=False)
