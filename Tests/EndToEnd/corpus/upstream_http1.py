"""HTTP/1.1 responses that are malformed, lie about their length, or bring more than was asked."""

import socket
import struct
from collections import namedtuple

from .bytes1 import AROUND, CONTROLS, told
from .outcomes import Case, Cut, Passed, Refused

# What the upstream does, and the request that it answers.
Answer = namedtuple("Answer", "steps method fields", defaults=("GET", ()))
BAD = Refused(502)
OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 5\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
HELLO = OK + LENGTH + b"\r\nhello"
STOLEN = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen"
GOOD = Passed(reuse=True)


def end(connection):
    """Closes in an orderly way."""
    connection.socket.shutdown(socket.SHUT_RDWR)


def reset(connection):
    """Closes by a reset."""
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.socket.close()


def answer(name, data, outcome=BAD, method="GET", fields=(), then=()):
    return Case(name, Answer((data, *then), method, fields), outcome)


def length(value, outcome=BAD):
    return answer(f"length {told(value)}", OK + b"Content-Length:" + value + b"\r\n\r\nhello",
                  outcome)


LENGTHS = [
    length(b" 5", GOOD), length(b" 05", GOOD), length(b"\t5 ", GOOD), length(b" 5, 5"),
    length(b" 5,6"), length(b" 5,"), length(b""), length(b" "), length(b" +5"), length(b" -5"),
    length(b" -0"), length(b" 0x5"), length(b" 5.0"), length(b" 5e0"), length(b" 5 5"),
    length(b" five"), length(b" 5\x00"), length(b" 5\x0b"), length(b" 5\r"), length(b"\r\n 5"),
    length(b" 9223372036854775808"), length(b" 18446744073709551615"),
    length(b" 18446744073709551616"), length(b" 18446744073709551621"), length(b" " + b"9" * 30),
    length(b" " + b"0" * 30 + b"5"),
    answer("length huge, then the end", OK + b"Content-Length: 9223372036854775807\r\n\r\nhello",
           Cut(), then=(end,)),
    answer("lengths equal", OK + LENGTH * 2 + b"\r\nhello", Passed(reuse=True, has={
        b"content-length": b"5"})),
    answer("lengths different", OK + LENGTH + b"Content-Length: 6\r\n\r\nhello"),
    answer("lengths different, the other first", OK + b"Content-Length: 6\r\n" + LENGTH
           + b"\r\nhello"),
    answer("length and a twin with a space", OK + LENGTH + b"Content-Length : 6\r\n\r\nhello"),
    answer("length and an empty twin", OK + LENGTH + b"Content-Length:\r\n\r\nhello"),
    answer("both, length first", OK + LENGTH + CHUNKED + b"\r\n5\r\nhello\r\n0\r\n\r\n"),
    answer("both, coding first", OK + CHUNKED + LENGTH + b"\r\n5\r\nhello\r\n0\r\n\r\n"),
    answer("both, length 0", OK + CHUNKED + b"Content-Length: 0\r\n\r\n0\r\n\r\n"),
    answer("both, to HEAD", OK + CHUNKED + LENGTH + b"\r\n", method="HEAD"),
    answer("neither, then the end", OK + b"\r\nhello", then=(end,), outcome=Passed()),
    answer("neither, then a reset", OK + b"\r\nhello", Cut(), then=(reset,)),
]


def coding(value, outcome=BAD, start=OK):
    return answer(f"coding {told(value)} in {told(start[:8])}",
                  start + b"Transfer-Encoding:" + value + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                  outcome)


CODINGS = [
    coding(b" chunked", GOOD), coding(b" Chunked", GOOD), coding(b"\tchunked ", GOOD),
    coding(b""), coding(b" identity"), coding(b" gzip"), coding(b" gzip, chunked"),
    coding(b" chunked, gzip"), coding(b" chunked, chunked"), coding(b" chunked,"),
    coding(b" xchunked"), coding(b' "chunked"'), coding(b" chunked;q=1"), coding(b" \x0bchunked"),
    coding(b" chunked\x00"), coding(b"\r\n chunked"), coding(b" chunked\xa0"),
    coding(b" chunked", start=b"HTTP/1.0 200 OK\r\n"),
    answer("coding twice", OK + CHUNKED * 2 + b"\r\n0\r\n\r\n"),
    answer("coding with a space before the colon", OK + b"Transfer-Encoding : chunked\r\n\r\n"),
]


def chunks(data, outcome=Cut(), then=()):
    return answer(f"chunks {told(data)}{' then the end' if then else ''}",
                  OK + CHUNKED + b"\r\n" + data, outcome, then=then)


LAST = b"0\r\n\r\n"
CHUNKS = [
    chunks(b"5\r\nhello\r\n" + LAST, GOOD), chunks(b"05;a=b\r\nhello\r\n000\r\n\r\n", GOOD),
    chunks(b"2\r\nhe\r\n3;x\r\nllo\r\n" + LAST, GOOD),
    *[chunks(size + b"hello\r\n" + LAST) for size in (
        b"+5\r\n", b"-5\r\n", b"0x5\r\n", b"\r\n", b" 5\r\n", b"5 \r\n", b"g\r\n", b"5\n",
        b"5\r", b"5\x00\r\n", b"5;\r\n", b"5;a\nb\r\n", b"5;a\x00\r\n", b"4\r\n", b"6\r\n",
        b"00000000000000005\r\n", b"8000000000000000\r\n", b"10000000000000005\r\n")],
    chunks(b"5\r\nhello" + LAST), chunks(b"5\r\nhello\n" + LAST), chunks(b"5\r\nhello\r" + LAST),
    chunks(b"5\r\nhelloo\r\n" + LAST), chunks(b"5\r\nhello\r\n0\n\r\n"),
    chunks(b"5\r\nhello\r\n0\r\n\n"), chunks(b"5\r\nhello\r\n-0\r\n\r\n"),
    chunks(STOLEN),
    *[chunks(data, then=(end,)) for data in (
        b"", b"5", b"5\r\n", b"5\r\nhel", b"5\r\nhello", b"5\r\nhello\r\n", b"5\r\nhello\r\n0",
        b"5\r\nhello\r\n0\r\n", b"5\r\nhello\r\n0\r\nx: y\r\n")],
]


def trailer(lines, outcome):
    return answer(f"trailer {told(lines)}", OK + CHUNKED + b"\r\n5\r\nhello\r\n0\r\n" + lines
                  + b"\r\n\r\n", outcome)


KEPT = Passed(reuse=True, trailers=((b"x-a", b"1"),))
TRAILERS = [trailer(line + b"\r\nx-a: 1", KEPT) for line in (
    b"Content-Length: 9", b"Transfer-Encoding: chunked", b"Host: x", b"Connection: close",
    b"Keep-Alive: x", b"TE: x", b"Trailer: x", b"Upgrade: h2c", b"Set-Cookie: a=b",
    b"Content-Type: x/y", b"Content-Encoding: gzip", b"Cache-Control: x", b"Location: /",
    b"WWW-Authenticate: x", b"Proxy-Authenticate: x", b"Vary: *", b"Via: x", b"Age: 1",
    b"Expires: 0", b"Retry-After: 1", b"Date: x")] + [
    trailer(b"X-A: 1", KEPT),
    trailer(b"x_a: 1", Passed(reuse=True, trailers=((b"x_a", b"1"),))),
    *[answer(f"trailer of {size} bytes", OK + CHUNKED + b"\r\n5\r\nhello\r\n0\r\nx: "
             + b"b" * size + b"\r\n\r\n", Passed(reuse=True, trailers=((b"x", b"b" * size),)))
      for size in AROUND if size < 16_000],
    *[trailer(line, Cut()) for line in (
        b"x-a : 1", b" x-a: 1", b"x-a: 1\r\n b", b"x-a", b": 1", b":status: 200", b"x-a: \x00",
        b"x-a: a\rb", b"x-a: a\nb", b"x a: 1")],
    trailer(b"\r\n".join(b"x-%d: 1" % n for n in range(101)), Cut()),
]

# More than was asked for is never given to the next client.
EXTRA = [
    answer("extra bytes behind a length", HELLO + b"x", Passed()),
    answer("extra line ends behind a length", HELLO + b"\r\n\r\n", Passed()),
    answer("a second answer behind a length", HELLO + STOLEN, Passed()),
    answer("a second answer behind chunks", OK + CHUNKED + b"\r\n5\r\nhello\r\n" + LAST + STOLEN,
           Passed()),
    answer("a second answer behind trailers",
           OK + CHUNKED + b"\r\n5\r\nhello\r\n0\r\nx: y\r\n\r\n" + STOLEN,
           Passed(trailers=((b"x", b"y"),))),
    answer("a second answer behind HEAD", OK + LENGTH + b"\r\n" + STOLEN, Passed(b""),
           method="HEAD"),
    answer("content behind HEAD", HELLO, Passed(b""), method="HEAD"),
    answer("chunks behind HEAD", OK + CHUNKED + b"\r\n5\r\nhello\r\n" + LAST, Passed(b""),
           method="HEAD"),
    answer("content behind 204", b"HTTP/1.1 204 No Content\r\n\r\nhello", Passed(b"", 204)),
    answer("a second answer behind 204", b"HTTP/1.1 204 No Content\r\n\r\n" + STOLEN,
           Passed(b"", 204)),
    answer("content behind 304", b"HTTP/1.1 304 Not Modified\r\n" + LENGTH + b"\r\nhello",
           Passed(b"", 304)),
    answer("a second answer behind 304", b"HTTP/1.1 304 Not Modified\r\n\r\n" + STOLEN,
           Passed(b"", 304)),
    answer("content behind a length of 0", OK + b"Content-Length: 0\r\n\r\nhello", Passed(b"")),
    answer("an interim response behind the answer", HELLO + b"HTTP/1.1 100 Continue\r\n\r\n",
           Passed()),
    answer("an answer that nobody asked for, later", HELLO, Passed(unasked=STOLEN)),
    answer("half an answer that nobody asked for, later", HELLO, Passed(unasked=b"HTTP/1.1 2")),
    answer("an interim response, later", HELLO, Passed(unasked=b"HTTP/1.1 100 Continue\r\n\r\n")),
    answer("a line end, later", HELLO, Passed(unasked=b"\r\n")),
    answer("408 before a close, later", HELLO, Passed(
        unasked=b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n")),
]


def interim(status, fields=b""):
    return b"HTTP/1.1 %d X\r\n%s\r\n" % (status, fields)


UPGRADE = (("Connection", "upgrade"), ("Upgrade", "websocket"))
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\n"
INTERIM = [
    answer("100 unasked", interim(100) + HELLO, GOOD),
    answer("100 unasked, often", interim(100) * 16 + HELLO, GOOD),
    answer("102", interim(102) + HELLO, Passed(reuse=True, informational=(102,))),
    answer("103 with a field", interim(103, b"Link: </x>\r\n") + HELLO,
           Passed(reuse=True, informational=(103,))),
    answer("103 with fields of the connection",
           interim(103, b"Connection: x-p\r\nX-P: y\r\nKeep-Alive: 5\r\n") + HELLO,
           Passed(reuse=True, informational=(103,))),
    answer("199", interim(199) + HELLO, Passed(reuse=True, informational=(199,))),
    answer("as many interim responses as allowed", interim(102) * 16 + HELLO,
           Passed(reuse=True, informational=(102,) * 16)),
    answer("too many interim responses", interim(102) * 17 + HELLO),
    answer("interim responses without end", interim(103) * 5_000),
    answer("too many 100", interim(100) * 17 + HELLO),
    answer("102 with a length of 0", interim(102, b"Content-Length: 0\r\n") + HELLO,
           Passed(reuse=True, informational=(102,))),
    answer("102 with a length", interim(102, LENGTH) + b"hello" + HELLO),
    answer("100 with a length", interim(100, LENGTH) + b"hello" + HELLO),
    answer("102 with chunks", interim(102, CHUNKED) + LAST + HELLO),
    answer("102 and nothing more", interim(102), then=(end,)),
    answer("102 and garbage", interim(102) + b"hello"),
    answer("101 unasked", SWITCH + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n" + HELLO),
    answer("101 without upgrade", SWITCH + b"\r\n" + HELLO),
    answer("101 without upgrade to one who asked", SWITCH + b"\r\n" + HELLO, fields=UPGRADE),
    answer("101 without connection", SWITCH + b"Upgrade: websocket\r\n\r\n", fields=UPGRADE),
    answer("101 without protocol", SWITCH + b"Connection: upgrade\r\nUpgrade:\r\n\r\n",
           fields=UPGRADE),
    answer("101 to h2c", SWITCH + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n", fields=UPGRADE),
    answer("101 to more than was offered",
           SWITCH + b"Connection: upgrade\r\nUpgrade: websocket, x\r\n\r\n", fields=UPGRADE),
    answer("101 with a length", SWITCH + b"Connection: upgrade\r\nUpgrade: websocket\r\n" + LENGTH
           + b"\r\nhello", fields=UPGRADE),
    answer("101 to what was offered",
           SWITCH + b"Connection: upgrade\r\nUpgrade: WebSocket\r\n\r\n",
           Passed(b"", 101, has={b"upgrade": b"WebSocket"}), fields=UPGRADE),
]


def status(line, outcome=BAD):
    return answer(f"status {told(line)}", line + b"\r\n" + LENGTH + b"\r\nhello", outcome)


STATUS = [status(b"HTTP/1.1 " + code + b" X") for code in (
    b"0", b"000", b"99", b"099", b"20", b"2", b"1000", b"2000", b"-200", b"+200", b"0200", b"2 0",
    b"2x0", b"200.", b"0x1", b"\xb2\xb0\xb0", b"")] + [
    status(b"HTTP/1.1 " + code + b" X", Passed(status=int(code), reuse=True)) for code in (
        b"200", b"205", b"226", b"299", b"400", b"404", b"417", b"503", b"599", b"600", b"999")] + [
    status(b"HTTP/1.1 200 ", GOOD), status(b"HTTP/1.1 200", GOOD),
    status(b"HTTP/1.1 200 \xe9\xff", GOOD), status(b"HTTP/1.1 200 a\tb", GOOD),
    status(b"HTTP/1.1 200 " + b"a" * 5_000, GOOD), status(b"HTTP/1.0 200 OK", Passed()),
    status(b"HTTP/1.1 200OK"), status(b"HTTP/1.1  200 OK"), status(b"HTTP/1.1\t200 OK"),
    status(b" HTTP/1.1 200 OK"), status(b"HTTP/1.1 OK"), status(b"HTTP/1.1"), status(b"200 OK"),
    status(b"HTTP/1.2 200 OK"), status(b"HTTP/2.0 200 OK"), status(b"HTTP/2 200 OK"),
    status(b"HTTP/0.9 200 OK"), status(b"HTTP/3.7 200 OK"), status(b"http/1.1 200 OK"),
    status(b"HTTP/11 200 OK"), status(b"ICY 200 OK"), status(b"HTTP/1.1 200 a\x00b"),
    status(b"HTTP/1.1 200 a\rb"), status(b"HTTP/1.1 200 a\nb"), status(b"HTTP/1.1 200 a\x7fb"),
    status(b"\r\nHTTP/1.1 200 OK"), status(b""), status(b"hello from an upstream of HTTP/0.9"),
    status(b"\x16\x03\x01 this is TLS"), status(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"x" * 9),
    answer("status line of bare lf", HELLO.replace(b"\r\n", b"\n")),
    answer("status line with cr cr lf", HELLO.replace(b"OK\r\n", b"OK\r\r\n")),
]


def field(line, outcome=BAD):
    return answer(f"field {told(line)}", OK + line + b"\r\n" + LENGTH + b"\r\nhello", outcome)


FIELDS = [field(b"x-a: a" + bytes([byte]) + b"b") for byte in CONTROLS if byte != 9] + [
    field(line) for line in (
        b"bad name: x", b"x : y", b"x\t: y", b" x: y", b"\tx: y", b": y", b":", b"x", b":status: 5",
        b"x(: y", b"x\x00: y", b"x\xe9: y", b"x,y: z", b"x: y\r\n z", b"x: y\r\n\tz",
        b"x: y\nz: 1", b"x: y\rz: 1", b"x: y\n\r\n", b'"x": y', b"x: y\r\n\r\x00")] + [
    field(b"X-A: b", Passed(reuse=True, has={b"x-a": b"b"})),
    field(b"x_a: b", Passed(reuse=True, has={b"x_a": b"b"})),
    field(b"X-A: \x80\xff", Passed(reuse=True, has={b"x-a": b"\x80\xff"})),
    field(b"X-A:", Passed(reuse=True, has={b"x-a": b""})),
    field(b"\r\n".join(b"x-%d: 1" % n for n in range(101))),
    *[answer(f"field of {size} bytes", OK + LENGTH + b"x-a: " + b"b" * size + b"\r\n\r\nhello",
             Passed(reuse=True, has={b"x-a": b"b" * size})) for size in AROUND],
    field(b"x-a: " + b"b" * 40_000), field(b"x-a: " + b"b" * 1_000_000),
    field(b"Keep-Alive: timeout=5", Passed(reuse=True, lacks=(b"keep-alive",))),
    field(b"Proxy-Connection: close", Passed(reuse=True, lacks=(b"proxy-connection",))),
    field(b"Upgrade: h2c", Passed(reuse=True, lacks=(b"upgrade",))),
    field(b"Connection: upgrade\r\nUpgrade: h2c", Passed(reuse=True, lacks=(b"upgrade",))),
    field(b"TE: trailers", Passed(reuse=True, lacks=(b"te",))),
    field(b"Connection: close", Passed()),
    field(b"Connection: x-p\r\nX-P: y", Passed(reuse=True, lacks=(b"x-p",))),
    field(b"Connection: content-length", Passed(reuse=True, has={b"content-length": b"5"})),
    field(b"Connection: set-cookie\r\nSet-Cookie: a", Passed(reuse=True,
                                                             has={b"set-cookie": b"a"})),
    field(b"Connection: content-type\r\nContent-Type: a/b", Passed(reuse=True, has={
        b"content-type": b"a/b"})),
    field(b"Connection: cache-control\r\nCache-Control: private", Passed(reuse=True, has={
        b"cache-control": b"private"})),
    field(b"Connection: " + b"a," * 101),
]

EMPTY = [
    answer("204", b"HTTP/1.1 204 X\r\n\r\n", Passed(b"", 204, reuse=True)),
    answer("204 with a length of 0", b"HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n",
           Passed(b"", 204, reuse=True, lacks=(b"content-length",))),
    answer("204 with a length", b"HTTP/1.1 204 X\r\n" + LENGTH + b"\r\nhello"),
    answer("204 with chunks", b"HTTP/1.1 204 X\r\n" + CHUNKED + b"\r\n" + LAST),
    answer("304 with a length", b"HTTP/1.1 304 X\r\n" + LENGTH + b"\r\n",
           Passed(b"", 304, reuse=True, has={b"content-length": b"5"})),
    answer("304 with chunks", b"HTTP/1.1 304 X\r\n" + CHUNKED + b"\r\n",
           Passed(b"", 304, reuse=True, lacks=(b"transfer-encoding",))),
    answer("HEAD with a length", OK + LENGTH + b"\r\n",
           Passed(b"", reuse=True, has={b"content-length": b"5"}), method="HEAD"),
    answer("HEAD with chunks", OK + CHUNKED + b"\r\n",
           Passed(b"", reuse=True, lacks=(b"transfer-encoding",)), method="HEAD"),
    answer("HEAD with neither", OK + b"\r\n", Passed(b"", reuse=True), method="HEAD"),
    answer("HEAD with lengths that differ", OK + LENGTH + b"Content-Length: 6\r\n\r\n",
           method="HEAD"),
    answer("205 with chunks", b"HTTP/1.1 205 X\r\n" + CHUNKED + b"\r\n" + LAST,
           Passed(b"", 205, reuse=True)),
]

WHOLE = OK + LENGTH + b"X-A: b\r\n\r\nhello"
ENDS = [answer(f"{name} after {told(WHOLE[:count])}", WHOLE[:count],
               BAD if count < len(WHOLE) - 5 else Cut(), then=(how,))
        for name, how in (("end", end), ("reset", reset))
        for count in (1, 4, 9, 12, 16, 17, 30, 36, 40, 43, 44, 45, 46, 47, 49)
        # A reset destroys what was not read yet: how much of the head remains is the kernel's.
        if how is end or count < len(WHOLE) - 5] + [
    answer("end before anything", b"", then=(end,)),
    answer("reset before anything", b"", then=(reset,)),
]

CASES = (LENGTHS + CODINGS + CHUNKS + TRAILERS + EXTRA + INTERIM + STATUS + FIELDS + EMPTY + ENDS)
