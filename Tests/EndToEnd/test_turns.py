"""Bounds that workers share: whoever waits in one worker hears of what ends in another."""

import asyncio
import threading

import pytest

from edge.gate import Gate
from edge.waiting import until


class Client:
    """Asks for the same path again and again over one connection, in a thread of its own."""

    def __init__(self, edge, path):
        self.http, self.path = edge.http1(), path
        self.statuses = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.is_set():
            self.statuses.append(self.http.get(self.path).status)

    def stop(self):
        self._stop.set()

    def close(self):
        self.stop()
        self._thread.join(30)
        self.http.close()


def answers(seconds, fields=()):
    async def answer(request, reply):
        await asyncio.sleep(seconds)
        await reply.head(200, fields, length=2)
        await reply.data(b"ok")
    return answer


def all_served(clients, count):
    """Every client gets so many answers, each within the time that it may wait; stops them."""
    until(lambda: all(len(client.statuses) >= count for client in clients), 60,
          lambda: f"{count} answers each: {[client.statuses for client in clients]}", every=0.05)
    for client in clients:
        client.stop()
    assert {status for client in clients for status in client.statuses} == {200}


def test_a_place_in_flight_goes_to_the_worker_whose_clients_wait(edge_for, upstream, keep):
    upstream.script["/api/slow"] = answers(0.03)
    edge = edge_for(upstream, {"workers": 4, "upstream": {
        "max_in_flight_per_host": 1, "queue_timeout": "30s"}})
    # Each needs its turn within what all of them together take, many times over.
    all_served([keep(Client(edge, "/api/slow?id=1")) for _ in range(12)], 4)
    assert edge.metric("edge_timeouts_total", kind="queue") == 0


@pytest.mark.parametrize("bound", ["host", "process"])
def test_a_closed_connection_makes_room_in_every_worker(edge_for, upstream, keep, bound):
    """Services that end every connection: places become free in one worker while others ask."""
    upstream.script["/api/once"] = answers(0.0, [("connection", "close")])
    edge = edge_for(upstream, {
        "workers": 4,
        "registry": {"max_connections": 1 if bound == "process" else 100, "max_share": 100},
        "upstream": {"max_connections_per_host": 1 if bound == "host" else 100,
                     "queue_timeout": "30s"}})
    all_served([keep(Client(edge, f"/api/once?id={1 if bound == 'host' else n % 2 + 1}"))
                for n in range(8)], 200)
    assert edge.metric("edge_timeouts_total", kind="queue") == 0


def test_a_host_that_got_its_place_late_is_shared_by_all_workers(edge_for, upstream, keep):
    """It began outside of a full registry, and was adopted when it had answered."""
    edge = edge_for(upstream, {"workers": 4, "registry": {"max_hosts": 1}})
    for id in (1, 2):
        assert edge.curl(f"/api/hello?id={id}").status == 200
    assert [host["host"] for host in edge.registry()["hosts"]] == ["id-2.apps.test"]
    assert edge.registry()["totals"]["unpooled"] == 1
    clients = [keep(edge.http1()) for _ in range(12)]
    for _ in range(10):
        assert [client.get("/api/hello?id=2").status for client in clients] == [200] * 12
    # A connection for each worker at most, not one for each request.
    mine = [c for c in upstream.connections if c.local[0] == "127.0.0.3"]
    assert len(mine) <= 4, len(mine)


def test_a_retry_has_the_place_of_the_connection_that_was_lost(edge_for, upstream):
    """Of a host that takes one connection, and that the full registry has no place for."""
    async def at_second(request, reply):
        first = not any(seen.target == request.target for seen in upstream.requests
                        if seen is not request)
        await (reply.close() if first else reply.head(204))
    upstream.script["/api/twice"] = at_second
    edge = edge_for(upstream, {
        "workers": 1, "registry": {"max_hosts": 1},
        "upstream": {"max_connections_per_host": 1, "queue_timeout": "15s"}}, versions=["h2c"])
    gate = Gate(upstream)
    with edge.http2() as client:
        busy = client.start(path="/api/gate?id=1")
        until(lambda: gate.waiting == 1)
        assert client.get("/api/twice?id=2").status == 204
        gate.open()
        assert client.finish(busy).status == 200
    assert edge.metric("edge_timeouts_total", kind="queue") == 0
