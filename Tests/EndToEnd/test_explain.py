"""What would become of a request: said beforehand, and then seen to come true."""

import json

import pytest

from edge.configuration import yaml
from edge.gate import Gate
from edge.process import run, steady
from edge.servers import BlackHole
from edge.waiting import until


TAKE_OVER = "take over a connection of another worker"


def outcomes(explanation):
    return {worker["outcome"] for worker in explanation["state"]["workers"]}


def only(explanation):
    """What every worker would do."""
    (outcome,) = outcomes(explanation)
    return outcome


@pytest.fixture
def two(edge_for, upstream):
    return edge_for(upstream, {"workers": 2})


# What configuration decides.

def test_route_id_and_key(two, upstream):
    found = two.explain("/api/x?id=42&y=1")
    assert found["request"] == {
        "method": "GET", "target": "/api/x?id=42&y=1", "authority": "localhost"}
    assert found["route"]["number"] == 1 and found["route"]["path"] == "/api"
    assert found["route"]["id_source"] == "query parameter 'id'"
    assert found["route"]["upstream"] == f"http://id-{{id}}.apps.test:{upstream.port}"
    assert found["id"] == "42"
    assert found["key"] == {
        "scheme": "http", "host": "id-42.apps.test", "port": upstream.port, "versions": ["1.1"],
        "ca": None, "server_name": None, "verify": True}
    whole = two.explain("https://edge.test:8443/api/x?id=42")
    assert whole["request"]["authority"] == "edge.test:8443"
    assert whole["key"] == found["key"]


REFUSED = [
    ("/nothing?id=1", (), None),
    ("/apiary?id=1", (), None),
    ("/api/x", (), 1),
    ("/api/x?id=007", (), 1),
    ("/api/x?id=1&id=2", (), 1),
    ("/api/x?i%64=1", (), 1),
    ("/api/x?id=-1", (), 1),
    ("/api/x?id=%31", (), 1),
    ("/api/x?id=9223372036854775808", (), 1),
    ("/api/../../x?id=1", (), None),
    ("no-path", (), None),
    ("/api/x?id=1", (("method", "CONNECT"),), None),
    ("/api/x?id=1", (("method", "OPTIONS"), ("field", "Max-Forwards: x")), None),
    ("/api/x?id=1", (("field", "Host: a"), ("field", "Host: b")), None),
    ("/api/x?id=1", (("field", "Content-Length: 1"), ("field", "Content-Length: 2")), None)]


@pytest.mark.parametrize("url, parameters, route", REFUSED)
def test_a_refusal_is_the_one_that_a_client_gets(two, url, parameters, route):
    found = two.explain(url, *parameters)
    assert found["forwarded"] is False and found["state"] is None
    assert (found["route"] or {}).get("number") == route
    method = dict(parameters).get("method", "GET")
    fields = [tuple(value.split(": ")) for name, value in parameters if name == "field"]
    with two.http1() as client:
        host = None if ("Host", "a") in fields else "localhost"
        client.request(method, url, host=host, fields=fields)
        answer = client.read()
    assert answer.status == found["status"], (answer, found)
    assert found["outcome"].split(" ", 1)[1] in answer.body.decode()


@pytest.mark.parametrize("query, mistake", [
    ("", "parameter 'url' is missing"),
    ("url=/api/x?id=1&y=2", "unknown parameter 'y'"),
    ("url=/a%20b", "without spaces"),
    ("url=/a%0d%0aX:1", "only printable ASCII"),
    ("url=/a&method=G%20T", "is no method"),
    ("url=/a&field=x", "a field is 'name: value'"),
    ("url=/a&format=xml", "parameter 'format'")])
def test_what_cannot_be_asked(two, query, mistake):
    status, body = two.ask(f"/explain?{query}")
    assert status == 400 and mistake in body


def test_ids_of_every_source(edge_for, upstream):
    port = upstream.port
    target = f"http://id-{{id}}.apps.test:{port}"
    edge = edge_for(changes={"workers": 2, "limits": {"underscore_fields": "reject"}, "routes": [
        {"path": "/s", "id": {"segment": 2}, "upstream": target},
        {"path": "/f", "id": {"field": "X-Id"}, "upstream": target},
        {"path": "/h", "id": {"host_label": True, "pattern": "[a-z0-9]{1,8}"},
         "upstream": f"https://{{id}}.wild.test:{port}", "tls": {"verify": False}},
        {"path": "/p", "upstream": f"http://id-2.apps.test:{port}"}]})
    assert edge.explain("/s/5/x")["id"] == "5"
    found = edge.explain("/f/x", ("field", "X-Id: 6"), ("field", "Accept: text/html"))
    assert (found["id"], found["route"]["id_source"]) == ("6", "field 'X-Id'")
    assert "the field with the id is missing" in edge.explain("/f/x")["outcome"]
    found = edge.explain("https://Abc.example/h")
    assert found["id"] == "Abc" and found["key"]["host"] == "abc.wild.test"
    assert found["key"]["scheme"] == "https" and found["key"]["verify"] is False
    found = edge.explain("/p/x")
    assert found["id"] is None and found["route"]["id_source"] is None
    assert found["key"]["host"] == "id-2.apps.test"
    assert "underscore" in edge.explain("/s/5", ("field", "a_b: 1"))["outcome"]


# What the state decides, each seen to come true.

def test_resolve_then_dial_then_reuse(two, resolver):
    assert only(two.explain("/api/x?id=3")) == "resolve then dial"
    assert two.curl("/api/hello?id=3").status == 200
    two.settled()

    def quiet():
        found = two.explain("/api/x?id=3")
        return outcomes(found) == {"reuse connection", TAKE_OVER} and found
    found = until(quiet, what="nobody has asked for the host for 20 ms")
    assert found["state"]["in_registry"] is True
    assert found["state"]["name"]["state"] == "fresh"
    used = next(w["worker"] for w in found["state"]["workers"]
                if w["outcome"] == "reuse connection")
    assert [pool["worker"] for pool in found["state"]["pools"]] == [used]
    assert len(found["state"]["pools"][0]["connections"]) == 1

    # Clients come to either worker: one of them has to take the connection over.
    def taken():
        assert two.curl("/api/hello?id=3").status == 200
        until(quiet, what="quiet again")
        return two.metric("edge_upstream_handovers_total") > 0
    until(taken, 20, "the other worker was asked")
    host = two.host("id-3.apps.test")
    assert (host["dials"], host["reused"]) == (1, host["requests"] - 1)


def test_a_dial_where_the_other_worker_has_nothing_at_rest(edge_for, upstream):
    edge = edge_for(upstream, {"workers": 2})
    gate = Gate(upstream)
    with edge.http2() as client:
        stream = client.start(path="/api/gate?id=3")
        until(lambda: gate.waiting == 1)
        assert only(edge.explain("/api/x?id=3")) == "dial"
        assert client.get("/api/hello?id=3").status == 200
        assert edge.host("id-3.apps.test")["dials"] == 2
        gate.open()
        assert client.finish(stream).status == 200


def test_nothing_is_made_sent_asked_or_moved(edge_for, upstream, resolver):
    edge = edge_for(upstream, {"workers": 2, "registry": {"max_hosts": 3}})
    for number in (1, 2, 3):
        assert edge.curl(f"/api/hello?id={number}").status == 200
    edge.settled()
    silent = ("edge_upstream_dials_total", "edge_resolver_queries_total",
              "edge_registry_evictions_total", "edge_registry_hosts", "edge_upstream_connections",
              "edge_requests_total", "edge_upstream_reused_total", "edge_errors_total")

    def state():
        registry = edge.registry()
        idle = {h["host"]: h.pop("idle_for_ms") for h in registry["hosts"]}
        return ({name: edge.metric(name) for name in silent}, registry["hosts"],
                registry["totals"], idle)
    queries = steady(resolver.queries)
    counts, hosts, totals, idle = state()
    received = len(upstream.requests)
    for number in (1, 2, 3, 40, 41, 5000):
        for _ in range(3):
            assert edge.explain(f"/api/x?id={number}")["id"] == str(number)
    later = state()
    assert later[:3] == (counts, hosts, totals)
    assert all(later[3][host] >= idle[host] for host in idle), "nobody counts as used"
    assert (steady(resolver.queries), len(upstream.requests)) == (queries, received)
    full = edge.explain("/api/x?id=40")["state"]
    assert full["in_registry"] is False and full["hosts"] == {"used": 3, "limit": 3}


def test_a_shared_connection(edge_for, upstream):
    edge = edge_for(upstream, {"workers": 2}, versions=["h2c"])
    gate = Gate(upstream)
    with edge.http2() as client:
        stream = client.start(path="/api/gate?id=1")
        until(lambda: gate.waiting == 1)
        assert sorted(outcomes(edge.explain("/api/x?id=1"))) == ["dial", "share HTTP/2 connection"]
        assert client.get("/api/hello?id=1").status == 200
        assert len(upstream.connections) == 1
        gate.open()
        assert client.finish(stream).status == 200


def test_a_host_that_does_not_exist(two):
    assert two.curl("/api/x?id=5000").status == 404
    found = two.explain("/api/x?id=5000")
    assert found["forwarded"] is False
    assert only(found) == "404 the upstream host does not exist"
    assert found["state"]["name"]["state"] == "negative"


def test_a_host_that_is_left_alone_for_a_while(edge_for, upstream):
    edge = edge_for(upstream, {"workers": 2, "upstream": {
        "health": {"consecutive_failures": 3, "open": "30s"}}})
    for _ in range(3):
        assert edge.curl("/api/reset-head?id=1").status == 502
    edge.settled()
    found = edge.explain("/api/x?id=1")
    assert only(found) == "503 the upstream host has failed repeatedly"
    assert found["forwarded"] is False and found["state"]["health"] == "open"
    answer = edge.curl("/api/hello?id=1")
    assert answer.status == 503 and only(found)[4:] in answer.body.decode()


def test_a_place_in_the_queue_and_none(edge_for, upstream):
    edge = edge_for(upstream, {"workers": 2, "upstream": {
        "max_in_flight_per_host": 1, "max_queue_per_host": 2, "queue_timeout": "60s"}})
    gate = Gate(upstream)
    with edge.http2() as client:
        streams = [client.start(path="/api/gate?id=1")]
        until(lambda: gate.waiting == 1)
        found = edge.explain("/api/x?id=1")
        assert only(found) == "wait in queue (1 of 2): the host has its most in flight"
        assert found["forwarded"] is True
        assert found["state"]["in_flight"] == {"used": 1, "limit": 1}
        for place in (2, 3):
            streams.append(client.start(path="/api/hello?id=1"))
            until(lambda: edge.host("id-1.apps.test")["waiting"] == place - 1)
            found = edge.explain("/api/x?id=1")
            assert only(found).startswith("wait in queue (2 of 2)" if place == 2 else "503 ")
        assert found["forwarded"] is False
        assert client.get("/api/hello?id=1").status == 503
        gate.open()
        assert [client.finish(stream).status for stream in streams] == [200] * 3


def test_the_most_connections_of_a_host_and_of_all(edge_for, upstream):
    edge = edge_for(upstream, {"workers": 2, "registry": {"max_connections": 2},
                               "upstream": {"max_connections_per_host": 1,
                                            "queue_timeout": "60s"}})
    gate = Gate(upstream)
    with edge.http2() as client:
        streams = [client.start(path=f"/api/gate?id={n}") for n in (1, 2)]
        until(lambda: gate.waiting == 2)
        assert "the host has its most connections" in only(edge.explain("/api/x?id=1"))
        assert edge.curl("/api/x?id=5000").status == 404
        assert "resolve then dial" == only(edge.explain("/api/x?id=3"))
        third = client.start(path="/api/hello?id=3")
        until(lambda: edge.host("id-3.apps.test")["waiting"] == 1)
        until(lambda: "the process has its most connections" in only(
            edge.explain("/api/x?id=3")))
        gate.open()
        assert [client.finish(s).status for s in [*streams, third]] == [200] * 3


def test_a_dial_under_way(edge_for, keep):
    hole = keep(BlackHole("127.0.0.2"))
    edge = edge_for(None, {"workers": 2, "routes": [
        {"path": "/api", "id": {"query": "id"}, "versions": ["h2c"],
         "upstream": f"http://id-{{id}}.apps.test:{hole.port}"}],
        "upstream": {"dial_timeout": "60s", "queue_timeout": "60s"}})
    with edge.http2() as client:
        stream = client.start(path="/api/x?id=1")
        until(lambda: "wait for the dial under way" in outcomes(edge.explain("/api/x?id=1")))
        # Its next SYN, a second after the first at the soonest, is refused.
        hole.close()
        assert client.finish(stream).status == 502


# The command.

def test_the_command_asks_a_running_proxy(two):
    assert two.curl("/api/hello?id=3").status == 200
    two.settled()
    done = run("explain", "--admin", two.admin, "/api/x?id=3")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("forwarded: ") and "reuse connection" in done.stdout
    assert "id         3, from query parameter 'id'" in done.stdout
    assert "registry   in it, 1 of 10000 hosts" in done.stdout
    done = run("explain", "--admin", two.admin, "--json", "/api/x?id=03")
    assert done.returncode == 3
    assert json.loads(done.stdout)["outcome"] == "400 the id in the query has a leading zero"
    done = run("explain", "--admin", two.admin, "--method", "POST", "--field", "A: b c",
               "/api/x?id=3&%3D=%20")
    assert done.returncode == 0 and "POST /api/x?id=3&%3D=%20 for localhost" in done.stdout


def test_the_command_goes_by_a_file_alone(tmp_path, configuration, upstream):
    file = tmp_path / "edge.yaml"
    file.write_text(yaml(configuration(upstream)))
    done = run("explain", "--config", file, "https://edge.test/api/x?id=12")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("forwarded: route and id are accepted")
    assert f"key        http://id-12.apps.test:{upstream.port}, versions 1.1" in done.stdout
    done = run("explain", "--config", file, "--json", "/nowhere")
    assert done.returncode == 3
    assert json.loads(done.stdout)["outcome"] == "404 no route takes this path"


def test_what_the_command_cannot_do(tmp_path, two):
    assert run("explain", "/x").returncode not in (0, 1, 3)
    assert run("explain", "--config", tmp_path / "none.yaml", "/x").returncode == 1
    assert run("explain", "--admin", "127.0.0.1:1", "/x").returncode == 1
    done = run("explain", "--admin", two.admin, "/a b")
    assert done.returncode == 1 and "without spaces" in done.stderr
