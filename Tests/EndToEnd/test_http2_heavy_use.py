"""Ordinary heavy use of HTTP/2 is no flood: no GOAWAY, and everything is answered."""

import collections
import random

import pytest

from edge.clients import h2load
from edge.floods import quiet, start
from edge.frames import (
    DATA, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, frame, ping, priority, rst_stream, settings,
    window_update)
from edge.upstream import pattern

MEBIBYTE = 1 << 20
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(params=[["1.1"], ["h2c"]], ids=["h1", "h2c"])
def edge(request, edges, configuration, upstream):
    # A service in Python, busy with hundreds of requests at once, is slow to greet a connection.
    return start(edges, configuration, upstream, {"upstream": {
        "queue_timeout": "120s", "handshake_timeout": "60s", "ping_timeout": "60s"}},
        versions=request.param)


@pytest.fixture(autouse=True)
def peaceful(edge):
    """At the end nothing was taken for a flood, and nothing is left."""
    yield
    assert edge.metric("edge_floods_total") == 0
    quiet(edge)


def without_goaway(client):
    return not any(found.kind == GOAWAY for found in client.frames)


def test_a_hundred_streams_each_on_four_connections(edge):
    load = h2load(f"https://localhost:{edge.port}/api/hello?id=1", requests=20_000, clients=4,
                  streams=100)
    errors = collections.Counter(line["error"] for line in edge.access_log(20_000))
    assert load.succeeded == 20_000 and load.by_class[2] == 20_000, (errors, load.text)


def test_a_client_that_cancels_a_third_of_its_requests(edge):
    chance = random.Random(7)
    numbers = iter(range(1, 6001, 2))
    with edge.frames() as client:
        left, cancelled, answered = set(), set(), 0
        while answered + len(cancelled) < 3000:
            while len(left) < 50 and (stream := next(numbers, None)) is not None:
                client.request(stream, path=f"/api/hello?id={stream % 7 + 1}")
                left.add(stream)
                if chance.random() < 0.3:
                    client.send(rst_stream(stream))
                    left.discard(stream)
                    cancelled.add(stream)
            if not left:
                continue
            found = client.until(lambda f: f.kind == GOAWAY or f.stream in left and (
                f.ends_stream or f.kind == RST_STREAM))
            assert found is not None and found.kind != GOAWAY, found
            assert found.ends_stream
            left.discard(found.stream)
            answered += 1
        assert client.lives()


def test_a_client_that_updates_both_windows_for_each_frame(edge):
    size = 20 * MEBIBYTE
    with edge.frames() as client:
        client.request(1, path=f"/api/large?id=1&size={size}")
        body, sizes = bytearray(), 0
        while len(body) < size:
            found = client.until(lambda f: f.kind in (DATA, GOAWAY, RST_STREAM))
            assert found is not None and found.kind == DATA, found
            body += found.payload
            sizes += 1
            client.frames.clear()
            if found.payload:
                client.send(window_update(0, len(found.payload)),
                            window_update(1, len(found.payload)))
        assert body == pattern(size)
        assert client.lives()


def test_a_ping_every_twenty_milliseconds(edge):
    with edge.frames() as client:
        for number in range(200):
            mark = number.to_bytes(8, "big")
            client.send(ping(mark))
            found = client.until(lambda f: f.kind == GOAWAY or f.kind == PING)
            assert found.kind == PING and found.payload == mark
            client.socket.settimeout(0.02)
            # Nothing is to come in this time; it is the pace of the pings.
            with pytest.raises(TimeoutError):
                client.read(0.02)
        assert client.lives()


def test_a_page_whose_reader_moves_on(edge):
    """A hundred images are cancelled at once, three times over, and the next page is served."""
    first = 1
    with edge.frames() as client:
        client.send(window_update(0, 1 << 28))
        for _ in range(3):
            streams = range(first, first + 200, 2)
            client.send(*(client.headers(
                stream, client.head(path=f"/api/large?id=1&size={MEBIBYTE}"))
                for stream in streams))
            client.until(lambda f: f.kind == DATA)
            client.send(*(rst_stream(stream) for stream in streams))
            first += 200
        client.request(first, path="/api/hello?id=2")
        found = client.until(lambda f: f.kind == GOAWAY or f.stream == first and f.ends_stream)
        assert found is not None and found.kind != GOAWAY


def test_sixty_four_uploads_at_once(edge):
    body = pattern(200_000)
    with edge.http2() as client:
        streams = [client.start("POST", f"/api/digest?id={n % 8 + 1}", end=False)
                   for n in range(64)]
        for start_at in range(0, len(body), 10_000):
            for stream in streams:
                client.send(stream, body[start_at:start_at + 10_000],
                            end=start_at + 10_000 >= len(body))
        for stream in streams:
            assert client.finish(stream).status == 200
        assert client.goaway is None


def test_uploads_that_are_refused_on_the_way(edge):
    """What is under way when the answer comes early is the proxy's to ignore."""
    with edge.frames() as client:
        for stream in range(1, 101, 2):
            client.send(client.headers(stream, client.head("POST", "/nowhere"), end=False))
            # As much as the stream's window admits, in frames of 1 KiB; 404 is there long before.
            client.send(*([frame(DATA, 0, stream, bytes(1024))] * 64))
            client.until(lambda f: f.kind == GOAWAY or f.stream == stream and (
                f.ends_stream or f.kind == RST_STREAM))
            assert without_goaway(client)
        assert client.lives()


def test_three_hundred_requests_before_the_limit_is_known(edge):
    """A client may open streams before it has seen our SETTINGS; those above are refused."""
    with edge.frames(handshake=False) as client:
        client.send(PREFACE + settings(), *(
            client.headers(stream, client.head(path="/api/hello?id=1"))
            for stream in range(1, 601, 2)))
        left, refused = set(range(1, 601, 2)), 0
        while left:
            found = client.until(lambda f: f.kind == GOAWAY or f.stream in left and (
                f.ends_stream or f.kind == RST_STREAM))
            assert found is not None and found.kind != GOAWAY, found
            left.discard(found.stream)
            if found.kind == RST_STREAM:
                assert found.code == 7, "REFUSED_STREAM"
                refused += 1
        assert refused > 0 and client.lives()


def test_what_browsers_send_beside_requests(edge):
    """PRIORITY for idle streams, PRIORITY_UPDATE for each image, windows, a SETTINGS or two."""
    with edge.frames() as client:
        client.send(*(priority(stream) for stream in (3, 5, 7, 9, 11)), window_update(0, 1 << 24))
        for stream in range(13, 413, 2):
            client.send(frame(0x10, 0, 0, stream.to_bytes(4, "big") + b"u=3,i"))
            client.request(stream, path="/api/hello?id=3", fields=[("priority", "u=3,i")])
            assert client.response(stream)[0] == 200
        client.send(settings({4: 1 << 20}))
        assert client.lives() and without_goaway(client)
        assert any(found.kind == HEADERS for found in client.frames)
