"""HTTP/2 clients that cost in proportion to their bytes, or do nothing: bounded, and let go."""

import itertools
import ssl
import time

import pytest

from edge.floods import MEBIBYTE, MOST_MEMORY, Flood, Neighbour, endure, get, post, quiet, start
from edge.frames import (
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, PADDED,
    PREFACE, PROTOCOL_ERROR, RST_STREAM, SETTINGS, frame, literal, literals, settings,
    window_update)
from edge.waiting import until

# Seconds for 10 000 frames, the neighbour's requests meanwhile included: five times what the
# dearest take on a busy machine. Work by the square of a head's fields would take hundreds.
MOST_CPU = 20.0


@pytest.fixture
def edge(edges, configuration, upstream):
    return start(edges, configuration, upstream)


# Work that is paid for: every frame is answered, or moved, or read and thrown away.

WORK = {}


def work(name):
    def add(pieces):
        WORK[name] = pieces
        return pieces
    return add


def exchange(client, stream, *pieces):
    """Sends a request and waits for its answer; returns the status, None at the end."""
    client.send(*pieces)
    while (found := client.read()) is not None and found.kind != GOAWAY:
        if found.stream == stream and found.kind == RST_STREAM:
            return 0
        if found.stream == stream and found.kind == HEADERS:
            status = int(dict(client.fields(found))[":status"])
            if not found.ends_stream:
                client.until(lambda f: f.stream == stream and (
                    f.ends_stream or f.kind == RST_STREAM))
            return status
    return None


@work("a head of more than 32 KiB")
def large_head(client, stream):
    block = literals(client.head()) + literal("x", "v" * 33_000)
    pieces = [frame(HEADERS, END_STREAM, stream, block[:16_384]),
              frame(CONTINUATION, 0, stream, block[16_384:32_768]),
              frame(CONTINUATION, END_HEADERS, stream, block[32_768:])]
    assert exchange(client, stream, *pieces) == 431
    return 3


@work("a head of more than a hundred fields")
def many_fields(client, stream):
    fields = [(f"x-{number}", "1") for number in range(120)]
    head = client.headers(stream, client.head(fields=fields), raw=True)
    assert exchange(client, stream, head) == 431
    return 1


@work("a target of more than 16 KiB")
def long_target(client, stream):
    block = literals(client.head(path="/" + "a" * 17_000))
    pieces = [frame(HEADERS, END_STREAM, stream, block[:16_384]),
              frame(CONTINUATION, END_HEADERS, stream, block[16_384:])]
    assert exchange(client, stream, *pieces) == 414
    return 2


@work("a bomb just below what is reset")
def small_bomb(client, stream):
    entry = b"\x40\x01b\x7f\xa1\x1e" + b"v" * 4000 if stream == 1 else b""
    block = literals(client.head()) + entry + b"\xbe" * 20
    assert exchange(client, stream, frame(
        HEADERS, END_HEADERS | END_STREAM, stream, block)) == 431
    return 1


@work("thousands of cookie crumbs")
def crumbs(client, stream):
    # The crumb is in the table after the first head; then each costs its sender an octet.
    entry = literal("cookie", "a")[1:]
    block = literals(client.head()) + (b"\x40" + entry if stream == 1 else b"") + b"\xbe" * 3000
    assert exchange(client, stream, frame(
        HEADERS, END_HEADERS | END_STREAM, stream, block)) == 200
    return 1


@work("crumbs and other fields in turn")
def mixed_crumbs(client, stream):
    fields = [(name, "v" * 100) for _ in range(60) for name in ("cookie", "x-other")]
    head = client.headers(stream, client.head(fields=fields), raw=True)
    # Each move of the cookie so far counts against the head's limit: no square of work.
    assert exchange(client, stream, head) in (200, 431)
    return 1


@work("entries that push each other out of the table")
def churn(client, stream):
    block = literals(client.head())
    for number in range(3):
        block += b"\x40\x03x-" + bytes([97 + number]) + b"\x7f\xa1\x1e" + b"v" * 4000
    assert exchange(client, stream, frame(
        HEADERS, END_HEADERS | END_STREAM, stream, block)) == 200
    return 1


@work("a table that is emptied and opened in each head")
def table_updates(client, stream):
    # Two updates are as many as may stand before a head (RFC 7541 §4.2).
    head = client.headers(stream, client.head(path="/nowhere"), raw=True,
                          before=b"\x20\x3f\xe1\x1f")
    assert exchange(client, stream, head) == 404
    return 1


@work("a padded head")
def padded_head(client, stream):
    block = bytes([255]) + literals(client.head(path="/nowhere")) + bytes(255)
    assert exchange(client, stream, frame(
        HEADERS, END_HEADERS | END_STREAM | PADDED, stream, block)) == 404
    return 1


@work("content by the octet")
def small_data(client, stream):
    pieces = [post(client, stream, path="/api/digest?id=1")]
    pieces += [frame(DATA, 0, stream, b"x")] * 500 + [frame(DATA, END_STREAM, stream)]
    assert exchange(client, stream, *pieces) == 200
    return len(pieces)


@pytest.mark.parametrize("name", WORK)
def test_work_is_bounded(name, edge, record_property):
    memory, cpu, frames = edge.rss(), edge.cpu(), 0
    with Neighbour(edge) as neighbour:
        mark = neighbour.begun
        with edge.frames(listener=1, plain=True) as client:
            for stream in itertools.islice(itertools.count(1, 2), 300):
                frames += WORK[name](client, stream)
                client.frames.clear()
            assert client.lives()
        until(lambda: neighbour.served_since(mark), what="the neighbour's answer")
        assert neighbour.problem is None, neighbour.problem
    spent = (edge.cpu() - cpu) / frames * 10_000
    record_property("cpu_per_10000_frames", round(spent, 3))
    record_property("memory", edge.rss() - memory)
    assert edge.rss() - memory < MOST_MEMORY
    assert spent < MOST_CPU
    assert edge.metric("edge_floods_total") == 0
    quiet(edge)


# Clients that wait for nothing.

def test_requests_faster_than_answers_are_read(edge, record_property):
    def pieces(client):
        for stream in itertools.count(1, 2):
            yield get(client, stream, "/api/hello?id=1&size=20000")
    impatient = Flood("impatient", pieces, [], PROTOCOL_ERROR, (),
                      {"reads": False, "receive_buffer": 4096})
    outcomes = endure(edge, impatient, record_property)
    # More than its streams are open in its eyes: an error of the connection.
    assert all(outcome.ended for outcome in outcomes), outcomes
    quiet(edge)


DEADLINES = {"timeouts": {
    "head": "1s", "body": "1s", "write": "1s", "idle": "20s", "handshake": "5s"}}

STALLS = {
    "no preface": lambda client: b"",
    "half a preface": lambda client: PREFACE[:11],
    "a preface without SETTINGS": lambda client: PREFACE,
    "half a frame header": lambda client: PREFACE + settings() + frame(SETTINGS)[:5],
    "half a PING": lambda client: PREFACE + settings() + frame(6, 0, 0, bytes(8))[:12],
    "half a head": lambda client: PREFACE + settings() + get(client, 1)[:20],
    "a head without END_HEADERS": lambda client: PREFACE + settings() + get(
        client, 1, end_headers=False),
    "a head that continues without END_HEADERS": lambda client: (
        PREFACE + settings() + get(client, 1, end_headers=False)
        + frame(CONTINUATION, 0, 1, literal("x", "y"))),
    "half a frame behind a request": lambda client: (
        PREFACE + settings() + get(client, 1, "/api/hello?id=1") + frame(6, 0, 0, bytes(8))[:12]),
    # The request is answered, and the connection ends with it.
    "half a frame beside a request": lambda client: (
        PREFACE + settings() + get(client, 1, "/api/delay?id=1&ms=3000")
        + frame(6, 0, 0, bytes(8))[:12]),
}


def until_closed(sock, seconds):
    """Reads to the end without a word, not even an acknowledgement of SETTINGS."""
    sock.settimeout(seconds)
    try:
        while sock.recv(65_536):
            pass
    except (ConnectionError, ssl.SSLError):
        pass


@pytest.mark.parametrize("plain", [False, True], ids=["tls", "plain"])
@pytest.mark.parametrize("stall", STALLS)
def test_a_client_that_stops_halfway_is_let_go(stall, plain, edges, configuration, upstream):
    edge = start(edges, configuration, upstream, DEADLINES)
    with Neighbour(edge) as neighbour:
        with edge.frames(listener=1 if plain else 0, plain=plain, handshake=False) as client:
            client.send(STALLS[stall](client))
            # Far above the second that it has, far below the 20 of an idle client.
            until_closed(client.socket, 15)
        assert neighbour.problem is None, neighbour.problem
    quiet(edge)


def test_frames_that_are_cut_each_have_their_own_time(edges, configuration, upstream):
    """Where reads end is the network's doing: every one of them ends within another PING here."""
    edge = start(edges, configuration, upstream, {"timeouts": {"head": "3s"}})
    with edge.frames(listener=1, plain=True) as client:
        client.send(get(client, 1, "/api/delay?id=1&ms=5000"))
        ping, cuts = frame(6, 0, 0, bytes(8)), itertools.cycle([12, 5])
        cut = next(cuts)
        client.send(ping[:cut])
        found = None
        while found is None or found.stream != 1:
            left, cut = ping[cut:], next(cuts)
            client.send(left + ping[:cut])
            found = client.until(lambda f: f.kind in (6, GOAWAY, HEADERS))
            assert found is not None and found.kind != GOAWAY, "each frame was whole in time"
            # Some sixty within the seconds that each of them has.
            time.sleep(0.05)
        client.send(ping[cut:])
        assert client.lives()
    quiet(edge)


def test_streams_that_are_opened_and_left(edges, configuration, upstream):
    edge = start(edges, configuration, upstream, DEADLINES)
    memory = edge.rss()
    with Neighbour(edge) as neighbour, edge.frames(listener=1, plain=True) as client:
        streams = range(1, 201, 2)
        client.send(*(post(client, stream) for stream in streams))
        left = set(streams)
        while left:
            found = client.until(lambda f: f.stream in left and (
                f.kind == RST_STREAM or f.ends_stream or f.kind == HEADERS))
            if found.kind == HEADERS:
                assert dict(client.fields(found))[":status"] == "408"
            if found.kind == RST_STREAM or found.ends_stream:
                left.discard(found.stream)
            elif found.kind == HEADERS:
                continue
        assert client.lives()
        assert neighbour.problem is None, neighbour.problem
    assert edge.rss() - memory < MOST_MEMORY
    quiet(edge)


# Readers of large bodies who do not read.

BLOCK = bytes(32_768)


async def block(request, reply):
    """A mebibyte from one block, so that the service is faster than those who do not read."""
    await reply.head(200, length=MEBIBYTE)
    for _ in range(MEBIBYTE // len(BLOCK)):
        await reply.data(BLOCK)


@pytest.mark.parametrize("window", [0, 1], ids=["no window", "a window of one octet"])
def test_readers_without_a_window_take_bounded_memory(
        window, edges, configuration, upstream, record_property):
    """2 560 answers of a mebibyte each are wanted, and none is read."""
    upstream.script["/api/block"] = block
    edge = start(edges, configuration, upstream, {
        "timeouts": {"write": "5s"}, "limits": {"max_memory": "64MiB"}}, versions=["h2c"])
    memory, most, clients = edge.rss(), 0, []
    for _ in range(20):
        clients.append(edge.frames(
            listener=1, plain=True, values=((INITIAL_WINDOW_SIZE, window),)))
        clients[-1].send(*(get(clients[-1], stream, "/api/block?id=1")
                           for stream in range(1, 257, 2)))
    deadline = time.monotonic() + 40
    while edge.metric("edge_ledger_live", kind="exchange"):
        most = max(most, edge.rss() - memory)
        assert time.monotonic() < deadline, "their exchanges are still there"
    record_property("memory", most)
    # The budget, and what services send before what does not move is cut; without, 2.5 GiB.
    assert most < 256 * MEBIBYTE
    # Those who do not read are still connected; others are served.
    with Neighbour(edge) as neighbour:
        until(lambda: neighbour.answered > 20, what="the neighbour's answers")
        assert neighbour.problem is None, neighbour.problem
    for client in clients:
        client.close()
    quiet(edge)
    assert edge.metric("edge_buffer_bytes", state="used") < MEBIBYTE


@pytest.mark.parametrize("step, is_slow", [(1, True), (100, True), (10_000, False)])
def test_a_reader_slower_than_the_least_rate_is_let_go(
        step, is_slow, edges, configuration, upstream):
    # A hundred octets are no tiny window, so that only the rate tells this reader from others; the
    # one that is quick enough is so even if the machine lets it read once within the two seconds.
    edge = start(edges, configuration, upstream, {
        "timeouts": {"write": "2s", "body": "2s"}, "limits": {"min_rate": 3000}})
    with Neighbour(edge) as neighbour:
        with edge.frames(listener=1, plain=True, values=((INITIAL_WINDOW_SIZE, 0),)) as client:
            client.request(1, path="/api/large?id=1&size=1000000")
            client.until(lambda f: f.kind == HEADERS)
            begun, got = time.monotonic(), None
            while (got is None or got.kind == DATA) and time.monotonic() - begun < 7:
                client.send(window_update(1, step) + window_update(0, step))
                got = client.until(lambda f: f.stream == 1 or f.kind == GOAWAY)
                # The pace of this reader: ten steps a second at most.
                time.sleep(0.1)
            assert got is not None and (got.kind in (RST_STREAM, GOAWAY)) == is_slow, got
        assert neighbour.problem is None, neighbour.problem
    quiet(edge)
