"""The budget of memory: kept under attack, told to new requests, and free again afterwards."""

import asyncio
import contextlib
import time

import pytest

from edge import frames
from edge.slow import GoodClient
from edge.waiting import until

MEBIBYTE = 1 << 20
LIMIT = 16 * MEBIBYTE
# Beyond the budget: the process itself, both sides of TLS, and blocks kept for reuse.
MOST = 2 * LIMIT + 32 * MEBIBYTE
# What a flush moves towards clients before it is looked at again counts as well.
MOST_TOLD = LIMIT * 7 // 4
BLOCK = b"x" * 65_536


async def flood(request, reply):
    """A response without end."""
    await reply.head(200)
    while True:
        await reply.data(BLOCK)


async def unread(request, reply):
    """Takes no byte of the request, and says nothing."""
    await asyncio.sleep(600)


async def held(request, reply):
    """A response that the proxy takes as a whole."""
    await request.read()
    await reply.head(200, length=100_000)
    await reply.data(BLOCK + BLOCK[:100_000 - len(BLOCK)])


@pytest.fixture
def start(edge_for, upstream, certificates):
    """Starts a proxy with a small budget and long deadlines: TLS first, then a plain listener."""
    upstream.script.update({"/api/flood": flood, "/api/unread": unread, "/api/held": held})

    def begin(versions=("1.1",), workers=1):
        edge = edge_for(upstream, {
            "workers": workers,
            "listeners": [
                {"address": "127.0.0.1:0", "tls": {"certificates": [certificates.ecdsa.options]}},
                {"address": "127.0.0.1:0"}],
            "limits": {"max_memory": "16MiB"},
            "upstream": {"max_connections_per_host": 4000, "max_in_flight_per_host": 8000,
                         "max_queue_per_host": 8000}}, versions=list(versions))
        for version in ("1.1", "2"):
            edge.curl("/api/large?id=2&size=1000000", version=version)
        return edge
    return begin


def memory(edge):
    return edge.metric("edge_memory_bytes")


def cuts(edge):
    return edge.metric("edge_memory_cut_total")


# What stalls; each begins one client.

def http1_reader(edge):
    client = edge.http1(listener=1, plain=True, receive_buffer=4096)
    client.request("GET", "/api/flood?id=1")
    return client


def http1_reader_tls(edge):
    client = edge.http1(receive_buffer=4096)
    client.request("GET", "/api/flood?id=1")
    return client


def http2_streams(edge):
    """Streams that get a byte of window each."""
    client = edge.frames(values={frames.INITIAL_WINDOW_SIZE: 1})
    client.send(*[client.headers(2 * n + 1, client.head(path="/api/flood?id=1"))
                  for n in range(30)])
    return client


def http2_reader(edge):
    """A connection that is not read, whatever its windows are."""
    client = edge.frames(values={frames.INITIAL_WINDOW_SIZE: 1 << 30}, receive_buffer=4096)
    client.send(frames.window_update(0, 1 << 30))
    client.send(*[client.headers(2 * n + 1, client.head(path="/api/flood?id=1"))
                  for n in range(30)])
    return client


def http2_whole_answers(edge):
    """Answers that are complete here, for which there is no window."""
    client = edge.frames(values={frames.INITIAL_WINDOW_SIZE: 0})
    client.send(*[client.headers(2 * n + 1, client.head(path="/api/held?id=1"))
                  for n in range(30)])
    return client


def http1_upload(edge):
    client = edge.http1(listener=1, plain=True)
    client.send("POST /api/unread?id=1 HTTP/1.1\r\nHost: localhost\r\n"
                "Transfer-Encoding: chunked\r\n\r\n")
    client.socket.settimeout(0.02)
    with contextlib.suppress(OSError):
        while True:
            client.send(b"10000\r\n" + BLOCK + b"\r\n")
    return client


def http2_upload(edge):
    """A body as far as its window lets it go."""
    client = edge.http2()
    stream = client.start("POST", "/api/unread?id=1", end=False)
    with contextlib.suppress(TimeoutError):
        while client.streams[stream].error is None and not client.streams[stream].complete:
            room = min(client.h2.local_flow_control_window(stream), 16_384)
            if room > 0:
                client.h2.send_data(stream, BLOCK[:room])
                client.flush()
            elif not client.pump(0.02):
                break
    return client


@contextlib.contextmanager
def clients():
    """A list of clients that are closed at the end."""
    kept = []
    try:
        yield kept
    finally:
        for client in kept:
            client.close()


def attack(edge, begin, kept, most=400):
    """Begins clients until some were cut; the most resident and the most counted memory."""
    resident = told = 0
    deadline = time.monotonic() + 50
    while len(kept) < most and time.monotonic() < deadline:
        # Refused while memory is used up, or cut while it still begins.
        with contextlib.suppress(OSError, AssertionError):
            kept.append(begin(edge))
        if len(kept) % 4 == 0:
            resident, told = max(resident, edge.rss()), max(told, memory(edge))
            if cuts(edge) > 20:
                break
    return resident, told


@pytest.mark.timeout(240)
@pytest.mark.parametrize("begin, versions", [
    (http1_reader, ["1.1"]), (http1_reader, ["h2c"]), (http1_reader_tls, ["1.1"]),
    (http2_streams, ["1.1"]), (http2_streams, ["h2c"]),
    (http2_reader, ["1.1"]), (http2_reader, ["h2c"]),
    (http2_whole_answers, ["1.1"]), (http2_whole_answers, ["h2c"]),
    (http1_upload, ["1.1"]), (http1_upload, ["h2c"]),
    (http2_upload, ["1.1"]), (http2_upload, ["h2c"]),
], ids=lambda value: getattr(value, "__name__", None) or value[0])
def test_what_stalls_is_cut_when_memory_is_used_up(start, upstream, begin, versions):
    edge = start(versions)
    before = edge.rss()
    with clients() as kept, GoodClient(edge, allowed=(200, 503)) as good:
        until(lambda: good.statuses, 20, "a good client's first answer")
        resident, told = attack(edge, begin, kept)
        print(f"{len(kept)} clients, {(resident - before) >> 10} KiB resident,"
              f" {told / 1024:.0f} KiB counted, {cuts(edge)} cut, {good.statuses}")
        until(lambda: cuts(edge) > 0, what=lambda: f"cuts: {len(kept)} clients, {told} bytes")
        # Deadlines are a minute away: the budget is what makes room.
        until(lambda: memory(edge) < LIMIT, 30, lambda: f"{memory(edge)} bytes")
        answered = good.statuses.get(200, 0)
        until(lambda: good.statuses.get(200, 0) > answered, 30, "good clients are served again")
    assert resident - before < MOST
    assert told < MOST_TOLD
    for answer in good.refusals:
        assert answer.get("retry-after") == "1"
        assert "the proxy has no memory" in answer.get("proxy-status")
    # The end of a client whose upload is paused is seen when its request goes on, or ends.
    upstream.close_connections(reset=True)
    edge.settled(30)
    until(lambda: memory(edge) < LIMIT // 2)
    assert edge.curl("/api/hello?id=3").status == 200


def test_the_budget_is_told_and_starts_low(start):
    edge = start()
    assert edge.metric("edge_memory_limit_bytes") == LIMIT
    assert memory(edge) < LIMIT // 4


def test_new_requests_are_refused_while_memory_is_used_up(start):
    edge = start(workers=2)
    with clients() as kept, GoodClient(edge, allowed=(200, 503), pause=0.005) as good:
        until(lambda: good.statuses, 20, "a good client's first answer")

        kept += [http2_streams(edge), http2_reader(edge)]

        def refused():
            # Who waits for an answer costs something too, and is not cut to make room for others.
            with contextlib.suppress(OSError):
                kept.append(edge.http1(listener=1, plain=True))
                kept[-1].request("GET", "/api/unread?id=1")
            return good.refusals
        until(refused, 60, "a request that is refused", every=0)
        until(lambda: cuts(edge) > 0, 20, "what stalls is cut")
    answer = good.refusals[0]
    assert answer.status == 503 and answer.get("retry-after") == "1"
    assert answer.get("proxy-status") == (
        'edge-proxy; error=proxy_internal_response; '
        'details="the proxy has no memory for another request"')
    assert edge.metric("edge_errors_total", reason="out_of_memory") > 0


def test_connections_at_rest_make_room_for_requests(start, keep):
    """Each costs a part of the budget; together they must not shut everybody else out."""
    edge = start()
    with GoodClient(edge, allowed=(200, 503)) as good:
        until(lambda: good.statuses, 20, "a good client's first answer")
        resting = []

        def another():
            with contextlib.suppress(OSError):
                client = keep(edge.http1(listener=1, plain=True))
                client.send("GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
                client.more()
                resting.append(client)
            return memory(edge) >= LIMIT or len(resting) > 1500
        until(another, 40, lambda: f"{memory(edge)} bytes", every=0)
        until(lambda: memory(edge) < LIMIT, what=lambda: f"{memory(edge)} bytes")
        answered = good.statuses.get(200, 0)
        until(lambda: good.statuses.get(200, 0) > answered, what="good clients are served again")
    assert edge.metric("edge_memory_cut_total") == 0
