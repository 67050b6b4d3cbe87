"""Kept connections: those that have ended are not used, and how long others are kept is learned."""

import asyncio
import struct
import time

import pytest
from h2.errors import ErrorCodes

from edge.gate import Gate
from edge.process import steady
from edge.waiting import holds, until

ONE = {"workers": 1}


def verdict(edge, target):
    """The last log line of a target: its verdict and attempts."""
    line = edge.access_log(where=lambda l: l["target"] == target)[-1]
    return line["retry"], line["attempts"]


# Ends that are noticed.

KINDS = {"http/1.1": ("http", None), "http/1.1 over TLS": ("https", ["http/1.1"]),
         "h2c": ("http", None), "h2": ("https", ["h2"])}


@pytest.fixture
def upstream_of(upstream_with, certificates):
    """An upstream for id 1 that speaks one protocol."""
    def make(kind, **options):
        alpn = KINDS[kind][1]
        context = certificates.upstream.server_context(alpn) if alpn else None
        return upstream_with(["127.0.0.2"], context, **options)
    return make


@pytest.mark.parametrize("kind", KINDS)
def test_a_post_does_not_meet_an_end_that_has_come(edge_for, upstream_of, kind):
    upstream = upstream_of(kind)
    edge = edge_for(upstream, ONE, scheme=KINDS[kind][0],
                    versions=["h2c"] if kind == "h2c" else None)
    # HTTP/2's own frames may make the connection's event the first of the two each time, and now
    # and then something else does of HTTP/1: a ticket that came late, say.
    least, turn = 0 if "h2" in kind else 5, 0
    with edge.http1() as client:
        assert client.get("/api/hello?id=1").status == 200
        while turn < 10 or edge.metric("edge_upstream_stale_total") < least:
            assert turn < 100, "the end is always seen first"
            with edge.held():
                # The worker's next events: a request, then the end of the connection for it.
                client.request("POST", "/api/digest?id=1", body=b"paid")
                upstream.close_connections(reset=turn % 2 == 1)
            response = client.read()
            assert response.status == 200, (turn, response, edge.access_log()[-1])
            turn += 1
    assert sum(r.method == "POST" for r in upstream.requests) == turn
    assert edge.metric("edge_retries_total") == 0


@pytest.mark.parametrize("kind", list(KINDS)[:2])
def test_a_post_does_not_meet_an_answer_that_has_come_before_it(edge_for, upstream_of, kind):
    upstream = upstream_of(kind)
    edge = edge_for(upstream, ONE, scheme=KINDS[kind][0])
    with edge.http1() as client:
        assert client.get("/api/hello?id=1").status == 200
        resting = upstream.requests[-1].connection
        with edge.held():
            client.request("POST", "/api/digest?id=1", body=b"paid")
            upstream.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen")
        response = client.read()
        assert response.status == 200 and b"stolen" not in response.body
    until(lambda: resting.closed)


def test_a_retry_goes_to_a_new_connection(edge_for, upstream):
    edge = edge_for(upstream, ONE)
    seen = []

    async def dies_when_reused(request, reply):
        await request.read()
        seen.append(request.connection)
        if request.connection.requests > 1:
            await reply.close()
        # The first six are under way at once.
        while len(seen) < 6:
            await asyncio.sleep(0.01)
        await reply.head(200, length=0)
    upstream.script["/api/once"] = dies_when_reused
    with edge.http2() as client:
        for stream in [client.start(path="/api/once?id=1") for _ in range(6)]:
            assert client.finish(stream).status == 200
    assert len(set(seen)) == 6
    until(lambda: edge.host("id-1.apps.test")["idle"] == 6, what="six connections rest")
    response = edge.curl("/api/once?id=1")
    assert response.status == 200
    assert response.get("proxy-status") == (
        'edge-proxy; retry="reused_and_no_bytes_and_idempotent"; attempts=2')
    assert len(seen) == 8 and seen[7] not in seen[:7], "not the next of those that rested"
    # The lines of the first six have the same path, and stand in the log already.
    until(lambda: verdict(edge, "/api/once?id=1") == ("reused_and_no_bytes_and_idempotent", 2))


def test_a_new_connection_that_dies_is_replaced_once_for_idempotent_requests(edge_for, upstream):
    edge = edge_for(upstream, ONE)
    seen = []

    async def die(request, reply):
        await request.read()
        seen.append(request.method)
        if len(seen) <= deaths:
            await reply.reset()
        await reply.head(200, [("proxy-status", "inner; hit"), ("proxy-status", "cdn")], length=0)
    upstream.script["/api/die"] = die
    deaths = 1
    response = edge.curl("/api/die?id=1")
    assert response.status == 200 and seen == ["GET", "GET"]
    lines = [value for name, value in response.fields if name == "proxy-status"]
    assert lines == ["inner; hit", "cdn",
                     'edge-proxy; retry="no_bytes_and_idempotent"; attempts=2']
    assert verdict(edge, "/api/die?id=1") == ("no_bytes_and_idempotent", 2)
    seen.clear()
    deaths = 9
    response = edge.curl("/api/die?id=2")
    assert response.status == 502 and seen == ["GET", "GET"], "once: it may be the request's fault"
    assert response.get("proxy-status").endswith(
        '; retry="no_bytes_and_idempotent"; attempts=2')
    seen.clear()
    assert edge.curl("/api/die?id=3", body=b"paid").status == 502
    assert seen == ["POST"], "never what is not idempotent"


# How long connections rest.

def rested(edge, upstream, path="/api/hello?id=1"):
    """Has one connection come to rest; it."""
    assert edge.curl(path).status == 200
    return upstream.requests[-1].connection


def test_the_hosts_own_limit_is_learned_and_kept(edge_for, upstream_with):
    upstream = upstream_with(["127.0.0.2"], idle_seconds=lambda: 0.8)
    edge = edge_for(upstream)
    rest = lambda: edge.host("id-1.apps.test")["rest_ms"]
    ages = []

    def rests_and_is_closed():
        began = time.monotonic()
        connection = rested(edge, upstream)
        until(lambda: connection.closed, 20, "the host has closed what rested")
        ages.append(time.monotonic() - began)
        until(lambda: edge.host("id-1.apps.test")["connections"] == 0, 20)
        return rest()
    assert rests_and_is_closed() is None, "one close may have any reason"
    # The second does, unless this machine closes it a quarter later than the first.
    until(rests_and_is_closed, 60, "two closes at about the same age show a limit")
    assert 500 <= rest() <= max(ages) * 1000 * 4 / 5
    # From here on the proxy is first, whichever worker it is.
    upstream.idle_seconds = lambda: 600
    for _ in range(4):
        connection = rested(edge, upstream)
        until(lambda: connection.closed, 20, "the proxy has closed what rested")


def test_an_odd_close_teaches_nothing(edge_for, upstream):
    edge = edge_for(upstream, ONE)
    rested(edge, upstream)
    upstream.close_connections()
    until(lambda: edge.host("id-1.apps.test")["connections"] == 0)
    rested(edge, upstream)
    upstream.close_connections(reset=True)
    until(lambda: edge.host("id-1.apps.test")["connections"] == 0)
    assert edge.host("id-1.apps.test")["rest_ms"] is None, "too soon to be a limit"


def test_an_announced_limit_is_kept(edge_for, upstream):
    edge = edge_for(upstream, ONE)

    async def announce(request, reply):
        await request.read()
        await reply.head(200, [("connection", "keep-alive"), ("keep-alive", "timeout=1, max=99")],
                         length=0)
    upstream.script["/api/announce"] = announce
    connection = rested(edge, upstream, "/api/announce?id=1")
    other = rested(edge, upstream, "/api/hello?id=2")
    until(lambda: connection.closed, what="closed before the second is over")
    assert not other.closed


# Age.

def test_an_old_connection_takes_no_new_request(edge_for, upstream):
    edge = edge_for(upstream, {"workers": 1, "upstream": {"max_age": "300ms"}})
    for versions in ("first", "again"):
        connection = rested(edge, upstream)
        until(lambda: connection.closed, what=f"closed for its age, {versions}")
    assert edge.metric("edge_upstream_aged_total") >= 2
    # One that is busy at that time is closed when it comes to rest.
    assert edge.curl("/api/delay?id=2&ms=600").status == 200
    busy = upstream.requests[-1].connection
    until(lambda: busy.closed)


def test_an_old_http2_connection_is_drained(edge_for, upstream):
    edge = edge_for(upstream, {"workers": 1, "upstream": {"max_age": "300ms"}}, versions=["h2c"])
    gate = Gate(upstream)
    with edge.http2() as client:
        slow = client.start(path="/api/gate?id=1")
        until(lambda: upstream.requests, 20)
        old = upstream.requests[0].connection

        def is_served_elsewhere():
            assert client.get("/api/hello?id=1").status == 200
            return upstream.requests[-1].connection is not old
        until(is_served_elsewhere, 20, "new requests go to a new connection")
        assert not old.closed
        gate.open()
        assert client.finish(slow).status == 200, "what runs is finished"
    until(lambda: old.closed)


def test_no_age_is_no_age(edge_for, upstream):
    edge = edge_for(upstream, {"workers": 1, "upstream": {"max_age": "0s"}})
    connection = rested(edge, upstream)
    holds(lambda: not connection.closed, 0.5)


# HTTP/2: PING and GOAWAY.

# Long enough for a service that lives, however late it gets the processor.
QUIET = {"workers": 1, "upstream": {"ping_after": "500ms", "ping_timeout": "3s"}}


def mute(reply):
    """From now on nothing is sent on this connection, not even what HTTP/2 owes its peer."""
    reply.session.flush = lambda: None


@pytest.mark.parametrize("method, status, attempts", [("GET", 200, 2), ("POST", 504, 1)])
def test_a_silent_connection_is_given_up(edge_for, upstream, method, status, attempts):
    edge = edge_for(upstream, QUIET, versions=["h2c"])

    async def fall_silent(request, reply):
        await request.read()
        if len(upstream.requests) == 1:
            mute(reply)
            await asyncio.sleep(30)
        await reply.head(200, length=0)
    upstream.script["/api/silent"] = fall_silent
    with edge.http2() as client:
        response = client.finish(client.start(method, "/api/silent?id=1"))
    assert response.status == status
    if status == 504:
        assert "error=connection_read_timeout" in response.get("proxy-status")
    assert len(upstream.requests) == attempts
    assert edge.metric("edge_timeouts_total", kind="upstream_ping") == 1
    until(lambda: upstream.connections[0].closed)


def test_a_request_after_a_long_rest_asks_for_a_sign_of_life(edge_for, upstream):
    edge = edge_for(upstream, QUIET, versions=["h2c"])

    async def last_words(request, reply):
        await request.read()
        await reply.head(200, length=0)
        await reply.finish()
        mute(reply)
    upstream.script["/api/last"] = last_words
    assert edge.curl("/api/last?id=1").status == 200
    # Rests are not disturbed.
    holds(lambda: edge.metric("edge_upstream_pings_total") == 0, 1.2)
    assert edge.curl("/api/hello?id=1").status == 200
    assert verdict(edge, "/api/hello?id=1") == ("reused_and_no_bytes_and_idempotent", 2)
    # One, and one more where the answer over the new connection is late.
    assert edge.metric("edge_upstream_pings_total") >= 1


def test_a_slow_answer_over_a_living_connection_is_waited_for(edge_for, upstream):
    edge = edge_for(upstream, QUIET, versions=["h2c"])
    assert edge.curl("/api/delay?id=1&ms=1500").status == 200
    assert edge.metric("edge_upstream_pings_total") == 1, "once acknowledged, not asked again soon"
    assert edge.metric("edge_timeouts_total", kind="upstream_ping") == 0


def test_pings_can_be_turned_off(edge_for, upstream):
    edge = edge_for(upstream, {"workers": 1, "upstream": {"ping_after": "0s"}}, versions=["h2c"])
    assert edge.curl("/api/delay?id=1&ms=500").status == 200
    assert edge.metric("edge_upstream_pings_total") == 0


def goaway(last, code=0):
    return struct.pack(">IBIII", 8 << 8 | 7, 0, 0, last, code)


def test_streams_above_the_last_of_a_goaway_are_sent_again(edge_for, upstream):
    edge = edge_for(upstream, ONE, versions=["h2c"])
    release = asyncio.Event()

    async def first(request, reply):
        await release.wait()
        await reply.head(200, length=0)

    async def beyond(request, reply):
        if request.connection.number > 1:
            await request.read()
            return await reply.head(200, length=0)
        reply.ended = True
        await reply.raw(goaway(1))
    upstream.script["/api/first"] = first
    upstream.script["/api/beyond"] = beyond
    with edge.http2() as client:
        below = client.start(path="/api/first?id=1")
        until(lambda: upstream.requests)
        response = client.post("/api/beyond?id=1", b"paid")
        assert response.status == 200, "it was not looked at, so it may be sent again"
        assert response.get("proxy-status") == (
            'edge-proxy; retry="goaway_above_last"; attempts=2')
        assert client.get("/api/hello?id=1").get("x-connection") == "2", "nothing new on the old"
        assert not upstream.connections[0].closed
        upstream._loop.call_soon_threadsafe(release.set)
        assert client.finish(below).status == 200
    assert verdict(edge, "/api/beyond?id=1") == ("goaway_above_last", 2)
    until(lambda: upstream.connections[0].closed, what="drained and closed")


@pytest.mark.parametrize("said, status, attempts", [(6, 200, 7), (99, 502, 10)])
def test_a_service_that_drains_is_tried_more_often(edge_for, upstream, said, status, attempts):
    edge = edge_for(upstream, ONE, versions=["h2c"])

    async def not_here(request, reply):
        if request.connection.number > said:
            return await reply.head(200, length=0)
        reply.ended = True
        await reply.raw(goaway(0))
    upstream.script["/api/drains"] = not_here
    response = edge.curl("/api/drains?id=1", body=b"paid")
    assert response.status == status
    assert verdict(edge, "/api/drains?id=1") == ("goaway_above_last", attempts)
    assert len(upstream.connections) == attempts


def test_a_service_that_refuses_is_not_pressed(edge_for, upstream):
    edge = edge_for(upstream, ONE, versions=["h2c"])

    async def refuse(request, reply):
        reply.ended = True
        reply.session.h2.reset_stream(reply.stream, ErrorCodes.REFUSED_STREAM)
        reply.session.flush()
    upstream.script["/api/refuse"] = refuse
    assert edge.curl("/api/refuse?id=1", body=b"paid").status == 502
    assert verdict(edge, "/api/refuse?id=1") == ("refused_stream", 3)


def test_a_goaway_while_idle_is_no_failure(edge_for, upstream_with):
    # A function: what has just been made may be used as late as it likes.
    upstream = upstream_with(["127.0.0.2"], idle_seconds=lambda: 0.1, says_goaway=True)
    edge = edge_for(upstream, ONE, versions=["h2c"])
    for _ in range(3):
        connection = rested(edge, upstream)
        until(lambda: connection.closed)
        until(lambda: edge.host("id-1.apps.test")["connections"] == 0)
    assert edge.host("id-1.apps.test")["failures"] == 0
    assert edge.metric("edge_retries_total") == 0
    assert steady(lambda: edge.ledger()["upstream_http2"]["live"]) == 0
