"""Raw HTTP/2 frames (RFC 9113 §4), right and wrong: a client that writes what it is told."""

import socket
import ssl
import struct
import time
from dataclasses import dataclass

import hpack

from edge.closing import Closing
from edge.waiting import PATIENCE

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, \
    CONTINUATION = range(10)

END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 0x1, 0x1, 0x4, 0x8, 0x20

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, \
    FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, \
    ENHANCE_YOUR_CALM, INADEQUATE_SECURITY, HTTP_1_1_REQUIRED = range(14)

# Names of settings (RFC 9113 §6.5.2).
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, \
    MAX_HEADER_LIST_SIZE = range(1, 7)


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    """One frame; `length` replaces the true one."""
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(values=(), ack=False):
    """A SETTINGS frame from pairs of identifier and value."""
    payload = b"".join(struct.pack(">HI", name, value) for name, value in dict(values).items())
    return frame(SETTINGS, ACK if ack else 0, 0, payload)


def window_update(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def rst_stream(stream, code=CANCEL):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def ping(payload=b"12345678", ack=False):
    return frame(PING, ACK if ack else 0, 0, payload)


def goaway(last=0, code=NO_ERROR, debug=b""):
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code) + debug)


def priority(stream, depends_on=0, weight=15, exclusive=False):
    word = depends_on | (0x8000_0000 if exclusive else 0)
    return frame(PRIORITY, 0, stream, struct.pack(">IB", word, weight))


def literal(name, value):
    """One field line, never indexed and not compressed: any bytes at all (RFC 7541 §6.2.3)."""
    name = name.encode("latin-1") if isinstance(name, str) else name
    value = value.encode("latin-1") if isinstance(value, str) else value
    return b"\x10" + _integer(len(name), 7) + name + _integer(len(value), 7) + value


def literals(fields):
    return b"".join(literal(name, value) for name, value in fields)


def _integer(value, bits):
    """An HPACK integer in a prefix of so many bits, whose other bits are 0 (RFC 7541 §5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([value])
    out, value = [most], value - most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + [value])


@dataclass
class Frame:
    """A frame as it came."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self):
        """The error code of RST_STREAM or GOAWAY."""
        at = 4 if self.kind == GOAWAY else 0
        return int.from_bytes(self.payload[at:at + 4], "big")

    @property
    def ends_stream(self):
        return self.kind in (DATA, HEADERS) and bool(self.flags & END_STREAM)


class RawHTTP2(Closing):
    """A connection on which nothing happens by itself, except that SETTINGS are acknowledged.

    `fields` of heads are pairs; those of `request` come after the four pseudo-fields.
    """

    def __init__(self, sock, handshake=True, values=(), scheme="https"):
        self.socket = sock
        self.scheme = scheme
        self.buffer = bytearray()
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.frames = []
        self.ended = False
        self.peer_settings = {}
        if handshake:
            self.send(PREFACE + settings(values))
            self.until(lambda f: f.kind == SETTINGS and f.flags & ACK)

    # Writing.

    def send(self, *pieces):
        """Writes bytes; True unless the peer has ended the connection already."""
        try:
            self.socket.sendall(b"".join(pieces))
            return True
        except (ConnectionError, ssl.SSLError):
            return False

    def head(self, method="GET", path="/api/hello?id=1", fields=(), authority="localhost"):
        """The pseudo-fields of a request and what follows them; None leaves one out."""
        pseudo = [(":method", method), (":scheme", self.scheme), (":authority", authority),
                  (":path", path)]
        return [pair for pair in pseudo if pair[1] is not None] + list(fields)

    def headers(self, stream, fields, end=True, end_headers=True, flags=0, before=b"", after=b"",
                raw=False):
        """A HEADERS frame; `raw` writes literals without checks, `before`/`after` the block."""
        block = literals(fields) if raw else self.encoder.encode(list(fields), huffman=False)
        flags |= (END_STREAM if end else 0) | (END_HEADERS if end_headers else 0)
        return frame(HEADERS, flags, stream, before + block + after)

    def request(self, stream, method="GET", path="/api/hello?id=1", fields=(), end=True,
                authority="localhost"):
        """Sends a whole request head."""
        return self.send(self.headers(stream, self.head(method, path, fields, authority), end))

    # Reading.

    def read(self, seconds=PATIENCE):
        """The next frame; None at the end of the connection. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while (found := self._take()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("no frame in time")
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(262_144)
            except socket.timeout:
                raise TimeoutError("no frame in time") from None
            except (ConnectionError, ssl.SSLError):
                data = b""
            if not data:
                self.ended = True
                return None
            self.buffer += data
        self.frames.append(found)
        if found.kind == SETTINGS and not found.flags & ACK:
            for at in range(0, len(found.payload), 6):
                name, value = struct.unpack_from(">HI", found.payload, at)
                self.peer_settings[name] = value
            self.send(settings(ack=True))
        return found

    def _take(self):
        if len(self.buffer) < 9:
            return None
        end = 9 + int.from_bytes(self.buffer[:3], "big")
        if len(self.buffer) < end:
            return None
        kind, flags, stream = struct.unpack_from(">BBI", self.buffer, 3)
        found = Frame(kind, flags, stream & 0x7FFF_FFFF, bytes(self.buffer[9:end]))
        del self.buffer[:end]
        return found

    def until(self, condition, seconds=PATIENCE):
        """Reads up to the first frame for which the condition holds; None at the end."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.read(max(deadline - time.monotonic(), 0.001))
            if found is None or condition(found):
                return found

    def rest(self, seconds=PATIENCE):
        """Reads to the end of the connection and returns every frame that came since the start."""
        while self.read(seconds) is not None:
            pass
        return self.frames

    def fields(self, found):
        """The decoded fields of a HEADERS frame without padding or priority, END_HEADERS set."""
        return self.decoder.decode(found.payload)

    def response(self, stream, seconds=PATIENCE):
        """Status and body of a stream; the code of its reset instead of the body, if it was."""
        status, body = None, b""
        deadline = time.monotonic() + seconds
        while True:
            found = self.read(max(deadline - time.monotonic(), 0.001))
            assert found is not None, f"the connection ended within stream {stream}"
            if found.kind == HEADERS:
                named = dict(self.fields(found))
                if found.stream == stream and ":status" in named:
                    status = int(named[":status"])
            if found.stream != stream:
                continue
            if found.kind == DATA:
                body += found.payload
            if found.kind == RST_STREAM:
                return status, found.code
            if found.ends_stream:
                return status, body

    def lives(self, seconds=PATIENCE):
        """Whether a PING is answered."""
        mark = b"\x00lives\x00?"
        self.send(ping(mark))
        found = self.until(
            lambda f: f.kind == GOAWAY or f.kind == PING and f.payload == mark, seconds)
        return found is not None and found.kind == PING
