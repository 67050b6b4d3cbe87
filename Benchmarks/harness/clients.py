"""Client connections over TLS 1.3 that are held open, for what they cost a proxy."""

import socket
import ssl

from .processes import BenchError

DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8
ACK, END_STREAM, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ALPN = {"h1": "http/1.1", "h2": "h2"}


class Clients:
    """Connections to one port. Leaving the block closes all of them."""

    def __init__(self, port, protocol, size):
        """`protocol` is h1 or h2, `size` the bytes that an answer's content must have."""
        self.port, self.protocol, self.size = port, protocol, size
        self.held = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.set_alpn_protocols([ALPN[protocol]])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for connection in self.held:
            connection.tls.close()

    def open(self, count):
        """Opens `count` connections more; each completes one request and stays."""
        for _ in range(count):
            self.connect().request_and_check(self.size)

    def open_waiting(self, count, streams):
        """Opens `count` HTTP/2 connections more, each with `streams` requests under way."""
        for _ in range(count):
            connection = self.connect()
            connection.begin()
            for number in range(streams):
                connection.request(2 * number + 1)

    def connect(self):
        plain = socket.create_connection(("127.0.0.1", self.port), 30)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = self.context.wrap_socket(plain)
        kind = Http1 if self.protocol == "h1" else Http2
        self.held.append(kind(tls, f"127.0.0.1:{self.port}".encode()))
        if tls.selected_alpn_protocol() != ALPN[self.protocol]:
            raise BenchError(f"void: spoke {tls.selected_alpn_protocol()}")
        return self.held[-1]

    def check(self):
        """Raises BenchError if the proxy has ended one of the connections or its streams."""
        for connection in self.held:
            connection.tls.settimeout(0)
            try:
                connection.follow()
            except ssl.SSLWantReadError:
                connection.tls.settimeout(30)
            except OSError as error:
                raise BenchError(f"void: a held connection ended: {error}") from None


class Http1:
    """One connection over HTTP/1.1."""

    def __init__(self, tls, authority):
        self.tls, self.authority = tls, authority

    def request_and_check(self, size):
        self.tls.sendall(b"GET /bench HTTP/1.1\r\nHost: " + self.authority + b"\r\n\r\n")
        head, content = b"", b""
        while b"\r\n\r\n" not in head:
            head += received(self.tls)
        head, _, content = head.partition(b"\r\n\r\n")
        while len(content) < size:
            content += received(self.tls)
        if not head.startswith(b"HTTP/1.1 200 ") or len(content) != size:
            raise BenchError(f"void: {len(content)} bytes after {head[:80]!r}")

    def follow(self):
        """Nothing may come on a connection at rest."""
        raise BenchError(f"void: a connection at rest was told {received(self.tls)[:80]!r}")


class Http2:
    """One connection over HTTP/2, with HPACK as far as one kind of request needs it."""

    def __init__(self, tls, authority):
        self.tls, self.authority = tls, authority
        self.unread = b""

    def begin(self):
        self.tls.sendall(PREFACE + frame(SETTINGS, 0, 0))

    def request(self, stream):
        # GET, https, and literals without indexing of :path and :authority.
        block = (b"\x82\x87" + b"\x04\x06/bench" + b"\x01" + bytes([len(self.authority)])
                 + self.authority)
        self.tls.sendall(frame(HEADERS, END_STREAM | END_HEADERS, stream, block))

    def request_and_check(self, size):
        self.begin()
        self.request(1)
        good, got = False, 0
        while True:
            kind, flags, payload = self.next_frame()
            if kind == HEADERS:
                # Updates of the table's size may come before `:status: 200`, index 8.
                while payload[0] & 0xe0 == 0x20:
                    payload = after_update(payload)
                good = payload[0] == 0x88
            elif kind == DATA:
                got += len(payload)
            if kind in (HEADERS, DATA) and flags & END_STREAM:
                break
        if not good or got != size:
            raise BenchError(f"void: {got} bytes, {'with' if good else 'without'} status 200")

    def follow(self):
        """Reads what is said about the connection; nothing may come on a stream."""
        while True:
            kind, _, payload = self.next_frame()
            if kind not in (SETTINGS, PING, WINDOW_UPDATE):
                raise BenchError(f"void: frame of type {kind} at rest: {payload[:60]!r}")

    def next_frame(self):
        """Type, flags and payload of the next frame; SETTINGS and PING are acknowledged."""
        while len(self.unread) < 9 + int.from_bytes(self.unread[:3], "big"):
            self.unread += received(self.tls)
        end = 9 + int.from_bytes(self.unread[:3], "big")
        kind, flags, payload = self.unread[3], self.unread[4], self.unread[9:end]
        self.unread = self.unread[end:]
        if kind in (SETTINGS, PING) and not flags & ACK:
            self.tls.sendall(frame(kind, ACK, 0, payload if kind == PING else b""))
        return kind, flags, payload


def frame(kind, flags, stream, payload=b""):
    """An HTTP/2 frame (RFC 9113 section 4.1)."""
    return (len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
            + payload)


def after_update(block):
    """What follows a dynamic table size update (RFC 7541 section 6.3)."""
    at = 1
    if block[0] == 0x3f:
        while block[at] & 0x80:
            at += 1
        at += 1
    return block[at:]


def received(tls):
    """The next bytes; a connection that ended is an error."""
    data = tls.recv(65536)
    if not data:
        raise ConnectionError("closed by the proxy")
    return data
