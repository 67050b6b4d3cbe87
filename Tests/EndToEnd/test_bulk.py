"""Much content at once: byte for byte, and with an end that says whether it was all."""

import asyncio
import contextlib
import hashlib
import json
import random
import ssl
import threading

import pytest

from edge.clients import HTTP1, HTTP2, Truncated
from edge.flight import Cut, Flight
from edge.process import steady
from edge.upstream import pattern
from edge.waiting import until

LARGE = 10 << 20
LARGE_DIGEST = hashlib.sha256(pattern(LARGE)).hexdigest()
# Less than one read, more than one TLS record: written on from where it was read.
PIECE = 20_000


def digest(data):
    return hashlib.sha256(data).hexdigest()


def ask(path, version="1.1", *fields):
    lines = [f"GET {path} HTTP/{version}", "Host: localhost", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def context_for(edge, alpn="http/1.1", version=None):
    context = edge.authority.client_context([alpn])
    if version:
        context.minimum_version = context.maximum_version = version
    return context


def flight(edge, first=b"", alpn="http/1.1", version=None, context=None, session=None,
           receive_buffer=None, **options):
    sock = edge.tcp(receive_buffer=receive_buffer)
    return Flight(sock, context or context_for(edge, alpn, version), first, session, **options)


@contextlib.contextmanager
def client_of(edge, plain, first=b""):
    """An HTTP/1.1 client on either listener that has sent `first`, over TLS with its Finished."""
    with edge.http1(listener=1, plain=True) if plain else flight(edge, first) as opened:
        client = opened if plain else HTTP1(opened)
        if plain:
            client.send(first)
        yield client


@pytest.fixture
def edge(edge_for, upstream, certificates):
    """TLS first, then a plain listener."""
    return edge_for(upstream, {"listeners": [
        {"address": "127.0.0.1:0", "tls": {"certificates": [certificates.ecdsa.options]}},
        {"address": "127.0.0.1:0"}]})


# Downloads.

@pytest.mark.parametrize("together", [False, True], ids=["later", "with Finished"])
@pytest.mark.parametrize("version, framing", [
    ("1.1", "length"), ("1.1", "chunked"), ("1.0", "length"), ("1.0", "chunked"),
    ("1.0", "close")])
def test_the_first_answer_is_whole_and_ends_with_a_farewell(edge, version, framing, together):
    request = ask(f"/api/large?id=1&size={LARGE}&framing={framing}", version, "Connection: close")
    with flight(edge, request if together else b"", receive_buffer=16_384, step=8192) as sock:
        client = HTTP1(sock)
        if not together:
            client.send(request)
        assert digest(client.read().body) == LARGE_DIGEST
        assert client.at_end()
        sock.answer_farewell()


def test_the_first_answer_to_an_http2_client_is_whole(edge):
    with flight(edge, alpn="h2", receive_buffer=16_384) as sock:
        client = HTTP2(sock)
        streams = [client.start(path=f"/api/large?id={n}&size={LARGE // 4}&framing={framing}")
                   for n, framing in ((1, "length"), (2, "chunked"), (3, "close"))]
        for stream in streams:
            assert digest(client.finish(stream, 60).body) == digest(pattern(LARGE // 4))


@pytest.mark.parametrize("version, framing", [("1.1", "length"), ("1.0", "chunked")])
def test_a_plain_answer_is_whole(edge, version, framing):
    with edge.http1(listener=1, plain=True, receive_buffer=16_384) as client:
        client.send(ask(f"/api/large?id=1&size={LARGE}&framing={framing}", version,
                        "Connection: close"))
        assert digest(client.read().body) == LARGE_DIGEST
        assert client.socket.recv(1) == b""


@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
def test_answers_of_an_http2_service_are_whole(edge_for, upstream, alpn):
    edge = edge_for(upstream, versions=["h2c"])
    size = LARGE // 4
    with flight(edge, alpn=alpn, receive_buffer=16_384) as sock:
        if alpn == "h2":
            client = HTTP2(sock)
            streams = [client.start(path=f"/api/large?id=1&size={size}") for _ in range(2)]
            bodies = [client.finish(stream, 60).body for stream in streams]
        else:
            client = HTTP1(sock)
            bodies = [client.get(f"/api/large?id=1&size={size}").body for _ in range(2)]
    assert [digest(body) for body in bodies] == [digest(pattern(size))] * 2


@pytest.mark.parametrize("window", [1, 16_383, 20_000, 100_000])
@pytest.mark.parametrize("version", ["1.1", "h2c"])
def test_frames_of_any_window_hold_the_content_in_order(edge_for, upstream, version, window):
    """Part of a read goes into frames at once, and the rest waits for the window: then trailers."""
    size = min(2_000_000, 400 * window)

    async def checked(request, reply):
        await reply.head(200, [("trailer", "x-sum")])
        for at in range(0, size, 50_000):
            await reply.data(pattern(min(50_000, size - at), at))
        await reply.finish([("x-sum", "whole")])
    upstream.script["/api/checked"] = checked
    edge = edge_for(upstream, versions=[version])
    with flight(edge, alpn="h2") as sock:
        client = HTTP2(sock, window=window)
        streams = [client.start(path=f"/api/checked?id={number}") for number in (1, 2)]
        for stream in streams:
            response = client.finish(stream, 60)
            assert digest(response.body) == digest(pattern(size))
            assert response.trailers == [("x-sum", "whole")]


@pytest.mark.parametrize("plain", [False, True], ids=["tls", "plain"])
def test_what_has_come_of_the_first_answer_is_sent_before_the_rest_comes(edge, upstream, plain):
    """The head and a piece in one read, and then nothing until the client has both."""
    release = asyncio.Event()

    async def halves(request, reply):
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (2 * PIECE)
        await reply.raw(head + pattern(PIECE))
        await release.wait()
        await reply.raw(pattern(PIECE, PIECE))
    upstream.script["/api/halves"] = halves
    request = ask("/api/halves?id=1", "1.1", "Connection: close")
    with client_of(edge, plain, request) as client:
        client.socket.settimeout(20)
        while len(client.buffer.partition(b"\r\n\r\n")[2]) < PIECE:
            assert client.more(), "the connection ended"
        upstream._loop.call_soon_threadsafe(release.set)
        assert client.read().body == pattern(2 * PIECE)
        assert client.at_end()


# Answers that are cut short.

CUT = 600_000


@pytest.fixture
def cut(upstream):
    """A path whose answer ends too early, behind `CUT` bytes."""
    async def answer(request, reply):
        is_long = request.query["framing"] == "length"
        await reply.head(200, length=2 * CUT if is_long else None)
        for at in range(0, CUT, 50_000):
            await reply.data(pattern(50_000, at))
        await reply.close()
    upstream.script["/api/cut"] = answer
    return "/api/cut?id=1&framing="


@pytest.mark.parametrize("together", [False, True], ids=["later", "with Finished"])
@pytest.mark.parametrize("version, framing", [
    ("1.1", "length"), ("1.1", "chunked"), ("1.0", "length"), ("1.0", "chunked")])
def test_an_answer_cut_short_has_all_that_came_and_no_farewell(
        edge, cut, version, framing, together):
    request = ask(cut + framing, version, "Connection: close")
    with flight(edge, request if together else b"", receive_buffer=16_384, step=8192) as sock:
        if not together:
            sock.sendall(request)
        received = bytearray()
        with pytest.raises(Cut):
            while True:
                data = sock.recv(65_536)
                assert data, "a farewell behind an answer that is not whole"
                received += data
    content = bytes(received).partition(b"\r\n\r\n")[2]
    if version == "1.1" and framing == "chunked":
        content = unchunked(content)
    assert digest(content) == digest(pattern(CUT))


def unchunked(data):
    """The content of whole chunks, of which the last is missing."""
    content = bytearray()
    while data:
        line, _, data = data.partition(b"\r\n")
        size = int(line, 16)
        assert size > 0, "a last chunk behind content that is not whole"
        content += data[:size]
        assert data[size:size + 2] == b"\r\n"
        data = data[size + 2:]
    return bytes(content)


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_plain_answer_cut_short_has_all_that_came(edge, cut, framing):
    with edge.http1(listener=1, plain=True) as client:
        client.send(ask(cut + framing))
        with pytest.raises(Truncated) as found:
            client.read()
    if framing == "length":
        assert digest(found.value.response.body) == digest(pattern(CUT))


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_stream_cut_short_is_reset(edge, cut, framing):
    with flight(edge, alpn="h2") as sock:
        client = HTTP2(sock)
        response = client.finish(client.start(path=cut + framing))
        assert response.error is not None and not response.complete
        assert response.body and pattern(CUT).startswith(response.body)
        assert client.get("/api/hello?id=2").status == 200


# Uploads.

@pytest.mark.parametrize("front", ["h1", "h2", "plain"])
@pytest.mark.parametrize("scheme, version", [("http", "1.1"), ("https", "1.1"), ("https", "2")])
def test_an_upload_to_a_service_that_reads_late_is_whole(
        edge_for, upstream_with, certificates, front, scheme, version):
    context = certificates.upstream.server_context(
        ["h2" if version == "2" else "http/1.1"]) if scheme == "https" else None
    upstream = upstream_with(["127.0.0.2"], context)
    edge = edge_for(upstream, {"listeners": [
        {"address": "127.0.0.1:0", "tls": {"certificates": [certificates.ecdsa.options]}},
        {"address": "127.0.0.1:0"}]}, scheme=scheme, versions=[version])
    release = asyncio.Event()

    async def late(request, reply):
        await release.wait()
        await request.read()
        text = json.dumps([request.body_size, request.digest.hexdigest()]).encode()
        await reply.head(200, length=len(text))
        await reply.data(text)
    upstream.script["/api/late"] = late
    body, sent, found = memoryview(pattern(LARGE)), [], []

    def pieces():
        for at in range(0, LARGE, 1 << 16):
            yield body[at:at + (1 << 16)]
            sent.append(at)

    def send():
        if front == "h2":
            with edge.http2() as client:
                stream = client.start("POST", "/api/late?id=1", end=False)
                for piece in pieces():
                    client.send(stream, piece)
                client.send(stream, b"", end=True)
                found.append(client.finish(stream))
            return
        with edge.http1(listener=int(front == "plain"), plain=front == "plain") as client:
            client.request("POST", "/api/late?id=1", fields=[("Content-Length", LARGE)])
            for piece in pieces():
                client.socket.sendall(piece)
            found.append(client.read())
    sender = threading.Thread(target=send)
    sender.start()
    until(lambda: upstream.requests, what="the request has arrived")
    steady(lambda: len(sent))
    assert not found
    upstream._loop.call_soon_threadsafe(release.set)
    sender.join(30)
    assert json.loads(found[0].body) == [LARGE, LARGE_DIGEST]


@pytest.mark.parametrize("front", ["h1", "plain"])
@pytest.mark.parametrize("answers", [True, False], ids=["answered", "unanswered"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_upload_that_the_service_breaks_off(
        edge_for, upstream_with, certificates, front, answers, scheme):
    """Writing fails in the middle: what the service said before is the answer, else a 502."""
    context = certificates.upstream.server_context(["http/1.1"]) if scheme == "https" else None
    upstream = upstream_with(["127.0.0.2"], context)
    edge = edge_for(upstream, {"listeners": [
        {"address": "127.0.0.1:0", "tls": {"certificates": [certificates.ecdsa.options]}},
        {"address": "127.0.0.1:0"}]}, scheme=scheme, versions=["1.1"])

    async def broken(request, reply):
        async for _ in request.chunks():
            break
        if answers:
            await reply.head(413, length=5)
            await reply.data(b"large")
        await reply.reset()
    upstream.script["/api/broken"] = broken
    with edge.http1(listener=int(front == "plain"), plain=front == "plain") as client:
        client.request("POST", "/api/broken?id=1", fields=[("Content-Length", LARGE)])
        with contextlib.suppress(OSError):
            client.socket.sendall(pattern(LARGE))
        # A reset may destroy the service's answer before the proxy has it.
        assert client.read().status in ((413, 502) if answers else (502,))
    edge.settled()
    assert edge.curl("/api/hello?id=1").status == 200


# The end of a connection whose client asks for nothing more.

VERSIONS = {"TLS 1.2": ssl.TLSVersion.TLSv1_2, "TLS 1.3": ssl.TLSVersion.TLSv1_3}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [10, PIECE, 1 << 20])
def test_who_asks_for_a_close_gets_one_with_a_farewell(edge, version, size):
    with flight(edge, version=VERSIONS[version]) as sock:
        client = HTTP1(sock)
        client.send(ask(f"/api/large?id=1&size={size}", "1.1", "Connection: close"))
        response = client.read()
        assert response.body == pattern(size) and response.get("connection") == "close"
        assert client.at_end()
        # The farewell of its own comes when the proxy has closed long since.
        until(lambda: edge.ledger()["front_socket"]["live"] == 0)
        sock.answer_farewell()


@pytest.mark.parametrize("plain", [False, True], ids=["tls", "plain"])
@pytest.mark.parametrize("path, status", [("/api/hello?id=1", 200), ("/none", 404)])
def test_what_is_asked_behind_a_close_is_not_answered(edge, upstream, plain, path, status):
    request = ask(path, "1.1", "Connection: close") + ask("/api/hello?id=2")
    with client_of(edge, plain, request) as client:
        assert client.read().status == status
        assert client.socket.recv(1) == b""
    assert [request.target for request in upstream.requests] == [path] * (status == 200)


@pytest.mark.parametrize("plain", [False, True], ids=["tls", "plain"])
def test_a_client_that_sends_on_behind_a_close_reads_its_answer(edge, plain):
    """No reset destroys the answer to a client that does not keep to what it said."""
    with client_of(edge, plain) as client:
        with edge.held():
            client.send(ask("/none", "1.1", "Connection: close") + bytes(120_000))
        assert client.read().status == 404
        assert client.socket.recv(1) == b""
        client.send(bytes(1000))
        assert (client.socket if plain else client.socket.socket).recv(1) == b""


def test_a_body_that_is_still_sent_does_not_destroy_the_answer(edge):
    with flight(edge) as sock:
        client = HTTP1(sock)
        client.send(b"POST /none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                    b"Content-Length: 1000000\r\n\r\n")
        assert client.read().status == 404
        assert client.at_end()
        client.send(bytes(1_000_000))
        sock.answer_farewell()


# Tickets.

@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("asks", ["nothing", "later", "with Finished"])
def test_a_client_gets_a_ticket_that_resumes(edge, version, asks):
    context = context_for(edge, version=VERSIONS[version])
    request = ask("/api/hello?id=1", "1.1", "Connection: close")
    with flight(edge, request if asks == "with Finished" else b"", context=context) as sock:
        if asks == "later":
            sock.sendall(request)
        if asks == "nothing":
            session = sock.take_ticket()
        else:
            client = HTTP1(sock)
            assert client.read().status == 200
            assert client.at_end()
            session = sock.tls.session
            assert session.has_ticket
    for _ in range(4):
        with flight(edge, request, context=context, session=session) as sock:
            assert sock.tls.session_reused
            assert HTTP1(sock).read().status == 200


def test_the_ticket_comes_with_an_interim_response(edge, upstream):
    release = asyncio.Event()

    async def hinted(request, reply):
        await reply.informational(103, [("link", "</style.css>; rel=preload")])
        await release.wait()
        await reply.head(200, length=0)
    upstream.script["/api/hinted"] = hinted
    with flight(edge, ask("/api/hinted?id=1")) as sock:
        sock.settimeout(20)
        client = HTTP1(sock)
        while b"103" not in client.buffer:
            assert client.more()
        assert sock.tls.session.has_ticket
        upstream._loop.call_soon_threadsafe(release.set)
        assert client.read().status == 200


# All of it at once.

def test_many_downloads_of_which_some_are_given_up(edge):
    """Whole ones are right to the byte whatever happens beside them; nothing is left behind."""
    size, problems = 1 << 20, []
    whole = digest(pattern(size))

    def work(number):
        chance = random.Random(number)
        for turn in range(6):
            gives_up = chance.random() < 0.5
            most = chance.randrange(size) if gives_up else size
            path = f"/api/large?id={1 + (number + turn) % 4}&size={size}"
            try:
                if number % 2:
                    with flight(edge, alpn="h2") as sock:
                        http2(sock, path, most)
                else:
                    with flight(edge, ask(path, "1.1", "Connection: close")) as sock:
                        http1(sock, most)
            except Exception as problem:  # noqa: BLE001 - told by the test's own thread
                problems.append(f"{number}.{turn}: {type(problem).__name__}: {problem}")

    def http1(sock, most):
        client = HTTP1(sock)
        if most == size:
            assert digest(client.read().body) == whole
            assert client.at_end()
            return
        while len(client.buffer) < most:
            assert client.more()

    def http2(sock, path, most):
        client = HTTP2(sock)
        streams = [client.start(path=path), client.start(path=path)]
        if most < size:
            client.until(lambda: len(client.streams[streams[0]].body) >= most)
            given_up = streams.pop(0)
            if not client.streams[given_up].complete:
                client.reset(given_up)
        for stream in streams:
            assert digest(client.finish(stream).body) == whole

    workers = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert not problems
    edge.settled()
    until(lambda: edge.ledger()["front_socket"]["live"] == 0)
