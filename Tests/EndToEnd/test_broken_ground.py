"""Upstreams killed, stopped, reset and mute, and no descriptors left: status, deadline, no leak."""

import contextlib
import signal
import socket
import struct
import threading
import time

import pytest

from edge.clients import Truncated
from edge.servers import Nghttpd, Nginx, beyond_sockets
from edge.waiting import until

FRONTS = ["h1", "h2"]
# For what is told at once: a service that is slow to begin shall not be taken for a silent one.
PATIENT = {"workers": 1}
# For what is told by a deadline.
QUICK = {"workers": 1, "upstream": {
    "dial_timeout": "1s", "handshake_timeout": "1s", "response_timeout": "2s",
    "idle_timeout": "2s", "queue_timeout": "2s"}}
LONG = 8 << 20


def ask(edge, front, path, method="GET", body=b""):
    """One request over a connection of its own."""
    if front == "h2":
        with edge.http2() as client:
            return client.post(path, body) if body else client.get(path)
    with edge.http1() as client:
        client.request(method, path, body=body)
        try:
            return client.read()
        except Truncated as cut:
            return cut.response


def fails(edge, front, path, status, error, **options):
    """Asserts an answer of the proxy's own, and that it came within the deadlines."""
    began = time.monotonic()
    response = ask(edge, front, path, **options)
    took = time.monotonic() - began
    assert response.status == status, (response, edge.access_log(1)[-1])
    assert f"error={error}" in response.get("proxy-status"), response
    assert took < 10, f"{took} s"
    return took


def is_clean(edge):
    """Nothing under way and nothing leaked."""
    registry = edge.settled()
    assert registry["drift"] is False
    live = {entry["kind"]: entry["live"] for entry in registry["ledger"]}
    assert live["waiter"] == live["exchange"] == 0
    return live


# Killed and stopped.

@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("program", [Nginx, Nghttpd])
def test_a_killed_upstream_cuts_its_answers_visibly(edge_for, keep, tmp_path, front, program):
    server = keep(program(tmp_path / "server"))
    versions = ["1.1"] if program is Nginx else ["h2c"]
    edge = edge_for(server, PATIENT, versions=versions, name="id-{id}.wild.test")
    if front == "h1":
        with edge.http1(receive_buffer=65_536) as client:
            client.request("GET", "/api/endless?id=1")
            client.more()
            server.process.kill()
            server.process.wait(5)
            with pytest.raises(Truncated) as cut:
                client.read()
            response = cut.value.response
    else:
        with edge.http2(window=65_535) as client:
            stream = client.start(path="/api/endless?id=1")
            client.until(lambda: client.streams[stream].body, what="the body begins")
            server.process.kill()
            server.process.wait(5)
            response = client.finish(stream)
            assert response.error is not None
    assert response.status == 200 and not response.complete
    assert 0 < len(response.body) < beyond_sockets()
    line = edge.access_log(1, where=lambda line: "endless" in line["target"])[0]
    assert line["error"] == "http_response_incomplete"
    until(lambda: is_clean(edge)["upstream_socket"] == 0, what="its connections are gone")
    fails(edge, front, "/api/hello?id=1", 502, "connection_refused")
    assert server._start(), server.log()
    assert ask(edge, front, "/api/hello?id=1").status == 200


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("program", [Nginx, Nghttpd])
def test_a_stopped_upstream_is_504_and_serves_again(edge_for, keep, tmp_path, front, program):
    server = keep(program(tmp_path / "server"))
    versions = ["1.1"] if program is Nginx else ["h2c"]
    edge = edge_for(server, QUICK, versions=versions, name="id-{id}.wild.test")
    assert ask(edge, front, "/api/hello?id=1").status == 200
    server.process.send_signal(signal.SIGSTOP)
    try:
        # Over the connection that rested; then over one that the kernel takes for the process.
        took = fails(edge, front, "/api/hello?id=1", 504, "http_response_timeout")
        assert took > 0.5
        error = "http_response_timeout" if versions == ["1.1"] else "connection_timeout"
        fails(edge, front, "/api/hello?id=2", 504, error)
        is_clean(edge)
    finally:
        server.process.send_signal(signal.SIGCONT)
    until(lambda: ask(edge, front, "/api/hello?id=1").status == 200, what="it serves again")
    is_clean(edge)


@pytest.mark.parametrize("front", FRONTS)
def test_an_upstream_stopped_within_its_answer_is_cut(edge_for, keep, tmp_path, front):
    server = keep(Nginx(tmp_path / "server"))
    edge = edge_for(server, QUICK, name="id-{id}.wild.test")
    client = keep(edge.http1(receive_buffer=65_536) if front == "h1" else edge.http2(window=65_535))
    if front == "h1":
        client.request("GET", "/api/endless?id=1")
        client.more()
    else:
        stream = client.start(path="/api/endless?id=1")
        client.until(lambda: client.streams[stream].body)
    server.process.send_signal(signal.SIGSTOP)
    try:
        if front == "h1":
            with pytest.raises(Truncated):
                client.read()
        else:
            assert not client.finish(stream).complete
        until(lambda: is_clean(edge)["upstream_socket"] == 0)
    finally:
        server.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("front", FRONTS)
def test_a_stopped_upstream_does_not_take_a_long_body(edge_for, keep, tmp_path, front):
    server = keep(Nginx(tmp_path / "server"))
    edge = edge_for(server, QUICK, name="id-{id}.wild.test")
    server.process.send_signal(signal.SIGSTOP)
    try:
        with edge.http1() if front == "h1" else edge.http2() as client:
            if front == "h2":
                response = client.post("/api/upload?id=1", bytes(LONG))
            else:
                # The proxy listens for a moment after its answer; then it takes no more.
                with contextlib.suppress(OSError):
                    client.request("POST", "/api/upload?id=1", body=bytes(LONG))
                response = client.read()
        assert response.status == 504, response
        until(lambda: is_clean(edge)["upstream_socket"] == 0)
    finally:
        server.process.send_signal(signal.SIGCONT)


# Resets and silence at each stage, by a server of bytes.

class ByteServer:
    """Accepts, then for each connection: reads until a mark, sends bytes, and resets or stays."""

    def __init__(self, *steps, stays=False, context=None):
        self.steps, self.stays, self.context = steps, stays, context
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.accepted, self.kept = 0, []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            sock.settimeout(20)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        seen = b""
        try:
            for mark, reply in self.steps:
                while mark not in seen:
                    data = sock.recv(65_536)
                    if not data:
                        break
                    seen += data
                seen = seen.partition(mark)[2] if mark else seen
                sock.sendall(reply)
        except OSError:
            pass
        if self.stays:
            self.kept.append(sock)
            return
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    def close(self):
        self.listener.close()
        for sock in self.kept:
            sock.close()


HEAD_END = b"\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
# The stages before an answer: everything the server does before it resets.
EARLY = {
    "at once": [],
    "within the head of the request": [(b"GET", b"")],
    "within its first line": [(HEAD_END, b"HTTP/1.1 2")],
    "within its head": [(HEAD_END, b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-a: ")],
    "after 103": [(HEAD_END, b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")],
}


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("stage", EARLY)
def test_a_reset_before_the_answer_is_502(edge_for, keep, front, stage):
    server = keep(ByteServer(*EARLY[stage]))
    edge = edge_for(server, PATIENT, name="id-{id}.wild.test")
    fails(edge, front, "/api/x?id=1", 502, "connection_terminated")
    live = is_clean(edge)
    assert live["upstream_socket"] == 0
    assert server.accepted <= 3


LATE = {
    "behind its head": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
    "within its content": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel",
    "within a chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
    "between chunks": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n",
    "within its trailers":
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n0\r\nx-a: b",
    "without framing": b"HTTP/1.1 200 OK\r\n\r\nhel",
}


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("stage", LATE)
def test_a_reset_within_the_answer_is_a_visible_cut(edge_for, keep, front, stage):
    server = keep(ByteServer((HEAD_END, LATE[stage])))
    edge = edge_for(server, PATIENT, name="id-{id}.wild.test")
    response = ask(edge, front, "/api/x?id=1")
    # A reset may destroy what came before it, the head included.
    assert response.status in (0, 200, 502) and not (response.status == 200 and response.complete)
    assert is_clean(edge)["upstream_socket"] == 0


def test_a_reset_of_a_resting_connection_costs_nothing(edge_for, keep):
    whole = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    server = keep(ByteServer((HEAD_END, whole)))
    edge = edge_for(server, PATIENT, name="id-{id}.wild.test")
    for turn in range(1, 6):
        assert ask(edge, "h1", "/api/x?id=1").body == b"ok"
        until(lambda: is_clean(edge)["upstream_socket"] == 0, what="the reset is noticed")
        assert server.accepted == turn


H2C = {
    "at once": [],
    "behind the preface": [(PREFACE, b"")],
    "behind its SETTINGS": [(b"", SETTINGS), (PREFACE, b"")],
    "within a frame": [(b"", SETTINGS), (b"\1\0\1\0\0\0\1x", b"\0\0\x10\1\4\0\0\0\1abc")],
}


@pytest.mark.parametrize("stage", H2C)
def test_a_reset_of_an_h2c_connection_is_502(edge_for, keep, stage):
    server = keep(ByteServer(*H2C[stage]))
    edge = edge_for(server, PATIENT, versions=["h2c"], name="id-{id}.wild.test")
    fails(edge, "h2", "/api/x?id=1", 502, "connection_terminated", method="POST", body=b"x")
    assert is_clean(edge)["upstream_socket"] == 0


MUTE = [("http", ["h2c"], [(PREFACE, b"")]), ("https", ["1.1"], []), ("https", ["2"], []),
        ("https", ["1.1"], [(b"\x16\x03\x01", b"\x16\x03\x03")])]


@pytest.mark.parametrize("scheme, versions, steps", MUTE)
def test_an_upstream_that_is_mute_in_the_handshake_is_504(edge_for, keep, scheme, versions, steps):
    server = keep(ByteServer(*steps, stays=True))
    edge = edge_for(server, QUICK, scheme=scheme, versions=versions, name="id-{id}.wild.test")
    took = fails(edge, "h2", "/api/x?id=1", 504, "connection_timeout")
    assert took > 0.4
    assert is_clean(edge)["upstream_socket"] == 0


BROKEN_OFF = {"reset": (b"", "connection_terminated"),
              "alert": (b"\x15\x03\x03\x00\x02\x02\x28", "tls_protocol_error"),
              "no TLS": (b"HTTP/1.1 400 x\r\n\r\n", "tls_protocol_error")}


@pytest.mark.parametrize("reply, error", BROKEN_OFF.values(), ids=BROKEN_OFF)
def test_a_tls_handshake_that_is_broken_off_is_502(edge_for, keep, reply, error):
    server = keep(ByteServer((b"\x16\x03\x01", reply)))
    edge = edge_for(server, PATIENT, scheme="https", name="id-{id}.wild.test")
    response = ask(edge, "h2", "/api/x?id=1")
    assert response.status == 502 and f"error={error}" in response.get("proxy-status")
    assert is_clean(edge)["upstream_socket"] == 0


# No descriptors left.

LIMIT = 80


@pytest.fixture
def full(edges, configuration, upstream, keep):
    """A proxy whose clients have taken all descriptors but those of one connection to id 1."""
    edge = edges(configuration(upstream, {
        "workers": 1, "timeouts": {"handshake": "60s"}, "upstream": {"queue_timeout": "2s"}}),
        descriptors=LIMIT)
    kept = keep(edge.http1())
    assert kept.get("/api/hello?id=1").status == 200
    takers = []
    for _ in range(LIMIT + 20):
        takers.append(keep(socket.create_connection(edge.address(), 20)))
    until(lambda: len(edge.descriptors()) >= LIMIT - 1, what="all descriptors are taken")
    return edge, kept, takers


def test_a_client_waits_for_a_descriptor_and_is_answered(full):
    edge, kept, takers = full
    outcome = []

    def client():
        with edge.http1() as waiting:
            outcome.append(waiting.get("/api/hello?id=1").status)
    thread = threading.Thread(target=client, daemon=True)
    thread.start()
    assert kept.get("/api/hello?id=1").status == 200, "who is in is served"
    assert not outcome
    for sock in takers:
        sock.close()
    thread.join(20)
    assert outcome == [200]
    until(lambda: len(edge.descriptors()) < LIMIT // 2, what="descriptors are given back")
    is_clean(edge)


def test_without_a_descriptor_new_hosts_are_an_error_of_the_proxy(full):
    edge, kept, takers = full
    seen = {}
    for number in range(2, 8):
        response = kept.get(f"/api/hello?id={number}")
        seen[response.status] = response.get("proxy-status")
    assert set(seen) <= {502, 503}, seen
    for sock in takers:
        sock.close()
    for number in range(2, 8):
        until(lambda: kept.get(f"/api/hello?id={number}").status == 200, what="it is dialled")
    is_clean(edge)


def test_without_a_descriptor_a_reload_changes_nothing(full):
    edge, kept, takers = full
    edge.send(signal.SIGHUP)
    until(lambda: "reload refused" in edge.control_log(), what="a refusal")
    assert kept.get("/api/hello?id=1").status == 200
    for sock in takers:
        sock.close()
    until(lambda: len(edge.descriptors()) < LIMIT // 2, what="descriptors are given back")
    before = len(edge.descriptors())
    edge.reload()
    until(lambda: len(edge.descriptors()) <= before, what="nothing of the refused one is left")
    assert len(edge.access_log(2)) >= 2, "the log goes on"
    is_clean(edge)
