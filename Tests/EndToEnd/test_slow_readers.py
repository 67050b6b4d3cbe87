"""Clients that take their answers slowly: cut below the least rate, and served above it."""

import contextlib
import socket
import threading
import time

import pytest

from edge import frames
from edge.slow import MIN_RATE, SECONDS, GoodClient, impatient, nothing_lives, reaped
from edge.upstream import Upstream
from edge.waiting import until

HUGE = 64 << 20
# More than the kernel takes for a client that reads nothing, less than pauses the upstream.
HELD = 100_000


@pytest.fixture(scope="module")
def upstream(module_keep):
    return module_keep(Upstream([f"127.0.0.{n + 1}" for n in range(1, 13)]))


@pytest.fixture(scope="module", params=[["1.1"], ["h2c"]], ids=["h1", "h2c"])
def edge(request, module_edges, upstream, configuration, certificates):
    return module_edges(configuration(upstream, impatient(certificates), versions=request.param))


@pytest.fixture(scope="module")
def tunnels(module_edges, upstream, configuration, certificates):
    return module_edges(configuration(upstream, impatient(certificates)))


def read_steadily(sock, count, every, condition, seconds=20):
    """Reads up to `count` bytes now and then while `condition` holds; False once it is cut."""
    deadline = time.monotonic() + seconds
    while condition():
        assert time.monotonic() < deadline, "neither cut nor done"
        began = time.monotonic()
        sock.settimeout(10)
        try:
            if not sock.recv(count):
                return False
        except OSError:
            return False
        # The pace is the point here.
        time.sleep(max(0, every - (time.monotonic() - began)))
    return True


# HTTP/1.

@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("plain", [False, True], ids=["tls", "plain"])
def test_an_http1_reader_that_stops_is_cut(edge, upstream, framing, plain):
    with reaped(edge, "write"):
        client = edge.http1(listener=int(plain), plain=plain, receive_buffer=4096)
        with client:
            client.request("GET", f"/api/large?id=1&size={HUGE}&framing={framing}")
            until(lambda: nothing_lives(edge, but=1), 20, edge.ledger)
            received = 0
            with contextlib.suppress(OSError):
                while data := client.socket.recv(1 << 20):
                    received += len(data)
            assert received < HUGE


def test_an_http1_reader_slower_than_the_least_rate_is_cut(edge):
    with reaped(edge, "write"), edge.http1(listener=1, plain=True, receive_buffer=2048) as client:
        client.request("GET", f"/api/large?id=1&size={HUGE}")
        assert not read_steadily(client.socket, MIN_RATE // 40, 0.1, lambda: True)


@pytest.mark.parametrize("plain", [False, True], ids=["tls", "plain"])
def test_a_steady_reader_is_served_although_the_kernel_holds_much_for_it(edge, plain):
    """What the client's system acknowledged counts; the socket may stay full for longer."""
    cuts = edge.metric("edge_timeouts_total", kind="write")
    with GoodClient(edge):
        client = edge.http1(listener=int(plain), plain=plain, receive_buffer=16_384)
        with client:
            client.request("GET", f"/api/large?id=1&size={HUGE}")
            end = time.monotonic() + 5 * SECONDS
            assert read_steadily(client.socket, 8192, 0.05, lambda: time.monotonic() < end)
            assert edge.metric("edge_timeouts_total", kind="write") == cuts
    until(lambda: nothing_lives(edge), 20, edge.ledger)


def test_a_client_that_asks_and_asks_and_never_reads_is_cut(edge):
    with reaped(edge, "write"):
        with edge.http1(listener=1, plain=True, receive_buffer=2048) as client:
            ask = b"GET /api/hello?id=1&size=50000 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100
            client.socket.settimeout(0.2)
            with contextlib.suppress(OSError):
                for _ in range(1000):
                    client.socket.sendall(ask)
            until(lambda: nothing_lives(edge, but=1), 20, edge.ledger)


def test_a_long_pipeline_is_answered_whole_and_in_order(edge):
    """More than is kept of it at a time: the rest waits in the kernel, and is not forgotten."""
    count, padding = 1500, "a" * 2000
    asked = "".join(
        f"GET /api/hello?id=1&size={1 + number % 50} HTTP/1.1\r\nHost: localhost\r\n"
        f"x-padding: {padding}\r\n\r\n" for number in range(count))
    with GoodClient(edge), edge.http1(listener=1, plain=True) as client:
        sender = threading.Thread(target=client.send, args=(asked,))
        sender.start()
        answers = [client.read() for _ in range(count)]
        sender.join(10)
    assert [len(answer.body) for answer in answers] == [1 + n % 50 for n in range(count)]
    assert {answer.status for answer in answers} == {200}


# HTTP/2.

@pytest.mark.parametrize("size", [HELD, HUGE], ids=["complete here", "paused"])
@pytest.mark.parametrize("opening", ["stream", "connection", "dripped"])
def test_an_http2_stream_without_a_window_is_reset(edge, opening, size):
    values = {} if opening == "connection" else {frames.INITIAL_WINDOW_SIZE: 0}
    with reaped(edge, "write"), edge.frames(values=values) as client:
        if opening == "connection":
            # Uses up what the connection's window is at first; its stream has more.
            client.send(frames.window_update(0, 1))
            client.request(1, path="/api/large?id=1&size=65536")
            assert client.response(1)[0] == 200
        client.request(3, path=f"/api/large?id=2&size={size}")
        found, deadline = None, time.monotonic() + 20
        while found is None:
            assert time.monotonic() < deadline, client.frames
            if opening == "dripped":
                client.send(frames.window_update(3, 1))
            with contextlib.suppress(TimeoutError):
                found = client.until(lambda f: f.kind == frames.RST_STREAM, 0.05)
                assert found is not None, "the connection ended"
        assert (found.stream, found.code) == (3, frames.INTERNAL_ERROR)
        assert client.lives()


def test_an_http2_connection_that_does_not_read_is_cut(edge):
    with reaped(edge, "write"):
        values = {frames.INITIAL_WINDOW_SIZE: HUGE}
        with edge.frames(receive_buffer=2048, values=values) as client:
            client.send(frames.window_update(0, HUGE))
            for stream in (1, 3, 5):
                client.request(stream, path=f"/api/large?id=1&size={HUGE}")
            until(lambda: nothing_lives(edge, but=1), 20, edge.ledger)


def test_an_http2_stream_that_is_read_steadily_is_served(edge):
    cuts = edge.metric("edge_timeouts_total", kind="write")
    with edge.frames(values={frames.INITIAL_WINDOW_SIZE: 1000}) as client, GoodClient(edge):
        client.request(1, path=f"/api/large?id=1&size={HUGE}")
        end = time.monotonic() + 4 * SECONDS
        while time.monotonic() < end:
            found = client.until(lambda f: f.kind in (frames.DATA, frames.RST_STREAM))
            assert found.kind == frames.DATA
            client.send(frames.window_update(1, len(found.payload)),
                        frames.window_update(0, len(found.payload)))
            time.sleep(0.05)
        client.send(frames.rst_stream(1))
        assert edge.metric("edge_timeouts_total", kind="write") == cuts
    until(lambda: nothing_lives(edge), 20, edge.ledger)


# Tunnels, and clients that say nothing more.

UPGRADE = ("GET /api/websocket?id=1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
           "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")


@pytest.mark.parametrize("busy", [False, True], ids=["silent", "not reading"])
def test_a_websocket_that_stalls_is_cut(tunnels, busy):
    edge = tunnels
    kind = "write" if busy else "idle"
    with reaped(edge, kind, good=False), edge.http1(receive_buffer=4096) as client:
        client.send(UPGRADE)
        assert client.read().status == 101
        message = b"\x82\xfe\xff\xff\0\0\0\0" + b"x" * 65_535
        client.socket.settimeout(0.5)
        with contextlib.suppress(OSError):
            while busy:
                client.socket.sendall(message)
        until(lambda: nothing_lives(edge), 20, edge.ledger)


def test_a_client_that_shuts_its_side_down_leaves_nothing_behind(edge):
    with GoodClient(edge), edge.http1(listener=1, plain=True) as client:
        client.request("GET", "/api/delay?id=1&ms=500")
        client.socket.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError):
            while client.socket.recv(65_536):
                pass
    until(lambda: nothing_lives(edge), 20, edge.ledger)
