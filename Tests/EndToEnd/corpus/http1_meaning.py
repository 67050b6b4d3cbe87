"""Well-formed heads that mean harm: connection options, upgrades, expectations, hidden content."""

from .bytes1 import HIDDEN, HOST, START, get, post, told
from .outcomes import Case, Early, Forwarded, Refused

KEPT = {
    b"Authorization": b"Basic eDp5", b"Cookie": b"a=b", b"X-Forwarded-For": b"127.0.0.1",
    b"X-Forwarded-Host": b"localhost", b"X-Forwarded-Proto": b"http", b"Via": b"1.1 edge-proxy",
    b"Host": b"localhost", b"Cache-Control": b"no-store", b"Content-Type": b"text/plain",
    b"Content-Encoding": b"gzip", b"User-Agent": b"x", b"Referer": b"/", b"Range": b"bytes=0-1",
    b"Date": b"x"}
ADDED = (b"X-Forwarded-For", b"X-Forwarded-Host", b"X-Forwarded-Proto", b"Via", b"Host")


def nominated(name, value):
    """Connection names a field that is meant for everyone: it stays."""
    lines = [b"Connection: " + name] + ([] if name in ADDED else [name + b": " + value])
    return Case(f"connection names {told(name)}", get(*lines),
                Forwarded(has={name.lower(): value}))


ABC = Forwarded(body=b"abc", has={b"content-length": b"3"})
CONNECTION = [nominated(*pair) for pair in KEPT.items()] + [
    Case("connection names content-length",
         post(b"Connection: content-length", b"Content-Length: 3", body=b"abc"), ABC),
    Case("connection names content-length first and last",
         post(b"Connection: content-length, x", b"Content-Length: 3",
              b"Connection: Content-Length", body=b"abc"), ABC),
    Case("connection names transfer-encoding",
         post(b"Connection: transfer-encoding", b"Transfer-Encoding: chunked",
              body=b"3\r\nabc\r\n0\r\n\r\n"),
         Forwarded(body=b"abc", has={b"transfer-encoding": b"chunked"})),
    Case("connection names forwarded", get(b"Connection: forwarded"), Forwarded()),
    Case("connection names a private field", get(b"Connection: x-p", b"X-P: secret", b"X-Q: y"),
         Forwarded(lacks=(b"x-p",), has={b"x-q": b"y"})),
    Case("connection names one that stands before", get(b"X-P: secret", b"Connection: X-p"),
         Forwarded(lacks=(b"x-p",))),
    Case("connection names one that comes twice",
         get(b"X-P: secret", b"Connection: x-p", b"X-P: more"), Forwarded(lacks=(b"x-p",))),
    Case("connection in two lines", get(b"Connection: x-p", b"Connection: x-q", b"X-P: 1",
                                        b"X-Q: 2"), Forwarded(lacks=(b"x-p", b"x-q"))),
    Case("connection with empty elements", get(b"Connection: , ,x-p,,", b"X-P: 1"),
         Forwarded(lacks=(b"x-p",))),
    Case("connection with close among others", get(b"Connection: x-p, Close", b"X-P: 1"),
         Forwarded(lacks=(b"x-p",), closes=True)),
    Case("connection close and keep-alive", get(b"Connection: keep-alive, close"),
         Forwarded(closes=True)),
    Case("connection close in a second line", get(b"Connection: keep-alive", b"Connection: close"),
         Forwarded(closes=True)),
    Case("connection closely", get(b"Connection: closely"), Forwarded()),
    Case("connection quoted", get(b'Connection: "close"'), Forwarded()),
    Case("connection lists 100 names",
         get(b"Connection: " + b",".join(b"x-%d" % n for n in range(100)), b"X-42: y"),
         Forwarded(lacks=(b"x-42",))),
    Case("connection lists 101 names",
         get(b"Connection: " + b",".join(b"x-%d" % n for n in range(101))), Refused(400)),
    Case("connection lists thousands of names", get(b"Connection: " + b"a," * 8_000),
         Refused(400)),
    Case("fields of the connection", get(b"Keep-Alive: timeout=9", b"Proxy-Connection: close",
                                         b"HTTP2-Settings: AAMAAABkAAQAAP__"),
         Forwarded(lacks=(b"keep-alive", b"proxy-connection", b"http2-settings", b"connection"))),
]


def upgrade(value, *lines, connection=b"Upgrade", has=None, start=START):
    outcome = Forwarded(has={b"upgrade": has, b"connection": b"upgrade"}) if has else Forwarded(
        lacks=(b"upgrade", b"connection", b"http2-settings"))
    data = [b"Connection: " + connection, b"Upgrade: " + value, *lines]
    return Case(f"upgrade {told(value)} by {told(connection)}", get(*data), outcome)


SETTINGS = b"HTTP2-Settings: AAMAAABkAAQAAP__"
UPGRADES = [
    upgrade(b"h2c", SETTINGS, connection=b"Upgrade, HTTP2-Settings"),
    upgrade(b"h2c", SETTINGS), upgrade(b"H2C", SETTINGS, connection=b"upgrade, http2-settings"),
    upgrade(b"h2"), upgrade(b"h2c, websocket"), upgrade(b"websocket, h2c"),
    upgrade(b"websocket,h2c"), upgrade(b"h2c/1"), upgrade(b"HTTP/2.0"), upgrade(b"http/1.1"),
    upgrade(b"TLS/1.2"), upgrade(b"TLS/1.0, HTTP/1.1"), upgrade(b"h2c", connection=b"close-not"),
    upgrade(b"websocket", has=b"websocket"), upgrade(b"WebSocket", has=b"WebSocket"),
    upgrade(b"SPDY/3.1", has=b"SPDY/3.1"), upgrade(b"websocket", connection=b"keep-alive"),
    upgrade(b"", connection=b"Upgrade"), upgrade(b"web socket"), upgrade(b"websocket;x"),
    Case("upgrade in two lines", get(b"Connection: upgrade", b"Upgrade: websocket",
                                     b"Upgrade: h2c"), Forwarded(lacks=(b"upgrade",))),
    Case("upgrade to h2c in http/1.0", b"GET /api/x?id=1 HTTP/1.0\r\n" + HOST
         + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n" + SETTINGS + b"\r\n\r\n",
         Forwarded(closes=True, lacks=(b"upgrade", b"http2-settings"))),
    Case("upgrade to websocket in http/1.0", b"GET /api/x?id=1 HTTP/1.0\r\n" + HOST
         + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
         Forwarded(closes=True, lacks=(b"upgrade",))),
    Case("upgrade to h2c with content",
         post(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", SETTINGS,
              b"Content-Length: %d" % len(HIDDEN), body=HIDDEN),
         Forwarded(body=HIDDEN, lacks=(b"upgrade",))),
    Case("upgrade to websocket with content",
         post(b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 3", body=b"abc"),
         Forwarded(body=b"abc", lacks=(b"upgrade",))),
    Case("upgrade to websocket with chunks",
         post(b"Connection: Upgrade", b"Upgrade: websocket", b"Transfer-Encoding: chunked",
              body=b"3\r\nabc\r\n0\r\n\r\n"), Forwarded(body=b"abc", lacks=(b"upgrade",))),
]


def te(value, has=None):
    outcome = Forwarded(has={b"te": has}) if has else Forwarded(lacks=(b"te",))
    return Case(f"te field {told(value)}", get(b"TE: " + value, b"Connection: TE"), outcome)


TE = [te(b"trailers", b"trailers"), te(b"Trailers", b"trailers"), te(b"gzip"), te(b"chunked"),
      te(b"gzip, trailers", b"trailers"), te(b"trailers, deflate;q=0.5", b"trailers"),
      te(b"trailersx"), te(b""), te(b"identity;q=1")]


def expect(value, outcome, method=post, **more):
    data = post(b"Expect: " + value, b"Content-Length: 3", body=b"abc")
    return Case(f"expect {told(value)}", data, outcome)


CONTINUE = Forwarded(body=b"abc", has={b"expect": b"100-continue"})
EXPECTATIONS = [
    expect(b"100-continue", CONTINUE),
    expect(b"100-Continue", Forwarded(body=b"abc")), expect(b"200-ok", Refused(417)),
    expect(b"", Refused(417)), expect(b"100-continue, x", Refused(417)),
    expect(b"y100-continue", Refused(417)), expect(b"100-continue;q=1", Refused(417)),
    expect(b'"100-continue"', Refused(417)), expect(b"100", Refused(417)),
    Case("expect twice", post(b"Expect: 100-continue", b"Expect: 100-continue"), Refused(400)),
    Case("expect twice and different", post(b"Expect: 100-continue", b"Expect: x"), Refused(400)),
    Case("expect without content", get(b"Expect: 100-continue"), Forwarded()),
    Case("expect folded", get(b"Expect:\r\n 100-continue"), Refused(400)),
    Case("expect in http/1.0", b"POST /api/x?id=1 HTTP/1.0\r\n" + HOST
         + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
         Forwarded(body=b"abc", lacks=(b"expect",), closes=True)),
]


def content(method, data, **more):
    lines = (b"%s /api/x?id=1 HTTP/1.1\r\n" % method + HOST + b"Content-Length: %d\r\n\r\n"
             % len(data) + data)
    return Case(f"content on {told(method)}", lines, Forwarded(body=data, method=method))


CONTENT = [content(method, HIDDEN) for method in (
    b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"PUT", b"PATCH", b"POST", b"PROPFIND", b"get")] + [
    Case("content on TRACE", b"TRACE /api/x?id=1 HTTP/1.1\r\n" + HOST
         + b"Content-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN, Refused(400)),
    Case("chunks on TRACE", b"TRACE /api/x?id=1 HTTP/1.1\r\n" + HOST
         + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    Case("chunks on GET", get(b"Transfer-Encoding: chunked")
         + b"%x\r\n" % len(HIDDEN) + HIDDEN + b"\r\n0\r\n\r\n", Forwarded(body=HIDDEN)),
    Case("chunks on HEAD", b"HEAD /api/x?id=1 HTTP/1.1\r\n" + HOST
         + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", Forwarded(body=b"abc")),
    Case("content with a request line in each line",
         post(b"Content-Length: %d" % (3 * len(HIDDEN)), body=HIDDEN * 3),
         Forwarded(body=HIDDEN * 3)),
    Case("content on a refused id", b"POST /api/x?id=x HTTP/1.1\r\n" + HOST
         + b"Content-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN, Refused(400)),
    Case("content on an unknown path", b"POST /none HTTP/1.1\r\n" + HOST
         + b"Content-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN, Refused(404)),
    Case("chunks on an unknown path", b"POST /none HTTP/1.1\r\n" + HOST
         + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(HIDDEN) + HIDDEN + b"\r\n0\r\n\r\n",
         Refused(404)),
    Case("content on GET of an unknown path", b"GET /none HTTP/1.1\r\n" + HOST
         + b"Content-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN, Refused(404)),
    Case("no content on a refused id", b"GET /api/x?id=x HTTP/1.1\r\n" + HOST + b"\r\n",
         Refused(400, closes=False)),
    Case("early answer to content", b"POST /api/early?id=1 HTTP/1.1\r\n" + HOST
         + b"Content-Length: 5000\r\n\r\n" + HIDDEN, Early()),
    Case("early answer to chunks", b"POST /api/early?id=1 HTTP/1.1\r\n" + HOST
         + b"Transfer-Encoding: chunked\r\n\r\n1000\r\n" + HIDDEN, Early()),
    Case("early answer to expected content", b"POST /api/early?id=1 HTTP/1.1\r\n" + HOST
         + b"Expect: 100-continue\r\nContent-Length: 5000\r\n\r\n" + HIDDEN, Early()),
    Case("content in http/1.0", b"POST /api/x?id=1 HTTP/1.0\r\n" + HOST
         + b"Content-Length: 3\r\n\r\nabc", Forwarded(body=b"abc", closes=True)),
    Case("content in http/1.0 with keep-alive", b"POST /api/x?id=1 HTTP/1.0\r\n" + HOST
         + b"Connection: keep-alive\r\nContent-Length: 3\r\n\r\nabc", Forwarded(body=b"abc")),
    Case("content without a length in http/1.0", b"POST /api/x?id=1 HTTP/1.0\r\n" + HOST
         + b"\r\n" + HIDDEN, Forwarded(closes=True)),
]

CASES = CONNECTION + UPGRADES + TE + EXPECTATIONS + CONTENT
