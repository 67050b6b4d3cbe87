"""Names: fully qualified, first-seen, of headless services, and of services with SRV records."""

import collections
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from edge.dns import ScriptedDNS, Zone
from edge.gate import Gate
from edge.servers import refused_port
from edge.waiting import until

from test_registry import at_once

PODS = ["127.0.0.61", "127.0.0.62", "127.0.0.63"]
SEARCH = {"LOCALDOMAIN": "one.test two.test three.test", "RES_OPTIONS": "ndots:5"}
SERVICE = "_http._tcp.id-1.apps.test"


def asking(server, changes=None, **options):
    """A configuration's changes that have `server` asked."""
    return {"resolver": {"servers": [server.address], "search": False, **options},
            **(changes or {})}


@pytest.fixture
def zone_with(keep):
    """Makes name servers: the zone, which may change, and its server."""
    def make(names, ttl=60):
        zone = Zone(names, ttl)
        return zone, keep(ScriptedDNS(zone))
    return make


def shares(upstream, since=0):
    """Requests by the address that they came to."""
    return collections.Counter(r.connection.local[0] for r in list(upstream.requests)[since:])


def told_names(upstream_with, certificates):
    """An upstream with TLS, and the server names that it is told."""
    told, context = [], certificates.upstream.server_context()
    context.sni_callback = lambda _, name, __: told.append(name)
    return upstream_with(["127.0.0.61"], context), told


# Fully qualified names.

@pytest.fixture
def searching(edges, configuration, zone_with, upstream):
    """A proxy with search domains, which make `id-1.apps.test` another host than with a dot."""
    _, server = zone_with({"id-1.apps.test": "127.0.0.2", "id-1.apps.test.two.test": "127.0.0.3"})
    route = {"id": {"query": "id"}, "versions": ["1.1"]}
    made = configuration(changes=asking(server, {"routes": [
        {**route, "path": "/dot", "host": "upstream",
         "upstream": f"http://id-{{id}}.apps.test.:{upstream.port}"},
        {**route, "path": "/bare", "upstream": f"http://id-{{id}}.apps.test:{upstream.port}"},
    ]}, search=True))
    return edges(made, environment=SEARCH), server


def test_a_final_dot_costs_an_unknown_id_one_query_for_each_family(searching):
    edge, server = searching
    assert edge.curl("/dot/hello?id=9").status == 404
    assert sorted(server.queries) == [("id-9.apps.test", "A"), ("id-9.apps.test", "AAAA")]
    assert edge.curl("/bare/hello?id=8").status == 404
    assert len(server.queries) == 2 + 2 * 4, "as it is, and below each of three domains"


def test_with_and_without_the_final_dot_are_two_hosts(searching, upstream):
    edge, _ = searching
    for path, address in [("/dot", "127.0.0.2"), ("/bare", "127.0.0.3")] * 3:
        assert edge.curl(f"{path}/hello?id=1").status == 200
        assert upstream.requests[-1].connection.local[0] == address
    assert {h["host"] for h in edge.registry()["hosts"]} == {"id-1.apps.test.", "id-1.apps.test"}
    assert upstream.requests[-2].host == f"id-1.apps.test:{upstream.port}", "no dot on the wire"


def test_tls_is_told_the_name_without_its_final_dot(
        edges, configuration, zone_with, upstream_with, certificates):
    secure, told = told_names(upstream_with, certificates)
    _, server = zone_with({"id-1.apps.test": "127.0.0.61"})
    edge = edges(configuration(secure, asking(server, search=True), scheme="https",
                               name="id-{id}.apps.test."), environment=SEARCH)
    assert edge.curl("/api/hello?id=1").status == 200, "the certificate is for the bare name"
    assert told == ["id-1.apps.test"]


# First-seen names.

def test_first_seen_names_keep_their_rate_and_known_hosts_do_not_notice(
        edge_for, upstream, zone_with):
    rate = 5
    _, server = zone_with({f"id-{n}.apps.test": f"127.0.0.{n + 1}" for n in (1, 2, 3)}, ttl=0)
    edge = edge_for(upstream, asking(
        server, {"upstream": {"keepalive": "50ms"}}, first_seen_per_second=rate, min_ttl="0s",
        negative_ttl="60s"))
    for number in (1, 2, 3):
        assert edge.curl(f"/api/hello?id={number}").status == 200
    began = time.monotonic()
    with ThreadPoolExecutor(1) as scan:
        scanned = scan.submit(at_once, edge, [f"/api/x?id={n}" for n in range(5000, 5600)])
        known = []
        while not scanned.done():
            known.append(edge.curl(f"/api/hello?id={len(known) % 3 + 1}").status)
    took = time.monotonic() - began
    statuses = collections.Counter(scanned.result())
    assert set(statuses) == {404, 503} and statuses[503] > 200, statuses
    assert set(known) == {200}, "their answers have expired, again and again"
    asked = {name for name, _ in server.queries if name.startswith("id-5")}
    assert statuses[404] == len(asked) <= rate * (5 + took) + 1
    refused = edge.curl("/api/x?id=7000")
    if refused.status == 503:
        assert refused.get("retry-after") == "1"
        assert "destination_unavailable" in refused.get("proxy-status")
    line = edge.access_log(1, where=lambda line: line["status"] == 503)[0]
    assert line["error"] == "name_rate"
    assert edge.metric("edge_errors_total", reason="name_rate") >= statuses[503]
    again = at_once(edge, [f"/api/x?id={name[3:7]}" for name in sorted(asked)][:50])
    assert set(again) == {404}, "what is known not to exist costs no turn"


def test_a_short_line_of_first_seen_names_waits_for_its_turn(edge_for, upstream, zone_with):
    _, server = zone_with({})
    edge = edge_for(upstream, asking(server, first_seen_per_second=10))
    paths = [f"/api/x?id={n}" for n in range(5000, 5060)]
    assert at_once(edge, paths) == [404] * 60, "fifty at once, and ten within a second"
    edge.settled()


def test_without_a_limit_every_name_is_asked_for(edge_for, upstream, zone_with):
    _, server = zone_with({})
    edge = edge_for(upstream, asking(server, first_seen_per_second=0))
    paths = [f"/api/x?id={n}" for n in range(5000, 5400)]
    assert at_once(edge, paths) == [404] * 400


def test_waiters_of_all_hosts_and_workers_are_bounded(edge_for, upstream):
    edge = edge_for(upstream, {"registry": {"max_waiting": 5}, "upstream": {
        "max_in_flight_per_host": 1, "max_connections_per_host": 1}})
    for number in (1, 2, 3):
        edge.curl(f"/api/hello?id={number}")
    gate = Gate(upstream)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(at_once, edge, [f"/api/gate?id={n % 3 + 1}" for n in range(30)])
        until(lambda: edge.metric("edge_errors_total", reason="queue_full") >= 22, 8,
              "all but three in flight and five that wait are refused")
        gate.open()
        statuses = collections.Counter(asked.result())
    assert set(statuses) == {200, 503} and statuses[200] <= 8, statuses
    line = edge.access_log(1, where=lambda line: line["status"] == 503)[0]
    assert line["error"] == "queue_full"
    edge.settled()
    assert at_once(edge, [f"/api/hello?id={n}" for n in (1, 2, 3)]) == [200] * 3


# Headless services.

@pytest.fixture
def pods(upstream_with):
    return upstream_with(PODS)


def test_one_client_after_the_other_meets_every_pod(edge_for, pods, zone_with):
    _, server = zone_with({"id-1.apps.test": PODS})
    edge = edge_for(pods, asking(server))
    with edge.http1() as client:
        assert client.get("/api/hello?id=1").status == 200
        assert len(pods.connections) == 1, "a host that is asked once has one connection"
        for _ in range(239):
            assert client.get("/api/hello?id=1").status == 200
    counts = shares(pods)
    assert set(counts) == set(PODS) and min(counts.values()) >= 60, counts
    assert len(pods.connections) <= 3, "one for each pod"


@pytest.mark.parametrize("versions", [["1.1"], ["h2c"]])
def test_load_is_spread_over_all_pods(edge_for, pods, zone_with, versions):
    _, server = zone_with({"id-1.apps.test": PODS})
    edge = edge_for(pods, asking(server), versions=versions)
    for _ in range(5):
        assert at_once(edge, ["/api/delay?id=1&ms=20"] * 60) == [200] * 60
    counts = shares(pods)
    assert set(counts) == set(PODS) and min(counts.values()) >= 50, counts
    if versions == ["h2c"]:
        assert len(pods.connections) <= 2 * 3, "a worker needs one for each pod"


@pytest.mark.parametrize("versions", [["1.1"], ["h2c"]])
def test_a_pod_that_is_gone_costs_nobody_an_answer(edge_for, upstream_with, zone_with, versions):
    living = upstream_with(PODS[:2])
    _, server = zone_with({"id-1.apps.test": PODS})
    edge = edge_for(living, asking(server), versions=versions)
    for _ in range(10):
        assert at_once(edge, ["/api/hello?id=1"] * 20) == [200] * 20
    assert set(shares(living)) == set(PODS[:2])
    # Each worker tries it now and then, and several requests at once before the first has failed.
    failed = edge.metric("edge_upstream_dial_failures_total")
    assert failed <= 40, "of 200 requests: it is passed over for a while"


@pytest.mark.parametrize("versions", [["1.1"], ["h2c"]])
def test_an_answer_that_expires_moves_a_host_in_use(edge_for, pods, zone_with, versions):
    zone, server = zone_with({"id-1.apps.test": PODS[:2]}, ttl=1)
    edge = edge_for(pods, asking(server), versions=versions)
    gate = Gate(pods)
    with edge.http2() as client:
        running = client.start(path="/api/gate?id=1")
        until(lambda: pods.requests, 20)
        old = pods.requests[0].connection
        zone.names["id-1.apps.test"] = [PODS[2]]

        def moved():
            since = len(pods.requests)
            assert set(at_once(edge, ["/api/hello?id=1"] * 20, http2=False)) == {200}
            return set(shares(pods, since)) == {PODS[2]}
        until(moved, 30, "only the new pod gets requests")
        assert not old.closed, "what runs on it is finished"
        gate.open()
        assert client.finish(running).status == 200

    def left():
        # A worker looks at the addresses of a host when it is asked for it.
        assert set(at_once(edge, ["/api/hello?id=1"] * 20, http2=False)) == {200}
        return {c.local[0] for c in pods.connections if not c.closed} == {PODS[2]}
    until(left, what="connections to pods that are gone are closed")


def test_a_host_whose_servers_fail_keeps_what_it_has(edge_for, pods, zone_with):
    zone, server = zone_with({"id-1.apps.test": PODS[0]}, ttl=1)
    edge = edge_for(pods, asking(server, stale="0s", attempts=1))
    with edge.http1() as client:
        assert client.get("/api/hello?id=1").status == 200
        zone.failing, before = True, len(server.queries)

        def asked_again():
            assert client.get("/api/hello?id=1").status == 200
            return len(server.queries) > before + 4
        until(asked_again, 20, "asked again and again", every=0.1)
        assert len(pods.connections) == 1
        zone.failing = False
        del zone.names["id-1.apps.test"]
        until(lambda: client.get("/api/hello?id=1").status == 404, what="a verdict is a verdict",
              every=0.1)
    until(lambda: not pods.open_connections)


# Services with SRV records.

@pytest.fixture
def service_for(edges, configuration):
    """Starts a proxy whose ids are services."""
    def make(server, scheme="srv+http", changes=None, certificates=None, **route):
        first = {"path": "/api", "id": {"query": "id"},
                 "upstream": f"{scheme}://_http._tcp.id-{{id}}.apps.test", **route}
        return edges(configuration(changes=asking(server, {"routes": [first], **(changes or {})})))
    return make


def test_a_service_says_its_ports_and_weights(service_for, upstream_with, zone_with):
    heavy, light = upstream_with(["127.0.0.61"]), upstream_with(["127.0.0.62"])
    _, server = zone_with({
        SERVICE: [("a.test", heavy.port, 0, 3), ("b.test", light.port, 0, 1)],
        "a.test": "127.0.0.61", "b.test": "127.0.0.62"})
    edge = service_for(server, changes={"workers": 1}, host="upstream")
    with edge.http1() as client:
        for _ in range(400):
            assert client.get("/api/hello?id=1").status == 200
    assert 240 <= len(heavy.requests) <= 340, len(heavy.requests)
    assert len(heavy.requests) + len(light.requests) == 400
    assert heavy.requests[0].host == "id-1.apps.test", "the labels of the kind are no host"
    host = edge.registry()["hosts"][0]
    assert (host["scheme"], host["host"]) == ("srv+http", SERVICE)


def test_a_later_priority_serves_only_while_the_first_cannot(
        service_for, upstream_with, zone_with):
    port, held = refused_port("127.0.0.61")
    later = upstream_with(["127.0.0.62"])
    _, server = zone_with({
        SERVICE: [("b.test", later.port, 20, 0), ("a.test", port, 10, 0)],
        "a.test": "127.0.0.61", "b.test": "127.0.0.62"})
    edge = service_for(server, changes={"workers": 1})
    for _ in range(10):
        assert edge.curl("/api/hello?id=1").status == 200
    assert len(later.requests) == 10
    held.close()
    first = upstream_with(["127.0.0.61"], port=port)

    def returned():
        before = len(later.requests)
        assert set(at_once(edge, ["/api/hello?id=1"] * 10)) == {200}
        return first.requests and len(later.requests) == before
    until(returned, 30, "the first priority serves again", every=0.2)
    until(lambda: not later.open_connections, what="connections of the later one are closed")


@pytest.mark.parametrize("records, status", [
    ([(".", 0, 0, 0)], 404), ([], 404), (None, 404), ([("gone.test", 80, 0, 0)], 404)])
def test_a_service_that_is_not_there_is_404(service_for, zone_with, records, status):
    _, server = zone_with({} if records is None else {SERVICE: records})
    edge = service_for(server)
    for _ in range(3):
        assert edge.curl("/api/hello?id=1").status == status
    assert server.asked(SERVICE, "SRV") <= 2, "a verdict is believed"


def test_a_service_whose_servers_fail_is_502(service_for, zone_with):
    zone, server = zone_with({})
    zone.failing = True
    assert service_for(server).curl("/api/hello?id=1").status == 502


def test_a_service_that_moves_is_followed(service_for, upstream_with, zone_with):
    old, new = upstream_with(["127.0.0.61"]), upstream_with(["127.0.0.61"])
    zone, server = zone_with(
        {SERVICE: [("a.test", old.port, 0, 0)], "a.test": "127.0.0.61"}, ttl=1)
    edge = service_for(server)
    with edge.http1() as client:
        assert client.get("/api/hello?id=1").status == 200
        zone.names[SERVICE] = [("a.test", new.port, 0, 0)]

        def moved():
            assert client.get("/api/hello?id=1").status == 200
            return new.requests
        until(moved, what="the new port, over a kept client connection", every=0.1)
    until(lambda: not old.open_connections)


def test_tls_verifies_the_name_that_was_asked_for(
        service_for, upstream_with, zone_with, certificates):
    secure, told = told_names(upstream_with, certificates)
    _, server = zone_with({SERVICE: [("pod.elsewhere.test", secure.port, 0, 0)],
                           "pod.elsewhere.test": "127.0.0.61"})
    edge = service_for(server, "srv+https", tls={"ca": str(certificates.authority.certificate)})
    assert edge.curl("/api/hello?id=1").status == 200
    assert told == ["id-1.apps.test"], "neither the target nor the labels of the kind"
