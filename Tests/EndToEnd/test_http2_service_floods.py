"""Services that flood us over HTTP/2: their own exchanges fail, nobody else's."""

import itertools
import socket
import threading

import pytest

from edge.floods import MOST_MEMORY, Neighbour, pour, quiet, start
from edge.frames import (
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PADDED, PREFACE, PUSH_PROMISE,
    REFUSED_STREAM, SETTINGS, RawHTTP2, frame, goaway, literal, literals, ping, priority,
    rst_stream, settings, window_update)
from edge.waiting import until

# The id whose host is the flooding service; the scripted upstream has ids 1 to 12.
ID = 20


class Service:
    """An h2c server that answers the first request of each connection with a flood."""

    def __init__(self, port, pieces):
        self.pieces, self.outcomes, self.begun = pieces, [], 0
        self.problem = None
        self.listener = socket.create_server((f"127.0.0.{ID + 1}", port), backlog=64)
        self._thread = threading.Thread(target=self._run, daemon=True, name="service")
        self._thread.start()

    def close(self):
        # Shutting down wakes a thread that waits in accept; closing alone does not.
        self.listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        self.listener.close()
        assert not self._thread.is_alive() and self.problem is None, self.problem

    def _run(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with sock:
                try:
                    self._serve(sock)
                except BaseException as problem:
                    self.problem = repr(problem)

    def _serve(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(20)
        got = b""
        while len(got) < len(PREFACE):
            more = sock.recv(len(PREFACE) - len(got))
            if not more:
                return
            got += more
        connection = RawHTTP2(sock, handshake=False)
        connection.send(settings())
        request = connection.until(lambda f: f.kind == HEADERS, 30)
        if request is not None:
            self.begun += 1
            self.outcomes.append(pour(connection, self.pieces(request.stream)))


# Neither a service's failures in a row nor its pace on a busy machine are what this is about.
CHANGES = {"upstream": {"response_timeout": "30s", "health": {"enabled": False}}}

FLOODS = {}


def flood(name, status=502, is_endless=True):
    """Puts a generator of frames into the table, with what its client sees."""
    def add(pieces):
        FLOODS[name] = (pieces, status, is_endless)
        return pieces
    return add


def head(stream, end=False, fields=()):
    flags = END_HEADERS | (END_STREAM if end else 0)
    return frame(HEADERS, flags, stream, literals([(":status", "200"), *fields]))


@flood("PING")
def pings(stream):
    while True:
        yield ping()


@flood("PING acknowledgements")
def ping_acknowledgements(stream):
    while True:
        yield ping(ack=True)


@flood("SETTINGS")
def settings_flood(stream):
    while True:
        yield settings()


@flood("SETTINGS acknowledgements")
def settings_acknowledgements(stream):
    while True:
        yield settings(ack=True)


@flood("SETTINGS with too many entries")
def settings_entries(stream):
    payload = b"".join(number.to_bytes(2, "big") + bytes(4) for number in range(100, 2000))
    while True:
        yield frame(SETTINGS, 0, 0, payload)


@flood("WINDOW_UPDATE")
def window_updates(stream):
    while True:
        yield window_update(0, 1)
        yield window_update(stream, 1)


@flood("PRIORITY")
def priorities(stream):
    while True:
        yield priority(stream)


@flood("GOAWAY")
def goaways(stream):
    while True:
        yield goaway(stream)


@flood("frames of an unknown type")
def unknown(stream):
    while True:
        yield frame(0xE0, 0, 0, b"x")


@flood("empty DATA", 200)
def empty_data(stream):
    yield head(stream)
    while True:
        yield frame(DATA, 0, stream)


@flood("DATA with more padding than content", 200)
def padded_data(stream):
    yield head(stream)
    while True:
        yield frame(DATA, PADDED, stream, b"\xff" + b"x" + bytes(255))


@flood("DATA on a stream that has ended", 200)
def late_data(stream):
    yield head(stream, end=True)
    while True:
        yield frame(DATA, 0, stream, b"x")


@flood("endless CONTINUATION")
def continuation(stream):
    yield frame(HEADERS, 0, stream, literals([(":status", "200")]))
    for number in itertools.count():
        yield frame(CONTINUATION, 0, stream, literal(f"x-{number}", "v" * 100))


@flood("empty CONTINUATION")
def empty_continuation(stream):
    yield frame(HEADERS, 0, stream, literals([(":status", "200")]))
    while True:
        yield frame(CONTINUATION, 0, stream)


@flood("informational responses")
def informational(stream):
    while True:
        yield frame(HEADERS, END_HEADERS, stream, literals([(":status", "103")]))


@flood("an HPACK bomb", is_endless=False)
def bomb(stream):
    entry = b"\x40\x01b\x7f\xa1\x1e" + b"v" * 4000
    block = literals([(":status", "200")]) + entry + b"\xbe" * 12_000
    yield frame(HEADERS, END_HEADERS, stream, block)


@flood("a head of more than 32 KiB", is_endless=False)
def large_head(stream):
    block = literals([(":status", "200"), ("x", "v" * 33_000)])
    yield frame(HEADERS, 0, stream, block[:16_384])
    yield frame(CONTINUATION, 0, stream, block[16_384:32_768])
    yield frame(CONTINUATION, END_HEADERS, stream, block[32_768:])


@flood("RST_STREAM of every stream", is_endless=False)
def resets(stream):
    yield rst_stream(stream, 2)


@flood("REFUSED_STREAM for every stream", is_endless=False)
def refusals(stream):
    yield rst_stream(stream, REFUSED_STREAM)


@flood("RST_STREAM over and over")
def stray_resets(stream):
    while True:
        yield rst_stream(stream, 2)


@flood("PUSH_PROMISE")
def push(stream):
    while True:
        yield frame(PUSH_PROMISE, END_HEADERS, stream, (2).to_bytes(4, "big"))


@pytest.mark.parametrize("name", FLOODS)
def test_a_service_that_floods_fails_alone(name, edges, configuration, upstream, keep,
                                           record_property):
    pieces, status, is_endless = FLOODS[name]
    edge = start(edges, configuration, upstream, CHANGES, versions=["h2c"])
    service = keep(Service(upstream.port, pieces))
    memory, cpu = edge.rss(), edge.cpu()
    with Neighbour(edge) as neighbour:
        mark, found = neighbour.begun, []
        while len(found) < 3 or not neighbour.served_since(mark):
            answer = edge.curl(f"/api/hello?id={ID}", check=False, seconds=40)
            found.append(answer.status)
        assert neighbour.problem is None, neighbour.problem
    assert set(found) == {status}, found
    if is_endless:
        until(lambda: len(service.outcomes) == service.begun, what="the end of each connection")
        assert all(outcome.ended for outcome in service.outcomes), service.outcomes
    frames = max((outcome.frames for outcome in service.outcomes), default=0)
    record_property("frames", frames)
    record_property("cpu", round(edge.cpu() - cpu, 2))
    record_property("memory", edge.rss() - memory)
    assert edge.rss() - memory < MOST_MEMORY
    quiet(edge)


@pytest.mark.parametrize("name", ["RST_STREAM of every stream", "PING", "empty DATA"])
def test_other_hosts_go_on_beside_many_exchanges_with_it(name, edges, configuration, upstream,
                                                         keep):
    edge = start(edges, configuration, upstream, CHANGES, versions=["h2c"])
    keep(Service(upstream.port, FLOODS[name][0]))
    with Neighbour(edge) as neighbour, edge.http2() as client:
        streams = [client.start(path=f"/api/hello?id={ID if n % 2 else n % 12 + 1}")
                   for n in range(40)]
        answers = [client.finish(stream) for stream in streams]
        assert neighbour.problem is None, neighbour.problem
        assert all(answer.status == 200 and answer.complete for answer in answers[::2])
        assert all(answer.status in (502, 200, 0) for answer in answers[1::2])
        assert client.goaway is None
    quiet(edge)
