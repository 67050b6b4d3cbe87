"""The access log: JSON lines with everything about an exchange, and the common format."""

import json
import re

import pytest

from edge.servers import refused_port
from edge.waiting import until

KEYS = ["time", "client", "method", "host", "target", "protocol", "tls", "status", "id", "upstream",
        "upstream_address", "upstream_protocol", "reused", "attempts", "received", "sent",
        "queue_ms", "dial_ms", "response_ms", "total_ms", "error", "retry", "user_agent"]


def test_keys_and_their_order(edge_for, upstream):
    edge = edge_for(upstream)
    edge.curl("/api/hello?id=1")
    edge.access_log(1)
    pairs = json.loads(edge.log_path.read_text(), object_pairs_hook=list)
    assert [key for key, _ in pairs] == KEYS


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_values(edge_for, upstream, version):
    edge = edge_for(upstream, {"workers": 1})
    edge.curl("/api/digest?id=4", "-A", "a \"b\" \\c", body=b"x" * 1000, version=version)
    edge.curl("/api/hello?id=4&size=128", version=version)
    first, second = edge.access_log(2)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    assert re.fullmatch(r"127\.0\.0\.1:\d+", first["client"])
    assert (first["method"], second["method"]) == ("POST", "GET")
    assert first["host"] == f"localhost:{edge.port}"
    assert first["target"] == "/api/digest?id=4"
    assert first["protocol"] == {"1.1": "HTTP/1.1", "2": "HTTP/2.0"}[version]
    assert first["tls"] == "TLSv1.3"
    assert (first["status"], first["id"]) == (200, "4")
    assert first["upstream"] == f"id-4.apps.test:{upstream.port}"
    assert first["upstream_address"] == f"127.0.0.5:{upstream.port}"
    assert first["upstream_protocol"] == "HTTP/1.1"
    assert (first["reused"], second["reused"]) == (False, True)
    assert first["attempts"] == second["attempts"] == 1
    assert (first["received"], second["received"], second["sent"]) == (1000, 0, 128)
    # The first one dialled, the second found the connection at rest.
    assert first["dial_ms"] > 0 and second["dial_ms"] is None
    assert 0 <= first["queue_ms"] <= first["total_ms"] and second["queue_ms"] is None
    for line in (first, second):
        assert 0 <= line["response_ms"] <= line["total_ms"] < 10_000
        assert line["error"] is None and line["retry"] is None
    assert first["user_agent"] == "a \"b\" \\c"


def test_a_plain_connection_has_no_tls(edge_for, upstream):
    edge = edge_for(upstream, {"listeners": [{"address": "127.0.0.1:0"}]})
    edge.curl("/api/hello?id=1", scheme="http", version="1.1")
    assert edge.access_log(1)[0]["tls"] is None


def test_local_errors_are_logged(edge_for, upstream, keep):
    port, held = refused_port("127.0.0.2")
    keep(held)
    edge = edge_for(port)
    edge.curl("/api/x?id=1")
    edge.curl("/api/x?id=abc")
    edge.curl("/none")
    refused, bad, lost = edge.access_log(3)
    assert refused["status"] == 502 and refused["error"] == "connection_refused"
    assert refused["upstream_protocol"] is None
    assert bad["status"] == 400 and bad["id"] is None and bad["upstream"] is None
    assert lost["status"] == 404 and lost["error"]


def test_malformed_requests_are_logged(edge_for, upstream):
    edge = edge_for(upstream)
    with edge.http1() as client:
        client.send("GET / HTTP/1.1\r\nHost : x\r\n\r\n")
        assert client.read().status == 400
    line = edge.access_log(1)[0]
    assert line["status"] == 400 and line["error"]


def test_a_client_that_leaves_is_499(edge_for, upstream):
    edge = edge_for(upstream)
    with edge.http2() as client:
        stream = client.start(path="/api/never?id=1")
        until(lambda: upstream.requests)
        client.reset(stream)
        assert edge.access_log(1)[0]["status"] == 499
    with edge.http1() as client:
        client.request("GET", "/api/never?id=1")
        until(lambda: len(upstream.requests) == 2)
    assert edge.access_log(2)[1]["status"] == 499


def test_what_clients_send_cannot_forge_lines(edge_for, upstream):
    edge = edge_for(upstream)
    with edge.http1() as client:
        client.request("GET", "/api/hello?id=1&x=\u00e9\u00ff", fields=[
            ("User-Agent", "a\tb\"},{\"status\":\u00ff")])
        client.read()
    raw = edge.access_log(1) and edge.log_path.read_bytes()
    assert raw.count(b"\n") == 1 and b"\t" not in raw
    json.loads(raw.decode("utf-8"))


def test_every_exchange_has_one_line(edge_for, upstream):
    edge = edge_for(upstream)
    with edge.http2() as client:
        streams = [client.start(path=f"/api/hello?id={n % 12 + 1}&n={n}") for n in range(100)]
        for stream in streams:
            client.finish(stream)
    lines = edge.access_log(100)
    assert sorted(int(line["target"].rsplit("=", 1)[1]) for line in lines) == list(range(100))
    assert edge.metric("edge_access_log_dropped_total") == 0


def test_all_lines_are_written_at_the_end(edge_for, upstream):
    edge = edge_for(upstream)
    for number in range(20):
        edge.curl(f"/api/hello?id=1&n={number}", version="1.1")
    assert edge.terminate() == 0
    assert len(edge.access_log(20)) == 20


def test_the_common_format(edge_for, upstream):
    edge = edge_for(upstream, {"access_log": {"format": "common"}})
    edge.curl("/api/hello?id=1&size=2326")
    edge.curl("/api/hello?id=1&size=1", version="1.1")
    until(lambda: edge.log_path.exists() and edge.log_path.read_text().count("\n") == 2)
    first, second = edge.log_path.read_text().splitlines()
    assert re.fullmatch(
        r'127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] '
        r'"GET /api/hello\?id=1&size=2326 HTTP/2\.0" 200 2326', first), first
    assert '"GET /api/hello?id=1&size=1 HTTP/1.1" 200 1' in second


def test_the_log_can_be_off_or_on_standard_output(edge_for, upstream):
    edge = edge_for(upstream, {"access_log": {"path": "off"}})
    assert edge.curl("/api/hello?id=1").status == 200
    assert not edge.log_path.exists()
    edge = edge_for(upstream, {"access_log": {"path": "/dev/stdout"}})
    edge.curl("/api/hello?id=1")
    until(lambda: '"target":"/api/hello?id=1"' in edge.control_log())
