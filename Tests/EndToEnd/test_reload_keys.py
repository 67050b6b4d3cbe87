"""A reload that changes what a key consists of: the new one serves, the old one drains and goes."""

import threading

import pytest

from edge.configuration import merged
from edge.gate import Gate
from edge.waiting import until


@pytest.fixture
def secure(upstream_with, certificates):
    """An https service for ids 1 to 3."""
    return upstream_with([f"127.0.0.{n}" for n in (2, 3, 4)],
                         certificates.upstream.server_context())


@pytest.fixture
def world(secure, upstream_with, certificates, tmp_path):
    """What the changes need: the service, another port of it, a plain one, and files."""
    class World:
        service = secure
        addresses = secure.addresses
        ca = tmp_path / "ca.pem"
        copy = tmp_path / "copy.pem"
        stranger = certificates.stranger.certificate
    World.ca.write_bytes(certificates.authority.certificate.read_bytes())
    World.copy.write_bytes(World.ca.read_bytes())
    World.other = upstream_with(World.addresses, certificates.upstream.server_context())
    World.plain = upstream_with(World.addresses)
    return World


def url(scheme, port):
    return f"{scheme}://id-{{id}}.apps.test:{port}"


def ca_content(world, route):
    world.ca.write_bytes(world.ca.read_bytes() + world.stranger.read_bytes())
    return route, world.service


def ca_path(world, route):
    return merged(route, {"tls": {"ca": str(world.copy)}}), world.service


def server_name(world, route):
    return merged(route, {"tls": {"server_name": "localhost"}}), world.service


def verify(world, route):
    return merged(route, {"tls": {"verify": False}}), world.service


def versions(world, route):
    mine = route.get("versions")
    return merged(route, {"versions": ["2", "1.1"] if mine == ["1.1"] else ["1.1"]}), world.service


def port(world, route):
    return merged(route, {"upstream": url("https", world.other.port)}), world.other


def scheme(world, route):
    return merged(route, {"upstream": url("http", world.plain.port), "tls": None}), world.plain


CHANGES = [ca_content, ca_path, server_name, verify, versions, port, scheme]


def started(edge_for, world, versions):
    """A proxy in front of the service whose two workers have connections to id 1 at rest."""
    edge = edge_for(world.service, scheme="https",
                    route={"versions": versions, "tls": {"ca": str(world.ca)}})
    for _ in range(6):
        assert edge.curl("/api/hello?id=1").status == 200
    return edge


def objects(edge, kind):
    return edge.metric("edge_objects", kind=kind)


def only_one_key_is_left(edge, hosts=1):
    """Whether nothing of former configurations lives."""
    return (objects(edge, "identity"), objects(edge, "snapshot"), objects(edge, "host_client"),
            len(edge.registry()["hosts"])) == (1, 1, hosts, hosts)


def serves_anew(edge, service, old, turns=4):
    """New requests, over new client connections and those that were there, meet no old one."""
    seen = len(service.requests)
    for _ in range(turns):
        assert edge.curl("/api/hello?id=1").status == 200
    assert len(service.requests) - seen == turns
    assert not {request.connection for request in service.requests[seen:]} & set(old)


@pytest.mark.parametrize("version", [["1.1"], ["2", "1.1"]], ids=["h1", "h2"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_key_serves_at_once_and_the_old_one_drains(edge_for, world, version, change):
    edge = started(edge_for, world, version)
    gate = Gate(world.service)
    before = edge.configuration
    with edge.http2() as client:
        stream = client.start(path="/api/gate?id=1")
        until(lambda: gate.waiting == 1, what="the exchange is under way")
        busy = world.service.requests[-1].connection
        old = list(world.service.connections)
        route, service = change(world, edge.configuration["routes"][0])
        edge.write(merged(edge.configuration, {"routes": [route]}))
        edge.reload()
        until(lambda: set(world.service.open_connections) & set(old) == {busy},
              what="what rests of the old key is closed long before keepalive")
        assert client.get("/api/hello?id=1").status == 200
        serves_anew(edge, service, old)
        assert busy.requests == sum(r.connection is busy for r in world.service.requests)
        hosts = edge.registry()["hosts"]
        assert [(host["host"], host["port"]) for host in hosts] == [("id-1.apps.test",
                                                                     service.port)]
        assert not client.streams[stream].complete
        gate.open()
        assert client.finish(stream).body == b"/api/gate?id=1"
        until(lambda: busy.closed, what="the old connection closes with its last exchange")
    until(lambda: only_one_key_is_left(edge))
    if change is not ca_content:
        comes_back(edge, world, before, service, old)
    assert edge.registry()["drift"] is False


def comes_back(edge, world, before, replaced, old):
    """The first key again: as new as any other, and now the second one leaves."""
    second = list(replaced.connections)
    edge.write(before)
    edge.reload()
    serves_anew(edge, world.service, old + second)
    until(lambda: not set(replaced.open_connections) & set(second), what="the second key leaves")
    until(lambda: only_one_key_is_left(edge))


def test_a_key_that_stays_keeps_its_connections(edge_for, world):
    edge = started(edge_for, world, ["1.1"])
    old = list(world.service.connections)
    more = {"path": "/more", "upstream": f"http://127.0.0.2:{world.plain.port}"}
    edge.write(merged(edge.configuration, {"routes": [*edge.configuration["routes"], more]}))
    edge.reload()
    assert edge.curl("/more/hello").status == 200
    for _ in range(4):
        assert edge.curl("/api/hello?id=1").status == 200
    # Requests close behind each other may have given the other worker one of its own.
    assert world.service.open_connections[:len(old)] == old and objects(edge, "identity") == 2


@pytest.mark.parametrize("shares", [False, True], ids=["its own key", "a key of others"])
def test_a_removed_route_takes_its_hosts_along(edge_for, upstream, shares):
    port = upstream.port
    stays = {"path": "/stays", "upstream": f"http://id-3.apps.test:{port}"}
    goes = {"path": "/api", "id": {"query": "id"}, "upstream": f"http://id-{{id}}.apps.test:{port}",
            "versions": ["1.1"] if shares else ["h2c"]}
    edge = edge_for(changes={"routes": [stays | {"versions": ["1.1"]}, goes]})
    gate = Gate(upstream)
    for n in (1, 2):
        assert edge.curl(f"/api/hello?id={n}").status == 200
    assert edge.curl("/stays/hello").status == 200
    kept = upstream.requests[-1].connection
    with edge.http2() as client:
        stream = client.start(path="/api/gate?id=1")
        until(lambda: gate.waiting == 1)
        busy = upstream.requests[-1].connection
        edge.write(merged(edge.configuration, {"routes": [stays | {"versions": ["1.1"]}]}))
        edge.reload()
        until(lambda: set(upstream.open_connections) == {kept, busy}, what="what rests is closed")
        assert [host["host"] for host in edge.registry()["hosts"]] == ["id-3.apps.test"]
        assert client.get("/api/hello?id=1").status == 404
        gate.open()
        assert client.finish(stream).status == 200
    until(lambda: upstream.open_connections == [kept])
    until(lambda: only_one_key_is_left(edge))


def test_who_waits_for_a_connection_of_the_old_key_gets_one(edge_for, upstream):
    """On both workers, of which only one has the single connection that the host may have."""
    edge = edge_for(upstream, {"upstream": {"max_connections_per_host": 1}}, versions=["1.1"])
    gate = Gate(upstream)
    answers = []

    def ask():
        with edge.http1() as client:
            answers.append(client.get("/api/gate?id=1").status)
    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    until(lambda: edge.ledger()["waiter"]["live"] == 11)
    changed = edge.configuration["routes"][0] | {"versions": ["1.1", "h2c"]}
    edge.write(merged(edge.configuration, {"routes": [changed]}))
    edge.reload()
    gate.open()
    for thread in threads:
        thread.join(9)
    assert answers == [200] * 12, "none waited to the end of queue_timeout"
    until(lambda: not upstream.open_connections)


def test_a_tunnel_over_the_old_key_goes_on(edge_for, upstream):
    edge = edge_for(upstream, versions=["1.1"])
    with edge.http1() as client:
        client.request("GET", "/api/websocket?id=1", fields=[
            ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")])
        assert client.read().status == 101
        changed = edge.configuration["routes"][0] | {"versions": ["1.1", "h2c"]}
        edge.write(merged(edge.configuration, {"routes": [changed]}))
        edge.reload()
        for word in (b"abc", b"xyz"):
            client.send(b"\x81\x83\x00\x00\x00\x00" + word)
            until(lambda: len(client.buffer) >= 5 or not client.more())
            assert bytes(client.buffer) == b"\x81\x03" + word
            client.buffer.clear()
    until(lambda: not upstream.open_connections)
    until(lambda: objects(edge, "identity") == 1)


def test_keys_that_change_with_each_reload_leave_nothing(edge_for, upstream, world):
    edge = edge_for(upstream)
    route = {"path": "/keys", "id": {"query": "id"},
             "upstream": url("https", world.service.port),
             "tls": {"ca": str(world.ca), "server_name": "name-0.apps.test"}}
    base = edge.configuration
    for turn in range(40):
        name = {"tls": {"server_name": f"name-{turn}.apps.test"}}
        edge.write(merged(base, {"routes": [*base["routes"], merged(route, name)]}))
        edge.reload()
        assert edge.curl("/keys/hello?id=1").status == 200
        until(lambda: objects(edge, "identity") == 2, what="the last key has gone")
    until(lambda: objects(edge, "client_context") == 1 and objects(edge, "snapshot") == 1)
    edge.write(base)
    edge.reload()
    until(lambda: objects(edge, "client_context") == 0)
    until(lambda: objects(edge, "host_client") == 0)


def test_keys_of_a_configuration_that_was_refused_leave_nothing(edge_for, upstream, world):
    edge = edge_for(upstream)
    base = edge.configuration
    for turn in range(5):
        good = {"path": "/good", "upstream": f"https://localhost:{7000 + turn}"}
        bad = {"path": "/bad", "upstream": "https://localhost:9", "tls": {"ca": "missing.pem"}}
        edge.write(merged(base, {"routes": [*base["routes"], good, bad]}))
        edge.reload(result="failure")
    until(lambda: objects(edge, "identity") == 1 and objects(edge, "client_context") == 0)
    assert edge.curl("/api/hello?id=1").status == 200
