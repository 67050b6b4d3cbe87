"""Request lines: methods, targets, versions, and the bounds of a head (RFC 9112 §3)."""

from .bytes1 import CONTROLS, HOST, told
from .outcomes import Case, Closed, Forwarded, Refused


def line(data, outcome=Refused(400), name=None):
    return Case(f"line {name or told(data)}", data + b"\r\n" + HOST + b"\r\n", outcome)


VERSIONS = [
    line(b"GET /api/x?id=1 HTTP/1.1", Forwarded()),
    line(b"GET /api/x?id=1 HTTP/1.0", Forwarded(closes=True)),
    line(b"GET /api/x?id=1"), line(b"GET /api/x?id=1 "), line(b"GET /api/x?id=1 HTTP"),
    line(b"GET /api/x?id=1 HTTP/"), line(b"GET /api/x?id=1 HTTP/1"),
    line(b"GET /api/x?id=1 HTTP/1."), line(b"GET /api/x?id=1 HTTP/.1"),
    line(b"GET /api/x?id=1 HTTP/0.9", Refused(505)), line(b"GET /api/x?id=1 HTTP/1.2"),
    line(b"GET /api/x?id=1 HTTP/1.9"), line(b"GET /api/x?id=1 HTTP/1.10"),
    line(b"GET /api/x?id=1 HTTP/1.01"), line(b"GET /api/x?id=1 HTTP/01.1"),
    line(b"GET /api/x?id=1 HTTP/2.0", Refused(505)), line(b"GET /api/x?id=1 HTTP/2"),
    line(b"GET /api/x?id=1 HTTP/3.0", Refused(505)), line(b"GET /api/x?id=1 http/1.1"),
    line(b"GET /api/x?id=1 Http/1.1"), line(b"GET /api/x?id=1 HTTP/1,1"),
    line(b"GET /api/x?id=1 HTTP 1.1"), line(b"GET /api/x?id=1 HTTPS/1.1"),
    line(b"GET /api/x?id=1 HTTP/+1.1"), line(b"GET /api/x?id=1 HTTP/1.1x"),
    line(b"GET /api/x?id=1 HTTP/-1.1"), line(b"GET /api/x?id=1 HTTP/\xb9.1"),
    line(b"GET /api/x?id=1 ICY/1.1"), line(b"GET /api/x?id=1 HTTP/1.1 HTTP/1.1"),
    line(b"GET /api/x?id=1 HTTP/1.1\r\nGET /api/smuggled?id=1 HTTP/1.1"),
    Case("line without a version, alone", b"GET /api/x?id=1\r\n\r\n", Refused(400)),
    Case("line of a preface behind a request", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", Refused(505)),
]
SPACES = [
    line(b"GET  /api/x?id=1 HTTP/1.1"), line(b"GET /api/x?id=1  HTTP/1.1"),
    line(b"GET /api/x?id=1 HTTP/1.1 "), line(b"GET /api/x?id=1 HTTP/1.1\t"),
    line(b" GET /api/x?id=1 HTTP/1.1"), line(b"\tGET /api/x?id=1 HTTP/1.1"),
    line(b"GET\t/api/x?id=1 HTTP/1.1"), line(b"GET /api/x?id=1\tHTTP/1.1"),
    line(b"GET\x0b/api/x?id=1 HTTP/1.1"), line(b"GET\x0c/api/x?id=1 HTTP/1.1"),
    line(b"GET\xa0/api/x?id=1 HTTP/1.1"), line(b"GET /api/x?id=1 x HTTP/1.1"),
    line(b"GET"), line(b"GET "), line(b"GET HTTP/1.1"), line(b""), line(b" "),
    Case("line ends of bare lf", b"GET /api/x?id=1 HTTP/1.1\nHost: localhost\n\n", Refused(400)),
    Case("line end of bare lf", b"GET /api/x?id=1 HTTP/1.1\n" + HOST + b"\r\n", Refused(400)),
    Case("line end of bare cr", b"GET /api/x?id=1 HTTP/1.1\r" + HOST + b"\r\n", Refused(400)),
    Case("line end of cr cr lf", b"GET /api/x?id=1 HTTP/1.1\r\r\n" + HOST + b"\r\n", Refused(400)),
    line(b"\r\nGET /api/x?id=1 HTTP/1.1", Forwarded(), "after one empty line"),
    line(b"\r\n\r\nGET /api/x?id=1 HTTP/1.1", Forwarded(), "after two empty lines"),
    line(b"\r\n\r\n\r\nGET /api/x?id=1 HTTP/1.1", name="after three empty lines"),
    line(b"\nGET /api/x?id=1 HTTP/1.1"), line(b"\rGET /api/x?id=1 HTTP/1.1"),
    line(b"\r\n\nGET /api/x?id=1 HTTP/1.1"), line(b"\r\n GET /api/x?id=1 HTTP/1.1"),
    line(b"\x00GET /api/x?id=1 HTTP/1.1"), line(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    line(b"\xef\xbb\xbfGET /api/x?id=1 HTTP/1.1"),
    Case("line cut", b"GET /api/x?id=1 HTT", Closed()),
    Case("line and nothing more", b"GET /api/x?id=1 HTTP/1.1\r\n", Closed()),
    Case("head without its empty line", b"GET /api/x?id=1 HTTP/1.1\r\n" + HOST, Closed()),
]
METHODS = [
    line(b"get /api/x?id=1 HTTP/1.1", Forwarded(method=b"get")),
    line(b"M-SEARCH /api/x?id=1 HTTP/1.1", Forwarded(method=b"M-SEARCH")),
    line(b"G!#$%&'*+-.^_`|~ET /api/x?id=1 HTTP/1.1", Forwarded(method=b"G!#$%&'*+-.^_`|~ET")),
    line(b"G@T /api/x?id=1 HTTP/1.1"), line(b"G:T /api/x?id=1 HTTP/1.1"),
    line(b"G(T /api/x?id=1 HTTP/1.1"), line(b"G,T /api/x?id=1 HTTP/1.1"),
    line(b'"GET" /api/x?id=1 HTTP/1.1'), line(b"G\xc9T /api/x?id=1 HTTP/1.1"),
    line(b"[GET] /api/x?id=1 HTTP/1.1"), line(b"{GET} /api/x?id=1 HTTP/1.1"),
    line(b"G/T /api/x?id=1 HTTP/1.1"), line(b"G\\T /api/x?id=1 HTTP/1.1"),
    line(b" /api/x?id=1 HTTP/1.1", name="no method"),
    line(b"CONNECT localhost:80 HTTP/1.1", Refused(501)),
    line(b"CONNECT /api/x?id=1 HTTP/1.1", Refused(501)),
    line(b"CONNECT * HTTP/1.1", Refused(501)),
    line(b"CONNECT http://localhost/ HTTP/1.1", Refused(501)),
    line(b"TRACE /api/x?id=1 HTTP/1.1", Forwarded(method=b"TRACE")),
]
TARGETS = [
    line(b"GET * HTTP/1.1"), line(b"GET ** HTTP/1.1"), line(b"OPTIONS ** HTTP/1.1"),
    line(b"OPTIONS *x HTTP/1.1"), line(b"OPTIONS * HTTP/1.1", Refused(404, closes=False)),
    line(b"GET api/x?id=1 HTTP/1.1"), line(b"GET ?id=1 HTTP/1.1"), line(b"GET :80/x HTTP/1.1"),
    line(b"GET localhost:80 HTTP/1.1"), line(b"GET localhost/api/x?id=1 HTTP/1.1"),
    line(b"GET /api/x?id=1#a HTTP/1.1"), line(b"GET /api/x#?id=1 HTTP/1.1"),
    line(b"GET #/api/x?id=1 HTTP/1.1"), line(b"GET /api/\xe9?id=1 HTTP/1.1"),
    line(b"GET /api/x?id=1\xff HTTP/1.1"), line(b"GET /api/\xc0\xaf?id=1 HTTP/1.1"),
    line(b"GET /api/x y?id=1 HTTP/1.1"), line(b"GET /api/x?id=1 &a HTTP/1.1"),
    line(b"GET /api/x?id=1%0d%0aX:%20y HTTP/1.1", Refused(400, closes=False)),
    line(b"GET /api/x%0d%0aX:%20y?id=1 HTTP/1.1", Forwarded(target=b"/api/x%0d%0aX:%20y?id=1")),
    line(b"GET //evil/api/x?id=1 HTTP/1.1", Refused(404, closes=False)),
    line(b"GET http://localhost/api/x?id=1 HTTP/1.1", Forwarded()),
    line(b"GET HTTP://LocalHost/api/x?id=1 HTTP/1.1", Forwarded()),
    line(b"GET http://evil/api/x?id=1 HTTP/1.1"), line(b"GET http://localhost:81/api HTTP/1.1"),
    line(b"GET http://u@localhost/api/x?id=1 HTTP/1.1"), line(b"GET http:/api/x?id=1 HTTP/1.1"),
    line(b"GET http:///api/x?id=1 HTTP/1.1"), line(b"GET http:// HTTP/1.1"),
    line(b"GET http://localhost\\@evil/api/x?id=1 HTTP/1.1"),
    line(b"GET http://localhost#@evil/api/x?id=1 HTTP/1.1"),
    line(b"GET http://local,host/api/x?id=1 HTTP/1.1"),
    line(b"GET https://localhost/api/x?id=1 HTTP/1.1", Refused(421)),
    line(b"GET ws://localhost/api/x?id=1 HTTP/1.1"), line(b"GET ftp://localhost/x HTTP/1.1"),
    line(b"GET javascript:alert(1) HTTP/1.1"), line(b"GET http HTTP/1.1"),
    line(b"GET http://localhost HTTP/1.1", Refused(404, closes=False)),
    line(b"GET http://localhost?id=1 HTTP/1.1", Refused(404, closes=False)),
]


def control(byte, place, data):
    return Case(f"control {byte:#04x} in the {place}", data.replace(b"@", bytes([byte]))
                + HOST + b"\r\n", Refused(400))


CONTROL_CASES = [
    control(byte, place, data) for byte in CONTROLS for place, data in [
        ("method", b"G@ET /api/x?id=1 HTTP/1.1\r\n"),
        ("target", b"GET /api/x@?id=1 HTTP/1.1\r\n"),
        ("version", b"GET /api/x?id=1 HTTP@1.1\r\n")]]


def sized_line(size):
    """A request line of so many bytes, without its line end."""
    target = b"/api/x?id=1&a=" + b"a" * (size - 4 - 14 - 9)
    return line(b"GET " + target + b" HTTP/1.1",
                Forwarded(target=target) if size <= 16_384 else Refused(414),
                f"of {size} bytes")


def sized_head(size):
    """A head of so many bytes, the empty line included."""
    start = b"GET /api/x?id=1 HTTP/1.1\r\n" + HOST
    rest, values = size - len(start) - 2, []
    while rest:
        # At least `X: CRLF` remains for the last one.
        count = rest if rest <= 5_000 else min(5_000, rest - 10)
        values.append(b"b" * (count - 5))
        rest -= count
    lines = b"".join(b"X: " + value + b"\r\n" for value in values)
    fits = Forwarded(has={b"x": b", ".join(values)})
    return Case(f"head of {size} bytes", start + lines + b"\r\n",
                fits if size <= 32_768 else Refused(431))


def many(count):
    """A head of so many field lines, Host included."""
    lines = b"".join(b"X-%d: y\r\n" % n for n in range(count - 1))
    return Case(f"{count} field lines", b"GET /api/x?id=1 HTTP/1.1\r\n" + HOST + lines + b"\r\n",
                Forwarded() if count <= 100 else Refused(431))


BOUNDS = [
    sized_line(16_383), sized_line(16_384), sized_line(16_385), sized_line(20_000),
    sized_line(40_000), Case("line that does not end", b"GET /" + b"a" * 40_000, Refused(414)),
    Case("method that does not end", b"G" * 40_000, Refused(414)),
    # Around the sizes of buffers: a head that fills its buffer must not lose a byte by moving.
    *[sized_head(size - less) for size in (256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768)
      for less in (0, 1, 6, 11, 12, 200)],
    sized_head(32_769), sized_head(60_000),
    many(99), many(100), many(101), many(3_000),
    Case("head that does not end", b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000, Refused(431)),
]

CASES = VERSIONS + SPACES + METHODS + TARGETS + CONTROL_CASES + BOUNDS
