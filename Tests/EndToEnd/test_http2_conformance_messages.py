"""HTTP messages in HTTP/2: what is malformed is refused and goes nowhere (RFC 9113 §8)."""

import pytest

from edge import conformance
from edge.conformance import ANY, CUT, MALFORMED, NEVER, Case, answer, cases, \
    stream_error
from edge.frames import CONTINUATION, DATA, END_HEADERS, END_STREAM, NO_ERROR, PADDED, \
    RST_STREAM, STREAM_CLOSED, frame, literals, rst_stream


@pytest.fixture(scope="module")
def bench(module_edges, module_keep, configuration):
    yield from conformance.bench(module_edges, module_keep, configuration)


def content(payload=b"content", flags=END_STREAM, stream=1):
    return frame(DATA, flags, stream, payload)


def uploaded(c, *fields, then=b""):
    """A request's head and some of its content, and what follows."""
    return c.post(1, *fields) + content(flags=0) + then


def trailers(c, *fields, end=True):
    return c.headers(1, list(fields), end=end)


EXCHANGES = [
    Case("9113-8.1-get", lambda c: c.get(), answer(200)),
    Case("9113-8.1-head", lambda c: c.get(method="HEAD"), answer(200)),
    Case("9113-8.1-post", lambda c: c.post() + content(), answer(200)),
    Case("9113-8.1-post-without-content", lambda c: c.get(method="POST"), answer(200)),
    Case("9113-8.1-post-with-trailers",
         lambda c: uploaded(c, then=trailers(c, ("x-checksum", "1"))), answer(200)),
    Case("9113-8.1-trailers-without-content",
         lambda c: c.post() + trailers(c, ("x-checksum", "1")), answer(200)),
    Case("9113-8.1-empty-trailers", lambda c: uploaded(c, then=trailers(c)), answer(200)),
    Case("9113-8.1-options-of-everything",
         lambda c: c.get(method="OPTIONS", path="*"), answer(200, 204, 400, 404, 405)),
    Case("9113-8.1-an-unknown-method", lambda c: c.get(method="BREW"), answer(200, 405, 501)),
    Case("9113-8.1-second-headers-without-end-of-stream",
         lambda c: uploaded(c, then=trailers(c, ("x-checksum", "1"), end=False)), MALFORMED,
         seen=CUT),
    Case("9113-8.1-a-second-request-head",
         lambda c: uploaded(c, then=c.headers(1, c.fields())), MALFORMED, seen=CUT),
    Case("9113-8.1-content-after-trailers",
         lambda c: uploaded(c, then=trailers(c, ("x", "1"), end=False) + content()),
         MALFORMED | stream_error(STREAM_CLOSED), seen=CUT),
    Case("9113-8.1-trailers-twice",
         lambda c: c.post(1, path=c.silent) + trailers(c, ("x", "1")) + trailers(c, ("x", "1")),
         stream_error(STREAM_CLOSED)),
    Case("9113-8.1-an-unknown-expectation-of-length",
         lambda c: c.post(1, ("content-length", "7")) + content(b"con", 0) + content(b"tent"),
         answer(200)),
    Case("9113-8.1.1-several-requests-one-bad",
         lambda c: c.get(1) + c.get(3, ("Upper", "1")) + c.get(5), MALFORMED, stream=3),
]


def bad(name, *fields, section="8.2.1", allowed=MALFORMED, **pseudo):
    """A malformed request without content."""
    return Case(f"9113-{section}-{name}", lambda c: c.get(1, *fields, **pseudo), allowed,
                seen=NEVER)


def good(name, *fields, section="8.2.1", **pseudo):
    return Case(f"9113-{section}-{name}", lambda c: c.get(1, *fields, **pseudo), answer(200))


FIELDS = [
    bad("upper-case-name", ("X-Test", "ok"), section="8.2"),
    bad("upper-case-within-a-name", ("x-tesT", "ok"), section="8.2"),
    bad("upper-case-content-length", ("Content-Length", "0"), section="8.2"),
    bad("empty-name", ("", "ok")),
    *[bad(f"octet-{octet:02x}-in-a-name", (f"x{chr(octet)}y", "ok"))
      for octet in [*range(0x21), *b'"(),/;<=>?@[\\]{}', 0x7F, 0x80, 0xFF]],
    bad("colon-in-a-name", ("x:y", "ok")),
    bad("colon-at-the-end-of-a-name", ("x:", "ok")),
    *[bad(f"octet-{octet:02x}-in-a-value", ("x-test", f"a{chr(octet)}b"))
      for octet in (0x00, 0x0A, 0x0D)],
    *[bad(f"octet-{octet:02x}-{place}-a-value", ("x-test", value))
      for octet in (0x00, 0x0A, 0x0D, 0x20, 0x09)
      for place, value in (("before", chr(octet) + "v"), ("after", "v" + chr(octet)))],
    bad("nothing-but-space-in-a-value", ("x-test", " ")),
    bad("a-smuggled-line", ("x-test", "a\r\nx-more: b")),
    bad("a-smuggled-request", ("x-test", "a\r\n\r\nGET / HTTP/1.1\r\nHost: a")),
    good("space-within-a-value", ("x-test", "a b\tc")),
    good("empty-value", ("x-test", "")),
    good("octets-above-7f-in-a-value", ("x-test", "\x80\xff")),
    good("all-of-a-token-in-a-name", ("!#$%&'*+-.^`|~09az", "ok")),
]

CONNECTION_FIELDS = [
    *[bad(f"field-{name}", (name, value), section="8.2.2") for name, value in [
        ("connection", "keep-alive"), ("proxy-connection", "keep-alive"),
        ("keep-alive", "timeout=5"), ("transfer-encoding", "chunked"), ("upgrade", "websocket")]],
    bad("empty-connection", ("connection", ""), section="8.2.2"),
    bad("transfer-encoding-identity", ("transfer-encoding", "identity"), section="8.2.2"),
    *[bad(f"te-{name}", ("te", value), section="8.2.2") for name, value in [
        ("gzip", "gzip"), ("trailers-and-gzip", "trailers, gzip"), ("empty", ""),
        ("chunked", "chunked"), ("weighted", "trailers;q=0.5")]],
    good("te-trailers", ("te", "trailers"), section="8.2.2"),
    good("cookies-in-crumbs", ("cookie", "a=b"), ("cookie", "c=d"), ("cookie", "e=f"),
         section="8.2.3"),
]


# What is no host cannot be one that the certificate is for, either.
NO_HOST = MALFORMED | answer(421)


def left_out(name):
    return bad(f"without-{name}", section="8.3.1", **{name: None})


def twice(name, value):
    """A pseudo-field twice, before anything else."""
    return Case(f"9113-8.3-{name}-twice",
                lambda c: c.headers(1, [(f":{name}", value or c.target), *c.fields()]), MALFORMED,
                seen=NEVER)


PSEUDO_FIELDS = [
    *[bad(f"{name}-in-a-request", (f":{name}", "1"), section="8.3") for name in [
        "unknown", "version", "status", ""]],
    Case("9113-8.3-status-first",
         lambda c: c.headers(1, [(":status", "200"), *c.fields()]), MALFORMED, seen=NEVER),
    Case("9113-8.3-unknown-first",
         lambda c: c.headers(1, [(":unknown", "1"), *c.fields()]), MALFORMED, seen=NEVER),
    *[Case(f"9113-8.3-{name}-after-a-field",
           lambda c, name=name: c.headers(1, [
               *[pair for pair in c.fields() if pair[0] != name], ("x-test", "ok"),
               *[pair for pair in c.fields() if pair[0] == name]]), MALFORMED, seen=NEVER)
      for name in (":method", ":scheme", ":authority", ":path")],
    *[Case(f"9113-8.3-upper-case-{name[1:].lower()}",
           lambda c, name=name: c.headers(1, [(name, "x"), *c.fields()]), MALFORMED, seen=NEVER)
      for name in (":Method", ":PATH")],
    *[Case(f"9113-8.3-{name}-in-trailers",
           lambda c, name=name, value=value:
           uploaded(c, then=trailers(c, (f":{name}", value))), MALFORMED, seen=CUT)
      for name, value in [("method", "GET"), ("path", "/"), ("status", "200"),
                          ("authority", "localhost"), ("unknown", "1")]],
    twice("method", "GET"), twice("scheme", "https"), twice("path", None),
    twice("authority", "localhost"),
    left_out("method"), left_out("scheme"), left_out("path"),
    Case("9113-8.3.1-without-any", lambda c: c.headers(1, [("x-test", "ok")]), MALFORMED,
         seen=NEVER),
    Case("9113-8.3.1-without-a-single-field", lambda c: c.headers(1, []), MALFORMED, seen=NEVER),
    bad("without-authority-and-host", authority=None, section="8.3.1"),
    *[bad(f"empty-{name}", section="8.3.1", **{name: ""})
      for name in ("method", "scheme", "authority", "path")],
    good("host-instead-of-authority", ("host", "localhost"), authority=None, section="8.3.1"),
    good("host-equal-to-authority", ("host", "LOCALHOST"), section="8.3.1"),
    bad("host-other-than-authority", ("host", "other.example"), section="8.3.1"),
    bad("host-with-another-port", ("host", "localhost:1"), section="8.3.1"),
    bad("host-twice", ("host", "localhost"), ("host", "localhost"), authority=None,
        section="8.3.1"),
    bad("empty-host", ("host", ""), section="8.3.1"),
    *[bad(f"authority-with-{name}", authority=value, section="8.3.1", allowed=NO_HOST)
      for name, value in [
        ("user", "user@localhost"), ("user-and-password", "u:p@localhost"), ("space", "local host"),
        ("path", "localhost/x"), ("query", "localhost?x"), ("fragment", "localhost#x"),
        ("comma", "localhost,other"), ("letters-as-port", "localhost:http"),
        ("two-ports", "localhost:1:2"), ("half-a-literal", "[::1"), ("nul", "local\0host"),
        ("newline", "localhost\r\nx: y"), ("scheme", "https://localhost")]],
    *[bad(f"host-with-{name}", ("host", value), authority=None, section="8.3.1", allowed=NO_HOST)
      for name, value in [("user", "user@localhost"), ("space", "local host"),
                          ("path", "localhost/x"), ("letters-as-port", "localhost:http")]],
    *[bad(f"path-{name}", path=value, section="8.3.1") for name, value in [
        ("without-slash", "api/hello?id=1&rel"), ("of-a-query-only", "?id=1"),
        ("that-is-absolute", "https://localhost/api/hello?id=1&abs"), ("asterisk-of-get", "*"),
        ("with-space", "/api/hello?id=1&a b"), ("with-fragment", "/api/hello?id=1#x"),
        ("with-nul", "/api/hello?id=1\0"), ("with-newline", "/api/hello?id=1\r\nx: y"),
        ("with-tab", "/api/hello?id=1\t")]],
    *[bad(f"method-with-{name}", method=value, section="8.3.1") for name, value in [
        ("space", "GET /x"), ("newline", "GET\r\n"), ("nul", "GE\0T"), ("colon", "GE:T")]],
    *[bad(f"scheme-with-{name}", scheme=value, section="8.3.1") for name, value in [
        ("space", "ht tp"), ("newline", "https\r\n"), ("slashes", "https://"), ("digit", "1http")]],
]

LENGTHS = [
    *[Case(f"9113-8.1.1-length-{length}-of-{name}",
           lambda c, length=length, frames=frames:
           c.post(1, ("content-length", str(length))) + frames, MALFORMED,
           # The head says that the request is complete; what follows is refused and goes nowhere.
           seen=CUT if length else ANY)
      for length, name, frames in [
          (1, "too-much", content()), (8, "too-little", content()),
          (8, "too-little-in-two", content(b"co", 0) + content(b"ntent")),
          (5, "too-much-in-two", content(b"con", 0) + content(b"tent")),
          (1, "nothing", content(b"")), (0, "something", content()),
          (8, "padding", content(b"\x03co" + bytes(3), END_STREAM | PADDED)),
          (2**62, "nearly-nothing", content())]],
    Case("9113-8.1.1-length-without-content",
         lambda c: c.get(1, ("content-length", "7"), method="POST"), MALFORMED, seen=CUT),
    Case("9113-8.1.1-length-of-get-without-content",
         lambda c: c.get(1, ("content-length", "7")), MALFORMED, seen=CUT),
    Case("9113-8.1.1-length-ended-early-by-trailers",
         lambda c: c.post(1, ("content-length", "8")) + content(flags=0)
         + trailers(c, ("x", "1")), MALFORMED, seen=CUT),
    Case("9113-8.1.1-length-and-trailers",
         lambda c: c.post(1, ("content-length", "7")) + content(flags=0)
         + trailers(c, ("x", "1")), answer(200)),
    Case("9113-8.1.1-length-with-padding",
         lambda c: c.post(1, ("content-length", "2"))
         + content(b"\x03co" + bytes(3), END_STREAM | PADDED), answer(200)),
    good("length-of-0", ("content-length", "0"), section="8.1.1"),
    *[bad(f"length-{name}", ("content-length", value), section="8.1.1") for name, value in [
        ("negative", "-1"), ("signed", "+0"), ("empty", ""), ("of-letters", "zero"),
        ("hexadecimal", "0x0"), ("of-two", "0, 0"), ("with-fraction", "0.0"),
        ("beyond-64-bits", "18446744073709551616")]],
    bad("length-twice", ("content-length", "0"), ("content-length", "0"), section="8.1.1"),
    bad("lengths-that-differ", ("content-length", "0"), ("content-length", "7"), section="8.1.1"),
]

TRAILERS = [
    *[Case(f"9113-8.1-trailers-with-{name}",
           lambda c, pair=pair: uploaded(c, then=trailers(c, pair)), MALFORMED, seen=CUT)
      for name, pair in [
          ("upper-case", ("X-Checksum", "1")), ("connection", ("connection", "close")),
          ("transfer-encoding", ("transfer-encoding", "chunked")), ("empty-name", ("", "1")),
          ("newline", ("x-checksum", "1\r\nx: y")), ("nul", ("x-checksum", "\0")),
          ("space-in-a-name", ("x y", "1"))]],
    Case("9113-8.1-trailers-with-an-unknown-field-in-two-frames",
         lambda c: uploaded(c, then=c.headers(1, [("x-one", "1")], end_headers=False)
                            + frame(CONTINUATION, END_HEADERS, 1, literals([("x-two", "2")]))),
         answer(200)),
]

CONNECT = [
    Case("9113-8.5-connect", lambda c: c.get(method="CONNECT", scheme=None, path=None),
         MALFORMED | answer(405, 501), seen=NEVER),
    Case("9113-8.5-connect-that-goes-on",
         lambda c: c.post(method="CONNECT", scheme=None, path=None), MALFORMED | answer(405, 501),
         seen=NEVER),
    Case("9113-8.5-connect-with-scheme", lambda c: c.get(method="CONNECT", path=None), MALFORMED,
         seen=NEVER),
    Case("9113-8.5-connect-with-path", lambda c: c.get(method="CONNECT", scheme=None), MALFORMED,
         seen=NEVER),
    Case("9113-8.5-connect-with-all", lambda c: c.get(method="CONNECT"), MALFORMED, seen=NEVER),
    Case("9113-8.5-connect-without-authority",
         lambda c: c.get(method="CONNECT", scheme=None, path=None, authority=None), MALFORMED,
         seen=NEVER),
    Case("8441-4-extended-connect-that-was-not-offered",
         lambda c: c.headers(1, [*c.fields(method="CONNECT"), (":protocol", "websocket")]),
         MALFORMED | answer(501), seen=NEVER),
    Case("8441-4-protocol-of-get",
         lambda c: c.headers(1, [*c.fields(), (":protocol", "websocket")]), MALFORMED, seen=NEVER),
]


@cases(EXCHANGES, FIELDS, CONNECTION_FIELDS, PSEUDO_FIELDS, LENGTHS, TRAILERS, CONNECT)
def test_a_message_has_the_outcome_that_the_rfc_allows(bench, case):
    bench.play(case)


def test_content_of_head_and_of_204_and_304_is_empty(bench):
    """9113-8.1: responses without content end with their head, or with an empty DATA frame."""
    talk = bench.converse("no-content")
    with talk.raw:
        talk.send(talk.get(1, method="HEAD"), talk.get(3, path="/api/204?id=1"),
                  talk.get(5, path="/api/304?id=1"))
        for _ in range(3):
            talk.until(lambda f: f.ends_stream)
        assert talk.status == {1: 200, 3: 204, 5: 304}
        assert not any(talk.bodies.values())


def test_informational_heads_come_before_the_final_one(bench):
    """9113-8.1: 1xx are HEADERS that do not end the stream, and 101 is none of them."""
    talk = bench.converse("informational")
    with talk.raw:
        talk.send(talk.get(1, path="/api/informational?id=1"))
        seen = []
        while True:
            found = talk.read()
            if found.stream == 1 and found.status is not None:
                seen.append((found.status, found.ends_stream))
            if found.ends_stream:
                break
        assert [status for status, _ in seen] == [102, 103, 200]
        assert not any(ends for _, ends in seen[:2])
        assert talk.bodies[1] == b"final"


def test_trailers_of_a_response_end_its_stream(bench):
    """9113-8.1: a second HEADERS frame without pseudo-fields, with END_STREAM."""
    talk = bench.converse("trailers")
    with talk.raw:
        talk.send(talk.get(1, path="/api/trailers?id=1"))
        found = talk.until(lambda f: f.ends_stream)
        assert dict(found.fields) == {"x-checksum": "abc123", "x-second": "2"}


def test_response_heads_are_in_the_form_of_http2(bench):
    """9113-8.2, 8.3.2: :status first and alone, names in lower case, nothing of the connection."""
    talk = bench.converse("form")
    with talk.raw:
        talk.send(talk.get(1, path="/api/hop-by-hop?id=1"))
        found = talk.until(lambda f: f.stream == 1 and f.fields)
        names = [name for name, _ in found.fields]
        assert names[0] == ":status" and not any(name.startswith(":") for name in names[1:])
        assert all(name == name.lower() for name in names)
        assert not {"connection", "keep-alive", "proxy-connection", "transfer-encoding",
                    "upgrade"} & set(names)


def test_an_answer_before_the_end_of_a_request_may_be_followed_by_no_error(bench):
    """9113-8.1: a server that needs no more of a request may say so, but with NO_ERROR only."""
    talk = bench.converse("early")
    with talk.raw:
        talk.send(talk.post(1, path="/nowhere"))
        talk.until(lambda f: f.stream == 1 and f.ends_stream)
        assert talk.status[1] == 404
        talk.send(content(flags=0), rst_stream(1))
        assert talk.goes_on()
        codes = [f.code for f in talk.raw.frames if f.kind == RST_STREAM]
        assert codes in ([], [NO_ERROR])
