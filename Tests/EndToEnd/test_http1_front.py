"""HTTP/1.1 and 1.0 as clients send it (RFC 9112); what is malformed: test_corpus_http1.py."""

import socket
import ssl

import pytest

from edge.flight import Flight
from edge.slow import read_to_end
from edge.upstream import Upstream
from edge.waiting import until


@pytest.fixture(scope="module")
def made(module_edges, module_keep, configuration):
    """Makes a proxy with a plain listener, and its upstream."""
    def make(**changes):
        upstream = module_keep(Upstream(["127.0.0.2"], record_bytes=True))
        edge = module_edges(configuration(
            upstream, {"listeners": [{"address": "127.0.0.1:0"}], "workers": 1, **changes}))
        edge.upstream = upstream
        return edge
    return make


@pytest.fixture(scope="module")
def front(made):
    return made()


@pytest.fixture(scope="module")
def impatient(made):
    """One that waits for seconds only."""
    return made(timeouts={"head": "2s", "body": "2s", "idle": "3s"})


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


POST = "POST /api/digest?id=1 HTTP/1.1\r\nHost: localhost\r\n"


def test_a_head_that_does_not_end_times_out(impatient):
    with impatient.http1(plain=True) as client:
        client.send("GET /api/hello?id=1 HTTP/1.1\r\nHost: loc")
        response = client.read()
        assert response.status == 408
        assert client.at_end()


def test_a_body_that_does_not_end_times_out(impatient):
    with impatient.http1(plain=True) as client:
        client.send(POST + "Content-Length: 10\r\n\r\nabc")
        assert client.read().status == 408
        assert client.at_end()


def test_an_idle_connection_is_closed(impatient):
    with impatient.http1(plain=True) as client:
        assert client.get("/api/hello?id=1").status == 200
        assert client.at_end(20)


def test_errors_are_told_in_the_log_and_in_proxy_status(front):
    with front.http1(plain=True) as client:
        client.send(POST + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n")
        response = client.read()
    assert response.get("content-type").startswith("text/plain")
    assert response.get("proxy-status").startswith("edge-proxy; error=http_request_error")
    assert response.text.startswith("400 Bad Request")


@pytest.mark.parametrize("field, status", [
    ("Host: localhost", 404), ("Host : localhost", 400)])
@pytest.mark.parametrize("end", ["plain", "without farewell", "farewell"])
def test_a_client_that_asks_nothing_more_is_answered(front, edge_for, upstream, end, field, status):
    """Its end comes with its request, as when a script writes one into a pipe."""
    request = f"GET /none HTTP/1.1\r\n{field}\r\n\r\n".encode()
    edge = front if end == "plain" else edge_for(upstream)
    with edge.tcp() as sock:
        client = sock if end == "plain" else Flight(
            sock, edge.authority.client_context(["http/1.1"]))
        with edge.held():
            client.sendall(request)
            if end == "farewell":
                client.say_farewell()
            sock.shutdown(socket.SHUT_WR)
        answer = read_to_end(client)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
    until(lambda: edge.ledger()["front_socket"]["live"] == 0)


def test_an_answer_is_sent_although_the_next_request_is_under_way(front):
    with front.tcp() as client:
        with front.held():
            client.sendall(b"GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n"
                           b"GET /api/never?id=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            client.shutdown(socket.SHUT_WR)
        answer = read_to_end(client)
    assert answer.startswith(b"HTTP/1.1 404 ") and answer.count(b"HTTP/1.1 ") == 1, answer
    until(lambda: front.ledger()["exchange"]["live"] == 0)


def test_a_client_that_leaves_frees_the_upstream(front):
    with front.http1(plain=True) as client:
        client.request("GET", "/api/never?id=1")
        until(lambda: front.upstream.requests
              and front.upstream.requests[-1].target == "/api/never?id=1")
        connection = front.upstream.requests[-1].connection
    until(lambda: connection.closed, what="the upstream connection of an abandoned request closes")


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
