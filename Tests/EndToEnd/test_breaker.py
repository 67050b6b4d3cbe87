"""Passive health: when a host's breaker opens, who probes, what counts; and the retry budget."""

import asyncio
import math
import time

import h2.errors
import pytest

from edge.configuration import merged
from edge.servers import refused_port
from edge.waiting import until

HOST = "id-1.apps.test"
LONG = {"open": "60s", "max_open": "60s"}
BRIEF = {"open": "200ms"}


def health(**options):
    return {"upstream": {"health": options}}


def is_refused(response):
    return response.status == 503 and "destination_unavailable" in response.get("proxy-status", "")


def fail(edge, times=5, path="/api/hello?id=1&status=503", status=503):
    for _ in range(times):
        response = edge.curl(path)
        assert response.status == status and not is_refused(response), response


def test_five_failures_in_a_row_open_it_for_that_host_only(edge_for, upstream):
    edge = edge_for(upstream, health(**LONG))
    fail(edge, 4)
    assert edge.curl("/api/hello?id=1").status == 200, "an answer begins anew"
    began = time.monotonic()
    fail(edge)
    assert edge.host(HOST)["health"] == "open"
    seen = len(upstream.requests)
    for _ in range(8):
        response = edge.curl("/api/hello?id=1")
        assert is_refused(response)
        assert 59 - (time.monotonic() - began) <= int(response.get("retry-after")) <= 75
    assert len(upstream.requests) == seen, "nothing is sent"
    assert edge.curl("/api/hello?id=2").status == 200
    host = edge.host(HOST)
    assert host["health"] == "open" and 0 < host["open_for_ms"] <= 75_000
    assert edge.host("id-2.apps.test")["health"] == "closed"
    assert edge.host("id-2.apps.test")["open_for_ms"] is None
    assert edge.metric("edge_breakers_opened_total") == 1
    assert edge.metric("edge_open_hosts") == 1
    assert edge.metric("edge_errors_total", reason="circuit_open") == 8
    lines = edge.access_log(8, where=lambda line: line["error"] == "circuit_open")
    assert {line["id"] for line in lines} == {"1"}


@pytest.mark.parametrize("statuses, opens", [("none", ()), ("gateway", (502, 503, 504)),
                                             ("all", (500, 502, 503, 504))])
def test_which_statuses_are_failures(edge_for, upstream, statuses, opens):
    edge = edge_for(upstream, health(failure_statuses=statuses, **LONG))
    for number, status in enumerate((404, 429, 500, 502, 503, 504), 1):
        fail(edge, 5, f"/api/hello?id={number}&status={status}", status)
        after = edge.curl(f"/api/hello?id={number}")
        assert is_refused(after) == (status in opens), (status, after)


def test_half_of_twenty_failing_open_it(edge_for, upstream):
    # All twenty have to come within the window, however busy the machine is.
    edge = edge_for(upstream, health(window="60s", **LONG))
    for turn in range(40):
        if is_refused(edge.curl(f"/api/hello?id=1&status={200 if turn % 3 == 0 else 503}")):
            break
    assert 19 <= turn <= 22, "with the twentieth request since the first that failed"
    assert edge.host(HOST)["health"] == "open"


def test_one_probe_in_the_process_while_it_is_half_open(edge_for, upstream):
    edge = edge_for(upstream, health(**BRIEF))
    clients = [edge.http2() for _ in range(8)]
    fail(edge)
    until(lambda: edge.host(HOST)["open_for_ms"] == 0, what="its time has passed")
    held = []

    async def hold(request, reply):
        done = asyncio.Event()
        held.append((asyncio.get_running_loop(), done))
        await done.wait()
        await reply.head(200, length=0)
    upstream.script["/api/hold"] = hold
    streams = [(client, client.start(path="/api/hold?id=1")) for client in clients
               for _ in range(10)]
    until(lambda: held, what="the probe is there")
    assert edge.host(HOST)["health"] == "half_open"

    def finished():
        for client in clients:
            try:
                client.pump(0.01)
            except TimeoutError:
                pass
        return [c.streams[s] for c, s in streams if c.streams[s].complete]
    until(lambda: len(finished()) == 79, what="all but the probe are answered")
    assert all(is_refused(response) for response in finished())
    assert len(held) == 1
    held[0][0].call_soon_threadsafe(held[0][1].set)
    until(lambda: len(finished()) == 80)
    assert sum(response.status == 200 for response in finished()) == 1
    assert edge.host(HOST)["health"] == "closed"
    for client in clients:
        assert client.get("/api/hello?id=1").status == 200
        client.close()


def test_each_probe_that_fails_doubles_the_time(edge_for, upstream):
    edge = edge_for(upstream, health(open="100ms", max_open="60s"))
    fail(edge)
    for turn in range(1, 6):
        until(lambda: edge.host(HOST)["open_for_ms"] == 0, every=0.005)
        began = time.monotonic()
        response = edge.curl("/api/hello?id=1&status=503")
        assert not is_refused(response), "a probe"
        left = edge.host(HOST)["open_for_ms"]
        # It was opened after `began`; what has passed since may be all of it.
        passed = (time.monotonic() - began) * 1000
        assert 100 * 2**turn - passed - 1 <= left <= 100 * 2**turn * 1.25
    # Of 3.2 s at least; five times the first time would be 625 ms at most.
    assert left > 1000
    refused = edge.curl("/api/hello?id=1")
    assert is_refused(refused) and int(refused.get("retry-after")) in range(1, 5)
    assert int(refused.get("retry-after")) <= math.ceil(left / 1000)
    assert edge.metric("edge_breakers_opened_total") == 6
    until(lambda: edge.curl("/api/hello?id=1").status == 200)
    fail(edge)
    assert edge.host(HOST)["open_for_ms"] <= 125, "recovery begins anew"


def test_a_probe_whose_client_leaves_hands_over(edge_for, upstream):
    edge = edge_for(upstream, health(**BRIEF))
    fail(edge)
    until(lambda: edge.host(HOST)["open_for_ms"] == 0)
    with edge.http2() as client:
        stream = client.start(path="/api/never?id=1")
        until(lambda: edge.host(HOST)["health"] == "half_open")
        client.reset(stream)
        until(lambda: edge.host(HOST)["health"] == "open")
    assert edge.curl("/api/hello?id=1").status == 200
    assert edge.host(HOST)["health"] == "closed"


def test_what_is_not_the_hosts_fault_opens_nothing(edge_for, upstream):
    edge = edge_for(upstream, merged(health(consecutive_failures=1, **LONG), {
        "upstream": {"max_in_flight_per_host": 1, "max_queue_per_host": 1,
                     "queue_timeout": "2s"}}))
    with edge.http2() as client:
        # Clients that leave.
        for _ in range(5):
            stream = client.start(path="/api/never?id=1")
            until(lambda: (edge.host(HOST) or {}).get("in_flight") == 1)
            client.reset(stream)
            until(lambda: edge.host(HOST)["in_flight"] == 0)
        # Our own limits.
        stream = client.start(path="/api/never?id=1")
        until(lambda: edge.host(HOST)["in_flight"] == 1)
        more = [client.start(path="/api/hello?id=1") for _ in range(5)]
        assert [client.finish(one).status for one in more] == [503] * 5
        client.reset(stream)
        until(lambda: edge.host(HOST)["in_flight"] == 0)
    # An answer that was begun and broke off.
    assert edge.curl("/api/truncate?id=1", check=False).status == 200
    assert edge.curl("/api/hello?id=1").status == 200
    # Names that are not resolved.
    for _ in range(5):
        assert edge.curl("/api/hello?id=987654").status == 404
    assert edge.metric("edge_breakers_opened_total") == 0


def test_a_kept_connection_that_ends_is_no_failure(edge_for, upstream):
    edge = edge_for(upstream, merged(health(consecutive_failures=1, **LONG), {"workers": 1}))

    async def once(request, reply):
        await request.read()
        if request.connection.requests > 1:
            await reply.close()
        await reply.head(200, length=0)
    upstream.script["/api/once"] = once
    for _ in range(3):
        assert edge.curl("/api/once?id=1").status == 200
        assert edge.curl("/api/once?id=1", body=b"paid").status == 502
    assert edge.metric("edge_breakers_opened_total") == 0


def test_a_kept_connection_that_falls_silent_is_a_failure(edge_for, upstream):
    edge = edge_for(upstream, merged(health(consecutive_failures=1, **LONG), {
        "workers": 1, "upstream": {"ping_after": "1s", "ping_timeout": "2s"}}),
        versions=["h2c"])

    async def last(request, reply):
        await reply.head(200, length=0)
        await reply.finish()
        # Not only from the next request on: a PING before it would be answered with its arrival.
        reply.session.flush = lambda: None
    upstream.script["/api/last"] = last
    assert edge.curl("/api/last?id=1").status == 200
    assert edge.curl("/api/hello?id=1", body=b"paid").status == 504
    assert edge.access_log(2)[-1]["reused"] is True
    assert is_refused(edge.curl("/api/hello?id=1"))


FAULTS = {"reset-head": 502, "close-head": 502, "malformed": 502, "never": 504}


@pytest.mark.parametrize("versions", [["1.1"], ["h2c"]])
@pytest.mark.parametrize("fault", FAULTS)
def test_requests_without_an_answer_are_failures(edge_for, upstream, fault, versions):
    # The others shall not be taken for it because the machine is busy.
    brief = {"response_timeout": "200ms"} if fault == "never" else {}
    edge = edge_for(upstream, merged(health(**LONG), {"upstream": brief}), versions=versions)
    fail(edge, 5, f"/api/{fault}?id=1&kind=garbage", FAULTS[fault])
    assert is_refused(edge.curl("/api/hello?id=1"))


def test_a_host_that_refuses_connections_is_left_alone_until_it_returns(
        edge_for, upstream_with, keep):
    port, held = refused_port("127.0.0.2")
    edge = edge_for(port, health(open="1s"))
    fail(edge, 5, "/api/hello?id=1", 502)
    statuses = {edge.curl("/api/hello?id=1").status for _ in range(5)}
    assert 503 in statuses
    probes = edge.metric("edge_breakers_opened_total") - 1
    assert edge.host(HOST)["dials"] == 5 + probes, "nothing else is dialled"
    held.close()
    upstream_with(["127.0.0.2"], port=port)
    until(lambda: edge.curl("/api/hello?id=1").status == 200, what="a probe found it")
    assert edge.host(HOST)["health"] == "closed"


def test_those_who_wait_are_told_when_it_opens(edge_for, upstream):
    edge = edge_for(upstream, merged(health(consecutive_failures=1, **LONG), {"upstream": {
        "max_in_flight_per_host": 2, "response_timeout": "2s", "queue_timeout": "20s"}}))
    clients = [edge.http2() for _ in range(6)]
    streams = [(client, client.start(path="/api/never?id=1")) for client in clients
               for _ in range(5)]
    began = time.monotonic()
    responses = [client.finish(stream) for client, stream in streams]
    assert time.monotonic() - began < 15, "not one after the other"
    for client in clients:
        client.close()
    assert {r.status for r in responses} == {503, 504}
    assert len(upstream.requests) == 2 == [r.status for r in responses].count(504)
    assert all(is_refused(r) for r in responses if r.status == 503)
    assert edge.settled()["hosts"][0]["waiting"] == 0


def test_a_reload_changes_it_for_new_requests(edge_for, upstream):
    edge = edge_for(upstream, health(**LONG))
    fail(edge)
    assert is_refused(edge.curl("/api/hello?id=1"))
    edge.write(merged(edge.configuration, health(enabled=False)))
    edge.reload()
    fail(edge, 8)
    assert edge.host(HOST)["health"] == "closed"
    edge.write(merged(edge.configuration, health(enabled=True, consecutive_failures=2)))
    edge.reload()
    fail(edge, 2)
    assert is_refused(edge.curl("/api/hello?id=1"))


# The retry budget.

def refusing(upstream):
    async def refuse(request, reply):
        reply.ended = True
        reply.session.h2.reset_stream(reply.stream, h2.errors.ErrorCodes.REFUSED_STREAM)
        reply.session.flush()
    upstream.script["/api/refuse"] = refuse


def test_retries_are_a_share_of_the_requests(edge_for, upstream):
    edge = edge_for(upstream, {"upstream": {
        "max_in_flight_per_host": 4, "health": {"enabled": False},
        "retries": {"percent": 10, "per_second": 0}}}, versions=["h2c"])
    refusing(upstream)
    for _ in range(50):
        assert edge.curl("/api/refuse?id=1").status == 502
    retries = len(upstream.requests) - 50
    assert 4 <= retries <= 4 + (50 + retries) * 0.1, "four may be lost at once, then a tenth"
    lines = edge.access_log(50)
    refused = [line for line in lines if line["retry"] == "over_budget"]
    assert len(refused) == edge.metric("edge_retries_refused_total") > 30
    assert edge.metric("edge_retries_total") == retries
    assert sum(line["attempts"] - 1 for line in lines) == retries


def test_no_retries_when_so_configured(edge_for, upstream):
    edge = edge_for(upstream, {"upstream": {"retries": {"percent": 0, "per_second": 0}}},
                    versions=["h2c"])
    refusing(upstream)
    assert edge.curl("/api/refuse?id=1").status == 502
    assert len(upstream.requests) == 1
    assert edge.access_log(1)[0]["retry"] == "over_budget"
