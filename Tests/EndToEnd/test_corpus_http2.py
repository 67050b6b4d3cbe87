"""HTTP/2 requests made to be misread behind the proxy, by an HTTP/1.1 or an h2c upstream."""

import pytest

from corpus import http2_requests
from corpus.outcomes import Forwarded, Refused, Reset, named
from corpus.peer import check_alive, start
from corpus.recorder import Recorder
from edge import frames as h2

CASES = named(http2_requests.CASES)
PREFIXES = {"1.1": b"/api", "h2c": b"/h2c"}


@pytest.fixture(scope="module")
def recorder(module_keep):
    return module_keep(Recorder())


@pytest.fixture(scope="module")
def edge(module_edges, configuration, recorder):
    return start(module_edges, configuration, recorder)


def retargeted(target, prefix):
    return prefix + target[4:] if target.startswith(b"/api") else target


def write(sock, stream, request, prefix):
    """Sends a request as the table has it, in as many HEADERS and CONTINUATION as needed."""
    head = [(name, retargeted(value, prefix) if name == b":path" else value)
            for name, value in request.head]
    # All at once: what follows a fault is seen together with it.
    start = section(stream, head, ends=request.data is None)
    if request.data is None:
        sock.send(start)
        return
    pieces = [h2.frame(h2.DATA, 0, stream, piece) for piece in request.data]
    if request.trailers is None:
        last = h2.frame(h2.DATA, h2.END_STREAM, stream)
    else:
        last = section(stream, request.trailers, ends=True)
    sock.send(start, *pieces, last)


def section(stream, fields, ends):
    block = h2.literals(fields)
    parts = [block[at:at + 16_384] for at in range(0, len(block), 16_384)] or [b""]
    frames = []
    for number, part in enumerate(parts):
        kind = h2.CONTINUATION if number else h2.HEADERS
        flags = h2.END_STREAM if ends and not number else 0
        flags |= h2.END_HEADERS if number == len(parts) - 1 else 0
        frames.append(h2.frame(kind, flags, stream, part))
    return b"".join(frames)


def check_request(arrived, outcome, prefix, upstream):
    """The one request that arrived is what the outcome says."""
    assert arrived.target == retargeted(outcome.target or http2_requests.X, prefix)
    assert not outcome.method or arrived.method == outcome.method
    assert arrived.body == outcome.body
    for name, value in outcome.has.items():
        assert arrived.get(name) == value, arrived.fields
    for name in outcome.lacks:
        assert arrived.get(name) is None, arrived.fields
    # Content of a length has no place for trailers on HTTP/1.1.
    if upstream == "1.1" or outcome.trailers:
        assert tuple(arrived.trailers) == outcome.trailers
    assert arrived.connection.protocol == {"1.1": "h1", "h2c": "h2"}[upstream]


@pytest.mark.parametrize("upstream", PREFIXES)
@pytest.mark.parametrize("name", CASES)
def test_one_request_arrives_or_none(edge, recorder, name, upstream):
    case, before, prefix = CASES[name], len(recorder.requests), PREFIXES[upstream]
    with edge.frames(plain=True) as sock:
        write(sock, 1, case.data, prefix)
        status, body = sock.response(1)
        if isinstance(case.outcome, Reset):
            assert (status, body in case.outcome.codes) == (None, True), (status, body)
        elif isinstance(case.outcome, Refused):
            assert status == case.outcome.status
        else:
            target = retargeted(case.outcome.target or http2_requests.X, prefix)
            assert (status, body) == (200, b"" if case.outcome.method == b"HEAD" else target)
        sock.request(3, path=(prefix + b"/beside?id=1").decode())
        assert sock.response(3) == (200, prefix + b"/beside?id=1"), "other streams are served"
        check_alive(edge)
        recorder.settled()
    check_arrived(recorder, before, case, prefix, upstream)


def check_arrived(recorder, before, case, prefix, upstream):
    """What arrived since is what the case allows, and the two good requests."""
    # What is reset after its announced content has gone arrives once at most, at any time.
    late = [one.target for one in recorder.requests if b"/late?" in one.target]
    assert len(late) == len(set(late))
    arrived = [one for one in recorder.requests[before:] if b"/late?" not in one.target]
    if isinstance(case.outcome, Forwarded):
        check_request(arrived.pop(0), case.outcome, prefix, upstream)
    assert [one.target for one in arrived] == [prefix + b"/beside?id=1", b"/api/good?id=1"]


def test_the_corpus_is_large():
    assert len(CASES) >= 330
