"""A hundred reloads while 1 000 exchanges, 100 tunnels and 100 streams run: none is touched."""

import pytest

from edge.configuration import merged
from edge.gate import Gate
from edge.waiting import until

RELOADS = 100


class Tunnels:
    """WebSockets, each on a connection of its own, whose service says every message again."""

    def __init__(self, edge, keep, count):
        self.clients = []
        for number in range(count):
            client = keep(edge.http1())
            client.request("GET", f"/api/websocket?id={number % 12 + 1}", fields=[
                ("Connection", "Upgrade"), ("Upgrade", "websocket"),
                ("Sec-WebSocket-Version", "13"),
                ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")])
            self.clients.append(client)
        for client in self.clients:
            assert client.read().status == 101

    def talk(self, turn):
        """Every tenth tunnel, in turn: a message there and back."""
        chosen = list(enumerate(self.clients))[turn % 10::10]
        said = {number: b"%04d-%03d" % (number, turn) for number, _ in chosen}
        for number, client in chosen:
            client.send(b"\x82\x88\x00\x00\x00\x00" + said[number])
        for number, client in chosen:
            while len(client.buffer) < 10:
                assert client.more(), f"tunnel {number} was cut in turn {turn}"
            assert bytes(client.buffer) == b"\x82\x08" + said[number]
            client.buffer.clear()


class Streams:
    """Long bidirectional streams on a few connections, whose service says every piece again."""

    def __init__(self, edge, keep, count, connections=2):
        self.clients = [keep(edge.http2()) for _ in range(connections)]
        self.streams = []
        for number in range(count):
            client = self.clients[number % connections]
            stream = client.start("POST", f"/h2/duplex?id={number % 12 + 1}", end=False,
                                  fields=[("content-type", "application/grpc"),
                                          ("te", "trailers")])
            self.streams.append((client, stream, bytearray()))
        self.talk_to(self.streams, b"begin")

    def talk(self, turn):
        self.talk_to(self.streams[turn % 10::10], b"piece %03d" % turn)

    def talk_to(self, chosen, piece):
        for number, (client, stream, said) in enumerate(chosen):
            client.send(stream, b"%s for %d\n" % (piece, number))
            said += b"%s for %d\n" % (piece, number)
        for client, stream, said in chosen:
            response = client.streams[stream]
            client.until(lambda: len(response.body) >= len(said) or response.error is not None
                         or response.complete, what=f"stream {stream} goes on")
            assert response.body == said and response.status == 200 and not response.complete

    def finish(self):
        for client, stream, said in self.streams:
            client.send(stream, b"", end=True)
            response = client.finish(stream)
            assert response.complete and response.body == said


def exchanges(edge, keep, gate, count, connections=5):
    """Requests whose answers are held back, half to HTTP/1.1 hosts and half to h2c ones."""
    clients = [keep(edge.http2()) for _ in range(connections)]
    begun = []
    for number in range(count):
        client = clients[number % connections]
        path = f"/{'api' if number % 2 else 'h2'}/gate?id={number // 2 % 12 + 1}&n={number}"
        begun.append((client, client.start(path=path), path.encode()))
    until(lambda: gate.waiting == count, 60, lambda: f"{gate.waiting} of {count} arrived")
    return begun


class Configurations:
    """What changes with every reload: the certificate, and a route whose key is always new."""

    def __init__(self, edge, certificates):
        self.edge, self.base = edge, edge.configuration
        self.certificates = [certificates.renewed, certificates.ecdsa]

    def reload(self, turn):
        listener = merged(self.base["listeners"][0], {
            "tls": {"certificates": [self.certificates[turn % 2].options]}})
        extra = {"path": "/extra", "upstream": f"http://localhost:{20_000 + turn}"}
        self.edge.write(merged(self.base, {
            "listeners": [listener], "routes": [*self.base["routes"], extra]}))
        self.edge.reload()


def objects(edge):
    return {dict(labels)["kind"]: int(value) for (name, labels), value in edge.metrics().items()
            if name == "edge_objects"}


@pytest.mark.timeout(400)
def test_a_hundred_reloads_touch_nothing_that_runs(edge_for, upstream, certificates, keep):
    port = upstream.port
    edge = edge_for(upstream, {
        "limits": {"max_streams": 400},
        # A service in this process may be late with all of them.
        "upstream": {"response_timeout": "170s", "idle_timeout": "170s", "dial_timeout": "60s"},
        "routes": [
            {"path": "/api", "id": {"query": "id"}, "versions": ["1.1"],
             "upstream": f"http://id-{{id}}.apps.test:{port}"},
            {"path": "/h2", "id": {"query": "id"}, "versions": ["h2c"],
             "upstream": f"http://id-{{id}}.apps.test:{port}"}]})
    gate = Gate(upstream, "/api/gate", "/h2/gate")
    tunnels, streams = Tunnels(edge, keep, 100), Streams(edge, keep, 100)
    held = exchanges(edge, keep, gate, 1000)
    configurations, quick = Configurations(edge, certificates), keep(edge.http1())
    assert quick.get("/api/hello?id=12").status == 200
    connections, dials = list(upstream.connections), edge.metric("edge_upstream_dials_total")
    early = None
    for turn in range(RELOADS):
        configurations.reload(turn)
        tunnels.talk(turn)
        streams.talk(turn)
        assert quick.get("/api/hello?id=12").status == 200
        if turn == RELOADS // 5:
            early = edge.rss(), objects(edge)
    # The first certificate's context lives as long as the connections that began with it.
    wanted = early[1] | {"snapshot": 1, "identity": 3, "server_context": 2}
    until(lambda: objects(edge) == wanted, 20, lambda: f"{wanted}: {objects(edge)}")
    grown = edge.rss() - early[0]
    assert edge.metric("edge_reload_total", result="success") == RELOADS
    assert upstream.connections == connections and not any(c.closed for c in connections)
    assert edge.metric("edge_upstream_dials_total") == dials
    assert grown < 4 << 20, f"{early[0]} and {grown} bytes"
    gate.open()
    for client, stream, path in held:
        response = client.finish(stream)
        assert (response.status, response.body) == (200, path)
    streams.finish()
    tunnels.talk(0)
    for client in [*tunnels.clients, *streams.clients, *{c for c, _, _ in held}, quick]:
        client.close()
    until(lambda: objects(edge)["server_context"] == 1, what="old certificates are let go")
    registry = edge.settled()
    assert registry["drift"] is False
    live = {entry["kind"]: entry["live"] for entry in registry["ledger"]}
    assert live["front_socket"] == live["exchange"] == live["waiter"] == 0
