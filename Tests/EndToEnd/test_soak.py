"""A long mixed load, then quiet: every row of the ledger is back at zero, nothing has grown.

`make soak` runs it at its full size: a million requests over ten thousand ids.
"""

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from edge.clients import Truncated, h2load
from edge.process import steady
from edge.servers import Origin, refused_port
from edge.waiting import until

REQUESTS = int(os.environ.get("EDGE_SOAK_REQUESTS", 40_000))
IDS = int(os.environ.get("EDGE_SOAK_IDS", 1_000))
# Four loads side by side: two of HTTP/2 clients, two of HTTP/1.1 clients.
LOADS = 4
# What workers keep once they are warm differs from one load to the next: free buffers, and what
# the C library gives back when it likes. A leak of 100 bytes a request would be five times this.
MOST_GROWTH = 24 << 20
# Of the connection that asks for the ledger, which is in no other row.
ASKING = {"timer": 1}
BROKEN = ["reset-head", "close-head", "truncate", "reset-body", "500"]


async def internal_error(request, reply):
    await reply.head(500, length=0)


@pytest.fixture
def edge(edges, configuration, upstream_with, keep, tmp_path):
    """A proxy before a good upstream by either protocol, a broken one, and one that is gone."""
    origin = keep(Origin(tmp_path / "origin"))
    broken = upstream_with()
    broken.script["/broken/500"] = internal_error
    gone, held = refused_port()
    keep(held)

    def route(path, port, version="1.1"):
        return {"path": path, "id": {"query": "id"}, "versions": [version],
                "upstream": f"http://id-{{id}}.wild.test:{port}"}
    return edges(configuration(None, {
        "routes": [route("/h1", origin.port), route("/h2c", origin.port, "h2c"),
                   route("/broken", broken.port), route("/gone", gone)],
        "upstream": {"keepalive": "2s"},
        # Fewer than there are hosts: all the while some are evicted and some served unpooled.
        "registry": {"max_hosts": IDS // 10, "max_connections": 3_000, "host_idle": "5s"},
        "limits": {"handshakes_per_second_per_address": 0},
        "ledger": {"interval": "1s"},
        "access_log": {"path": "off"},
    }))


def targets(seed, count, http2):
    """Requests in a random order: every id now and then, a few of them often."""
    chance = random.Random(seed)
    made = []
    for _ in range(count):
        number = int(chance.paretovariate(1)) % IDS if chance.random() < 0.5 else None
        path = chance.choices(["/h1/x", "/h2c/x", "/gone/x", f"/broken/{chance.choice(BROKEN)}"],
                              # A load of HTTP/1.1 ends with the first answer that is cut.
                              [47, 47, 3, 3 if http2 else 0])[0]
        made.append(f"{path}?id={chance.randrange(IDS) if number is None else number}")
    return made


def load(edge, folder, requests):
    """Runs all loads to their end; returns how many requests they made."""
    def one(seed):
        http2 = seed % 2 == 0
        lines = targets(seed, min(requests // LOADS, 50_000), http2)
        uris = folder / f"uris-{seed}"
        uris.write_text("".join(f"https://127.0.0.1:{edge.port}{line}\n" for line in lines))
        return h2load(None, requests // LOADS, clients=8 if http2 else 32,
                      streams=8 if http2 else 1, uris=uris,
                      protocol=None if http2 else "h1", seconds=3600)
    with ThreadPoolExecutor(LOADS) as pool:
        loads = list(pool.map(one, range(LOADS)))
    for done in loads:
        assert done.by_class[2] > 0.9 * done.total, done.text
    return sum(done.total for done in loads)


class Trouble:
    """Clients that leave and reloads, until told to stop."""

    def __init__(self, edge):
        self.edge = edge
        self.cancelled = self.reloads = 0
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(2)

    def __enter__(self):
        self._runs = [self._pool.submit(self._cancel), self._pool.submit(self._reload)]
        return self

    def __exit__(self, *_):
        self._stop.set()
        for run in self._runs:
            run.result(60)
        self._pool.shutdown()

    def _reload(self):
        while not self._stop.wait(0.5):
            self.edge.reload()
            self.reloads += 1

    def _cancel(self):
        chance = random.Random(99)
        while not self._stop.wait(0.02):
            number = chance.randrange(IDS)
            with self.edge.http2() as client:
                streams = [client.start(path=f"{path}?id={number}")
                           for path in ["/h1/x", "/h2c/x", "/broken/never", "/broken/drip"] * 3]
                for stream in streams[::2]:
                    client.reset(stream)
                client.finish(streams[1])
                # The rest is cut with the connection.
            with self.edge.http1() as client:
                client.request("GET", f"/broken/{chance.choice(['never', 'drip'])}?id={number}")
            with self.edge.http1() as client:
                client.request("GET", f"/broken/truncate?id={number}")
                with pytest.raises(Truncated):
                    client.read()
            self.cancelled += len(streams) + 1


def quiet(edge):
    """Waits until every row is zero; returns the registry and the count of descriptors."""
    def at_zero():
        registry = edge.registry()
        rows = {row["kind"]: row for row in registry["ledger"]}
        assert not registry["drift"], registry
        return all(row["live"] == row["walk"] <= ASKING.get(kind, 0)
                   for kind, row in rows.items()) and registry
    registry = until(at_zero, 60, lambda: f"all at zero: {edge.registry()['ledger']}", every=0.2)
    assert registry["totals"]["connections"] == 0
    return registry, steady(lambda: len(edge.descriptors()))


@pytest.mark.timeout(3600)
def test_after_a_long_mixed_load_nothing_is_left(edge, tmp_path):
    _, before = quiet(edge)
    with Trouble(edge):
        load(edge, tmp_path, max(REQUESTS // 8, 8_000))
    quiet(edge)
    warm = edge.rss()
    with Trouble(edge) as trouble:
        made = load(edge, tmp_path, REQUESTS)
    registry, after = quiet(edge)
    grown = edge.rss() - warm
    assert trouble.cancelled > 100 and trouble.reloads >= 3
    assert edge.metric("edge_requests_total") >= made + trouble.cancelled
    for reason in ("connection_refused", "connection_terminated", "client_gone"):
        assert edge.metric("edge_errors_total", reason=reason) > 0, reason
    assert edge.metric("edge_registry_evictions_total") > 0
    assert after == before, edge.descriptors()
    assert grown < MOST_GROWTH, f"grown by {grown} bytes"
    assert "drift" not in edge.control_log()
    assert edge.metric("edge_ledger_drift_total") == 0
    print(f"{made} requests over {IDS} ids, {trouble.cancelled} cancelled, {trouble.reloads} "
          f"reloads, resident memory {warm} + {grown} bytes")
    for row in registry["ledger"]:
        print(f"{row['kind']:16} opened {row['opened']:9} closed {row['closed']:9}")
    assert edge.terminate() == 0
