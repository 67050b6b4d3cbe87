"""The leak ledger finds what was forgotten: a leak of each kind, planted, and seen everywhere."""

import json
import signal

import pytest

from edge.gate import Gate
from edge.process import run, steady
from edge.waiting import until

KINDS = ["front_socket", "upstream_socket", "front_tls", "upstream_tls", "front_http2",
         "upstream_http2", "front_stream", "upstream_stream", "exchange", "host_client", "waiter",
         "timer", "resolver_query"]


@pytest.fixture
def planted(edges, configuration, upstream):
    """Starts a proxy whose first worker has lost one thing of a kind."""
    def start(kind):
        return edges(configuration(upstream, {"ledger": {"interval": "200ms"}}),
                     options=["--plant-leak", kind])
    return start


def use(edge):
    """Some of everything: both protocols, a host that does not exist, a bad id."""
    for version in ("1.1", "2"):
        assert edge.curl("/api/hello?id=1", version=version).status == 200
        assert edge.curl("/api/hello?id=77", version=version).status == 404
    assert edge.curl("/api/hello?id=01").status == 400


def drifting(edge):
    """The kinds and workers of which the registry says another number than the walk."""
    return {(row["kind"], worker) for row in edge.registry()["ledger"]
            for worker, count in enumerate(row["workers"]) if count["live"] != count["walk"]}


@pytest.mark.parametrize("kind", KINDS)
def test_a_lost_thing_of_any_kind_is_seen(planted, kind):
    edge = planted(kind)
    use(edge)
    until(lambda: drifting(edge) == {(kind, 0)}, what=lambda: f"drift of {kind}: {drifting(edge)}")
    registry = edge.registry()
    row = next(row for row in registry["ledger"] if row["kind"] == kind)
    assert registry["drift"] is True
    assert row["live"] == row["walk"] + 1 == row["opened"] - row["closed"]
    strays = registry["descriptors"]["stray"]
    assert bool(strays) == kind.endswith("_socket"), strays

    inspected = run("inspect", "--admin", edge.admin)
    assert inspected.returncode == 2, inspected.stdout + inspected.stderr
    assert any(kind in line and "drift" in line for line in inspected.stdout.splitlines())

    until(lambda: "ledger drift" in edge.control_log(), what="the periodic check says so")
    lines = [line for line in edge.control_log().splitlines() if "ledger drift" in line]
    assert any(f"kind={kind}" in line and "worker=0" in line for line in lines), lines[:5]
    assert edge.metric("edge_ledger_drift_total") > 0

    edge.expected_exit = 2
    assert edge.terminate() == 2
    left = [line for line in edge.control_log().splitlines() if "leaked" in line]
    assert any(f"kind={kind}" in line for line in left), edge.control_log()[-2000:]
    assert all(kind in line or "kind=descriptor" in line for line in left), left


def test_a_descriptor_that_nobody_counts_is_seen(planted):
    edge = planted("descriptor")
    use(edge)
    registry = edge.registry()
    assert drifting(edge) == set() and registry["drift"] is True
    stray, = registry["descriptors"]["stray"]
    assert edge.descriptors()[stray["descriptor"]] == stray["link"]
    inspected = run("inspect", "--admin", edge.admin)
    assert inspected.returncode == 2 and stray["link"] in inspected.stdout
    line = until(lambda: next((line for line in edge.control_log().splitlines()
                               if "ledger drift" in line), None), 5, "the periodic check")
    assert "kind=descriptor" in line and stray["link"] in line
    edge.expected_exit = 2
    assert edge.terminate() == 2
    line = next(line for line in edge.control_log().splitlines() if "leaked" in line)
    assert "kind=descriptor" in line and stray["link"] in line


def test_without_a_leak_there_is_no_drift(edge_for, upstream):
    edge = edge_for(upstream, {"ledger": {"interval": "100ms"}})
    before = edge.registry()["descriptors"]
    for _ in range(3):
        use(edge)
        with edge.http2() as two, edge.http1() as one:
            streams = [two.start(path=f"/api/delay?id={n}&ms=100") for n in range(1, 9)]
            one.request("GET", "/api/drip?id=9&count=20&ms=5")
            assert edge.registry()["drift"] is False
            edge.reload()
            assert one.read().status == 200
            assert {two.finish(stream).status for stream in streams} == {200}

    def at_rest():
        """The registry, once the clients' ends have been seen and every descriptor is known."""
        found = edge.registry()
        live = {row["kind"]: row["live"] for row in found["ledger"]}
        assert found["drift"] is False, found
        its = found["descriptors"]
        return its["open"] == its["expected"] == before["open"] + live["upstream_socket"] and found
    registry = until(at_rest, 20, lambda: f"{before} and upstreams': {edge.registry()}")
    assert registry["descriptors"]["stray"] == []
    assert "drift" not in edge.control_log()
    assert edge.metric("edge_ledger_drift_total") == 0


def test_what_each_worker_holds_adds_up(edge_for, upstream):
    edge = edge_for(upstream)
    clients = [edge.http2() for _ in range(8)]
    for client in clients:
        assert client.get("/api/hello?id=1").status == 200
    for row in edge.registry()["ledger"]:
        assert len(row["workers"]) == 2
        for figure in ("opened", "closed", "live", "walk"):
            assert row[figure] == sum(count[figure] for count in row["workers"]), row
    assert edge.ledger()["front_http2"]["live"] == 8
    for client in clients:
        client.close()


def test_streams_are_counted_on_both_sides(edge_for, upstream_with):
    upstream = upstream_with(["127.0.0.2"])
    edge = edge_for(upstream, versions=["h2c"])
    gate = Gate(upstream)
    with edge.http2() as client:
        streams = [client.start(path="/api/gate?id=1") for _ in range(5)]
        until(lambda: gate.waiting == 5, 20)
        for kind in ("front_stream", "upstream_stream"):
            row = edge.ledger()[kind]
            assert (row["live"], row["walk"]) == (5, 5), row
        client.reset(streams[0])
        until(lambda: edge.ledger()["front_stream"]["live"] == 4, 20)
        gate.open()
        for stream in streams[1:]:
            assert client.finish(stream).status == 200
    until(lambda: edge.ledger()["front_stream"]["closed"] == 5)
    until(lambda: edge.ledger()["upstream_stream"]["closed"] == 5)


@pytest.mark.parametrize("where", ["tcp", "unix", "config"])
def test_inspect_says_what_is_there(edge_for, upstream, tmp_path, where):
    address = "127.0.0.1:0" if where == "tcp" else f"unix:{tmp_path}/admin.sock"
    edge = edge_for(upstream, {"admin": {"address": address}})
    assert edge.curl("/api/hello?id=3").status == 200
    edge.settled()
    target = ["--config", edge.file] if where == "config" else ["--admin", edge.admin]
    found = run("inspect", *target)
    assert found.returncode == 0, found.stdout + found.stderr
    lines = found.stdout.splitlines()
    assert any("id-3.apps.test" in line for line in lines)
    assert all(any(kind in line for line in lines) for kind in KINDS)
    assert "no drift" in lines[-1]
    page = run("inspect", "--json", *target)
    assert page.returncode == 0
    assert json.loads(page.stdout)["totals"]["hosts"] == 1


def test_inspect_without_a_proxy_is_1(edge_for, upstream, tmp_path):
    edge = edge_for(upstream)
    address = edge.admin
    assert edge.terminate() == 0
    for target in (address, f"unix:{tmp_path}/nothing.sock", "nonsense"):
        found = run("inspect", "--admin", target)
        assert found.returncode == 1 and found.stderr and not found.stdout
    assert run("inspect").returncode == 64
    assert run("inspect", "--admin", address, "--config", edge.file).returncode == 64


def test_the_table_of_descriptors_survives_a_log_that_moves(edge_for, upstream):
    edge = edge_for(upstream)
    before = steady(lambda: len(edge.descriptors()))
    for _ in range(10):
        edge.log_path.unlink()
        edge.reload()
    until(lambda: len(edge.descriptors()) == before, what="the old logs are closed")
    assert edge.registry()["drift"] is False
    edge.send(signal.SIGTERM)
    assert edge.wait(10) == 0, "no file is left open either"
