"""Listeners: IPv4, IPv6, every address, unix sockets, several at once, and many workers."""

import os
import socket
import stat
from collections import Counter

import pytest

from edge.clients import HTTP1, HTTP2, connect
from edge.process import Edge
from edge.waiting import until


def listen(edge_for, upstream, *addresses, tls=None, **changes):
    listeners = [{"address": address, **({"tls": tls} if tls else {})} for address in addresses]
    return edge_for(upstream, {"listeners": listeners, **changes})


def test_ipv6(edge_for, upstream, certificates):
    edge = listen(edge_for, upstream, "[::1]:0", tls={"certificates": [certificates.ecdsa.options]})
    assert edge.listeners[0].startswith("[::1]:")
    assert edge.curl("/api/fields?id=1").status == 200
    assert upstream.requests[-1].get("x-forwarded-for") == "::1"
    assert 'for="[::1]"' in upstream.requests[-1].get("forwarded").lower()
    assert edge.access_log(1)[0]["client"].startswith("[::1]:")


def test_every_address(edge_for, upstream):
    edge = listen(edge_for, upstream, ":0")
    port = int(edge.listeners[0].rsplit(":", 1)[1])
    for address in ("127.0.0.1", "127.0.0.9", "::1"):
        with HTTP1(connect((address, port))) as client:
            assert client.get("/api/hello?id=1").status == 200
    fields = upstream.requests[0]
    assert fields.get("x-forwarded-for") == "127.0.0.1", "not a mapped address"


def test_a_unix_socket(edge_for, upstream, tmp_path):
    path = tmp_path / "front.sock"
    edge = listen(edge_for, upstream, f"unix:{path}")
    assert edge.listeners == [f"unix:{path}"]
    assert stat.S_ISSOCK(path.stat().st_mode)
    for _ in range(6):
        with HTTP1(connect(str(path))) as client:
            assert client.get("/api/hello?id=1").status == 200
    with HTTP2(connect(str(path)), scheme="http") as client:
        assert client.get("/api/hello?id=2").status == 200
    assert edge.terminate() == 0
    assert not path.exists(), "the socket's file is removed at the end"


def test_a_unix_socket_left_behind_is_replaced(edge_for, upstream, tmp_path):
    path = tmp_path / "front.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listen(edge_for, upstream, f"unix:{path}")
    with HTTP1(connect(str(path))) as client:
        assert client.get("/api/hello?id=1").status == 200


def test_several_listeners(edge_for, upstream, certificates, tmp_path):
    edge = edge_for(upstream, {"listeners": [
        {"address": "127.0.0.1:0", "tls": {"certificates": [certificates.ecdsa.options]}},
        {"address": "127.0.0.1:0"}, {"address": "[::1]:0"}, {"address": f"unix:{tmp_path}/s"}]})
    assert len(edge.listeners) == 4
    assert edge.curl("/api/hello?id=1").status == 200
    assert edge.curl("/api/hello?id=1", listener=1, scheme="http", version="1.1").status == 200
    assert edge.curl("/api/hello?id=1", listener=2, scheme="http", version="h2c").status == 200


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_workers_share_the_port(edge_for, upstream, workers):
    edge = edge_for(upstream, {"workers": workers})
    for number in range(24):
        assert edge.curl(f"/api/hello?id={number % 12 + 1}").status == 200
    per_host = upstream.connections_by(lambda c: c.local[0])
    assert max(per_host.values()) <= workers
    names = Counter(open(f"/proc/{edge.pid}/task/{t}/comm").read().strip()
                    for t in os.listdir(f"/proc/{edge.pid}/task"))
    assert sum(names.values()) >= workers


def test_many_connections_at_once(edge_for, upstream):
    edge = edge_for(upstream)
    clients = []
    try:
        for number in range(150):
            clients.append(edge.http1())
            clients[-1].request("GET", f"/api/hello?id={number % 12 + 1}")
        assert all(client.read().status == 200 for client in clients)
        until(lambda: edge.metric("edge_front_connections") == 150)
    finally:
        for client in clients:
            client.close()
    until(lambda: edge.metric("edge_front_connections") == 0)


def test_front_connections_are_bounded(edge_for, upstream):
    edge = edge_for(upstream, {"limits": {"max_connections": 20}, "workers": 1,
                               "timeouts": {"idle": "2s"}})
    socks = [edge.tcp() for _ in range(60)]
    try:
        until(lambda: edge.metric("edge_front_connections") >= 20)
        assert edge.metric("edge_front_connections") <= 20
    finally:
        for sock in socks:
            sock.close()
    until(lambda: edge.metric("edge_front_connections") == 0)
    assert edge.curl("/api/hello?id=1").status == 200


def test_streams_per_connection_are_bounded(edge_for, upstream):
    edge = edge_for(upstream, {"limits": {"max_streams": 5}})
    with edge.http2() as client:
        client.until(lambda: client.settings)
        assert client.settings[3] == 5


def test_the_support_names_addresses_as_the_proxy_does():
    edge = Edge.__new__(Edge)
    edge.listeners = ["127.0.0.1:80", "[::1]:81"]
    assert edge.address(0) == ("127.0.0.1", 80) and edge.address(1) == ("::1", 81)
