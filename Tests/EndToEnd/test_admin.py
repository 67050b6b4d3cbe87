"""The admin listener: health, readiness, metrics, and the registry with its ledger."""

import socket

import pytest

from edge.gate import Gate
from edge.process import run
from edge.waiting import until

LEDGER = {"front_socket", "upstream_socket", "front_tls", "upstream_tls", "front_http2",
          "upstream_http2", "front_stream", "upstream_stream", "exchange",
          "host_client", "waiter", "timer", "resolver_query"}


@pytest.fixture
def edge(edge_for, upstream):
    return edge_for(upstream)


def test_health_and_readiness(edge):
    assert edge.ask("/healthz") == (200, "ok\n")
    assert edge.ask("/readyz") == (200, "ready\n")
    assert edge.ask("/nothing")[0] == 404
    assert edge.ask("/healthz", "POST")[0] in (404, 405)


def test_metrics(edge):
    for number in range(10):
        edge.curl(f"/api/hello?id={number % 3 + 1}", version=["1.1", "2"][number % 2])
    edge.curl("/api/hello?id=abc")
    until(lambda: edge.metric("edge_requests_total") == 11)
    assert edge.admin_fields["content-type"].startswith("text/plain; version=0.0.4")
    assert edge.metric("edge_requests_total", code="400") == 1
    assert edge.metric("edge_requests_total", protocol="HTTP/1.1") == 5
    assert edge.metric("edge_front_connections_total") >= 11
    assert edge.metric("edge_handshakes_total", result="success") >= 11
    dials = edge.metric("edge_upstream_dials_total")
    reused = edge.metric("edge_upstream_reused_total")
    assert dials + reused == 10 and 3 <= dials <= 6
    assert edge.metric("edge_upstream_connections") == dials
    assert edge.metric("edge_registry_hosts") == 3
    assert edge.metric("edge_registry_evictions_total") == 0
    assert abs(edge.metric("process_resident_memory_bytes") - edge.rss()) < 8 << 20
    until(lambda: edge.metric("edge_front_connections") == 0)
    assert abs(edge.metric("process_open_fds") - len(edge.descriptors())) <= 3


def test_metrics_are_well_formed(edge):
    edge.curl("/api/hello?id=1")
    body = edge.ask("/metrics")[1]
    described = {line.split()[2] for line in body.splitlines() if line.startswith("# HELP")}
    typed = {line.split()[2] for line in body.splitlines() if line.startswith("# TYPE")}
    names = {name for name, _ in edge.metrics()}
    family = lambda n: n.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
    assert {n for n in names if n not in typed and family(n) not in typed} == set()
    assert described == typed
    for name in ("edge_buffer_bytes", "edge_access_log_dropped_total", "edge_reload_total"):
        assert name in typed


def test_the_registry(edge, upstream):
    for _ in range(4):
        edge.curl("/api/hello?id=1")
    edge.curl("/api/reset-head?id=2")
    edge.settled()
    host = edge.host("id-1.apps.test")
    assert host["port"] == upstream.port and host["scheme"] == "http"
    # Of the default `versions`, 2 is chosen by ALPN, which cleartext does not have.
    assert host["versions"] == ["1.1"]
    assert host["addresses"] == ["127.0.0.2"]
    assert (host["requests"], host["in_flight"], host["waiting"]) == (4, 0, 0)
    assert host["dials"] + host["reused"] == 4
    assert host["connections"] == host["idle"] == host["dials"]
    assert host["idle_for_ms"] >= 0 and host["failures"] == 0
    assert edge.host("id-2.apps.test")["failures"] >= 1
    totals = edge.registry()["totals"]
    assert totals["hosts"] == 2 and totals["connections"] == host["connections"]


def test_in_flight_is_seen(edge, upstream):
    gate = Gate(upstream)
    with edge.http2() as client:
        streams = [client.start(path="/api/gate?id=1") for _ in range(3)]
        until(lambda: gate.waiting == 3)
        assert edge.host("id-1.apps.test")["in_flight"] == 3
        assert edge.ledger()["exchange"]["live"] == 3
        gate.open()
        for stream in streams:
            client.finish(stream)
    until(lambda: edge.host("id-1.apps.test")["in_flight"] == 0)


def test_the_ledger_agrees_with_a_walk_and_the_kernel(edge):
    with edge.http2() as client:
        for number in range(1, 13):
            client.get(f"/api/hello?id={number}")

        def agrees():
            registry = edge.registry()
            ledger = {entry["kind"]: entry for entry in registry["ledger"]}
            assert set(ledger) == LEDGER
            for entry in ledger.values():
                assert entry["opened"] - entry["closed"] == entry["live"], entry
            return registry["drift"] is False and all(
                e["live"] == e["walk"] for e in ledger.values()) and ledger
        ledger = until(agrees, what="the ledger agrees with the walk")
        assert ledger["front_socket"]["live"] == ledger["front_tls"]["live"] == 1
        assert ledger["front_http2"]["live"] == 1
        assert ledger["upstream_socket"]["live"] == 12
        assert ledger["host_client"]["live"] == 12
    until(lambda: edge.ledger()["front_socket"]["live"] == 0)
    assert abs(edge.registry()["descriptors"]["open"] - len(edge.descriptors())) <= 3


def test_a_unix_socket(edge_for, upstream, tmp_path):
    edge = edge_for(upstream, {"admin": {"address": f"unix:{tmp_path}/admin.sock"}})
    assert edge.ask("/healthz") == (200, "ok\n")
    assert edge.curl("/api/hello?id=1").status == 200


def test_without_the_option_there_is_none(edge_for, upstream):
    edge = edge_for(upstream, {"admin": None})
    assert not edge.admin
    assert edge.curl("/api/hello?id=1").status == 200


def test_a_slow_or_rude_client_of_admin_harms_nothing(edge):
    host, port = edge.admin.rsplit(":", 1)
    rude = [socket.create_connection((host, int(port)), 5) for _ in range(30)]
    for number, sock in enumerate(rude):
        sock.sendall([b"GET /me", b"\0\0\0\0\r\n\r\n",
                      b"GET /metrics HTTP/1.1\r\n\r\n"][number % 3])
    assert edge.ask("/healthz") == (200, "ok\n")
    assert edge.curl("/api/hello?id=1").status == 200
    for sock in rude:
        sock.close()


def test_the_binary_knows_its_commands():
    assert run("version").returncode == 0
