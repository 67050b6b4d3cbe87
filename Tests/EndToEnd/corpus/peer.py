"""Clients that judge what they get, and the proxy in front of the recorder."""

import socket
import ssl

from edge import frames as h2

from . import strict

CONNECTION_FIELDS = strict.CONNECTION_FIELDS | {
    b"connection", b"transfer-encoding", b"upgrade", b"te", b"host"}


class EndedWithin(Exception):
    """The connection ended before the response was whole."""

    def __init__(self, data):
        super().__init__(f"after {bytes(data[-300:])!r}")
        self.data = bytes(data)


class Client:
    """An HTTP/1.1 connection whose responses are read strictly."""

    def __init__(self, sock):
        self.socket = sock
        self.buffer = bytearray()
        self.informational = []
        self.was_reset = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data, pieces=1):
        """Sends in pieces of equal size; a peer that has had enough is no error."""
        step = max(1, -(-len(data) // pieces))
        try:
            for at in range(0, len(data), step):
                self.socket.sendall(data[at:at + step])
        except (ConnectionError, ssl.SSLError):
            pass

    def leave(self):
        """Ends this side."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def more(self):
        try:
            data = self.socket.recv(262_144)
        except ConnectionError:
            self.was_reset = True
            data = b""
        self.buffer += data
        return bool(data)

    def read(self, method=b"GET"):
        """The next final response; interim ones are kept in `informational`."""
        while True:
            found = strict.read_response(self.buffer, method)
            if found is None:
                if self.more():
                    continue
                # Only an orderly close may end what has no length.
                found = strict.read_response(self.buffer, method, ended=not self.was_reset)
                if found is None:
                    raise EndedWithin(self.buffer)
            message, length = found
            del self.buffer[:length]
            strict.check_response(message)
            if message.status >= 200 or message.status == 101:
                return message
            self.informational.append(message.status)

    def at_end(self):
        """Whether the peer closes without another byte."""
        return not self.buffer and not self.more()


def request(target, *lines, method=b"GET", version=b"1.1"):
    """A plain request."""
    start = method + b" " + target + b" HTTP/" + version
    return b"\r\n".join([start, b"Host: localhost", *lines]) + b"\r\n\r\n"


def client(edge):
    return Client(edge.tcp(seconds=20))


def start(edges, configuration, recorder, changes=None):
    """A proxy on a plain listener: `/api` over HTTP/1.1, `/h2c` over h2c, to one recorder.

    Without breaker: most answers of that host are failures.
    """
    made = configuration(recorder, {"listeners": [{"address": "127.0.0.1:0"}], "workers": 1,
                                    "upstream": {"health": {"enabled": False}},
                                    **(changes or {})}, versions=["1.1"])
    made["routes"].append({**made["routes"][0], "path": "/h2c", "versions": ["h2c"]})
    return edges(made)


def check_alive(edge, target=b"/api/good?id=1"):
    """Another client is served, with its own answer."""
    with client(edge) as other:
        other.send(request(target))
        answer = other.read()
    assert (answer.status, answer.body) == (200, target), answer
    return answer


class Stream:
    """What came on one HTTP/2 stream."""

    def __init__(self):
        self.status, self.fields, self.body, self.trailers = None, [], b"", []
        self.informational, self.reset, self.complete = [], None, False

    def get(self, name):
        values = [value for known, value in self.fields if known == name]
        return b", ".join(values) if values else None


def read_stream(sock, number):
    """Reads a stream to its end, as strictly as HTTP/1.1 responses are read."""
    stream = Stream()
    while not stream.complete and stream.reset is None:
        found = sock.read()
        assert found is not None, f"the connection ended within stream {number}"
        fields = []
        if found.kind == h2.HEADERS:
            fields = [(bytes(n), bytes(v)) for n, v in sock.decoder.decode(found.payload, raw=True)]
        if found.stream != number:
            continue
        if found.kind == h2.HEADERS:
            take_section(stream, fields)
        elif found.kind == h2.DATA:
            stream.body += found.payload
        elif found.kind == h2.RST_STREAM:
            stream.reset = found.code
        stream.complete = found.ends_stream
    return stream


def take_section(stream, fields):
    for name, value in fields:
        bare = name[1:] if name.startswith(b":") else name
        strict.demand(strict.TOKEN.fullmatch(bare) and bare == bare.lower(), f"a name {name!r}")
        strict.demand(strict.VALUE.fullmatch(value), f"a value {value!r}")
        strict.demand(name not in CONNECTION_FIELDS, f"{name} was passed on")
    if stream.status is not None:
        strict.check_trailers(fields)
        stream.trailers = fields
        return
    name, value = fields[0]
    strict.demand(name == b":status" and len(value) == 3, f"{fields[0]} first")
    strict.demand(not any(n.startswith(b":") for n, _ in fields[1:]), f"pseudo in {fields}")
    if int(value) < 200:
        stream.informational.append(int(value))
    else:
        stream.status, stream.fields = int(value), fields[1:]
