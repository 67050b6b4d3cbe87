"""Slow clients: each kind meets its own deadline, is told so, and holds up nobody else."""

import contextlib
import time

import pytest

from edge import frames
from edge.flight import Flight
from edge.slow import (SECONDS, GoodClient, client_hello, drip, for_ever, impatient,
                       nothing_lives, octets, reaped)
from edge.upstream import Upstream
from edge.waiting import until


@pytest.fixture(scope="module")
def edge(module_edges, module_upstream, configuration, certificates):
    return module_edges(configuration(module_upstream, impatient(certificates)))


@pytest.fixture(scope="module")
def module_upstream(module_keep):
    return module_keep(Upstream([f"127.0.0.{n + 1}" for n in range(1, 13)]))


def goaway_code(data):
    """The error code of the GOAWAY among whole frames."""
    at, code = 0, None
    while at + 9 <= len(data):
        length, kind = int.from_bytes(data[at:at + 3], "big"), data[at + 3]
        if kind == frames.GOAWAY:
            code = int.from_bytes(data[at + 13:at + 17], "big")
        at += 9 + length
    return code


# Connections that never get as far as a request.

def silent_tls(edge):
    return edge.tcp(), ()


def silent_plain(edge):
    return edge.tcp(listener=1), ()


def half_a_client_hello(edge):
    hello = client_hello(edge.authority.client_context(["h2"]))
    return edge.tcp(), [hello[:len(hello) // 2]]


def dripped_client_hello(edge):
    return edge.tcp(), octets(client_hello(edge.authority.client_context(["h2"])))


def silent_after_handshake(edge):
    return edge.tls(["http/1.1"]), ()


def one_record_dripped(edge):
    sock = edge.tcp()
    tls = Flight(sock, edge.authority.client_context(["http/1.1"]))
    return sock, octets(tls.record(b"GET /api/hello?id=1 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5))


def half_a_plain_preface(edge):
    return edge.tcp(listener=1), [frames.PREFACE[:12]]


@pytest.mark.parametrize("begin, kind", [
    (silent_tls, "handshake"), (half_a_client_hello, "handshake"),
    (dripped_client_hello, "handshake"), (silent_plain, "head"),
    (silent_after_handshake, "head"), (half_a_plain_preface, "head"),
], ids=lambda value: getattr(value, "__name__", value))
def test_who_gets_nowhere_is_closed_without_a_word(edge, begin, kind):
    with reaped(edge, kind):
        sock, pieces = begin(edge)
        with sock:
            assert drip(sock, pieces) == b""


def test_a_tls_record_that_is_dripped_is_closed(edge):
    with reaped(edge, "head"):
        sock, pieces = one_record_dripped(edge)
        with sock:
            # Records of the server's own: session tickets and its farewell, no answer.
            assert len(drip(sock, pieces)) < 2000


# Heads.

@pytest.mark.parametrize("listener", [0, 1], ids=["tls", "plain"])
def test_an_http1_head_that_is_dripped_is_answered_408(edge, listener):
    head = b"GET /api/hello?id=1 HTTP/1.1\r\nHost: localhost\r\nx-long: " + b"a" * 10_000
    with reaped(edge, "head"):
        with edge.tcp(listener=1) if listener else edge.tls(["http/1.1"]) as sock:
            answer = drip(sock, octets(head))
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in answer.lower()


def test_an_http1_head_that_stops_is_answered_408_also_as_the_second(edge):
    with reaped(edge, "head"), edge.http1() as client:
        assert client.get("/api/hello?id=1").status == 200
        client.send("GET /api/hello?id=1 HTTP/1.1\r\nHost:")
        assert client.read().status == 408
        assert client.at_end()


# What its client begins behind an answer that has to wait for the client.
LARGE = 4_000_000


def test_a_head_behind_an_answer_that_had_to_wait_is_answered_408(edge):
    """The deadline for writing takes the place of the other, and gives it back."""
    request = f"GET /api/large?id=1&size={LARGE} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with reaped(edge, "head"), edge.tcp(listener=1, receive_buffer=4096) as sock:
        received = drip(sock, [request + request[:-2]])
    assert received.count(b"HTTP/1.1 ") == 2, received[:100]
    assert LARGE < received.index(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("size", [1, LARGE], ids=["at once", "had to wait"])
def test_a_frame_behind_a_stream_that_has_ended_ends_with_goaway(edge, size):
    """The end of a stream begins the time without a request, but not before that of the frame."""
    with reaped(edge, "head"):
        client = edge.frames(listener=1, plain=True, handshake=False, receive_buffer=4096)
        with client.socket as sock:
            head = client.head(path=f"/api/large?id=1&size={size}")
            received = drip(sock, [
                frames.PREFACE + frames.settings({4: 2 * LARGE})
                + frames.window_update(0, 2 * LARGE) + client.headers(1, head)
                + frames.ping()[:12]])
    assert len(received) > size and goaway_code(received) == frames.NO_ERROR


def open_headers(edge):
    """A HEADERS frame without END_HEADERS."""
    with_encoder = edge.frames(handshake=False)
    block = with_encoder.headers(1, with_encoder.head(), end_headers=False)
    return with_encoder, frames.PREFACE + frames.settings() + block


def begun(edge, *data):
    client = edge.frames(handshake=False)
    return client, frames.PREFACE[:0] + b"".join(data)


def http2_silence(edge):
    return begun(edge)[0].socket, ()


def half_a_preface(edge):
    client, data = begun(edge, frames.PREFACE[:10])
    return client.socket, [data]


def dripped_preface(edge):
    client, data = begun(edge, frames.PREFACE, frames.settings({4: 65_535}) * 100)
    return client.socket, octets(data)


def preface_without_settings(edge):
    client, data = begun(edge, frames.PREFACE)
    return client.socket, [data]


def headers_without_end(edge):
    client, data = open_headers(edge)
    return client.socket, [data]


def dripped_continuation(edge):
    client, data = open_headers(edge)
    rest = frames.frame(frames.CONTINUATION, 0, 1, frames.literal("x-long", "a" * 1000))
    # Its header at once: nghttp2 counts every piece of one as a frame.
    return client.socket, [data, rest[:9], *octets(rest[9:])]


def half_a_frame_header(edge):
    client, data = begun(edge, frames.PREFACE, frames.settings(), frames.ping()[:5])
    return client.socket, [data]


def half_a_frame(edge):
    client, data = begun(edge, frames.PREFACE, frames.settings(), frames.ping()[:12])
    return client.socket, [data]


def dripped_unknown_frame(edge):
    client, data = begun(edge, frames.PREFACE, frames.settings())
    return client.socket, [data, *octets(frames.frame(0xFA, 0, 0, b"a" * 5000))]


@pytest.mark.parametrize("begin", [
    http2_silence, half_a_preface, preface_without_settings, headers_without_end,
    dripped_continuation, half_a_frame_header, half_a_frame, dripped_unknown_frame,
], ids=lambda begin: begin.__name__)
def test_http2_that_is_begun_and_not_gone_on_with_ends_with_goaway(edge, begin):
    with reaped(edge, "head"):
        sock, pieces = begin(edge)
        with sock:
            assert goaway_code(drip(sock, pieces)) == frames.NO_ERROR


def test_a_preface_that_is_dripped_ends_with_goaway(edge):
    before = edge.metric("edge_timeouts_total")
    sock, pieces = dripped_preface(edge)
    with sock, GoodClient(edge):
        assert goaway_code(drip(sock, pieces)) == frames.NO_ERROR
    assert edge.metric("edge_timeouts_total") > before


# Time without a request.

def test_an_idle_http1_connection_is_closed(edge):
    with reaped(edge, "idle"), edge.http1() as client:
        assert client.get("/api/hello?id=1").status == 200
        assert client.at_end(20)


def test_an_idle_http2_connection_gets_goaway(edge):
    with reaped(edge, "idle"), edge.frames() as client:
        client.request(1)
        assert client.response(1)[0] == 200
        found = client.until(lambda f: f.kind == frames.GOAWAY, 20)
        assert found and found.code == frames.NO_ERROR
        assert client.until(lambda f: False, 20) is None


@pytest.mark.parametrize("pieces", [
    lambda: for_ever(frames.ping()),
    lambda: iter(lambda: frames.ping(), None),
    lambda: for_ever(frames.window_update(0, 1)),
], ids=["pings dripped", "whole pings", "updates dripped"])
def test_frames_without_a_request_win_no_idle_time(edge, pieces):
    with reaped(edge, "idle"), edge.frames() as client:
        began = time.monotonic()
        assert goaway_code(drip(client.socket, pieces(), every=0.03)) == frames.NO_ERROR
        assert time.monotonic() - began < 10 * SECONDS


# Request bodies.

def http1_upload(edge, fields, path="/api/digest?id=1"):
    client = edge.http1()
    client.send(f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n")
    return client


def chunks():
    return iter(lambda: b"1\r\nx\r\n", None)


@pytest.mark.parametrize("fields, pieces", [
    ("Content-Length: 1000000", lambda: ()),
    ("Content-Length: 1000000", lambda: for_ever(b"x")),
    ("Transfer-Encoding: chunked", lambda: [b"5\r\nhel"]),
    ("Transfer-Encoding: chunked", chunks),
    ("Transfer-Encoding: chunked", lambda: for_ever(b"1\r\nx\r\n")),
    ("Transfer-Encoding: chunked", lambda: for_ever(b"a;" + b"x" * 100 + b"\r\n0123456789\r\n")),
], ids=["silent", "dripped", "chunk stops", "tiny chunks", "chunks dripped", "extensions dripped"])
def test_an_http1_body_that_does_not_come_is_answered_408(edge, fields, pieces):
    with reaped(edge, "body"):
        with http1_upload(edge, fields) as client:
            answer = drip(client.socket, pieces())
        assert answer.startswith(b"HTTP/1.1 408 "), answer[:200]
        assert b"connection: close" in answer.lower()


def test_an_upload_that_stops_after_the_go_ahead_is_answered_408(edge):
    with reaped(edge, "body"):
        with http1_upload(edge, "Content-Length: 10\r\nExpect: 100-continue",
                          "/api/expect?id=1") as client:
            response = client.read()
        assert response.status == 408 and response.informational[0][0] == 100


@pytest.mark.parametrize("pieces", [
    lambda: (),
    lambda: iter(lambda: frames.frame(frames.DATA, 0, 1, b"x"), None),
    lambda: for_ever(frames.frame(frames.DATA, 0, 1, b"0123456789")),
], ids=["silent", "tiny frames", "dripped frames"])
def test_an_http2_body_that_does_not_come_is_answered_408(edge, pieces):
    with reaped(edge, "body"), edge.frames() as client:
        client.request(1, "POST", "/api/digest?id=1", end=False)
        pieces, answered = iter(pieces()), None
        deadline = time.monotonic() + 20
        while answered is None:
            assert time.monotonic() < deadline
            if (piece := next(pieces, None)) is not None:
                client.send(piece)
            with contextlib.suppress(TimeoutError):
                found = client.read(0.05)
                assert found is not None, "the connection ended"
                if found.kind == frames.HEADERS:
                    answered = dict(client.fields(found))[":status"]
        assert answered == "408"
        found = client.until(lambda f: f.kind in (frames.RST_STREAM, frames.GOAWAY))
        assert (found.kind, found.code) == (frames.RST_STREAM, frames.NO_ERROR)


def test_a_grpc_stream_may_be_slow_as_long_as_it_is_not_silent(edge, module_upstream):
    fields = [("content-type", "application/grpc"), ("te", "trailers")]
    with edge.frames() as client, GoodClient(edge):
        client.request(1, "POST", "/api/digest?id=1", fields, end=False)
        message = b"\0\0\0\0\x05hello"
        for _ in range(16):
            client.send(frames.frame(frames.DATA, 0, 1, message))
            with contextlib.suppress(TimeoutError):
                found = client.until(lambda f: f.kind in (frames.HEADERS, frames.RST_STREAM), 0.3)
                raise AssertionError(f"cut: {found}")
        client.send(frames.frame(frames.DATA, frames.END_STREAM, 1, message))
        status, body = client.response(1)
        assert status == 200 and b'"size": 170' in body
    until(lambda: nothing_lives(edge), 20)
