"""HTTP/2 responses (RFC 9113 §8) that are malformed, or would be on HTTP/1.1."""

from edge import frames as h2

from .bytes1 import AROUND, CONTROLS, told
from .outcomes import Case, Cut, Overrun, Passed, Refused
from .upstream_http1 import Answer, end, reset

BAD = Refused(502)
STATUS = (b":status", b"200")
LENGTH = (b"content-length", b"5")


def head(*fields, ends=False, flags=0):
    """A HEADERS frame, in as many CONTINUATION as it takes."""
    block = h2.literals(fields)
    parts = [block[at:at + 16_384] for at in range(0, len(block), 16_384)] or [b""]

    def write(stream):
        frames = []
        for number, part in enumerate(parts):
            kind = h2.CONTINUATION if number else h2.HEADERS
            mine = flags | (h2.END_STREAM if ends else 0) if not number else 0
            mine |= h2.END_HEADERS if number == len(parts) - 1 else 0
            frames.append(h2.frame(kind, mine, stream, part))
        return b"".join(frames)
    return write


def data(content, ends=True):
    return lambda stream: h2.frame(h2.DATA, h2.END_STREAM if ends else 0, stream, content)


def on_connection(frame):
    return lambda stream: frame


def then(action):
    """Something done to the connection."""
    return lambda stream: action


def together(*steps):
    """Frames that are sent at once, so that none of them is seen before the others."""
    return lambda stream: b"".join(step(stream) for step in steps)


HELLO = data(b"hello")


def answer(name, *steps, outcome=BAD, method="GET"):
    return Case(name, Answer(steps, method), outcome)


def with_field(name, value, outcome=BAD):
    return answer(f"field {told(name)}={told(value)}",
                  together(head(STATUS, (name, value)), HELLO), outcome=outcome)


FIELDS = [with_field(b"x-a", b"b" + bytes([byte]) + b"c") for byte in CONTROLS if byte != 9] + [
    # What HTTP/1.1 would read as another field, or as another response.
    with_field(b"x-a", b"b\r\nset-cookie: a=b"),
    with_field(b"x-a", b"b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), with_field(b"x-a", b"b\nc: d"),
    with_field(b"location", b"/\r\ncontent-length: 0\r\n\r\n"), with_field(b"x-a", b"\r\n"),
    with_field(b"x-a", b" b"), with_field(b"x-a", b"b "), with_field(b"x-a", b"\tb"),
    *[with_field(name, b"y") for name in (
        b"X-A", b"Content-Length", b"x a", b"x:", b"x:y", b":", b"", b"x\r\ny", b"x: y\r\nz",
        b"x\0", b"x\xe9", b"x(", b"x ", b" x", b"transfer-encoding:", b'"x"')],
    *[with_field(*pair) for pair in (
        (b"connection", b"close"), (b"connection", b"x-a"), (b"keep-alive", b"timeout=5"),
        (b"proxy-connection", b"close"), (b"transfer-encoding", b"chunked"),
        (b"transfer-encoding", b"identity"), (b"upgrade", b"h2c"), (b"te", b"gzip"))],
    with_field(b"x-a", b"", Passed(has={b"x-a": b""})),
    with_field(b"x-a", b"b\tc", Passed(has={b"x-a": b"b\tc"})),
    with_field(b"x-a", b"\x80\xff", Passed(has={b"x-a": b"\x80\xff"})),
    with_field(b"x_a", b"b", Passed(has={b"x_a": b"b"})),
    with_field(b"trailer", b"x", Passed()),
    *[answer(f"field of {size} bytes", together(head(STATUS, (b"x-a", b"b" * size)), HELLO),
             outcome=Passed(has={b"x-a": b"b" * size})) for size in AROUND],
    answer("fields too many", head(STATUS, *[(b"x-%d" % n, b"y") for n in range(101)]), HELLO),
    answer("fields too large", head(STATUS, *[(b"x-%d" % n, b"y" * 5_000) for n in range(8)]),
           HELLO),
    answer("field too large", head(STATUS, (b"x", b"y" * 40_000)), HELLO),
]


def status(*values, outcome=BAD):
    return answer(f"status {b' and '.join(values).decode('latin-1')}",
                  together(head(*[(b":status", value) for value in values]), HELLO),
                  outcome=outcome)


PSEUDO = [status(value) for value in (
    b"", b"0", b"000", b"20", b"99", b"099", b"1000", b"2000", b"+20", b"-20", b"2x0", b"abc",
    b"200 ", b" 200", b"200 OK", b"2.0", b"101")] + [
    status(b"200", b"200"), status(b"200", b"404"),
    *[status(value, outcome=Passed(status=int(value))) for value in (
        b"200", b"205", b"404", b"417", b"599", b"600", b"999")],
    answer("status after a field", together(head((b"x-a", b"b"), STATUS), HELLO)),
    answer("status missing", together(head((b"x-a", b"b")), HELLO)),
    *[answer(f"pseudo {told(name)}", together(head(STATUS, (name, b"/")), HELLO)) for name in (
        b":path", b":method", b":scheme", b":authority", b":unknown", b":Status", b"::", b":")],
    answer("a head of nothing", together(head(), HELLO)),
]


def length(value, *pieces, outcome=BAD, name=""):
    steps = [head(STATUS, (b"content-length", value)), *pieces]
    return answer(f"length {name or told(value)}", together(*steps), outcome=outcome)


LENGTHS = [
    length(b"5", HELLO, outcome=Passed(has={b"content-length": b"5"})),
    length(b"05", HELLO, outcome=Passed(has={b"content-length": b"5"}), name="with a zero"),
    length(b"5", data(b"he", ends=False), data(b"llo"), outcome=Passed(), name="5 in pieces"),
    length(b"6", HELLO, outcome=Cut(), name="longer than the content"),
    length(b"4", HELLO, outcome=Cut(), name="shorter than the content"),
    length(b"0", HELLO, outcome=Overrun(b""), name="0 and content"),
    length(b"5", data(b"hello", ends=False), data(b"x"), outcome=Overrun(b"hello"),
           name="5 and one more"),
    length(b"5", data(b""), outcome=Cut(), name="5 and none"),
    answer("length and HEADERS that end", head(STATUS, LENGTH, ends=True)),
    answer("length 0 and HEADERS that end", head(STATUS, (b"content-length", b"0"), ends=True),
           outcome=Passed(body=b"")),
    answer("no length and HEADERS that end", head(STATUS, ends=True), outcome=Passed(body=b"")),
    # 2^63, 2^64 - 1, 2^64, and 2^64 + 5, which wraps to the true length.
    *[length(value, HELLO) for value in (
        b"9223372036854775808", b"18446744073709551615", b"18446744073709551616",
        b"18446744073709551621", b"36893488147419103237", b"9" * 40, b"0" * 30 + b"5", b"", b"+5",
        b"-5", b"0x5", b"5,5", b"5, 5", b"5.0", b"5 5", b"five", b"5\r\n", b"5a")],
    answer("lengths equal", together(head(STATUS, LENGTH, LENGTH), HELLO)),
    answer("lengths different", together(head(STATUS, LENGTH, (b"content-length", b"6")), HELLO)),
    answer("length to HEAD", head(STATUS, LENGTH, ends=True), method="HEAD",
           outcome=Passed(body=b"", has={b"content-length": b"5"})),
    answer("length to HEAD and an empty DATA", together(head(STATUS, LENGTH), data(b"")),
           method="HEAD", outcome=Passed(body=b"", has={b"content-length": b"5"})),
    answer("204 and HEADERS that end", head((b":status", b"204"), ends=True),
           outcome=Passed(body=b"", status=204)),
    answer("204 with a length", together(head((b":status", b"204"), LENGTH), HELLO)),
    answer("304 with a length", head((b":status", b"304"), LENGTH, ends=True),
           outcome=Passed(body=b"", status=304, has={b"content-length": b"5"})),
]


def trailers(name, *fields, outcome=Cut(), ends=True):
    return answer(f"trailers {name}", together(head(STATUS), data(b"hello", ends=False),
                                               head(*fields, ends=ends)), outcome=outcome)


X_A = (b"x-a", b"1")
KEPT = Passed(trailers=(X_A,))
TRAILERS = [trailers(f"dropped {told(name)}", (name, b"x"), X_A, outcome=KEPT) for name in (
    b"host", b"trailer", b"set-cookie", b"content-type", b"content-encoding", b"cache-control",
    b"location", b"www-authenticate", b"proxy-authenticate", b"vary", b"via", b"age", b"expires",
    b"retry-after", b"date", b"authorization", b"http2-settings")] + [
    trailers("good", X_A, outcome=KEPT),
    trailers("with an underscore", (b"x_a", b"1"), outcome=Passed(trailers=((b"x_a", b"1"),))),
    trailers("with the true length", (b"content-length", b"5"), X_A, outcome=KEPT),
    trailers("with a status", STATUS, X_A), trailers("with a path", (b":path", b"/"), X_A),
    trailers("with a false length", (b"content-length", b"9"), X_A),
    *[trailers(f"malformed {told(name)}={told(value)}", (name, value)) for name, value in (
        (b"connection", b"close"), (b"keep-alive", b"5"), (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"h2c"), (b"te", b"gzip"), (b"X-A", b"1"), (b"x a", b"1"), (b"x:", b"1"),
        (b"x-a", b"b\r\nc: d"), (b"x-a", b"b\n"), (b"x-a", b"\0"), (b"x-a", b" b"), (b"", b"1"))],
    trailers("that do not end the stream", X_A, ends=False),
    trailers("too many", *[(b"x-%d" % n, b"1") for n in range(101)]),
]


def interim(code, *fields, ends=False):
    return head((b":status", code), *fields, ends=ends)


FINAL = (head(STATUS), HELLO)
INTERIM = [
    answer("100 unasked", interim(b"100"), *FINAL, outcome=Passed()),
    answer("103", interim(b"103", (b"link", b"</x>")), *FINAL,
           outcome=Passed(informational=(103,))),
    answer("as many interim responses as allowed", *[interim(b"102")] * 16, *FINAL,
           outcome=Passed(informational=(102,) * 16)),
    answer("too many interim responses", *[interim(b"102")] * 17, *FINAL),
    answer("101", interim(b"101"), *FINAL), answer("099", interim(b"099"), *FINAL),
    answer("interim that ends the stream", interim(b"103", ends=True)),
    answer("interim and DATA", together(interim(b"103"), HELLO)),
    answer("interim with a length", together(interim(b"103", LENGTH), *FINAL)),
    answer("interim with a status of one digit", interim(b"1"), *FINAL),
    answer("interim with CR LF in a value", together(interim(b"103", (b"link", b"a\r\nb: c")),
                                                     *FINAL)),
    answer("final, then interim", together(head(STATUS), interim(b"103"), HELLO), outcome=Cut()),
    answer("two final heads", together(head(STATUS), head((b":status", b"404")), HELLO),
           outcome=Cut()),
]


def fault(name, *steps, outcome=BAD):
    return answer(f"frames {name}", together(*steps), outcome=outcome)


def frame(kind, flags=0, stream=None, payload=b""):
    return lambda number: h2.frame(kind, flags, number if stream is None else stream, payload)


PUSHED = b"\x00\x00\x00\x02" + h2.literals([(":method", "GET"), (":scheme", "http"),
                                            (":authority", "localhost"), (":path", "/evil")])
FRAMES = [
    fault("DATA before HEADERS", HELLO), fault("DATA, then HEADERS", data(b"x", False), *FINAL),
    fault("PUSH_PROMISE", frame(h2.PUSH_PROMISE, h2.END_HEADERS, None, PUSHED), *FINAL),
    fault("PUSH_PROMISE behind the head", head(STATUS),
          frame(h2.PUSH_PROMISE, h2.END_HEADERS, None, PUSHED), HELLO, outcome=Cut()),
    fault("RST_STREAM at once", lambda stream: h2.rst_stream(stream, h2.INTERNAL_ERROR)),
    fault("RST_STREAM without an error", lambda stream: h2.rst_stream(stream, h2.NO_ERROR)),
    fault("RST_STREAM behind the head", head(STATUS), lambda stream: h2.rst_stream(stream),
          outcome=Cut()),
    fault("RST_STREAM within content", head(STATUS), data(b"he", False),
          lambda stream: h2.rst_stream(stream, h2.NO_ERROR), outcome=Cut()),
    fault("RST_STREAM behind the end", *FINAL, lambda stream: h2.rst_stream(stream, h2.NO_ERROR),
          outcome=Passed()),
    fault("REFUSED_STREAM always", lambda stream: h2.rst_stream(stream, h2.REFUSED_STREAM)),
    fault("GOAWAY at once", on_connection(h2.goaway(0, h2.INTERNAL_ERROR))),
    fault("GOAWAY behind the head", head(STATUS), lambda s: h2.goaway(s, h2.NO_ERROR), HELLO,
          outcome=Passed()),
    fault("GOAWAY with an error behind the head", head(STATUS),
          lambda s: h2.goaway(0, h2.INTERNAL_ERROR), outcome=Cut()),
    fault("DATA on stream 0", frame(h2.DATA, 0, 0, b"x")),
    fault("HEADERS on stream 0", frame(h2.HEADERS, h2.END_HEADERS, 0, h2.literals([STATUS]))),
    fault("HEADERS on an even stream", frame(h2.HEADERS, h2.END_HEADERS, 2,
                                             h2.literals([STATUS]))),
    fault("HEADERS on a stream never opened", frame(h2.HEADERS, h2.END_HEADERS, 0x7FFF_FFFF,
                                                    h2.literals([STATUS]))),
    fault("a block that is no HPACK", frame(h2.HEADERS, h2.END_HEADERS, None, b"\xff" * 20)),
    fault("CONTINUATION without HEADERS", frame(h2.CONTINUATION, h2.END_HEADERS, None, b"")),
    fault("DATA within a head", frame(h2.HEADERS, 0, None, h2.literals([STATUS])), HELLO),
    fault("a frame too large", lambda s: h2.frame(h2.DATA, 0, s, b"x" * 20_000)),
    fault("a window update of 0", lambda s: h2.window_update(s, 0)),
    fault("a window update beyond the limit", lambda s: h2.window_update(s, 0x7FFF_FFFF)),
    fault("padding beyond the frame", frame(h2.DATA, h2.PADDED, None, b"\xffx")),
    fault("padding beyond the frame behind the head", head(STATUS),
          frame(h2.DATA, h2.PADDED, None, b"\xffx"), outcome=Cut()),
    fault("good padding", head(STATUS), frame(h2.DATA, h2.PADDED | h2.END_STREAM, None,
                                              b"\x03hello\0\0\0"), outcome=Passed()),
    fault("good frames of an unknown type", frame(200, 255, None, b"x"), *FINAL, outcome=Passed()),
    fault("DATA behind the end", *FINAL, HELLO, outcome=Passed()),
    fault("a second head behind the end", *FINAL, head(STATUS, ends=True), outcome=Passed()),
    fault("an HTTP/1.1 response", on_connection(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 40)),
    *[answer(f"frames {name} {where}", *steps, then(how), outcome=outcome)
      for name, how in (("end", end), ("reset", reset)) for where, steps, outcome in (
          ("at once", (), BAD), ("behind the head", (head(STATUS),), Cut()),
          ("within content", (head(STATUS), data(b"he", False)), Cut()),
          ("within a frame", (on_connection(b"\0\0\x09\x01\x04\0"),), BAD))
      # A reset destroys what was not read yet: how much that is, is the kernel's.
      if how is end or not steps],
]

CASES = FIELDS + PSEUDO + LENGTHS + TRAILERS + INTERIM + FRAMES
