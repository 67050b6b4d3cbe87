"""An upstream that keeps every byte, reads it strictly, and answers as it is told.

One thread per connection; HTTP/2 is told by its preface. What arrives is judged here, by rules of
its own, so that a fault is noted even if nobody asks.
"""

import itertools
import socket
import struct
import threading

import hpack

from edge import frames as h2
from edge.waiting import until

from . import strict
from .strict import demand

FORBIDDEN_IN_HTTP2 = strict.CONNECTION_FIELDS | {
    b"connection", b"transfer-encoding", b"upgrade", b"host"}


class Connection:
    """One connection and what came over it."""

    def __init__(self, number, sock):
        self.number = number
        self.socket = sock
        self.received = bytearray()
        self.protocol = None
        # Bytes or streams of requests that are not complete.
        self.unfinished = 0
        self.closed = False


class Arrived:
    """One complete request as it arrived."""

    def __init__(self, connection, method, target, fields, body, trailers):
        self.connection = connection
        self.method, self.target, self.fields = method, target, fields
        self.body, self.trailers = body, trailers

    def values(self, name):
        return [value for known, value in self.fields if known == name]

    def get(self, name):
        return b", ".join(self.values(name)) if self.values(name) else None


def own_answer(target):
    """The answer that shows whose it is: its content is the target."""
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(target), target)


class Recorder:
    """The upstream. `script` maps a target's path to what is done instead of the own answer:

    bytes to send, and callables that take the connection, or on HTTP/2 first the stream's number
    and then return one of both.
    """

    def __init__(self, address="127.0.0.2"):
        self.connections = []
        self.requests = []
        self.faults = []
        self.script = {}
        self._numbers = itertools.count(1)
        self.listener = socket.create_server((address, 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True, name="recorder").start()

    def close(self):
        self.listener.close()
        for connection in self.connections:
            connection.socket.close()

    def settled(self):
        """No request is left half-arrived on an open connection, and none was malformed."""
        until(lambda: not [c for c in self.connections if c.unfinished and not c.closed],
              what="requests that will not be completed are cut")
        faults, self.faults = self.faults, []
        assert not faults, faults

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(next(self._numbers), sock)
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            self._speak(connection)
        except strict.Malformed as fault:
            self.faults.append(f"{fault} in {bytes(connection.received[-2000:])!r}")
        except OSError:
            pass
        finally:
            connection.closed = True
            connection.socket.close()

    def _speak(self, connection):
        while len(connection.received) < len(h2.PREFACE):
            if not more(connection):
                return
        if connection.received.startswith(h2.PREFACE):
            connection.protocol = "h2"
            HTTP2Side(self, connection).run()
        else:
            connection.protocol = "h1"
            self._speak_http1(connection)

    def _speak_http1(self, connection):
        at, answered = 0, False
        while True:
            rest = connection.received[at:]
            found = strict.read_request(rest)
            connection.unfinished = len(rest) if found is None else 0
            if found is None:
                if not answered and (head := strict.read_head(rest)):
                    answered = self._answer_early(connection, head)
                if not more(connection):
                    return
                continue
            message, length = found
            at += length
            strict.check_request(message)
            self.requests.append(Arrived(connection, message.method, message.target,
                                         message.fields, message.body, message.trailers))
            if not answered:
                self._answer(connection, message.target)
            answered = False

    def _answer_early(self, connection, head):
        target = head[0].split(b" ")[1]
        if not target.startswith(b"/api/early"):
            return False
        connection.socket.sendall(own_answer(target))
        return True

    def _answer(self, connection, target):
        steps = self.script.get(target.partition(b"?")[0])
        if steps is None:
            return connection.socket.sendall(own_answer(target))
        for step in steps:
            if callable(step):
                step(connection)
            else:
                connection.socket.sendall(step)


def more(connection):
    """Reads once; False at the end."""
    data = connection.socket.recv(262_144)
    connection.received += data
    return bool(data)


class Stream:
    def __init__(self):
        self.fields, self.body, self.trailers = None, bytearray(), []


class HTTP2Side:
    """Reads HTTP/2 from one connection (RFC 9113 §4, §8), strictly."""

    def __init__(self, recorder, connection):
        self.recorder, self.connection = recorder, connection
        self.decoder = hpack.Decoder()
        self.encoder = hpack.Encoder()
        self.streams = {}
        self.block = bytearray()

    def send(self, data):
        self.connection.socket.sendall(data)

    def run(self):
        connection, at = self.connection, len(h2.PREFACE)
        self.send(h2.settings())
        while True:
            while len(connection.received) >= at + 9:
                size = int.from_bytes(connection.received[at:at + 3], "big")
                if len(connection.received) < at + 9 + size:
                    break
                kind, flags, stream = struct.unpack_from(">BBI", connection.received, at + 3)
                payload = bytes(connection.received[at + 9:at + 9 + size])
                at += 9 + size
                self.frame(kind, flags, stream, payload)
            connection.unfinished = len(self.streams)
            if not more(connection):
                return

    def frame(self, kind, flags, stream, payload):
        if kind == h2.SETTINGS and not flags & h2.ACK:
            self.send(h2.settings(ack=True))
        elif kind == h2.PING and not flags & h2.ACK:
            self.send(h2.ping(payload, ack=True))
        elif kind == h2.RST_STREAM:
            self.streams.pop(stream, None)
        elif kind in (h2.HEADERS, h2.CONTINUATION):
            demand(not flags & h2.PADDED, "padding, which the proxy never writes")
            self.block += payload[5:] if kind == h2.HEADERS and flags & h2.PRIORITIZED else payload
            if kind == h2.HEADERS:
                self.ends = bool(flags & h2.END_STREAM)
            if flags & h2.END_HEADERS:
                fields = [(bytes(n), bytes(v)) for n, v in
                          self.decoder.decode(bytes(self.block), raw=True)]
                self.block.clear()
                self.section(stream, fields)
        elif kind == h2.DATA:
            demand(stream in self.streams, "DATA without a request")
            self.streams[stream].body += payload
            if payload:
                self.send(h2.window_update(0, len(payload)) +
                          h2.window_update(stream, len(payload)))
            if flags & h2.END_STREAM:
                self.complete(stream)

    def section(self, stream, fields):
        if stream in self.streams:
            demand(self.ends, "trailers that do not end the stream")
            check_lines(fields)
            demand(not any(name.startswith(b":") for name, _ in fields), "pseudo in trailers")
            strict.check_trailers(fields)
            strict.check_underscores(fields)
            self.streams[stream].trailers = fields
        else:
            check_head(fields)
            self.streams[stream] = Stream()
            self.streams[stream].fields = fields
            if dict(fields)[b":path"].startswith(b"/h2c/early"):
                self.send(self.early_answer(stream))
        if self.ends:
            self.complete(stream)

    def complete(self, number):
        stream = self.streams.pop(number)
        pseudo = {name: value for name, value in stream.fields if name.startswith(b":")}
        fields = [pair for pair in stream.fields if not pair[0].startswith(b":")]
        arrived = Arrived(self.connection, pseudo[b":method"], pseudo[b":path"],
                          [(b"host", pseudo[b":authority"])] + fields, bytes(stream.body),
                          stream.trailers)
        announced = arrived.values(b"content-length")
        demand(announced in ([], [b"%d" % len(stream.body)]), f"{announced} and other content")
        self.recorder.requests.append(arrived)
        steps = self.recorder.script.get(arrived.target.partition(b"?")[0])
        if steps is None:
            return self.send(self.own_answer(number, arrived))
        for step in steps:
            made = step(number) if callable(step) else step
            if callable(made):
                made(self.connection)
            else:
                self.send(made)

    def own_answer(self, stream, arrived):
        target = arrived.target
        block = h2.literals([(":status", "200"), ("content-length", str(len(target)))])
        if arrived.method == b"HEAD":
            return h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream, block)
        return (h2.frame(h2.HEADERS, h2.END_HEADERS, stream, block)
                + h2.frame(h2.DATA, h2.END_STREAM, stream, target))


    def early_answer(self, stream):
        """An answer before the request is complete, whose rest is not wanted (RFC 9113 §8.1)."""
        return (h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream,
                         h2.literals([(":status", "200")]))
                + h2.rst_stream(stream, h2.NO_ERROR))


def check_lines(fields):
    for name, value in fields:
        bare = name[1:] if name.startswith(b":") else name
        demand(strict.TOKEN.fullmatch(bare) and bare == bare.lower(), f"a name {name!r}")
        demand(strict.VALUE.fullmatch(value), f"a value {value!r}")


def check_head(fields):
    """The pseudo-fields of a request first, each once; nothing of another connection."""
    check_lines(fields)
    names = [name for name, _ in fields]
    demand(sorted(names[:4]) == [b":authority", b":method", b":path", b":scheme"], f"{names[:4]}")
    demand(not any(name.startswith(b":") for name in names[4:]), f"late pseudo in {names}")
    found = dict(fields)
    demand(strict.TOKEN.fullmatch(found[b":method"]), "a method")
    demand(strict.TARGET.fullmatch(found[b":path"]), "a path")
    demand(strict.HOST.fullmatch(found[b":authority"]), "an authority")
    demand(found[b":scheme"] == b"http", "a scheme")
    strict.check_underscores(fields)
    for name in names:
        demand(name not in FORBIDDEN_IN_HTTP2, f"{name} was passed on")
    demand(found.get(b"te", b"trailers") == b"trailers", "a te")
    for name in (b"via", b"forwarded", b"x-forwarded-for", b"x-forwarded-proto"):
        demand(names.count(name) == 1, f"{names.count(name)} lines of {name}")
