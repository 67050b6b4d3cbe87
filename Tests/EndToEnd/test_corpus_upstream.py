"""Responses that are malformed or lie: the client gets a whole one, a refusal, or a visible cut.

Whatever the upstream did, the next client of the same id gets its own answer.
"""

import threading
from dataclasses import replace

import pytest

from corpus import upstream_http1, upstream_http2
from corpus.outcomes import Cut, Overrun, Passed, Refused, named
from corpus.peer import EndedWithin, check_alive, client, read_stream, request, start
from corpus.recorder import Recorder
from edge.waiting import until

# Bytes that the proxy reads from a socket at once.
READING = 65_536
HTTP1 = named(upstream_http1.CASES)
HTTP2 = named(upstream_http2.CASES)


@pytest.fixture(scope="module")
def recorder(module_keep):
    return module_keep(Recorder())


@pytest.fixture(scope="module")
def edge(module_edges, configuration, recorder):
    return start(module_edges, configuration, recorder)


def check_passed(outcome, answer):
    """The client has got what the outcome says, whatever it speaks."""
    assert (answer.status, answer.body) == (outcome.status, outcome.body)
    assert tuple(answer.trailers) == outcome.trailers
    for name, value in outcome.has.items():
        assert answer.get(name) == value, answer.fields
    for name in outcome.lacks:
        assert answer.get(name) is None, answer.fields


def ask_http1(edge, case, target, version=b"1.1"):
    """Judges what an HTTP/1 client gets."""
    method, outcome = case.data.method.encode(), case.outcome
    lines = [f"{name}: {value}".encode() for name, value in case.data.fields]
    with client(edge) as sock:
        sock.send(request(target, *lines, method=method, version=version))
        if isinstance(outcome, Cut):
            with pytest.raises(EndedWithin) as cut:
                sock.read(method)
            assert cut.value.data.startswith(b"HTTP/1.1 200 ")
            return
        answer = sock.read(method)
        if isinstance(outcome, Overrun):
            assert (answer.status, answer.body) == (200, outcome.body)
            assert sock.at_end()
            return
        if isinstance(outcome, Refused):
            assert answer.status == outcome.status, answer
            assert answer.get(b"proxy-status").startswith(b"edge-proxy; error=")
            return
        check_passed(outcome, answer)
        assert tuple(sock.informational) == outcome.informational


def ask_http2(edge, case, target):
    """Judges what an HTTP/2 client gets, and that its other streams live."""
    outcome = case.outcome
    with edge.frames(plain=True) as sock:
        sock.send(sock.headers(1, sock.head(case.data.method, target.decode())))
        answer = read_stream(sock, 1)
        if isinstance(outcome, Cut):
            assert answer.reset is not None and answer.status == 200
        elif isinstance(outcome, Overrun):
            # An announced length of 0 ends the stream with its head.
            assert answer.reset is not None or not outcome.body
            assert (answer.status, answer.body) == (200, outcome.body)
        elif isinstance(outcome, Refused):
            assert answer.status == outcome.status and answer.complete
            assert answer.get(b"proxy-status").startswith(b"edge-proxy; error=")
        else:
            assert answer.complete, f"reset with {answer.reset}"
            check_passed(outcome, answer)
            assert tuple(answer.informational) == outcome.informational
        sock.request(3, path="/api/beside?id=1")
        assert sock.response(3) == (200, b"/api/beside?id=1")


def check_next(edge, recorder, case, before, prefix=b"/api"):
    """The next client is served with its own answer, over another connection if need be."""
    served = recorder.requests[before].connection
    unasked = getattr(case.outcome, "unasked", b"")
    if unasked:
        served.socket.sendall(unasked)
        until(lambda: served.closed, what="a connection that speaks unasked is closed")
    check_alive(edge, prefix + b"/good?id=1")
    reuse = getattr(case.outcome, "reuse", False)
    if served.protocol == "h1":
        others = [one for one in recorder.requests[before:] if one.target != b"/api/x?id=1"]
        assert all((one.connection is served) == reuse for one in others[-1 if unasked else 0:])
    recorder.settled()


def ask_http10(edge, case, target):
    """Judges what an HTTP/1.0 client gets: no interim responses, chunks or trailers."""
    if isinstance(case.outcome, Passed):
        case = case._replace(outcome=replace(case.outcome, informational=(), trailers=()))
    ask_http1(edge, case, target, version=b"1.0")


ASK = {"1.0": ask_http10, "1.1": ask_http1, "2": ask_http2}


@pytest.mark.parametrize("front", ASK)
@pytest.mark.parametrize("name", HTTP1)
def test_an_http1_response_is_passed_on_whole_or_not_at_all(edge, recorder, name, front):
    case, before = HTTP1[name], len(recorder.requests)
    if front != "1.1" and case.data.fields:
        # Only HTTP/1.1 has Upgrade: the same answer meets a client that cannot have asked.
        case = case._replace(outcome=Refused(502))
    recorder.script[b"/api/x"] = case.data.steps
    ASK[front](edge, case, b"/api/x?id=1")
    check_next(edge, recorder, case, before)


@pytest.mark.parametrize("front", ASK)
@pytest.mark.parametrize("name", HTTP2)
def test_an_http2_response_is_passed_on_whole_or_not_at_all(edge, recorder, name, front):
    case, before = HTTP2[name], len(recorder.requests)
    recorder.script[b"/h2c/x"] = case.data.steps
    ASK[front](edge, case, b"/h2c/x?id=1")
    check_next(edge, recorder, case, before, prefix=b"/h2c")


def test_an_answer_behind_an_answer_is_not_for_who_waits(module_edges, configuration, keep):
    """Who waits is given the connection while its second answer is not read yet."""
    recorder = keep(Recorder())
    edge = start(module_edges, configuration, recorder,
                 {"upstream": {"max_connections_per_host": 1}})
    waits = threading.Event()
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 65494\r\n\r\n"
    # One reading of the proxy's ends with the first answer, the next begins with the second.
    both = head.ljust(READING, b"x") + upstream_http1.STOLEN
    assert len(head) + 65_494 == READING
    recorder.script[b"/api/x"] = [lambda connection: waits.wait(10), both]
    for _ in range(8):
        waits.clear()
        with client(edge) as first, client(edge) as second:
            first.send(request(b"/api/x?id=1"))
            until(lambda: edge.host("id-1.apps.test")["in_flight"] == 1, what="it is under way")
            second.send(request(b"/api/waits?id=1"))
            until(lambda: edge.host("id-1.apps.test")["waiting"] == 1, what="the second waits")
            waits.set()
            assert len(first.read().body) == 65_494
            assert second.read().body == b"/api/waits?id=1"


def test_the_corpus_is_large():
    assert len(HTTP1) + len(HTTP2) >= 330
