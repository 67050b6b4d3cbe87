"""SIGTERM and SIGINT: nothing under way is lost, clients are told, the process ends in time."""

import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from edge.clients import Truncated
from edge.gate import Gate
from edge.load import SteadyLoad
from edge.waiting import until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_proxy_ends_at_once_with_0(edge_for, upstream, number):
    edge = edge_for(upstream)
    edge.curl("/api/hello?id=1")
    began = time.monotonic()
    edge.send(number)
    assert edge.wait() == 0
    assert time.monotonic() - began < 10, "the grace period is 15 s"


def test_exchanges_under_way_are_finished(edge_for, upstream):
    edge = edge_for(upstream, {"workers": 1})
    gate = Gate(upstream)
    with edge.http1() as one, edge.http2() as two:
        assert one.get("/api/hello?id=3").status == 200
        resting = upstream.connections[0]
        one.request("GET", "/api/gate?id=1")
        stream = two.start(path="/api/drip?id=2&count=50&ms=20")
        until(lambda: len(upstream.requests) == 3)
        edge.send(signal.SIGTERM)
        until(lambda: resting.closed, what="all clients have been told")
        gate.open()
        response = one.read()
        assert response.body == b"/api/gate?id=1" and "close" in response.get("connection", "")
        assert one.at_end()
        assert two.finish(stream).body == b"." * 50
        two.until(lambda: two.goaway is not None or two.ended, what="GOAWAY")
        assert two.goaway[0] == 0
    assert edge.wait() == 0


def test_idle_http2_connections_get_goaway(edge_for, upstream):
    edge = edge_for(upstream)
    with edge.http2() as client, edge.http1() as other:
        client.get("/api/hello?id=1")
        other.get("/api/hello?id=1")
        edge.send(signal.SIGTERM)
        client.until(lambda: client.goaway is not None, what="GOAWAY")
        assert other.at_end()
    assert edge.wait() == 0


def test_requests_that_cross_the_goaway_are_answered_or_refused(edge_for, upstream):
    edge = edge_for(upstream)
    gate = Gate(upstream)
    with edge.http2() as client:
        first = client.start(path="/api/gate?id=1")
        until(lambda: gate.waiting == 1)
        edge.send(signal.SIGTERM)
        later = client.start(path="/api/hello?id=1")
        client.until(lambda: client.goaway is not None, what="GOAWAY")
        gate.open()
        assert client.finish(first).body == b"/api/gate?id=1"
        response = client.finish(later)
        last = client.goaway[1]
        assert response.status == 200 or response.error == 7 or later > last
    assert edge.wait() == 0


def test_a_request_body_under_way_is_finished(edge_for, upstream):
    edge = edge_for(upstream)
    with edge.http1() as client:
        client.send("POST /api/digest?id=1 HTTP/1.1\r\nHost: localhost\r\n"
                    "Content-Length: 6\r\n\r\nabc")
        until(lambda: upstream.requests)
        edge.send(signal.SIGTERM)
        client.send("def")
        assert client.read().status == 200
    assert edge.wait() == 0


def test_new_connections_are_refused_while_draining(edge_for, upstream):
    edge = edge_for(upstream)
    gate = Gate(upstream)
    with edge.http2() as client:
        stream = client.start(path="/api/gate?id=1")
        until(lambda: gate.waiting == 1)
        edge.send(signal.SIGTERM)

        def refused():
            try:
                edge.tcp().close()
                return False
            except OSError:
                return True
        until(refused, what="the listener is closed")
        gate.open()
        assert client.finish(stream).body == b"/api/gate?id=1"
    assert edge.wait() == 0


def test_readyz_says_draining(edge_for, upstream):
    edge = edge_for(upstream)
    gate = Gate(upstream)
    with edge.http2() as client:
        stream = client.start(path="/api/gate?id=1")
        until(lambda: gate.waiting == 1)
        edge.send(signal.SIGTERM)
        until(lambda: edge.ask("/readyz") == (503, "draining\n"))
        assert edge.ask("/healthz") == (200, "ok\n")
        gate.open()
        client.finish(stream)
    assert edge.wait() == 0


def test_the_grace_period_ends_what_does_not_end_itself(edge_for, upstream):
    edge = edge_for(upstream, {"shutdown": {"grace": "1s"}})
    edge.expected_exit = 2
    with edge.http2() as two, edge.http1() as one:
        one.request("GET", "/api/never?id=1")
        stream = two.start(path="/api/never?id=2")
        until(lambda: len(upstream.requests) == 2)
        began = time.monotonic()
        edge.send(signal.SIGTERM)
        assert edge.wait() == 2
        assert 0.9 < time.monotonic() - began < 10
        with pytest.raises(Truncated):
            while one.read().status:
                continue
        response = two.finish(stream)
        assert response.error is not None or two.ended or response.status >= 500
    assert left_open(edge) == {
        "exchanges": 2, "front_connections": 2, "front_streams": 1, "upstream_connections": 2}


def left_open(edge):
    """What the log says was still open at the end of the grace period: kind → count."""
    line = next((line for line in edge.control_log().splitlines() if "still open" in line), "")
    return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line)}


def test_what_is_cut_is_reported_by_kind(edge_for, upstream, upstream_with):
    other = upstream_with(["127.0.0.2"])
    edge = edge_for(upstream, {
        "shutdown": {"grace": "1s"}, "upstream": {"max_in_flight_per_host": 1},
        "routes": [{"path": "/api", "id": {"query": "id"},
                    "upstream": f"http://id-{{id}}.apps.test:{upstream.port}"},
                   {"path": "/h2c", "id": {"query": "id"}, "versions": ["h2c"],
                    "upstream": f"http://id-{{id}}.apps.test:{other.port}"}]})
    edge.expected_exit = 2
    with edge.http1() as tunnel, edge.http2() as two, edge.http1() as one:
        tunnel.request("GET", "/api/websocket?id=1", fields=[
            ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")])
        assert tunnel.read().status == 101
        for path in ("/api/never?id=2", "/h2c/never?id=1"):
            two.start(path=path)
        one.request("GET", "/api/never?id=3")
        until(lambda: len(upstream.requests) == 3 and len(other.requests) == 1)
        # One more than its host may be asked at a time; on the connection, hence the worker, of
        # the one that keeps it from its turn.
        two.start(path="/api/never?id=2")
        until(lambda: edge.ledger()["waiter"]["live"] == 1)
        edge.send(signal.SIGTERM)
        assert edge.wait() == 2
    assert left_open(edge) == {
        "exchanges": 4, "tunnels": 1, "front_connections": 3, "front_streams": 3,
        "upstream_connections": 4, "upstream_streams": 1, "waiters": 1}
    assert "leaked" not in edge.control_log()


def test_a_second_signal_does_no_harm(edge_for, upstream):
    edge = edge_for(upstream)
    gate = Gate(upstream)
    with edge.http2() as client:
        stream = client.start(path="/api/gate?id=1")
        until(lambda: gate.waiting == 1)
        edge.send(signal.SIGTERM)
        edge.send(signal.SIGHUP)
        client.until(lambda: client.goaway is not None, what="GOAWAY")
        gate.open()
        assert client.finish(stream).body == b"/api/gate?id=1"
    assert edge.wait() == 0


def until_told_to_leave(edge):
    """Keeps eight streams going until GOAWAY, finishes those it covers; what became of each."""
    with edge.http2() as client:
        number, outcomes, open_streams = 0, [], []
        while True:
            while client.goaway is None and not client.ended and len(open_streams) < 8:
                number += 1
                path = f"/api/delay?id={number % 12 + 1}&ms=20"
                try:
                    open_streams.append(client.start(path=path))
                except OSError:
                    break
            if not open_streams:
                return outcomes
            stream = open_streams.pop(0)
            response = client.finish(stream)
            crossed = client.goaway is not None and stream > client.goaway[1]
            outcomes.append("crossed" if crossed and not response.complete else
                            response.status if response.complete else f"lost: {response}")


def test_nothing_is_lost_under_load_on_http2(edge_for, upstream):
    edge = edge_for(upstream)
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(until_told_to_leave, edge) for _ in range(4)]
        until(lambda: len(upstream.requests) > 100)
        edge.send(signal.SIGTERM)
        outcomes = [outcome for run in runs for outcome in run.result(30)]
    assert edge.wait(20) == 0
    assert set(outcomes) <= {200, 503, "crossed"}, set(outcomes)
    assert outcomes.count(200) == len(upstream.requests), "what was answered reached the clients"


def test_nothing_is_lost_under_load_on_http1(edge_for, upstream):
    edge = edge_for(upstream)
    paths = [f"/api/delay?id={n}&ms=20" for n in range(1, 13)]
    with SteadyLoad(edge, paths, rate=150, http2=False) as load:
        until(lambda: load.done > 50)
        edge.send(signal.SIGTERM)
        assert edge.wait(20) == 0
    # A close that crosses a request unsent is the client's to repeat elsewhere.
    assert set(load.statuses) <= {200, 503}
    assert load.statuses[200] == len(upstream.requests), "what was answered reached the clients"


def test_websockets_end_with_the_grace_period(edge_for, upstream):
    edge = edge_for(upstream, {"shutdown": {"grace": "1s"}})
    edge.expected_exit = None
    with edge.http1() as client:
        client.request("GET", "/api/websocket?id=1", fields=[
            ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")])
        assert client.read().status == 101
        edge.send(signal.SIGTERM)
        edge.expected_exit = edge.wait()
        assert edge.expected_exit in (0, 2)
        assert client.at_end()
