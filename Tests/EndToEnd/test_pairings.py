"""Each front protocol with each upstream protocol: bodies, framing, trailers, 1xx, Expect."""

import hashlib
import json

import pytest

from edge.upstream import Upstream, pattern
from edge.waiting import until

FRONTS = ["1.1", "2"]
KINDS = {"h1": "h1", "h2c": "h2", "h1s": "h1", "h2s": "h2"}
MEBIBYTE = 1 << 20
LARGE = 8 * MEBIBYTE
BODY = pattern(LARGE)


@pytest.fixture(scope="module")
def upstreams(module_keep, certificates):
    addresses = ["127.0.0.2", "127.0.0.3"]
    server = certificates.upstream.server_context
    return {"h1": module_keep(Upstream(addresses)), "h2c": module_keep(Upstream(addresses)),
            "h1s": module_keep(Upstream(addresses, server(["http/1.1"]))),
            "h2s": module_keep(Upstream(addresses, server(["h2", "http/1.1"])))}


@pytest.fixture(scope="module")
def edge(module_edges, configuration, upstreams, certificates):
    routes = []
    for kind, upstream in upstreams.items():
        scheme = "https" if kind.endswith("s") else "http"
        route = {"path": f"/{kind}", "id": {"query": "id"},
                 "upstream": f"{scheme}://id-{{id}}.apps.test:{upstream.port}"}
        if kind == "h2c":
            route["versions"] = ["h2c"]
        if scheme == "https":
            route["tls"] = {"ca": str(certificates.authority.certificate)}
        routes.append(route)
    return module_edges(configuration(changes={"routes": routes}))


@pytest.fixture(params=[(f, k) for f in FRONTS for k in KINDS], ids=lambda p: f"{p[0]}-to-{p[1]}")
def pair(request, edge, upstreams):
    """A front protocol, the path of an upstream kind, and that upstream."""
    front, kind = request.param

    def get(path, *arguments, **options):
        mark = "&" if "?" in path else "?"
        return edge.curl(f"/{kind}{path}{mark}id=1", *arguments, version=front, **options)
    get.front, get.kind, get.upstream, get.edge = front, kind, upstreams[kind], edge
    return get


def test_get(pair):
    response = pair("/hello")
    assert response.status == 200 and response.text.startswith("hello from ")
    assert response.get("x-protocol") == KINDS[pair.kind]
    assert response.get("content-type") == "text/plain"


def test_a_large_body_down_with_a_length(pair):
    response = pair(f"/large?size={LARGE}")
    assert response.get("content-length") == str(LARGE)
    assert response.body == BODY


def test_a_large_body_down_without_a_length(pair):
    response = pair(f"/large?size={LARGE}&framing=chunked")
    assert response.get("content-length") is None
    if pair.front == "1.1":
        assert response.get("transfer-encoding") == "chunked"
    assert response.body == BODY


def test_a_body_that_ends_with_the_connection(pair):
    if KINDS[pair.kind] == "h2":
        pytest.skip("HTTP/2 has no such body")
    assert pair("/large?size=500000&framing=close").body == BODY[:500_000]


def test_a_large_body_up_with_a_length(pair):
    found = json.loads(pair("/digest", body=BODY).body)
    assert found["size"] == LARGE and found["sha256"] == hashlib.sha256(BODY).hexdigest()
    assert pair.upstream.requests[-1].get("content-length") == str(LARGE)


def test_a_large_body_up_without_a_length(pair):
    response = pair("/digest", "-H", "Transfer-Encoding: chunked", body=BODY)
    assert json.loads(response.body)["sha256"] == hashlib.sha256(BODY).hexdigest()


def test_small_and_empty_bodies_up(pair):
    assert json.loads(pair("/digest", body=b"a").body)["size"] == 1
    assert json.loads(pair("/digest", "-X", "POST", "-H", "Content-Length: 0").body)["size"] == 0


def test_a_body_both_ways_at_once(pair):
    body = pattern(2 * MEBIBYTE)
    assert pair("/echo", body=body).body == body


def test_head(pair):
    response = pair("/hello?size=1234", "-I")
    assert response.status == 200 and response.body == b""
    assert response.get("content-length") == "1234"
    assert pair.upstream.requests[-1].method == "HEAD"
    assert pair("/hello").status == 200


def test_answers_without_a_body(pair):
    response = pair("/204")
    assert response.status == 204 and response.get("x-kind") == "204"
    assert response.get("content-length") is None and response.get("transfer-encoding") is None
    response = pair("/304")
    assert response.status == 304 and response.get("etag") == '"v1"'
    assert pair("/hello").status == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_methods_pass(pair, method):
    assert pair("/digest", "-X", method, body=b"abc").status == 200
    assert pair.upstream.requests[-1].method == method


@pytest.mark.parametrize("status", [201, 301, 403, 404, 418, 500, 503])
def test_statuses_pass(pair, status):
    response = pair(f"/hello?status={status}")
    assert response.status == status and response.text.startswith("hello")
    assert response.get("proxy-status") is None


def test_response_trailers(pair):
    if pair.front == "1.1":
        with pair.edge.http1() as client:
            response = client.get(f"/{pair.kind}/trailers?id=1",
                                  fields=[("TE", "trailers"), ("Connection", "TE")])
    else:
        with pair.edge.http2() as client:
            response = client.get(f"/{pair.kind}/trailers?id=1", fields=[("te", "trailers")])
    assert response.body == b"body with trailers\n"
    assert dict(response.trailers) == {"x-checksum": "abc123", "x-second": "2"}


def test_request_trailers(pair):
    target = f"/{pair.kind}/digest?id=1"
    if pair.front == "1.1":
        with pair.edge.http1() as client:
            client.send(f"POST {target} HTTP/1.1\r\nHost: localhost\r\nTrailer: x-sum\r\n"
                        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n")
            response = client.read()
    else:
        with pair.edge.http2() as client:
            stream = client.start("POST", target, fields=[("trailer", "x-sum")], end=False)
            client.send(stream, b"abc")
            client.trailers(stream, [("x-sum", "7")])
            response = client.finish(stream)
    found = json.loads(response.body)
    assert found["size"] == 3
    assert [[name.lower(), value] for name, value in found["trailers"]] == [["x-sum", "7"]]


def test_informational_answers(pair):
    response = pair("/informational")
    assert response.status == 200 and response.text == "final"
    statuses = [status for status, _ in response.informational]
    assert 103 in statuses
    early = next(fields for status, fields in response.informational if status == 103)
    assert ("link", "</style.css>; rel=preload") in [(n.lower(), v) for n, v in early]


def test_expect_continue_goes_end_to_end(pair):
    target = f"/{pair.kind}/expect?id=1"
    if pair.front == "1.1":
        with pair.edge.http1() as client:
            client.request("POST", target, fields=[("Expect", "100-continue"),
                                                   ("Content-Length", "5")])
            until(lambda: b"\r\n\r\n" in client.buffer or not client.more())
            assert client.buffer.startswith(b"HTTP/1.1 100")
            client.send(b"12345")
            response = client.read()
    else:
        with pair.edge.http2() as client:
            stream = client.start("POST", target, end=False, fields=[
                ("expect", "100-continue"), ("content-length", "5")])
            client.until(lambda: client.streams[stream].informational, what="100")
            client.send(stream, b"12345", end=True)
            response = client.finish(stream)
    assert [status for status, _ in response.informational] == [100]
    assert json.loads(response.body)["size"] == 5
    assert pair.upstream.requests[-1].get("expect") == "100-continue"


def test_expect_continue_refused(pair):
    target = f"/{pair.kind}/expect?id=1&refuse=1"
    if pair.front == "1.1":
        with pair.edge.http1() as client:
            client.request("POST", target, fields=[("Expect", "100-continue"),
                                                   ("Content-Length", "5")])
            assert client.read().status == 417
    else:
        with pair.edge.http2() as client:
            stream = client.start("POST", target, end=False, fields=[
                ("expect", "100-continue"), ("content-length", "5")])
            client.until(lambda: client.streams[stream].status, what="417")
            assert client.streams[stream].status == 417
    assert pair("/hello").status == 200


def test_an_answer_before_the_body_was_sent(pair):
    target = f"/{pair.kind}/early?id=1"
    if pair.front == "1.1":
        with pair.edge.http1() as client:
            client.request("POST", target, fields=[("Content-Length", "10")])
            assert client.read().body == b"early"
            client.send(b"0123456789")
    else:
        with pair.edge.http2() as client:
            stream = client.start("POST", target, end=False)
            client.until(lambda: client.streams[stream].body, what="the early answer")
            if pair.kind.startswith("h2"):
                # This service ends its answer only when it has read the request.
                client.send(stream, b"0123456789", end=True)
                assert client.finish(stream).body == b"early"
            else:
                # The rest is not wanted, says the proxy, and the answer is whole (RFC 9113 §8.1).
                client.until(lambda: client.streams[stream].error is not None, what="RST_STREAM")
                assert client.streams[stream].complete and client.streams[stream].error == 0
                assert client.streams[stream].body == b"early"
    assert pair("/hello").status == 200


def test_duplex_chunks_pass_at_once(pair):
    target = f"/{pair.kind}/duplex?id=1"
    if pair.front == "1.1":
        with pair.edge.http1() as client:
            client.send(f"POST {target} HTTP/1.1\r\nHost: localhost\r\n"
                        "Transfer-Encoding: chunked\r\n\r\n")
            for word in (b"one", b"two", b"six"):
                client.send(b"3\r\n" + word + b"\r\n")
                until(lambda: word in client.buffer or not client.more())
                assert word in client.buffer
            client.send(b"0\r\n\r\n")
            assert client.read().body == b"onetwosix"
    else:
        with pair.edge.http2() as client:
            stream = client.start("POST", target, end=False)
            for size, word in ((3, b"one"), (6, b"two"), (9, b"six")):
                client.send(stream, word)
                client.until(lambda: len(client.streams[stream].body) == size, 10, word)
            client.send(stream, b"", end=True)
            assert client.finish(stream).body == b"onetwosix"


def test_a_slow_body_is_passed_on_as_it_comes(pair):
    assert pair("/drip?count=10&ms=10").body == b"." * 10


def test_many_at_once_over_one_front_connection(pair):
    if pair.front == "1.1":
        with pair.edge.http1() as client:
            for _ in range(50):
                assert client.get(f"/{pair.kind}/hello?id=1").status == 200
    else:
        with pair.edge.http2() as client:
            streams = [client.start(path=f"/{pair.kind}/hello?id=1&size=3000") for _ in range(50)]
            assert all(len(client.finish(stream).body) == 3000 for stream in streams)
