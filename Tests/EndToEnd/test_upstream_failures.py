"""Upstreams that refuse, hang, lie, or break off, as the client and the log see it."""

import time

import h2.errors
import pytest

from edge.clients import Truncated
from edge.servers import BlackHole, Nginx, SilentResolver, refused_port
from edge.waiting import until

FRONTS = ["1.1", "2"]
# Short enough to wait for, long enough for an answer on a machine with much else to do.
QUICK = {"upstream": {"dial_timeout": "2s", "response_timeout": "2s", "idle_timeout": "2s"}}


def fails(edge, path, status, version="2", **options):
    """Asserts a local error of this status, in response and log; returns its log line."""
    response = edge.curl(path, version=version, **options)
    assert response.status == status, response
    assert response.get("content-type").startswith("text/plain")
    assert response.get("proxy-status").startswith("edge-proxy; error=")
    assert response.text.startswith(str(status))
    line = edge.access_log(where=lambda l: l["target"] == path and l["status"] == status)[-1]
    assert line["error"], line
    return line


@pytest.mark.parametrize("version", FRONTS)
def test_a_refused_connection_is_502(edge_for, keep, version):
    port, held = refused_port("127.0.0.2")
    keep(held)
    edge = edge_for(port)
    assert fails(edge, "/api/hello?id=1", 502, version)["error"] == "connection_refused"


@pytest.mark.parametrize("version", FRONTS)
def test_a_black_hole_is_504_after_the_dial_timeout(edge_for, keep, version):
    hole = keep(BlackHole("127.0.0.2"))
    edge = edge_for(hole, QUICK)
    began = time.monotonic()
    assert fails(edge, "/api/hello?id=1", 504, version)["error"] == "connection_timeout"
    assert 1.9 < time.monotonic() - began < 15


@pytest.mark.parametrize("version", FRONTS)
@pytest.mark.parametrize("versions", [["1.1"], ["h2c"]])
def test_no_answer_is_504_after_the_response_timeout(edge_for, upstream, version, versions):
    edge = edge_for(upstream, QUICK, versions=versions)
    line = fails(edge, "/api/never?id=1", 504, version)
    assert line["error"] == "http_response_timeout"
    assert edge.curl("/api/hello?id=1", version=version).status == 200
    if versions == ["1.1"]:
        until(lambda: upstream.connections[0].closed, what="the hanging connection is not reused")


@pytest.mark.parametrize("version", FRONTS)
@pytest.mark.parametrize("path", ["reset-head", "close-head"])
def test_a_connection_that_ends_before_the_head_is_502(edge_for, upstream, version, path):
    edge = edge_for(upstream)
    fails(edge, f"/api/{path}?id=1", 502, version)
    assert edge.curl("/api/hello?id=1", version=version).status == 200


def test_a_stream_that_is_reset_before_the_head_is_502_and_the_connection_lives(edge_for, upstream):
    edge = edge_for(upstream, {"workers": 1}, versions=["h2c"])
    fails(edge, "/api/reset-head?id=1", 502)
    assert edge.curl("/api/hello?id=1").status == 200
    assert len(upstream.connections) == 1


CUT = ["truncate?id=1", "truncate?id=1&framing=chunked", "reset-body?id=1"]


@pytest.mark.parametrize("path", CUT)
@pytest.mark.parametrize("versions", [["1.1"], ["h2c"]])
def test_a_cut_body_is_cut_for_http1_clients(edge_for, upstream, path, versions):
    edge = edge_for(upstream, versions=versions)
    with edge.http1() as client:
        client.request("GET", f"/api/{path}")
        with pytest.raises(Truncated) as cut:
            client.read()
        assert cut.value.response.status == 200
    assert edge.access_log(1)[0]["error"]


@pytest.mark.parametrize("path", CUT)
@pytest.mark.parametrize("versions", [["1.1"], ["h2c"]])
def test_a_cut_body_resets_the_stream_of_http2_clients(edge_for, upstream, path, versions):
    edge = edge_for(upstream, versions=versions)
    with edge.http2() as client:
        response = client.get(f"/api/{path}")
        assert response.status == 200 and response.error is not None and not response.complete
        assert client.get("/api/hello?id=1").complete, "other streams of the connection live"


@pytest.mark.parametrize("front", FRONTS)
def test_a_body_that_stalls_is_cut_after_the_idle_timeout(edge_for, upstream, front):
    edge = edge_for(upstream, QUICK)
    response = edge.curl("/api/stall?id=1", version=front, check=False)
    assert response.status == 200 and response.error, "the client must see that it was cut"


KINDS = ["garbage", "status", "version", "both", "negative", "lengths", "field", "nul", "huge"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_malformed_response_is_502(edge_for, upstream, kind):
    edge = edge_for(upstream)
    path = f"/api/malformed?id=1&kind={kind}"
    for version in FRONTS:
        fails(edge, path, 502, version)
    assert edge.curl("/api/hello?id=1").status == 200


def test_http2_garbage_is_502(edge_for, upstream):
    edge = edge_for(upstream, versions=["h2c"])
    fails(edge, "/api/malformed?id=1&kind=garbage", 502)
    assert edge.curl("/api/hello?id=1").status == 200


def test_an_h1_server_where_h2c_was_promised_is_502(edge_for, keep, tmp_path):
    nginx = keep(Nginx(tmp_path / "nginx"))
    edge = edge_for(nginx, QUICK, versions=["h2c"], name="id-{id}.wild.test")
    fails(edge, "/api/hello?id=1", 502)


@pytest.mark.parametrize("version", FRONTS)
def test_a_name_that_does_not_exist_is_404(edge_for, upstream, resolver, version):
    edge = edge_for(upstream, {"workers": 1})
    assert fails(edge, "/api/hello?id=987654321", 404, version)["error"] == "dns_error"
    asked = resolver.queries("id-987654321.apps.test", "A")
    fails(edge, "/api/hello?id=987654321", 404, version)
    assert resolver.queries("id-987654321.apps.test", "A") == asked, "negative answers are cached"


def test_a_silent_resolver_is_an_upstream_failure(edge_for, keep, upstream):
    dead = keep(SilentResolver())
    edge = edge_for(upstream, {"resolver": {"servers": [dead.address], "timeout": "300ms",
                                            "attempts": 2}})
    response = edge.curl("/api/hello?id=1")
    assert response.status in (502, 504)
    assert "dns" in edge.access_log(1)[0]["error"]
    assert dead.count >= 2


def test_a_dead_resolver_is_an_upstream_failure(edge_for, upstream, keep):
    port, held = refused_port()
    keep(held)
    edge = edge_for(upstream, {"resolver": {"servers": [f"127.0.0.1:{port}"],
                                            "timeout": "300ms", "attempts": 1}})
    assert edge.curl("/api/hello?id=1").status in (502, 504)


def test_an_idle_connection_closed_by_the_upstream_is_not_used(edge_for, upstream):
    edge = edge_for(upstream, {"workers": 1})
    for turn in range(5):
        assert edge.curl("/api/hello?id=1").status == 200
        upstream.close_connections()
        until(lambda: not upstream.open_connections)
    assert len(upstream.connections) == 5


def test_a_reused_connection_that_dies_is_retried_for_get_only(edge_for, upstream):
    edge = edge_for(upstream, {"workers": 1})
    seen = []

    async def once(request, reply):
        await request.read()
        seen.append(request.method)
        if request.connection.requests > 1:
            await reply.close()
        await reply.head(200, length=0)
    upstream.script["/api/once"] = once
    assert edge.curl("/api/once?id=1").status == 200
    assert edge.curl("/api/once?id=1").status == 200
    assert seen == ["GET", "GET", "GET"]
    line = edge.access_log(2)[1]
    assert line["attempts"] == 2 and line["retry"] == "reused_and_no_bytes_and_idempotent"
    assert edge.curl("/api/once?id=1", body=b"paid").status == 502
    assert seen == ["GET", "GET", "GET", "POST"], "a consumed POST body is never sent again"


def test_a_refused_stream_is_retried(edge_for, upstream):
    edge = edge_for(upstream, {"workers": 1}, versions=["h2c"])
    seen = []

    async def refuse_first(request, reply):
        seen.append(request.method)
        if len(seen) == 1:
            reply.ended = True
            reply.session.h2.reset_stream(reply.stream, h2.errors.ErrorCodes.REFUSED_STREAM)
            reply.session.flush()
            return
        await reply.head(200, length=0)
    upstream.script["/api/refuse"] = refuse_first
    assert edge.curl("/api/refuse?id=1").status == 200
    assert edge.access_log(1)[0]["retry"] == "refused_stream"


def test_one_hanging_id_costs_the_others_nothing(edge_for, upstream):
    edge = edge_for(upstream, {"workers": 1})
    with edge.http2() as client:
        hanging = [client.start(path="/api/never?id=1") for _ in range(20)]
        began = time.monotonic()
        for number in range(2, 13):
            assert client.get(f"/api/hello?id={number}").status == 200
        assert time.monotonic() - began < 15
        for stream in hanging:
            client.reset(stream)
    until(lambda: not [c for c in upstream.open_connections if c.local[0] == "127.0.0.2"],
          what="the upstream sides of reset streams are gone")


def test_a_vanished_upstream_that_returns_is_served_again(edge_for, upstream_with):
    first = upstream_with(["127.0.0.2"])
    edge = edge_for(first)
    assert edge.curl("/api/hello?id=1").status == 200
    first.close()
    assert edge.curl("/api/hello?id=1").status == 502
    upstream_with(["127.0.0.2"], port=first.port)
    until(lambda: edge.curl("/api/hello?id=1").status == 200, what="it answers again")
