"""A side that does not read costs bounded memory and holds up nobody else."""

import asyncio
import hashlib
import json
import time

import pytest

from edge.process import steady
from edge.upstream import pattern
from edge.waiting import until

MEBIBYTE = 1 << 20
HUGE = 64 * MEBIBYTE
# What the kernel's socket buffers may take on both sides, beyond the proxy's own.
SLACK = 12 * MEBIBYTE


@pytest.fixture(params=[["1.1"], ["h2c"]], ids=["h1", "h2c"])
def edge(request, edge_for, upstream):
    return edge_for(upstream, {"workers": 1}, versions=request.param)


def warm(edge):
    for _ in range(3):
        edge.curl("/api/large?id=2&size=1000000")
    return edge.rss()


def test_an_http1_client_that_stops_reading(edge):
    before = warm(edge)
    with edge.http1(receive_buffer=16_384) as client:
        client.request("GET", f"/api/large?id=1&size={HUGE}")
        steady(lambda: edge.rss() // 65_536)
        assert edge.rss() - before < SLACK
        assert edge.curl("/api/hello?id=1").status == 200
        response = client.read()
        assert hashlib.sha256(response.body).digest() == hashlib.sha256(pattern(HUGE)).digest()


def test_an_http2_stream_that_stops_reading_holds_up_itself_only(edge):
    before = warm(edge)
    with edge.http2(window=65_535) as client:
        client.h2.increment_flow_control_window(1 << 24)
        client.flush()
        stalled = [client.start(path=f"/api/large?id=1&size={HUGE}") for _ in range(4)]
        client.stalled.update(stalled)
        client.until(lambda: all(len(client.streams[s].body) == 65_535 for s in stalled))
        steady(lambda: edge.rss() // 65_536)
        assert edge.rss() - before < SLACK
        for number in (1, 2, 3):
            fast = client.start(path=f"/api/large?id={number}&size=500000")
            assert client.finish(fast).body == pattern(500_000)
        for stream in stalled:
            client.reset(stream)
        assert client.get("/api/hello?id=1").status == 200
    edge.settled()


def test_an_upstream_that_does_not_read(edge, upstream):
    release = []

    async def wait(request, reply):
        while not release:
            await asyncio.sleep(0.02)
        await request.read()
        text = json.dumps({"size": request.body_size,
                           "sha256": request.digest.hexdigest()}).encode()
        await reply.head(200, length=len(text))
        await reply.data(text)
    upstream.script["/api/wait"] = wait
    before, body = warm(edge), pattern(HUGE)
    with edge.http2() as client:
        stream = client.start("POST", "/api/wait?id=1", end=False)
        sent = 0

        def push():
            nonlocal sent
            room = min(client.h2.local_flow_control_window(stream),
                       client.h2.max_outbound_frame_size, len(body) - sent)
            if room > 0:
                client.h2.send_data(stream, body[sent:sent + room])
                client.flush()
                sent += room
            return room > 0
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 0.5:
            if push():
                quiet_since = time.monotonic()
                continue
            try:
                client.pump(0.05)
            except TimeoutError:
                continue
        assert sent < len(body), "the proxy took a whole body that nobody read"
        assert edge.rss() - before < SLACK
        assert client.get("/api/hello?id=2").status == 200
        release.append(True)
        client.send(stream, body[sent:], end=True)
        found = json.loads(client.finish(stream, 60).body)
    assert found == {"size": HUGE, "sha256": hashlib.sha256(body).hexdigest()}


def test_many_large_bodies_at_once_take_bounded_memory(edge):
    before = warm(edge)
    peak = 0
    with edge.http2() as client:
        streams = [client.start(path=f"/api/large?id={n % 6 + 1}&size={4 * MEBIBYTE}")
                   for n in range(24)]
        while not all(client.streams[s].complete for s in streams):
            assert client.pump(), "the connection ended"
            peak = max(peak, edge.rss())
    assert all(client.streams[s].body == pattern(4 * MEBIBYTE) for s in streams)
    assert peak - before < 24 * MEBIBYTE


def test_a_client_that_never_reads_is_let_go(edge_for, upstream):
    edge = edge_for(upstream, {"workers": 1, "timeouts": {"write": "1s"}})
    with edge.http1(receive_buffer=16_384) as client:
        client.request("GET", f"/api/large?id=1&size={HUGE}")
        until(lambda: upstream.requests and not upstream.open_connections,
              what="the write timeout ends the exchange")
        assert edge.curl("/api/hello?id=1").status == 200
