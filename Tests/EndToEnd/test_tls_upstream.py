"""An https service whose TLS misbehaves: the right status, and nothing kept."""

import contextlib
import os
import socket
import ssl
import struct
import threading

import pytest

from edge import tlswire as wire
from edge.tlswire import record
from edge.waiting import until


class Rogue:
    """A server that does the same to every connection, on one port of two loopback addresses.

    `act` gets the accepted socket; the connection is closed when it returns.
    """

    def __init__(self, act):
        self.act = act
        self.accepted = 0
        self.threads = []
        self.open = set()
        self.stopped = False
        self.listener = socket.create_server(("0.0.0.0", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.threads.append(threading.Thread(target=self._accept, daemon=True))
        self.threads[0].start()

    def _accept(self):
        while not self.stopped:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            sock.settimeout(20)
            self.open.add(sock)
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _serve(self, sock):
        with contextlib.suppress(OSError, ssl.SSLError):
            self.act(sock)
        self.open.discard(sock)
        sock.close()

    def close(self):
        self.stopped = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for sock in list(self.open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(10)


@pytest.fixture
def against(edge_for, keep):
    """A proxy whose service is a rogue."""
    def make(act, patience="20s"):
        rogue = keep(Rogue(act))
        edge = edge_for(rogue.port, {"workers": 1, "upstream": {"handshake_timeout": patience}},
                        scheme="https")
        edge.rogue = rogue
        return edge
    return make


def nothing_is_kept(edge):
    """Whether sockets and sessions towards the service are gone."""
    ledger = edge.ledger()
    return all(ledger[kind]["live"] == 0
               for kind in ("upstream_socket", "upstream_tls", "upstream_http2", "exchange"))


def received_hello(sock):
    """Reads the proxy's ClientHello: a record's content."""
    head = b""
    while len(head) < 5:
        head += sock.recv(5 - len(head))
    size, body = int.from_bytes(head[3:5], "big"), b""
    while len(body) < size:
        body += sock.recv(size - len(body))
    return body


def server_hello(random=None, suite=0x1301, extra=b"", length=None):
    body = b"\x03\x03" + (random or os.urandom(32)) + b"\0" + struct.pack(">HB", suite, 0)
    return wire.message(wire.SERVER_HELLO, body + wire.vector(extra), length)


# Before the end of the handshake.

def answering(*pieces, repeat=1, waits=False):
    """Answers the hello with these bytes, and closes, or waits for the proxy to."""
    def act(sock):
        received_hello(sock)
        for _ in range(repeat):
            sock.sendall(b"".join(pieces))
        if waits:
            sock.recv(1)
    return act


def closing(sock):
    pass


def resetting(sock):
    received_hello(sock)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def half_closing(sock):
    received_hello(sock)
    sock.shutdown(socket.SHUT_WR)
    sock.recv(1)


BROKEN = {
    "closed at once": closing,
    "closed after the hello": answering(b""),
    "reset after the hello": resetting,
    "half closed": half_closing,
    "HTTP in the clear": answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    "HTTP/2 in the clear": answering(b"\0\0\0\4\0\0\0\0\0", waits=True),
    "noise": answering(os.urandom(2000), waits=True),
    "zeros": answering(bytes(5000), waits=True),
    "a fatal alert": answering(record(wire.ALERT, b"\2\x28")),
    "close_notify": answering(record(wire.ALERT, b"\1\0")),
    "warnings without end": answering(record(wire.ALERT, b"\1\x5a"), repeat=5000),
    "empty records without end": answering(record(wire.HANDSHAKE, b""), repeat=5000),
    "CCS without end": answering(record(wire.CHANGE_CIPHER_SPEC, b"\1"), repeat=5000),
    "data": answering(record(wire.DATA, b"x"), waits=True),
    "HelloRequests without end": answering(
        record(wire.HANDSHAKE, wire.message(wire.HELLO_REQUEST, b"") * 100), repeat=2000),
    "too long a record": answering(record(wire.HANDSHAKE, b"\2" * 100, length=18_433), waits=True),
    "a ClientHello": answering(
        record(wire.HANDSHAKE, wire.client_hello(wire.extensions(bytes(32)))), waits=True),
    "a hello cut short, then closed": answering(record(wire.HANDSHAKE, server_hello()[:20])),
    "a hello that lies": answering(
        record(wire.HANDSHAKE, server_hello(length=0xFFFFFF)), waits=True),
    "an unknown suite": answering(record(wire.HANDSHAKE, server_hello(suite=0x5A5A)), waits=True),
    "TLS 1.1": answering(record(wire.HANDSHAKE, wire.message(
        wire.SERVER_HELLO, b"\x03\x02" + bytes(32) + b"\0\xc0\x13\0")), waits=True),
    "a downgrade": answering(record(wire.HANDSHAKE, server_hello(
        os.urandom(24) + b"DOWNGRD\x01", 0xC02B)), waits=True),
    "retries without end": answering(record(wire.HANDSHAKE, server_hello(
        bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c"),
        extra=b"\0\x2b\0\2\3\4\0\x33\0\2\0\x18")), repeat=50, waits=True),
}


@pytest.mark.parametrize("act", BROKEN.values(), ids=BROKEN)
def test_a_broken_handshake_is_502(against, act):
    edge = against(act)
    for version in ("1.1", "2"):
        response = edge.curl("/api/hello?id=1", version=version)
        assert response.status == 502
        assert error_of(response) in ("tls_protocol_error", "connection_terminated",
                                      "connection_refused", "tls_alert_received"), response.fields
    assert edge.metric("edge_upstream_handshakes_total", result="failure") >= 2
    until(lambda: nothing_is_kept(edge), what=lambda: f"nothing is kept: {edge.ledger()}")


def error_of(response):
    return response.get("proxy-status").split("error=")[1].split(";")[0]


def silent(sock):
    sock.recv(1 << 16)
    sock.recv(1)


def dripping(sock):
    """A record that never ends, a byte at a time."""
    received_hello(sock)
    sock.sendall(struct.pack(">BHH", wire.HANDSHAKE, 0x0303, 16_000) + b"\2\0\x3e\x00")
    sock.settimeout(0.05)
    while True:
        sock.sendall(b"\0")
        with contextlib.suppress(TimeoutError):
            if not sock.recv(1):
                return


@pytest.mark.parametrize("act", [silent, dripping])
def test_a_handshake_that_takes_too_long_is_504(against, act):
    edge = against(act, patience="1s")
    for version in ("1.1", "2"):
        assert edge.curl("/api/hello?id=1", version=version).status == 504
    assert edge.metric("edge_timeouts_total", kind="upstream_handshake") == 2
    until(lambda: nothing_is_kept(edge), what=lambda: f"nothing is kept: {edge.ledger()}")


def test_a_chain_without_end_is_502(against, certificates, tmp_path):
    """More than 64 KiB of certificates are not looked at."""
    leaf = certificates.upstream.certificate.read_text()
    long_chain = tmp_path / "chain.pem"
    long_chain.write_text(leaf + certificates.authority.certificate.read_text() * 200)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(long_chain, certificates.upstream.key)

    def act(sock):
        context.wrap_socket(sock, server_side=True).recv(1)
    edge = against(act)
    assert edge.curl("/api/hello?id=1").status == 502
    until(lambda: nothing_is_kept(edge))


# After it.

@pytest.fixture
def context(certificates):
    context = certificates.upstream.server_context(["http/1.1"])
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def serving(context, *steps):
    """Finishes the handshake, reads a request, and takes the steps with both sockets."""
    def act(sock):
        raw = sock.dup()
        with context.wrap_socket(sock, server_side=True) as secure:
            request = b""
            while b"\r\n\r\n" not in request:
                request += secure.recv(65536)
            for step in steps:
                step(secure, raw)
        raw.close()
    return act


def sealed(data):
    return lambda secure, raw: secure.sendall(data)


def plain(data, repeat=1):
    return lambda secure, raw: raw.sendall(data * repeat)


def shut(secure, raw):
    """Ends the stream without close_notify."""
    raw.shutdown(socket.SHUT_RDWR)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
BEFORE_HEAD = {
    "an alert in the clear": plain(record(wire.ALERT, b"\2\x28")),
    "data in the clear": plain(record(wire.DATA, b"HTTP/1.1 200 OK\r\n\r\n")),
    "noise": plain(os.urandom(1000)),
    "alerts in the clear without end": plain(record(wire.ALERT, b"\1\x5a"), 5000),
    "too long a record": plain(record(wire.DATA, bytes(18_433))),
    "records that cannot be opened": plain(record(wire.DATA, bytes(64)), 500),
    "a close without close_notify": shut,
}


@pytest.mark.parametrize("step", BEFORE_HEAD.values(), ids=BEFORE_HEAD)
def test_broken_records_before_the_answer_are_502(against, context, step):
    edge = against(serving(context, step, shut))
    for version in ("1.1", "2"):
        response = edge.curl("/api/hello?id=1", "-X", "POST", version=version)
        assert response.status == 502, response
    until(lambda: nothing_is_kept(edge), what=lambda: f"nothing is kept: {edge.ledger()}")


def is_cut(response, version):
    """Whether an answer was not whole; a stream reset at once may not even show its head."""
    return not response.complete and response.status in ((0, 200) if version == "2" else (200,))


@pytest.mark.parametrize("step", BEFORE_HEAD.values(), ids=BEFORE_HEAD)
@pytest.mark.parametrize("version, code", [("1.1", (18, 56)), ("2", (92, 18))])
def test_broken_records_within_the_answer_cut_it(against, context, step, version, code):
    edge = against(serving(context, sealed(HEAD + b"begun"), step, shut))
    response = edge.curl("/api/hello?id=1", version=version, check=False)
    assert is_cut(response, version) and response.error in code
    until(lambda: nothing_is_kept(edge), what=lambda: f"nothing is kept: {edge.ledger()}")


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_content_that_ends_with_the_connection_needs_close_notify(against, context, version):
    """Without it the content may have been cut by anyone on the way (RFC 8446 §6.1)."""
    edge = against(serving(context, sealed(b"HTTP/1.1 200 OK\r\n\r\nbegun"), shut))
    assert is_cut(edge.curl("/api/hello?id=1", version=version, check=False), version)


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_content_that_ends_with_close_notify_is_whole(against, context, version):
    def notify(secure, raw):
        secure.settimeout(5)
        with contextlib.suppress(OSError, ssl.SSLError):
            secure.unwrap()
    edge = against(serving(context, sealed(b"HTTP/1.1 200 OK\r\n\r\nwhole"), notify))
    response = edge.curl("/api/hello?id=1", version=version)
    assert (response.status, response.body) == (200, b"whole")
