"""Looking into the registry: pages of it, one id of it, and what would become of a request."""

import json

import pytest

from edge.clients import h2load
from edge.gate import Gate
from edge.process import run
from edge.waiting import until

HUNDREDS = 300


@pytest.fixture
def wild(upstream_with):
    """One upstream for every id there is."""
    return upstream_with(["127.0.0.1"])


@pytest.fixture
def many(edge_for, wild, tmp_path):
    """A proxy of two workers that has served several hundred ids, each of them four times."""
    edge = edge_for(wild, {"workers": 2}, name="id-{id}.wild.test")
    uris = tmp_path / "uris"
    uris.write_text("".join(f"https://127.0.0.1:{edge.port}/api/hello?id={n}\n"
                            for n in range(1, HUNDREDS + 1)))
    # Each of the four clients goes through the whole list.
    assert h2load(None, 4 * HUNDREDS, 4, 4, uris).by_class[2] == 4 * HUNDREDS
    edge.settled()
    return edge


def pages(edge, first):
    """Every page from this one on."""
    while first:
        status, body = edge.ask(first)
        assert status == 200, body
        page = json.loads(body)
        yield page
        first = page["next"]


def names(found):
    return [host["host"] for page in found for host in page["hosts"]]


def text(edge, path, status=200):
    found, body = edge.ask(path)
    assert found == status, body
    return body


# Pages.

def test_the_registry_comes_in_pages(many):
    everyone = {f"id-{n}.wild.test" for n in range(1, HUNDREDS + 1)}
    found = list(pages(many, "/registry"))
    assert [len(page["hosts"]) for page in found] == [100, 100, 100]
    assert sorted(names(found)) == sorted(everyone)
    assert all(page["totals"]["hosts"] == HUNDREDS and page["ledger"] for page in found)
    found = list(pages(many, "/registry?limit=7"))
    assert {len(page["hosts"]) for page in found[:-1]} == {7}
    assert names(found) == names(pages(many, "/registry?limit=1000")), "the order is the same"
    assert len(text(many, "/registry?limit=1")) < 4000
    assert json.loads(text(many, "/registry?after=100000"))["hosts"] == []


def test_the_pages_of_a_host_prefix_hold_it_only(many):
    wanted = {f"id-{n}.wild.test" for n in range(1, HUNDREDS + 1) if str(n).startswith("12")}
    found = list(pages(many, "/registry?limit=5&host=ID-12"))
    assert len(found) >= 3
    assert sorted(names(found)) == sorted(wanted)
    assert names(pages(many, "/registry?host=nobody")) == []


def test_an_id_is_found_exactly(many):
    page = json.loads(text(many, "/registry?id=12"))
    assert names([page]) == ["id-12.wild.test"] and page["next"] is None
    assert page["totals"]["hosts"] == HUNDREDS
    assert json.loads(text(many, "/registry?id=100000"))["hosts"] == []


def test_inspect_shows_every_page(edge_for, wild, tmp_path):
    edge = edge_for(wild, {"workers": 2}, name="id-{id}.wild.test")
    uris = tmp_path / "uris"
    uris.write_text("".join(f"https://127.0.0.1:{edge.port}/api/hello?id={n}\n"
                            for n in range(1, 1201)))
    assert h2load(None, 1200, 1, 4, uris).by_class[2] == 1200
    edge.settled()
    done = run("inspect", "--admin", edge.admin)
    assert done.returncode == 0, done.stderr
    lines = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("id-")]
    assert sorted(lines) == sorted(f"id-{n}.wild.test" for n in range(1, 1201))
    done = run("inspect", "--admin", edge.admin, "--json")
    decoder, place, hosts = json.JSONDecoder(), 0, []
    while place < len(done.stdout):
        page, place = decoder.raw_decode(done.stdout, place)
        place += len("\n")
        hosts += page["hosts"]
    assert len(hosts) == 1200


def test_hosts_that_go_do_not_move_those_that_stay(edge_for, wild):
    edge = edge_for(wild, {"workers": 2, "registry": {"max_hosts": 20}},
                    name="id-{id}.wild.test")
    for number in range(1, 21):
        assert edge.curl(f"/api/hello?id={number}").status == 200
    reader = pages(edge, "/registry?limit=5")
    seen = names([next(reader)])
    before = set(names(pages(edge, "/registry")))
    for number in range(100, 105):
        assert edge.curl(f"/api/hello?id={number}").status == 200
    stayed = before & set(names(pages(edge, "/registry")))
    assert 15 <= len(stayed) < 20
    seen += names(reader)
    assert len(seen) == len(set(seen)) and stayed <= set(seen)


@pytest.mark.parametrize("query, mistake", [
    ("limit=0", "parameter 'limit': expected a whole number from 1 to 1000"),
    ("limit=1001", "parameter 'limit': expected a whole number from 1 to 1000"),
    ("after=-1", "parameter 'after'"),
    ("after=99999999999999999999", "parameter 'after'"),
    ("pages=2", "unknown parameter 'pages'; this page has 'after', 'limit', 'host', 'id'"),
    ("limit=5&limit=6", "parameter 'limit' is given more than once"),
    ("host=a%20b", "parameter 'host': no host's name starts so"),
    ("host=%zz", "parameter 'host': broken percent-encoding"),
    ("host=%0d%0aset-cookie:x", "parameter 'host': only printable ASCII is expected"),
    ("id=007", "the id in the query has a leading zero"),
    ("id=", "the id in the query is empty"),
    ("id=1&limit=5", "parameter 'limit' does not go together with 'id'")])
def test_what_is_wrong_with_a_query_is_said(edge_for, upstream, query, mistake):
    edge = edge_for(upstream)
    assert mistake in text(edge, f"/registry?{query}", 400)
    assert edge.ask("/healthz") == (200, "ok\n")


# One id.

def test_everything_about_one_id(edge_for, upstream):
    edge = edge_for(upstream, {"workers": 2})
    # Connections of clients go to either worker: go on until both have asked.
    def seen_by_both():
        assert edge.curl("/api/hello?id=1").status == 200
        found = json.loads(text(edge, "/registry/1"))["hosts"][0]
        return len(found["workers"]) == 2 and found
    host = until(seen_by_both, 20, "both workers have a pool for the host")
    assert json.loads(text(edge, "/registry/1"))["id"] == "1"
    assert (host["host"], host["port"], host["scheme"]) == (
        "id-1.apps.test", upstream.port, "http")
    assert host["in_registry"] is True and host["ca"] is None and host["verify"] is True
    assert host["name"]["state"] == "fresh" and host["name"]["addresses"] == ["127.0.0.2"]
    assert 0 <= host["name"]["age_ms"] and 0 < host["name"]["time_left_ms"] <= 60_000
    assert sorted(pool["worker"] for pool in host["workers"]) == [0, 1]
    connections = [c for pool in host["workers"] for c in pool["connections"]]
    assert len(connections) == host["connections"] == len(upstream.open_connections)
    assert sum(c["served"] for c in connections) == host["requests"]
    for connection in connections:
        assert connection["protocol"] == "h1" and connection["phase"] == "ready"
        assert connection["address"] == f"127.0.0.2:{upstream.port}"
        assert connection["age_ms"] >= connection["idle_ms"] >= 0
        assert connection["streams"] == 0 and connection["stream_limit"] is None
        assert connection["draining"] is False


def test_streams_and_waiters_of_one_id(edge_for, upstream):
    edge = edge_for(upstream, {"workers": 2, "upstream": {"max_in_flight_per_host": 3}},
                    versions=["h2c"])
    gate = Gate(upstream)
    with edge.http2() as client:
        streams = [client.start(path="/api/gate?id=1") for _ in range(5)]

        def settled():
            host = json.loads(text(edge, "/registry/1"))["hosts"][0]
            # The workers were asked a moment before the host's record was read.
            waiting = [pool["waiting"] for pool in host["workers"]]
            return host["in_flight"] == 3 and host["waiting"] == 2 and waiting == [2] and host
        host = until(settled, what="three in flight and two that wait")
        (connection,) = host["workers"][0]["connections"]
        assert connection["protocol"] == "h2" and connection["streams"] == 3
        assert connection["stream_limit"] >= 3 and connection["idle_ms"] is None
        gate.open()
        assert [client.finish(stream).status for stream in streams] == [200] * 5


def test_a_failed_dial_is_kept(edge_for, upstream):
    edge = edge_for(upstream, {"workers": 2})
    assert edge.curl("/api/hello?id=50").status == 502
    (host,) = json.loads(text(edge, "/registry/50"))["hosts"]
    assert [pool["last_dial_failure"] for pool in host["workers"]] == ["connection_refused"]
    assert host["failures"] >= 1 and host["connections"] == 0


def test_one_id_may_stand_for_several_hosts(edge_for, upstream):
    port = upstream.port
    edge = edge_for(changes={"workers": 2, "routes": [
        {"path": "/a", "id": {"query": "id"}, "upstream": f"http://id-{{id}}.apps.test:{port}"},
        {"path": "/b", "id": {"query": "id"}, "upstream": f"http://id-{{id}}.apps.test:{port}",
         "versions": ["h2c"]},
        {"path": "/c", "id": {"query": "id", "pattern": "[a-z]{1,5}"},
         "upstream": f"http://{{id}}.wild.test:{port}"},
        {"path": "/d", "upstream": f"http://id-2.apps.test:{port}"}]})
    for path in ("/a", "/b", "/d"):
        assert edge.curl(f"{path}/hello?id=1").status == 200
    hosts = json.loads(text(edge, "/registry/1"))["hosts"]
    assert sorted(host["versions"] for host in hosts) == [["1.1"], ["h2c"]]
    assert text(edge, "/registry/abc", 404) == "no host client of id 'abc'\n"
    assert "no host client" in text(edge, "/registry/77", 404)
    for bad in ("007", "-1", "1x", "abcdef", "%31", "", "1/2"):
        assert text(edge, f"/registry/{bad}", 400).startswith("400 the id in the path")
    assert "no parameters" in text(edge, "/registry/1?x=1", 400)


def test_a_host_of_an_earlier_configuration_is_seen_to_its_end(edge_for, upstream):
    edge = edge_for(upstream, {"workers": 2})

    def hosts():
        return {host["versions"][0]: host["in_registry"]
                for host in json.loads(text(edge, "/registry/1"))["hosts"]}
    gate = Gate(upstream)
    with edge.http2() as client:
        stream = client.start(path="/api/gate?id=1")
        until(lambda: gate.waiting == 1, 20)
        assert hosts() == {"1.1": True}
        edge.write({**edge.configuration, "routes": [
            {**edge.configuration["routes"][0], "versions": ["h2c"]}]})
        edge.reload()
        assert edge.curl("/api/hello?id=1").status == 200
        until(lambda: hosts() == {"1.1": False, "h2c": True}, 20)
        gate.open()
        assert client.finish(stream).status == 200
    until(lambda: hosts() == {"h2c": True})
