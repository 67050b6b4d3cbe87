"""HTTP/1.1 and 1.0 as clients send it, well and badly (RFC 9112)."""

import ssl

import pytest

from edge.upstream import Upstream
from edge.waiting import until


@pytest.fixture(scope="module")
def front(module_edges, module_keep, configuration):
    """A proxy with a plain listener, and its upstream."""
    upstream = module_keep(Upstream(["127.0.0.2"], record_bytes=True))
    made = configuration(upstream, {"listeners": [{"address": "127.0.0.1:0"}], "workers": 1,
                                    "timeouts": {"head": "2s", "body": "2s", "idle": "3s"}})
    edge = module_edges(made)
    edge.upstream = upstream
    return edge


@pytest.fixture
def client(front):
    with front.http1(plain=True) as client:
        yield client


def test_requests_on_one_connection(client, front):
    for _ in range(10):
        assert client.get("/api/hello?id=1").status == 200


def test_pipelined_requests_are_answered_in_order(client):
    head = "GET /api/{}?id=1&size={} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    client.send(head.format("delay", 0) + head.format("hello", 11) + head.format("hello", 222))
    assert client.read().body == b"late"
    assert len(client.read().body) == 11
    assert len(client.read().body) == 222


def test_pipelined_bodies_are_kept_apart(client):
    post = b"POST /api/echo?id=1 HTTP/1.1\r\nHost: localhost\r\n"
    client.send(post + b"Content-Length: 3\r\n\r\nabc" + post
                + b"Transfer-Encoding: chunked\r\n\r\n4\r\ndefg\r\n0\r\n\r\n"
                + b"GET /api/hello?id=1&size=5 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert client.read().body == b"abc"
    assert client.read().body == b"defg"
    assert len(client.read().body) == 5


def test_a_head_that_comes_byte_by_byte(client):
    for byte in b"GET /api/hello?id=1 HTTP/1.1\r\nHost: localhost\r\n\r\n":
        client.send(bytes([byte]))
    assert client.read().status == 200


def test_empty_lines_before_a_request_are_skipped(client):
    client.send("\r\nGET /api/hello?id=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert client.read().status == 200


def test_connection_close_is_honoured(client):
    response = client.get("/api/hello?id=1", fields=[("Connection", "close")])
    assert response.status == 200 and "close" in response.get("connection")
    assert client.at_end()


def test_http10_closes_unless_asked_to_stay(front):
    with front.http1(plain=True) as client:
        client.send("GET /api/hello?id=1 HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert client.read().status == 200
        assert client.at_end()
    with front.http1(plain=True) as client:
        for _ in range(2):
            client.send("GET /api/hello?id=1 HTTP/1.0\r\nHost: localhost\r\n"
                        "Connection: keep-alive\r\n\r\n")
            response = client.read()
            assert response.status == 200 and "keep-alive" in response.get("connection").lower()


def test_http10_gets_no_chunks(client):
    client.send("GET /api/large?id=1&size=5000&framing=chunked HTTP/1.0\r\nHost: localhost\r\n\r\n")
    response = client.read()
    assert response.get("transfer-encoding") is None
    assert len(response.body) == 5000


def test_absolute_form_decides_the_host(client, front):
    client.send("GET http://other.example/api/fields?id=1 HTTP/1.1\r\n"
                "Host: other.example\r\n\r\n")
    assert client.read().status == 200
    assert front.upstream.requests[-1].host == "other.example"
    assert front.upstream.requests[-1].target == "/api/fields?id=1"


def test_a_chunk_extension_is_taken_and_not_passed_on(client, front):
    client.send("POST /api/digest?id=1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                "3;name=value\r\nabc\r\n0\r\n\r\n")
    assert client.read().status == 200
    assert b"name=value" not in front.upstream.requests[-1].connection.received


GET = "GET /api/hello?id=1 HTTP/1.1\r\n"
POST = "POST /api/digest?id=1 HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = POST + "Transfer-Encoding: chunked\r\n"
MALFORMED = {
    "no host": GET + "\r\n",
    "two hosts": GET + "Host: a\r\nHost: b\r\n\r\n",
    "two equal hosts": GET + "Host: a\r\nHost: a\r\n\r\n",
    "host with a path": GET + "Host: a/b\r\n\r\n",
    "both lengths": CHUNKED + "Content-Length: 3\r\n\r\n0\r\n\r\n",
    "both lengths the other way": POST + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two lengths": POST + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a list of lengths": POST + "Content-Length: 3, 4\r\n\r\nabcd",
    "negative length": POST + "Content-Length: -1\r\n\r\n",
    "signed length": POST + "Content-Length: +3\r\n\r\nabc",
    "hexadecimal length": POST + "Content-Length: 0x3\r\n\r\nabc",
    "overflowing length": POST + "Content-Length: 99999999999999999999\r\n\r\n",
    "empty length": POST + "Content-Length:\r\n\r\n",
    "space before the colon": GET + "Host : localhost\r\n\r\n",
    "obs-fold": GET + "Host: localhost\r\nX: a\r\n b\r\n\r\n",
    "bare LF": "GET /api/hello?id=1 HTTP/1.1\nHost: localhost\n\n",
    "bare CR in a value": GET + "Host: localhost\r\nX: a\rb\r\n\r\n",
    "NUL in a value": GET + "Host: localhost\r\nX: a\0b\r\n\r\n",
    "no colon": GET + "Host: localhost\r\nnonsense\r\n\r\n",
    "empty name": GET + "Host: localhost\r\n: x\r\n\r\n",
    "no version": "GET /api/hello?id=1\r\nHost: localhost\r\n\r\n",
    "bad method": "G@T /api/hello?id=1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "two spaces": "GET  /api/hello?id=1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "relative target": "GET api/hello?id=1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "fragment": "GET /api/hello?id=1#x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "bad chunk size": CHUNKED + "\r\nxyz\r\nabc\r\n0\r\n\r\n",
    "negative chunk size": CHUNKED + "\r\n-3\r\nabc\r\n0\r\n\r\n",
    "overflowing chunk size": CHUNKED + "\r\nfffffffffffffffff\r\nabc\r\n",
    "chunk without its end": CHUNKED + "\r\n3\r\nabcdef\r\n0\r\n\r\n",
    "chunk size with bare LF": CHUNKED + "\r\n3\nabc\r\n0\r\n\r\n",
    "chunked twice": POST + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked not last": POST + "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "transfer coding in 1.0": "POST /api/digest?id=1 HTTP/1.0\r\nHost: a\r\n"
                              "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests_get_400_and_the_connection_closes(client, front, name):
    before = len(front.upstream.requests)
    smuggled = "GET /api/smuggled?id=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    client.send(MALFORMED[name] + smuggled)
    response = client.read()
    assert response.status == 400, response
    assert "close" in response.get("connection", "")
    assert client.at_end()
    assert not any("smuggled" in r.target for r in front.upstream.requests[before:])


def test_an_unknown_transfer_coding_is_501(client):
    client.send(POST + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")
    assert client.read().status == 501
    assert client.at_end()


def test_an_unknown_version_is_refused(client):
    client.send("GET /api/hello?id=1 HTTP/9.1\r\nHost: localhost\r\n\r\n")
    assert client.read().status in (400, 505)
    assert client.at_end()


def test_a_target_too_long_is_414(client):
    client.send(f"GET /api/{'a' * 100_000}?id=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert client.read().status == 414


def test_fields_too_large_are_431(client):
    client.send(GET + "Host: localhost\r\n")
    try:
        for number in range(40):
            client.send(f"X-{number}: {'b' * 7000}\r\n")
        client.send("\r\n")
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert client.read().status == 431


def test_too_many_fields_are_431(client):
    lines = "".join(f"X-{number}: 1\r\n" for number in range(5000))
    client.send(GET + "Host: localhost\r\n" + lines + "\r\n")
    assert client.read().status == 431


def test_connect_is_refused(client):
    client.send("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
    assert client.read().status in (400, 405, 501)


def test_a_head_that_does_not_end_times_out(front):
    with front.http1(plain=True) as client:
        client.send("GET /api/hello?id=1 HTTP/1.1\r\nHost: loc")
        response = client.read()
        assert response.status == 408
        assert client.at_end()


def test_a_body_that_does_not_end_times_out(front):
    with front.http1(plain=True) as client:
        client.send(POST + "Content-Length: 10\r\n\r\nabc")
        assert client.read().status == 408
        assert client.at_end()


def test_an_idle_connection_is_closed(front):
    with front.http1(plain=True) as client:
        assert client.get("/api/hello?id=1").status == 200
        assert client.at_end(8)


def test_errors_are_told_in_the_log_and_in_proxy_status(front):
    with front.http1(plain=True) as client:
        client.send(MALFORMED["both lengths"])
        response = client.read()
    assert response.get("content-type").startswith("text/plain")
    assert response.get("proxy-status").startswith("edge-proxy; error=http_request_error")
    assert response.text.startswith("400 Bad Request")


def test_a_client_that_leaves_frees_the_upstream(front):
    with front.http1(plain=True) as client:
        client.request("GET", "/api/never?id=1")
        until(lambda: front.upstream.requests
              and front.upstream.requests[-1].target == "/api/never?id=1", 5)
        connection = front.upstream.requests[-1].connection
    until(lambda: connection.closed, 5, "the upstream connection of an abandoned request closes")


def test_pipelining_without_reading_is_paused_not_piled_up(edge_for, upstream):
    edge = edge_for(upstream)
    before = edge.rss()
    with edge.http1() as client:
        client.socket.settimeout(1)
        try:
            for _ in range(4000):
                client.socket.sendall(b"GET /none HTTP/1.1\r\nhost: a\r\n\r\n" * 500)
        except (TimeoutError, ssl.SSLError):
            pass
        else:
            raise AssertionError("the proxy read everything")
        assert edge.curl("/api/hello?id=1").status == 200
        assert edge.rss() - before < 16 << 20
