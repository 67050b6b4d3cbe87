"""HTTP/2 requests that would be another request, or two, once they are written as HTTP/1.1."""

from collections import namedtuple

from .bytes1 import AROUND, CONTROLS, HIDDEN, told
from .outcomes import Case, Forwarded, Refused, Reset

# Field lines of the head; DATA payloads (None: HEADERS end the stream); trailers (None: none).
Request = namedtuple("Request", "head data trailers")
X = b"/api/x?id=1"
# nghttp2 tells some malformed lines by INTERNAL_ERROR.
MALFORMED = Reset((1, 2))


def request(*fields, method=b"GET", scheme=b"http", authority=b"localhost", path=X, data=None,
            trailers=None):
    """A request; a pseudo-field that is None is left out."""
    pseudo = [(b":method", method), (b":scheme", scheme), (b":authority", authority),
              (b":path", path)]
    return Request([pair for pair in pseudo if pair[1] is not None] + list(fields), data, trailers)


def post(*fields, data=(b"abc",), **more):
    return request(*fields, method=b"POST", data=data, **more)


def shown(pair):
    return f"{told(pair[0])}={told(pair[1])}"


def with_field(name, value, outcome=MALFORMED):
    return Case(f"field {shown((name, value))}", request((name, value)), outcome)


CRUCIAL = [b"\r", b"\n", b"\0", b"\r\n", b"\t", b"\x0b", b"\x7f", b" "]
INJECTION = b" HTTP/1.1\r\nHost: evil\r\n\r\nGET /api/smuggled?id=1"
PSEUDO_BYTES = [
    Case(f"{told(byte)} in {where}", request(**{where: value.replace(b"@", byte)}), MALFORMED)
    for byte in CRUCIAL for where, value in [
        ("path", b"/api/x@?id=1"), ("authority", b"local@host"), ("method", b"G@T"),
        ("scheme", b"ht@tp")]] + [
    Case(f"{told(byte)} at the {end} of {where}",
         request(**{where: byte + value if end == "start" else value + byte}), MALFORMED)
    for byte in (b" ", b"\t", b"\r\n") for end in ("start", "end") for where, value in [
        ("path", X), ("authority", b"localhost"), ("method", b"GET"), ("scheme", b"http")]] + [
    Case("a request in path", request(path=X + INJECTION), MALFORMED),
    Case("a request in method", request(method=b"GET " + X + INJECTION), MALFORMED),
    Case("a request in authority", request(authority=b"localhost\r\n\r\n" + HIDDEN), MALFORMED),
    Case("a field in authority", request(authority=b"a\r\ntransfer-encoding: chunked"), MALFORMED),
]

VALUES = [with_field(b"x-a", b"b" + bytes([byte]) + b"c") for byte in CONTROLS if byte != 9] + [
    with_field(b"x-a", b"b\r\ntransfer-encoding: chunked"),
    with_field(b"x-a", b"b\r\n\r\n" + HIDDEN), with_field(b"x-a", b"b\n\n" + HIDDEN),
    with_field(b"x-a", b"\r\nhost: evil"), with_field(b"x-a", b"\x00"), with_field(b"x-a", b"\r"),
    with_field(b"x-a", b" b"), with_field(b"x-a", b"b "), with_field(b"x-a", b"\tb"),
    with_field(b"x-a", b"b\t"), with_field(b"x-a", b" "), with_field(b"x-a", b"b\r\n c"),
    with_field(b"x-a", b"", Forwarded(has={b"x-a": b""})),
    with_field(b"x-a", b"b\tc", Forwarded(has={b"x-a": b"b\tc"})),
    with_field(b"x-a", b"\x80\xff", Forwarded(has={b"x-a": b"\x80\xff"})),
]

NAMES = [with_field(name, b"y") for name in (
    b"X-A", b"x-A", b"x a", b" x", b"x ", b"x\t", b"x:", b"x:y", b":", b"", b"x\r", b"x\n", b"x\0",
    b"x\r\ny", b"x: y\r\ntransfer-encoding", b"x\x7f", b"x\x80", b"\xe9", b"x(", b"x,y", b"x;y",
    b"x/y", b"x=y", b"x@y", b"x[y", b"x{y", b'x"', b"x\\y", b"Content-Length", b"Host",
    b"transfer-encoding ", b"transfer-encoding:", b"content-length\r", b"content-length\x00")] + [
    with_field(b"x!#$%&'*+-.^`|~0", b"y", Forwarded(has={b"x!#$%&'*+-.^`|~0": b"y"})),
    with_field(b"x_a", b"y", Forwarded(lacks=(b"x_a",))),
    with_field(b"transfer_encoding", b"chunked", Forwarded(lacks=(b"transfer_encoding",))),
    with_field(b"content_length", b"5", Forwarded(lacks=(b"content_length",))),
    with_field(b"http2-settings", b"AAMAAABk", Forwarded(lacks=(b"http2-settings",))),
    with_field(b"x-forwarded-for", b"6.6.6.6", Forwarded(has={b"x-forwarded-for": b"127.0.0.1"})),
    with_field(b"forwarded", b"for=6.6.6.6", Forwarded()),
]

CONNECTION_FIELDS = [with_field(*pair) for pair in (
    (b"connection", b"close"), (b"connection", b"x-a"), (b"connection", b""),
    (b"keep-alive", b"timeout=5"), (b"proxy-connection", b"close"), (b"upgrade", b"h2c"),
    (b"upgrade", b"websocket"), (b"transfer-encoding", b"chunked"),
    (b"transfer-encoding", b"identity"), (b"transfer-encoding", b""), (b"te", b"gzip"),
    (b"te", b"chunked"), (b"te", b"trailers, gzip"), (b"te", b""))] + [
    with_field(b"te", b"trailers", Forwarded(has={b"te": b"trailers"})),
    Case("transfer-encoding with content",
         post((b"transfer-encoding", b"chunked"), data=(b"0\r\n\r\n" + HIDDEN,)), MALFORMED),
    Case("transfer-encoding and content-length",
         post((b"transfer-encoding", b"chunked"), (b"content-length", b"3")), MALFORMED),
]

HOSTS = [Case(f"authority {told(value)}", request(authority=value), MALFORMED) for value in (
    b"u@localhost", b"u:p@localhost", b"@", b"@localhost", b"localhost@", b"a,b", b"a, b", b"a/b",
    b"localhost/api/", b"a?b", b"a#b", b"a\\b", b"http://a", b"a:b", b"a:-1", b"a:65536",
    b"a:99999", b"a:1:2", b":80", b":", b"[", b"[::1", b"::1", b"[::1]x", b"[a]", b"a]", b"%",
    b"%zz", b"a\xe9", b'"a"', b"<a>", b"a^b", b"a`b", b"a|b", b"{a}", b"a" * 300)] + [
    Case(f"authority good {told(value)}", request(authority=value), Forwarded(has={b"host": value}))
    for value in (b"localhost:80", b"LOCALHOST", b"a.b.", b"127.0.0.1:8080", b"[::1]:80", b"a_b",
                  b"a:", b"a%41", b"a" * 253)] + [
    Case("authority missing", request(authority=None), MALFORMED),
    Case("authority empty", request(authority=b""), MALFORMED),
    Case("authority missing, host there", request((b"host", b"a"), authority=None),
         Forwarded(has={b"host": b"a"})),
    Case("authority missing, host empty", request((b"host", b""), authority=None), MALFORMED),
    Case("authority missing, host with userinfo", request((b"host", b"u@a"), authority=None),
         MALFORMED),
    Case("authority missing, host a list", request((b"host", b"a,b"), authority=None), MALFORMED),
    Case("authority missing, host twice", request((b"host", b"a"), (b"host", b"b"),
                                                  authority=None), MALFORMED),
    Case("host equals authority", request((b"host", b"localhost")),
         Forwarded(has={b"host": b"localhost"})),
    Case("host in other case", request((b"host", b"LocalHost")),
         Forwarded(has={b"host": b"localhost"})),
    Case("host differs from authority", request((b"host", b"evil")), MALFORMED),
    Case("host twice", request((b"host", b"localhost"), (b"host", b"localhost")), MALFORMED),
    Case("host with another port", request((b"host", b"localhost:1")), MALFORMED),
]

PSEUDO = [
    Case("method missing", request(method=None), MALFORMED),
    Case("scheme missing", request(scheme=None), MALFORMED),
    Case("path missing", request(path=None), MALFORMED),
    Case("method empty", request(method=b""), MALFORMED),
    Case("scheme empty", request(scheme=b""), MALFORMED),
    Case("path empty", request(path=b""), MALFORMED),
    *[Case(f"{told(name)} twice, then {told(value)}", request((name, value)), MALFORMED)
      for name, value in (
          (b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"localhost"),
          (b":path", X), (b":path", b"/api/other?id=1"))],
    *[Case(f"{told(name)} after a field", Request(
        [pair for pair in request().head if pair[0] != name] + [(b"x-a", b"b"), (name, value)],
        None, None), MALFORMED) for name, value in request().head],
    *[with_field(name, b"x") for name in (
        b":status", b":protocol", b":unknown", b":Path", b":METHOD", b":path ", b":host",
        b":scheme2", b"::path")],
    Case("status in a request", request((b":status", b"200")), MALFORMED),
    *[Case(f"path {told(path)}", request(path=path), MALFORMED) for path in (
        b"api/x?id=1", b"?id=1", b"x", b"*", b"**", b"/api/x?id=1#a", b"#", b"/api/x#?id=1",
        b"http://localhost/api/x?id=1", b"//localhost\x00", b"/api/\xe9?id=1", b"/api/x y?id=1",
        b"/api/x?id=1 HTTP/1.1", b"/api/x?id=1\xff", b"\\api\\x?id=1", b"@evil/api/x?id=1",
        b":80/api/x?id=1")],
    Case("path * of OPTIONS", request(method=b"OPTIONS", path=b"*"), Refused(404)),
    Case("path ** of OPTIONS", request(method=b"OPTIONS", path=b"**"), MALFORMED),
    Case("path with encoded line ends", request(path=b"/api/x%0d%0ax?id=1"),
         Forwarded(target=b"/api/x%0d%0ax?id=1")),
    *[Case(f"method {told(method)}", request(method=method), MALFORMED) for method in (
        b"GET ", b" GET", b"G T", b"GET,POST", b"G(T", b"GET:", b"G\xc9T", b'"GET"', b"G/T")],
    *[Case(f"method good {told(method)}", request(method=method), Forwarded(method=method))
      for method in (b"get", b"HEAD", b"TRACE", b"M-SEARCH", b"G!#$%&'*+-.^_`|~ET")],
    Case("method CONNECT", request(method=b"CONNECT", scheme=None, path=None), Refused(501)),
    Case("method CONNECT with path", request(method=b"CONNECT"), MALFORMED),
    Case("method CONNECT with scheme", request(method=b"CONNECT", path=None), MALFORMED),
    Case("method CONNECT without authority",
         request(method=b"CONNECT", scheme=None, path=None, authority=None), MALFORMED),
    Case("method CONNECT to a protocol not offered",
         Request([(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"),
                  (b":authority", b"localhost"), (b":path", X)], None, None), MALFORMED),
    *[Case(f"scheme {told(scheme)}", request(scheme=scheme), MALFORMED) for scheme in (
        b"http://evil/", b"http:", b"h ttp", b"http/1.1", b"1http", b"ht\xe9tp", b"http?", b"/")],
    # The scheme is the connection's, whatever is claimed.
    *[Case(f"scheme good {told(scheme)}", request(scheme=scheme),
           Forwarded(has={b"x-forwarded-proto": b"http"})) for scheme in (
        b"https", b"HTTP", b"ftp", b"h+t-t.p")],
]


def length(value, outcome=MALFORMED, data=(b"abc",), name="", path=X):
    return Case(f"length {name or told(value)}", post((b"content-length", value), data=data,
                                                      path=path), outcome)


def overrun(value, *data):
    """More than announced: what was announced may be on its way by then, once."""
    path = b"/api/late?id=1&length=%s&pieces=%d" % (value, len(data))
    return length(value, Reset((1,)), data, f"{told(value)} before {told(b'-'.join(data))}", path)


def lengths(*values, outcome=MALFORMED):
    return Case(f"lengths {b' and '.join(values).decode()}",
                post(*[(b"content-length", value) for value in values]), outcome)


ABC = Forwarded(body=b"abc", has={b"content-length": b"3"})
LENGTHS = [
    length(b"3", ABC), length(b"03", ABC), length(b"3", ABC, (b"a", b"b", b"c"), "3 in pieces"),
    length(b"3", ABC, (b"", b"abc", b""), "3 and empty pieces"),
    length(b"4"), length(b"300"), length(b"9223372036854775807"),
    overrun(b"2", b"abc"), overrun(b"2", b"ab", b"c"), overrun(b"0", b"abc"),
    overrun(b"1", b"a", b"GET /"), overrun(b"1", b"a", HIDDEN, HIDDEN),
    length(b"3", MALFORMED, (), "3 and no content"),
    length(b"3", MALFORMED, (b"",), "3 and empty DATA"),
    length(b"0", Forwarded(has={b"content-length": b"0"}), (b"",), "0 and empty DATA"),
    Case("length 3 and HEADERS that end", request((b"content-length", b"3"), method=b"POST"),
         MALFORMED),
    Case("length of a request and HEADERS that end",
         request((b"content-length", b"%d" % len(HIDDEN))), MALFORMED),
    Case("length 0 and HEADERS that end", request((b"content-length", b"0")),
         Forwarded(has={b"content-length": b"0"})),
    # 2^63, 2^64 and beyond; 2^64 + 3 wraps to the content's true length.
    length(b"9223372036854775808"), length(b"18446744073709551615"),
    length(b"18446744073709551616"), length(b"18446744073709551619"),
    length(b"36893488147419103235"), length(b"340282366920938463463374607431768211459"),
    length(b"4294967299"), length(b"0" * 30 + b"3"),
    length(b""), length(b"+3"), length(b"-3"), length(b"0x3"), length(b"3.0"), length(b"3,3"),
    length(b"3, 3"), length(b"3,"), length(b"3 3"), length(b" 3"), length(b"3 "), length(b"3a"),
    length(b"three"), length(b"3\x00"), length(b"3\r\n"), length(b"\xef\xbc\x93"), length(b"3;3"),
    lengths(b"3", b"3"), lengths(b"3", b"4"), lengths(b"4", b"3"), lengths(b"0", b"3"),
    lengths(b"3", b"03"), lengths(b"3", b"3", b"3"),
]


def content(name, *data, body=None, method=b"POST", fields=()):
    body = b"".join(data) if body is None else body
    return Case(f"content {name}", request(*fields, method=method, data=data),
                Forwarded(body=body, method=method))


CONTENT = [
    content("a request", HIDDEN), content("a request on GET", HIDDEN, method=b"GET"),
    content("a request on HEAD", HIDDEN, method=b"HEAD"),
    content("a request on DELETE", HIDDEN, method=b"DELETE"),
    content("a request on OPTIONS", HIDDEN, method=b"OPTIONS"),
    content("a last chunk and a request", b"0\r\n\r\n" + HIDDEN),
    content("a last chunk and a request in pieces", b"0\r\n", b"\r\n", HIDDEN),
    content("chunks", b"3\r\nabc\r\n0\r\n\r\n"),
    content("a request and its length", HIDDEN, fields=[(b"content-length",
                                                        b"%d" % len(HIDDEN))]),
    content("nothing", b""),
    Case("content on TRACE", request(method=b"TRACE", data=(b"abc",)), Refused(400)),
    Case("content on a refused id", post(path=b"/api/x?id=x", data=(HIDDEN,)), Refused(400)),
    Case("content on an unknown path", post(path=b"/none", data=(HIDDEN,)), Refused(404)),
]


def cookies(name, crumbs, outcome):
    return Case(f"cookie {name}", request(*[(b"cookie", crumb) for crumb in crumbs]), outcome)


FIELDS = [
    cookies("in two crumbs", [b"a=1", b"b=2"], Forwarded(has={b"cookie": b"a=1; b=2"})),
    cookies("in 101 crumbs", [b"a=%d" % n for n in range(101)],
            Forwarded(has={b"cookie": b"; ".join(b"a=%d" % n for n in range(101))})),
    cookies("in 1000 crumbs", [b"a=%d" % n for n in range(1000)],
            Forwarded(has={b"cookie": b"; ".join(b"a=%d" % n for n in range(1000))})),
    *[Case(f"field of {size} bytes", request((b"x-a", b"b" * size)),
           Forwarded(has={b"x-a": b"b" * size})) for size in AROUND],
    *[cookies(f"in crumbs of {size} bytes", [b"a", b"b" * (size // 2), b"c" * (size // 2)],
              Forwarded(has={b"cookie": b"a; " + b"b" * (size // 2) + b"; " + b"c" * (size // 2)}))
      for size in AROUND],
    cookies("in crumbs that are too large", [b"a" * 4000] * 9, Refused(431)),
    cookies("with a line end", [b"a=1\r\nhost: evil"], MALFORMED),
    Case("cookie around other fields", request((b"cookie", b"a=1"), (b"x-a", b"b"),
                                               (b"cookie", b"b=2"), (b"x-b", b"c")),
         Forwarded(has={b"cookie": b"a=1; b=2", b"x-a": b"b", b"x-b": b"c"})),
    Case("fields as many as allowed", request(*[(b"x-%d" % n, b"y") for n in range(100)]),
         Forwarded(has={b"x-99": b"y"})),
    Case("fields too many", request(*[(b"x-%d" % n, b"y") for n in range(101)]), Refused(431)),
    Case("field too large", request((b"x-a", b"b" * 40_000)), Refused(431)),
    Case("fields too large", request(*[(b"x-%d" % n, b"b" * 5_000) for n in range(8)]),
         Refused(431)),
    Case("fields beyond all measure", request(*[(b"x-%d" % n, b"b" * 7_000) for n in range(17)],
                                              (b"x", b"y" * 14_000)), Reset((1, 2, 11))),
    Case("path at its limit", request(path=X + b"&" + b"a" * (16_384 - 12)),
         Forwarded(target=X + b"&" + b"a" * (16_384 - 12))),
    Case("path too long", request(path=X + b"&" + b"a" * (16_385 - 12)), Refused(414)),
    Case("expect unknown", request((b"expect", b"x")), Refused(417)),
    Case("expect with content", post((b"expect", b"100-continue")), Forwarded(body=b"abc")),
    Case("expect without content", request((b"expect", b"100-continue")), Forwarded()),
]


def trailers(name, *pairs, outcome=None, fields=()):
    kept = Forwarded(body=b"abc", trailers=((b"x-a", b"1"),))
    return Case(f"trailers {name}", post(*fields, trailers=[*pairs, (b"x-a", b"1")]),
                outcome or kept)


DROPPED_TRAILERS = [
    (b"content-length", b"3"), (b"host", b"evil"), (b"trailer", b"x"), (b"authorization", b"x"),
    (b"proxy-authorization", b"x"), (b"proxy-authenticate", b"x"), (b"www-authenticate", b"x"),
    (b"cookie", b"a=b"), (b"set-cookie", b"a=b"), (b"content-type", b"x/y"),
    (b"content-encoding", b"gzip"), (b"content-range", b"bytes 0-1/2"), (b"vary", b"*"),
    (b"cache-control", b"no-store"), (b"expect", b"100-continue"), (b"location", b"/"),
    (b"max-forwards", b"0"), (b"range", b"bytes=0-1"), (b"if-match", b"*"), (b"if-range", b"x"),
    (b"if-none-match", b"*"), (b"if-modified-since", b"x"), (b"if-unmodified-since", b"x"),
    (b"via", b"1.1 x"), (b"forwarded", b"for=1.2.3.4"), (b"x-forwarded-for", b"1.2.3.4"),
    (b"x-forwarded-host", b"evil"), (b"x-forwarded-proto", b"x"), (b"http2-settings", b"AA"),
    (b"te", b"trailers"), (b"content_length", b"5"), (b"x_a", b"1"), (b"age", b"1"),
    (b"pragma", b"x"), (b"expires", b"0"), (b"retry-after", b"1"), (b"date", b"x")]
TRAILERS = [trailers(f"dropped {shown(pair)}", pair) for pair in DROPPED_TRAILERS] + [
    trailers(f"malformed {shown(pair)}", pair, outcome=MALFORMED) for pair in (
        (b":path", X), (b":method", b"GET"), (b":status", b"200"), (b":x", b"y"),
        (b"content-length", b"5"), (b"content-length", b"x"), (b"connection", b"close"),
        (b"keep-alive", b"5"), (b"proxy-connection", b"close"),
        (b"transfer-encoding", b"chunked"), (b"upgrade", b"h2c"), (b"te", b"gzip"),
        (b"X-A", b"1"), (b"x a", b"1"), (b"x:a", b"1"), (b"x-a", b"b\r\nc: d"), (b"x-a", b"\x00"),
        (b"x-a", b"b\nc"), (b"x-a", b" b"), (b"x\r\n\r\n", b"1"), (b"", b"1"))] + [
    trailers("good"), trailers("beside a length", fields=[(b"content-length", b"3")],
                               outcome=Forwarded(body=b"abc")),
    trailers("as many as allowed", *[(b"x-%d" % n, b"1") for n in range(99)],
             outcome=Forwarded(body=b"abc", trailers=(
                 *[(b"x-%d" % n, b"1") for n in range(99)], (b"x-a", b"1")))),
    trailers("too many", *[(b"x-%d" % n, b"1") for n in range(101)], outcome=Reset((11,))),
    trailers("and a length that is wrong", fields=[(b"content-length", b"4")], outcome=MALFORMED),
]

CASES = (PSEUDO_BYTES + VALUES + NAMES + CONNECTION_FIELDS + HOSTS + PSEUDO + LENGTHS + CONTENT
         + FIELDS + TRAILERS)
