"""The main job: HTTPS in, routed by id, out over connections that are used again."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from edge.servers import Nghttpd, Nginx
from edge.waiting import until


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_an_id_reaches_its_host(edge_for, upstream, version):
    edge = edge_for(upstream)
    for number in (1, 7, 12):
        response = edge.curl(f"/api/hello?id={number}", version=version)
        assert response.status == 200
        assert response.version == {"1.1": "HTTP/1.1", "2": "HTTP/2"}[version]
        request = upstream.requests[-1]
        assert request.connection.local[0] == f"127.0.0.{number + 1}"
        assert request.target == f"/api/hello?id={number}"


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_the_next_request_uses_the_connection_again(edge_for, upstream, version):
    edge = edge_for(upstream, {"workers": 1})
    for _ in range(5):
        assert edge.curl("/api/hello?id=4", version=version).status == 200
    assert [c.requests for c in upstream.connections] == [5]
    lines = edge.access_log(5)
    assert [line["reused"] for line in lines] == [False, True, True, True, True]
    host = edge.host("id-4.apps.test")
    assert (host["dials"], host["requests"], host["reused"]) == (1, 5, 4)


def test_one_front_connection_reaches_many_hosts(edge_for, upstream):
    edge = edge_for(upstream, {"workers": 1})
    with edge.http2() as client:
        streams = {n: client.start(path=f"/api/hello?id={n}") for n in range(1, 13)}
        for number, stream in streams.items():
            assert client.finish(stream).status == 200
    with edge.http1() as client:
        for number in range(1, 13):
            assert client.get(f"/api/hello?id={number}").status == 200
    by_address = upstream.connections_by(lambda c: c.local[0])
    assert by_address == {f"127.0.0.{n + 1}": 1 for n in range(1, 13)}


def test_a_connection_carries_one_host_only(edge_for, upstream):
    edge = edge_for(upstream)

    def ask(number):
        return edge.curl(f"/api/hello?id={number % 6 + 1}", version=["1.1", "2"][number % 2]).status
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(ask, range(48))) == {200}
    for connection in upstream.connections:
        number = int(connection.local[0].rsplit(".", 1)[1]) - 1
        wanted = {r.target for r in upstream.requests if r.connection is connection}
        assert wanted <= {f"/api/hello?id={number}"}


def test_nginx_keeps_one_connection_per_worker(edge_for, keep, tmp_path):
    nginx = keep(Nginx(tmp_path / "nginx"))
    edge = edge_for(nginx, name="id-{id}.wild.test")
    for number in range(20):
        assert edge.curl("/api/hello?id=5", version=["1.1", "2"][number % 2]).text == (
            "hello from nginx\n")
    until(lambda: len(nginx.lines()) == 20)
    assert len(nginx.connections()) <= 2
    assert all(re.search(r" id-5\.wild\.test|localhost", line) for line in nginx.lines())


def test_nghttpd_is_reached_over_h2c(edge_for, keep, tmp_path):
    h2c = keep(Nghttpd(tmp_path / "h2c"))
    edge = edge_for(h2c, {"workers": 1}, name="id-{id}.wild.test", versions=["h2c"])
    for version in ("1.1", "2"):
        assert edge.curl("/api/hello?id=5", version=version).text == "hello from nghttpd\n"
    body = edge.curl("/api/large?id=5").body
    assert body == bytes(range(256)) * 32_768
    assert [line["upstream_protocol"] for line in edge.access_log(3)] == ["HTTP/2.0"] * 3
    assert edge.host("id-5.wild.test")["dials"] == 1


@pytest.mark.parametrize("server", [Nginx, Nghttpd])
def test_a_tls_upstream_that_offers_h2_gets_h2(edge_for, keep, tmp_path, certificates, server):
    secure = keep(server(tmp_path / "secure", certificates.upstream))
    edge = edge_for(secure, {"workers": 1}, scheme="https", name="id-{id}.wild.test",
                    route={"host": "upstream"})
    for _ in range(3):
        assert edge.curl("/api/hello?id=5").status == 200
    assert [line["upstream_protocol"] for line in edge.access_log(3)] == ["HTTP/2.0"] * 3
    host = edge.host("id-5.wild.test")
    assert host["dials"] == 1 and host["learned"] == "h2"


def test_the_one_line_start_serves(edges, upstream, certificates, resolver, tmp_path):
    edge = edges(arguments=[
        "--listen", "127.0.0.1:0", "--certificate", certificates.ecdsa.certificate,
        "--key", certificates.ecdsa.key, "--id-path", "/api",
        "--upstream", f"http://id-{{id}}.apps.test:{upstream.port}",
        "--admin", "127.0.0.1:0", "--workers", "1", "--resolver", resolver.address,
        "--access-log", "access.log"])
    assert edge.curl("/api/hello?id=9").status == 200
    assert edge.curl("/api/hello?id=9", version="1.1").status == 200
    assert edge.access_log(2)[1]["reused"] is True


def test_the_start_is_told_on_the_control_log(edge_for, upstream):
    edge = edge_for(upstream)
    log = edge.control_log()
    assert f"listening on 127.0.0.1:{edge.port}" in log
    line = next(line for line in log.splitlines() if "ready" in line)
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info ", line)
