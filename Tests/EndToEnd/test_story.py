"""The story that started the project: connections are reused, then gone; an id scan is bounded."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from edge.clients import h2load
from edge.load import SteadyLoad
from edge.process import steady
from edge.waiting import until

MEBIBYTE = 1 << 20
WORKERS = 2
IDS = range(1, 11)


def uris(path, edge, targets):
    path.write_text("".join(f"https://127.0.0.1:{edge.port}{target}\n" for target in targets))
    return path


class Watch:
    """The greatest values of what a proxy holds, read all the while on a thread of its own."""

    def __init__(self, edge):
        self.edge, self.rss, self.descriptors, self.hosts = edge, 0, 0, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(10)

    def _run(self):
        while not self._stop.wait(0.1):
            self.rss = max(self.rss, self.edge.rss())
            self.descriptors = max(self.descriptors, len(self.edge.descriptors()))
            self.hosts = max(self.hosts, self.edge.metric("edge_registry_hosts"))


@pytest.mark.parametrize("versions", [["1.1"], ["h2c"]], ids=["h1", "h2c"])
@pytest.mark.timeout(150)
def test_three_thousand_requests_over_ten_ids(edge_for, upstream, versions, tmp_path):
    edge = edge_for(upstream, {"workers": WORKERS, "upstream": {"keepalive": "2s"}},
                    versions=versions)
    # One request per id and worker at most at a time: whatever takes a second connection then
    # is a leak, not load.
    for number in IDS:
        edge.curl(f"/api/hello?id={number}")
    until(lambda: edge.metric("edge_front_connections") == 0)
    until(lambda: not upstream.open_connections, what="the warm-up's connections are gone")
    descriptors, memory = steady(lambda: len(edge.descriptors())), edge.rss()
    warm = len(upstream.connections)
    with Watch(edge) as watch:
        with edge.http2() as two, edge.http1() as one:
            began = time.monotonic()
            for turn in range(300):
                streams = [two.start(path=f"/api/hello?id={n}") for n in IDS if n % 2]
                for number in IDS:
                    if number % 2 == 0:
                        assert one.get(f"/api/hello?id={number}").status == 200
                for stream in streams:
                    assert two.finish(stream).status == 200
                # A steady rate: ten requests each 10 ms at most.
                pause = began + (turn + 1) * 0.01 - time.monotonic()
                if pause > 0:
                    time.sleep(pause)
    served = upstream.connections[warm:]
    assert sum(c.requests for c in served) == 3000
    assert {c.protocol for c in served} == {{"1.1": "h1", "h2c": "h2"}[versions[0]]}
    per_host = {}
    for connection in served:
        per_host[connection.local[0]] = per_host.get(connection.local[0], 0) + 1
    assert len(per_host) == 10
    assert max(per_host.values()) <= WORKERS, per_host
    assert watch.hosts <= 10
    lines = edge.access_log(3010)
    assert sum(1 for line in lines[10:] if not line["reused"]) == len(served)
    until(lambda: not upstream.open_connections, what="none is left after the idle timeout")
    until(lambda: len(edge.descriptors()) <= descriptors, what="descriptors at the baseline")
    assert edge.rss() <= memory + 16 * MEBIBYTE
    ledger = edge.ledger()
    assert ledger["upstream_socket"]["live"] == 0 and ledger["exchange"]["live"] == 0
    assert edge.registry()["drift"] is False


@pytest.mark.timeout(300)
def test_a_steady_rate_from_many_clients_reuses_connections(edge_for, upstream):
    edge = edge_for(upstream, {"workers": WORKERS, "upstream": {"keepalive": "10s"}})
    with SteadyLoad(edge, [f"/api/hello?id={n}" for n in IDS], rate=300) as load:
        until(lambda: load.done >= 1500, 200)
    assert set(load.statuses) == {200} and not load.failures
    total = sum(c.requests for c in upstream.connections)
    assert total == load.statuses[200]
    # As many as were under way at once, which is more where the machine stands still for a moment.
    assert len(upstream.connections) <= total / 5, "connections follow load, not requests"
    until(lambda: not upstream.open_connections, 30)


@pytest.mark.timeout(240)
def test_twenty_thousand_ids_stay_within_the_bounds(edge_for, upstream_with, tmp_path):
    upstream = upstream_with()
    most = 200
    edge = edge_for(upstream, {
        "workers": WORKERS, "registry": {"max_hosts": most, "max_connections": 400},
        "upstream": {"keepalive": "5s"}, "access_log": {"path": "off"}}, name="id-{id}.wild.test")
    known = [f"/api/hello?id={n}" for n in IDS]
    for path in known * 3:
        assert edge.curl(path).status == 200
    before = edge.rss()
    scans = [uris(tmp_path / f"scan-{first}", edge,
                  (f"/api/hello?id={n}" for n in range(first, first + 10_000)))
             for first in (100_000, 110_000)]
    with Watch(edge) as watch, ThreadPoolExecutor(2) as pool:
        # First-seen names are rate-limited, so a scan may be told 503; it must never take over.
        scanning = [pool.submit(h2load, None, 10_000, 1, 16, scan, seconds=200) for scan in scans]
        served = 0
        while not all(one.done() for one in scanning):
            with edge.http2() as client:
                for path in known:
                    response = client.get(path)
                    assert response.status == 200, f"a known id: {response}"
                    served += 1
            time.sleep(0.02)
        loads = [one.result() for one in scanning]
    for load in loads:
        assert load.total == 10_000 and load.errored == 0
        assert load.by_class[2] + load.by_class[5] == 10_000 and load.by_class[2] > 0
    assert served >= 10
    assert watch.hosts <= most
    assert watch.descriptors <= 400 + 200, "connections are bounded"
    assert watch.rss - before < 64 * MEBIBYTE
    registry = edge.settled()
    assert registry["totals"]["hosts"] <= most and registry["totals"]["evictions"] > 0
    assert registry["drift"] is False
    for path in known:
        assert edge.curl(path).status == 200
    until(lambda: not upstream.open_connections, 30, "nothing is left of the scan")


def test_a_scan_of_ids_that_do_not_exist(edge_for, upstream, resolver, tmp_path):
    edge = edge_for(upstream, {"workers": WORKERS, "registry": {"max_hosts": 50}})
    for number in IDS:
        assert edge.curl(f"/api/hello?id={number}").status == 200
    before = resolver.queries()
    scan = uris(tmp_path / "scan", edge, (f"/api/x?id={n}" for n in range(500_000, 502_000)))
    load = h2load(None, 2000, 1, 32, scan)
    assert load.by_class[2] == 0 and load.by_class[4] + load.by_class[5] == 2000
    assert resolver.queries() - before <= 2 * 2000 + 50, "one A and one AAAA per name at most"
    assert edge.registry()["totals"]["hosts"] <= 50
    hosts = {h["host"]: h for h in edge.registry()["hosts"]}
    for number in IDS:
        assert edge.curl(f"/api/hello?id={number}").status == 200
        assert hosts[f"id-{number}.apps.test"]["dials"] <= WORKERS, "never evicted by the scan"
