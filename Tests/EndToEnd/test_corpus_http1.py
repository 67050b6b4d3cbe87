"""HTTP/1.1 requests made to be misread: each arrives as exactly one, or not at all."""

from dataclasses import replace

import pytest

from corpus import http1_chunks, http1_framing, http1_heads, http1_lines, http1_meaning
from corpus.outcomes import Closed, Early, Forwarded, Refused, named
from corpus.peer import check_alive, client, request, start
from corpus.recorder import Recorder

CASES = named(http1_framing.CASES + http1_chunks.CASES + http1_lines.CASES + http1_heads.CASES
              + http1_meaning.CASES)
AFTER = request(b"/api/after?id=1")
HTTP1_ONLY = {b"connection", b"transfer-encoding", b"upgrade"}
SMUGGLED = request(b"/api/smuggled?id=1")


@pytest.fixture(scope="module")
def recorder(module_keep):
    return module_keep(Recorder())


@pytest.fixture(scope="module")
def edge(module_edges, configuration, recorder):
    return start(module_edges, configuration, recorder)


def over(case, upstream):
    """The case for an upstream of this protocol: its paths lead there."""
    if upstream == "1.1":
        return case
    case = case._replace(data=case.data.replace(b"/api/", b"/h2c/"))
    if not isinstance(case.outcome, Forwarded):
        return case
    # What belongs to an HTTP/1.1 connection has no place on HTTP/2.
    has = {name: value for name, value in case.outcome.has.items() if name not in HTTP1_ONLY}
    return case._replace(outcome=replace(
        case.outcome, has=has, body=case.outcome.body.replace(b"/api/", b"/h2c/"),
        target=case.outcome.target.replace(b"/api/", b"/h2c/")))


def check_request(arrived, outcome, target):
    """The one request that arrived is what the outcome says."""
    assert arrived.target == target
    assert not outcome.method or arrived.method == outcome.method
    assert arrived.body == outcome.body
    for name, value in outcome.has.items():
        assert arrived.get(name) == value, arrived.fields
    for name in outcome.lacks:
        assert arrived.get(name) is None, arrived.fields
    assert tuple(arrived.trailers) == outcome.trailers


def expect_forwarded(sock, case, pieces, target):
    sock.send(case.data + AFTER, pieces)
    method = case.data.lstrip(b"\r\n").partition(b" ")[0]
    answer = sock.read(method)
    assert answer.status == 200, answer
    assert answer.body == (b"" if method == b"HEAD" else target)
    if case.outcome.closes:
        assert sock.at_end()
        return []
    assert sock.read().body == b"/api/after?id=1"
    return [b"/api/after?id=1"]


def expect_refused(sock, case, pieces, _):
    behind = SMUGGLED if case.outcome.closes else AFTER
    # Behind a line that does not end, more bytes would be part of it.
    sock.send(case.data + (behind if case.data.endswith(b"\n") else b""), pieces)
    answer = sock.read()
    assert answer.status == case.outcome.status, answer
    assert answer.get(b"proxy-status").startswith(b"edge-proxy; error=")
    assert (answer.get(b"connection") == b"close") == case.outcome.closes
    if case.outcome.closes:
        assert sock.at_end()
        return []
    assert sock.read().body == b"/api/after?id=1"
    return [b"/api/after?id=1"]


def expect_end(sock, case, pieces, _):
    sock.send(case.data, pieces)
    if isinstance(case.outcome, Early):
        assert sock.read().status == 200
    else:
        sock.leave()
    assert sock.at_end()
    return []


EXPECT = {Forwarded: expect_forwarded, Refused: expect_refused, Early: expect_end,
          Closed: expect_end}


@pytest.mark.parametrize("upstream, pieces", [("1.1", 1), ("1.1", 400), ("h2c", 1)],
                         ids=["whole", "pieces", "h2c"])
@pytest.mark.parametrize("name", CASES)
def test_one_request_arrives_or_none(edge, recorder, name, upstream, pieces):
    case, before = over(CASES[name], upstream), len(recorder.requests)
    target = (getattr(case.outcome, "target", b"")
              or {"1.1": b"/api/x?id=1", "h2c": b"/h2c/x?id=1"}[upstream])
    with client(edge) as sock:
        after = EXPECT[type(case.outcome)](sock, case, pieces, target)
        check_alive(edge)
        recorder.settled()
    arrived = recorder.requests[before:]
    if isinstance(case.outcome, Forwarded):
        check_request(arrived.pop(0), case.outcome, target)
    assert [one.target for one in arrived] == after + [b"/api/good?id=1"]


def test_the_corpus_is_large():
    assert len(CASES) >= 330
