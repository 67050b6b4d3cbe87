"""Chunks and trailers (RFC 9112 §7.1), well and badly formed."""

from .bytes1 import CHUNKED, HIDDEN, told
from .outcomes import Case, Closed, Forwarded, Refused

LAST = b"0\r\n\r\n"


def chunks(data, outcome=Refused(400), name=None):
    return Case(f"chunks {name or told(data)}", CHUNKED + data, outcome)


ABC = Forwarded(body=b"abc", has={b"transfer-encoding": b"chunked"}, lacks=(b"content-length",))


def size(text, outcome=Refused(400)):
    """Three bytes behind a size line."""
    return Case(f"chunk size {told(text)}", CHUNKED + text + b"abc\r\n" + LAST, outcome)


SIZES = [
    size(b"3\r\n", ABC), size(b"03\r\n", ABC), size(b"0000000000000003\r\n", ABC),
    size(b"00000000000000003\r\n"), size(b"\r\n"), size(b" 3\r\n"), size(b"3 \r\n"),
    size(b"\t3\r\n"), size(b"3\t\r\n"), size(b"+3\r\n"), size(b"-3\r\n"), size(b"-0\r\n"),
    size(b"0x3\r\n"), size(b"0X3\r\n"), size(b"x3\r\n"), size(b"3g\r\n"), size(b"g\r\n"),
    size(b"3h\r\n"), size(b"3.0\r\n"), size(b"3_\r\n"), size(b"3,3\r\n"), size(b"3 3\r\n"),
    size(b'"3"\r\n'), size(b"\xef\xbc\x93\r\n"), size(b"3\x00\r\n"), size(b"\x003\r\n"),
    size(b"3\x0b\r\n"), size(b"3\x0c\r\n"), size(b"3\x7f\r\n"), size(b"3\n"), size(b"3\r"),
    size(b"3\n\r\n"), size(b"3\r\r\n"), size(b"3\r\r"), size(b"\r\n3\r\n"), size(b"3\r\n\r\n"),
    # 2^63, 2^64 - 1, 2^64 and 2^64 + 3.
    size(b"8000000000000000\r\n"), size(b"ffffffffffffffff\r\n"), size(b"fffffffffffffffd\r\n"),
    size(b"10000000000000000\r\n"), size(b"10000000000000003\r\n"), size(b"f" * 30 + b"\r\n"),
    size(b"7fffffffffffffff\r\n", Closed()), size(b"100000003\r\n", Closed()),
    size(b"2\r\n"), size(b"4\r\n"), size(b"5\r\n"), size(b"1\r\n"),
    chunks(b"a\r\n0123456789\r\n" + LAST, Forwarded(body=b"0123456789"), "lower case a"),
    chunks(b"A\r\n0123456789\r\n" + LAST, Forwarded(body=b"0123456789"), "upper case A"),
    chunks(b"1\r\na\r\n2\r\nbc\r\n" + LAST, ABC, "two"),
]


def extension(text, outcome=Refused(400)):
    return Case(f"chunk extension {told(text)}", CHUNKED + b"3" + text + b"\r\nabc\r\n" + LAST,
                outcome)


EXTENSIONS = [
    extension(b";a", ABC), extension(b";a=b", ABC), extension(b';a="b c"', ABC),
    extension(b" ; a = b", ABC), extension(b"\t;a", ABC), extension(b";a;b=c;d", ABC),
    extension(b';a="\\"b"', ABC), extension(b';a=";"', ABC), extension(b';a=""', ABC),
    extension(b";a=\"\xe9\"", ABC),
    extension(b";"), extension(b";;"), extension(b";a="), extension(b";=b"), extension(b";a=b c"),
    extension(b";a b"), extension(b"; "), extension(b";a "), extension(b';a="b'),
    extension(b';a="b"c'), extension(b";a=\xe9"), extension(b";a\x00"), extension(b";a\nb"),
    extension(b";a\rb"), extension(b";a\r"), extension(b';a="\n"'), extension(b';a="\r"'),
    extension(b';a="\r\n"'), extension(b";a\x0b"), extension(b";\x00"), extension(b" a=b"),
    extension(b";a=b\n5\r\nhello\r\n" + LAST[:0]), extension(b'";a'), extension(b":a"),
    Case("chunk line at its limit", CHUNKED + b"3;" + b"a" * 253 + b"\r\nabc\r\n" + LAST, ABC),
    Case("chunk line over its limit", CHUNKED + b"3;" + b"a" * 254 + b"\r\nabc\r\n" + LAST,
         Refused(400)),
    Case("chunk line that does not end", CHUNKED + b"3;" + b"a" * 70_000, Refused(400)),
]

A = b"3\r\nabc"
DATA = [
    chunks(A + LAST, name="no line end after data"),
    chunks(A + b"\n" + LAST, name="bare lf after data"),
    chunks(A + b"\r" + LAST, name="bare cr after data"),
    chunks(A + b"\r\r\n" + LAST, name="cr cr lf after data"),
    chunks(A + b"\n\r\n" + LAST, name="lf cr lf after data"),
    chunks(A + b" \r\n" + LAST, name="space after data"),
    chunks(A + b"d\r\n" + LAST, name="longer than its size"),
    chunks(b"3\r\nab\r\n" + LAST, name="shorter than its size"),
    chunks(b"3\r\nabc\r\n" + HIDDEN, name="a request instead of a chunk"),
    chunks(b"%x\r\n" % len(HIDDEN) + HIDDEN + b"\r\n" + LAST, Forwarded(body=HIDDEN),
           "a request as content"),
    chunks(b"3\r\nabc\r\n", Closed(), "no last chunk"),
    chunks(b"3\r\na", Closed(), "cut within a chunk"),
    chunks(b"3", Closed(), "cut within a size"),
    chunks(b"", Closed(), "nothing"),
]

FINAL = [
    chunks(A + b"\r\n0\r\n\r\n", ABC, "plain end"),
    chunks(A + b"\r\n000\r\n\r\n", ABC, "zeros"),
    chunks(A + b"\r\n0;a=b\r\n\r\n", ABC, "last with extension"),
    chunks(A + b"\r\n00000000000000000\r\n\r\n", name="too many zeros"),
    chunks(A + b"\r\n0 \r\n\r\n", name="last with a space"),
    chunks(A + b"\r\n0x0\r\n\r\n", name="last 0x0"),
    chunks(A + b"\r\n-0\r\n\r\n", name="last -0"),
    chunks(A + b"\r\n+0\r\n\r\n", name="last +0"),
    chunks(A + b"\r\n0\n\r\n", name="last with bare lf"),
    chunks(A + b"\r\n0\r\n\n", name="empty line of bare lf"),
    chunks(A + b"\r\n0\n\n", name="bare lf only"),
    chunks(A + b"\r\n0\r\r\n\r\n", name="last with cr cr lf"),
    chunks(A + b"\r\n\r\n\r\n", name="empty last size"),
    chunks(A + b"\r\n0\r\n", Closed(), "no empty line"),
    chunks(A + b"\r\n0\r\n\r", Closed(), "half an empty line"),
    chunks(b"0\r\n\r\n", Forwarded(), "only the last"),
]


def trailer(data, outcome=Refused(400), name=None):
    return Case(f"trailer {name or told(data)}", CHUNKED + A + b"\r\n0\r\n" + data, outcome)


def with_trailers(*pairs):
    return Forwarded(body=b"abc", trailers=pairs)


DROPPED = [
    b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Host: evil", b"Connection: close",
    b"Keep-Alive: 5", b"Proxy-Connection: close", b"TE: trailers", b"Trailer: x", b"Upgrade: h2c",
    b"HTTP2-Settings: AA", b"Authorization: x", b"Proxy-Authorization: x",
    b"Proxy-Authenticate: x", b"WWW-Authenticate: x", b"Cookie: a=b", b"Set-Cookie: a=b",
    b"Content-Type: x/y", b"Content-Encoding: gzip", b"Content-Range: bytes 0-1/2",
    b"Cache-Control: no-store", b"Pragma: no-cache", b"Expect: 100-continue", b"Expires: 0",
    b"Age: 1", b"Date: x", b"Location: /", b"Retry-After: 1", b"Vary: *", b"Max-Forwards: 0",
    b"Range: bytes=0-1", b"If-Match: *", b"If-None-Match: *", b"If-Modified-Since: x",
    b"If-Unmodified-Since: x", b"If-Range: x", b"Via: 1.1 x", b"Forwarded: for=1.2.3.4",
    b"X-Forwarded-For: 1.2.3.4", b"X-Forwarded-Host: evil", b"X-Forwarded-Proto: gopher",
    b"content_length: 5", b"x_a: 1",
]
TRAILERS = [
    Case(f"trailer dropped {told(line)}", CHUNKED + A + b"\r\n0\r\n" + line + b"\r\nX-A: 1\r\n\r\n",
         with_trailers((b"x-a", b"1"))) for line in DROPPED] + [
    trailer(b"X-A: 1\r\n\r\n", with_trailers((b"x-a", b"1"))),
    trailer(b"X-A:\r\nX-A: 2\r\n\r\n", with_trailers((b"x-a", b""), (b"x-a", b"2"))),
    trailer(b"X-A : 1\r\n\r\n"), trailer(b" X-A: 1\r\n\r\n"), trailer(b"X-A: 1\r\n b\r\n\r\n"),
    trailer(b"X-A\r\n\r\n"), trailer(b": 1\r\n\r\n"), trailer(b":path: /x\r\n\r\n"),
    trailer(b"X A: 1\r\n\r\n"), trailer(b"X-A: 1\n\r\n"), trailer(b"X-A: 1\n\n"),
    trailer(b"X-A: a\x00b\r\n\r\n"), trailer(b"X-A: a\rb\r\n\r\n"), trailer(b"X\x00: 1\r\n\r\n"),
    trailer(b"X-A: \x7f\r\n\r\n"), trailer(b"X(: 1\r\n\r\n"),
    trailer(HIDDEN, name="a request"),
    trailer(b"X-A: 1\r\n", Closed(), "without an empty line"),
    trailer(b"".join(b"X-%d: 1\r\n" % n for n in range(100)) + b"\r\n",
            with_trailers(*[(b"x-%d" % n, b"1") for n in range(100)]), "as many as allowed"),
    trailer(b"".join(b"X-%d: 1\r\n" % n for n in range(101)) + b"\r\n", Refused(431), "too many"),
    trailer(b"X-A: " + b"a" * 40_000 + b"\r\n\r\n", Refused(431), "too large"),
]

CASES = SIZES + EXTENSIONS + DATA + FINAL + TRAILERS
