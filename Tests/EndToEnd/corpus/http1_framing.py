"""Transfer-Encoding and Content-Length in every spelling that two readers may take differently."""

from .bytes1 import HIDDEN, HOST, START, get, post, told
from .outcomes import Case, Closed, Forwarded, Refused

LAST = b"0\r\n\r\n"


def coding(value, outcome, name="Transfer-Encoding"):
    shown = told(value)
    return Case(f"te value {shown}", post(name.encode() + b":" + value, body=LAST), outcome)


CODINGS = [
    coding(b" chunked", Forwarded()),
    coding(b"chunked", Forwarded()),
    coding(b" Chunked", Forwarded()),
    coding(b" CHUNKED", Forwarded()),
    coding(b"\t chunked \t", Forwarded()),
    coding(b"", Refused(400)),
    coding(b" ", Refused(400)),
    coding(b" xchunked", Refused(501)),
    coding(b" chunkedx", Refused(501)),
    coding(b" chunk", Refused(501)),
    coding(b" cow", Refused(501)),
    coding(b" identity", Refused(501)),
    coding(b" identity, chunked", Refused(501)),
    coding(b" chunked, identity", Refused(400)),
    coding(b" gzip", Refused(501)),
    coding(b" gzip, chunked", Refused(501)),
    coding(b" gzip,chunked", Refused(501)),
    coding(b" chunked, gzip", Refused(400)),
    coding(b" chunked, chunked", Refused(400)),
    coding(b" chunked,", Refused(501)),
    coding(b" ,chunked", Refused(501)),
    coding(b" chunked chunked", Refused(501)),
    coding(b' "chunked"', Refused(501)),
    coding(b" 'chunked'", Refused(501)),
    coding(b" chunked;q=1", Refused(501)),
    coding(b" chunked ;a=b", Refused(501)),
    coding(b" chunked; a", Refused(501)),
    coding(b" chun\tked", Refused(501)),
    coding(b" \xa0chunked", Refused(501)),
    coding(b" chunked\xa0", Refused(501)),
    coding(b" chunked\xc2\x85", Refused(501)),
    coding(b" \x0bchunked", Refused(400)),
    coding(b" chunked\x0b", Refused(400)),
    coding(b" \x0cchunked", Refused(400)),
    coding(b" chunked\x0c", Refused(400)),
    coding(b" \x00chunked", Refused(400)),
    coding(b" chunked\x00", Refused(400)),
    coding(b" chun\x00ked", Refused(400)),
    coding(b" chunked\x7f", Refused(400)),
    coding(b" chunked\r", Refused(400)),
    coding(b" chunked\rX: y", Refused(400)),
    coding(b"\r\n chunked", Refused(400)),
    coding(b"\r\n\tchunked", Refused(400)),
    coding(b"\n chunked", Refused(400)),
    coding(b" chunked\r\n , identity", Refused(400)),
]


def name(line, outcome, **more):
    return Case(f"te name {told(line)}", post(line, body=LAST, **more), outcome)


CODING_NAMES = [
    name(b"TRANSFER-ENCODING: chunked", Forwarded()),
    name(b"transfer-encoding: chunked", Forwarded()),
    name(b"Transfer-Encoding : chunked", Refused(400)),
    name(b"Transfer-Encoding\t: chunked", Refused(400)),
    name(b" Transfer-Encoding: chunked", Refused(400)),
    name(b"\tTransfer-Encoding: chunked", Refused(400)),
    name(b"Transfer-Encoding\x00: chunked", Refused(400)),
    name(b"\x00Transfer-Encoding: chunked", Refused(400)),
    name(b"Transfer\x00Encoding: chunked", Refused(400)),
    name(b"Transfer-Encoding\x0b: chunked", Refused(400)),
    name(b"Transfer-Encoding\r: chunked", Refused(400)),
    name(b"Transfer-Encoding\n: chunked", Refused(400)),
    name(b"Transfer Encoding: chunked", Refused(400)),
    name(b"Transfer-Encoding", Refused(400)),
    name(b"Transfer-Encoding chunked", Refused(400)),
    name(b"Transfer-Encoding;: chunked", Refused(400)),
    name(b"Transfer-Encod\xc4\xb1ng: chunked", Refused(400)),
    name(b"X: y\nTransfer-Encoding: chunked", Refused(400)),
    name(b"X: y\rTransfer-Encoding: chunked", Refused(400)),
    name(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Refused(400)),
    name(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", Refused(400)),
    name(b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", Refused(400)),
    name(b"Transfer-Encoding:\r\nTransfer-Encoding: chunked", Refused(400)),
    name(b"Transfer-Encoding: chunked\r\ntransfer-encoding: x", Refused(400)),
    # Names that only some readers take for the one they resemble: dropped, or plain data.
    Case("transfer_encoding is dropped", get(b"Transfer_Encoding: chunked"),
         Forwarded(lacks=(b"transfer_encoding",))),
    Case("x-transfer-encoding is a field like others", get(b"X-Transfer-Encoding: chunked"),
         Forwarded(has={b"x-transfer-encoding": b"chunked"}, lacks=(b"transfer-encoding",))),
]


def both(name, *lines, status=400):
    return Case(f"both {name}", post(*lines, body=LAST + HIDDEN), Refused(status))


CHUNKED = b"Transfer-Encoding: chunked"
BOTH = [
    both("te, cl", CHUNKED, b"Content-Length: 5"),
    both("cl, te", b"Content-Length: 5", CHUNKED),
    both("cl of all, te", b"Content-Length: %d" % len(LAST + HIDDEN), CHUNKED),
    both("cl 0, te", b"Content-Length: 0", CHUNKED),
    both("te, cl 0", CHUNKED, b"Content-Length: 0"),
    both("te, cl malformed", CHUNKED, b"Content-Length: x"),
    both("te, empty cl", CHUNKED, b"Content-Length:"),
    both("te unknown, cl", b"Transfer-Encoding: xchunked", b"Content-Length: 5"),
    both("te empty, cl", b"Transfer-Encoding:", b"Content-Length: 5"),
    both("te identity, cl", b"Transfer-Encoding: identity", b"Content-Length: 5"),
    both("te, te, cl", CHUNKED, CHUNKED, b"Content-Length: 5"),
    both("te, cl far apart", CHUNKED, *[b"X-%d: y" % n for n in range(50)], b"Content-Length: 5"),
    Case("both te_, cl", post(b"Transfer_Encoding: chunked", b"Content-Length: 5", body=LAST),
         Forwarded(body=LAST, has={b"content-length": b"5"}, lacks=(b"transfer-encoding",))),
    Case("both te, cl_", post(CHUNKED, b"Content_Length: 50", body=LAST),
         Forwarded(lacks=(b"content-length", b"content_length"))),
    Case("te in http/1.0", b"POST /api/x?id=1 HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n\r\n" + LAST,
         Refused(400)),
    Case("te in http/1.0 with keep-alive", b"POST /api/x?id=1 HTTP/1.0\r\n" + HOST + CHUNKED
         + b"\r\nConnection: keep-alive\r\n\r\n" + LAST, Refused(400)),
    Case("te and cl in http/1.0", b"POST /api/x?id=1 HTTP/1.0\r\n" + HOST + CHUNKED
         + b"\r\nContent-Length: 5\r\n\r\n" + LAST, Refused(400)),
    Case("te on get", get(CHUNKED) + LAST, Forwarded()),
    Case("te before host", START + CHUNKED + b"\r\n" + HOST + b"\r\n" + LAST, Forwarded()),
]


def length(value, outcome=Refused(400)):
    return Case(f"cl value {told(value)}", post(b"Content-Length:" + value, body=b"abc"), outcome)


THREE = Forwarded(body=b"abc", has={b"content-length": b"3"})
LENGTHS = [
    length(b" 3", THREE), length(b"3", THREE), length(b"\t3\t ", THREE),
    length(b" 03", THREE), length(b" 0000000000000003", THREE),
    length(b""), length(b" "), length(b" +3"), length(b" -3"), length(b" -0"), length(b" 0x3"),
    length(b" 0o3"), length(b" 0b11"), length(b" 3_0"), length(b" 3.0"), length(b" 3e0"),
    length(b" 3,3"), length(b" 3, 3"), length(b" 3, 4"), length(b" 3,"), length(b" ,3"),
    length(b" 3;3"), length(b" 3 3"), length(b" 1 2"), length(b" three"), length(b" \xa03"),
    length(b" \xef\xbc\x93"), length(b" \xe0\xa5\xa9"), length(b" '3'"), length(b' "3"'),
    length(b" 3\x00"), length(b" \x003"), length(b" 3\x0b"), length(b" 3\x0c"), length(b" 3\r"),
    length(b" 3\rX: y"), length(b"\r\n 3"), length(b" 3\r\n 4"), length(b" 3a"), length(b" a3"),
    # 2^63, 2^64 - 1, 2^64, 2^64 + 3 and beyond: whatever they wrap to, they are no 3.
    length(b" 9223372036854775808"), length(b" 18446744073709551615"),
    length(b" 18446744073709551616"), length(b" 18446744073709551619"), length(b" 4294967299x"),
    length(b" 999999999999999999999999999999"), length(b" " + b"0" * 29 + b"3"),
    length(b" 9223372036854775807", Closed()), length(b" 4294967299", Closed()),
    length(b" 4", Closed()),
]


def lengths(shown, *lines, outcome=Refused(400)):
    return Case(f"cl lines {shown}", post(*lines, body=b"abc"), outcome)


LENGTH_LINES = [
    lengths("equal", b"Content-Length: 3", b"Content-Length: 3"),
    lengths("different", b"Content-Length: 3", b"Content-Length: 4"),
    lengths("zero first", b"Content-Length: 0", b"Content-Length: 3"),
    lengths("zero last", b"Content-Length: 3", b"Content-Length: 0"),
    lengths("empty last", b"Content-Length: 3", b"Content-Length:"),
    lengths("empty first", b"Content-Length:", b"Content-Length: 3"),
    lengths("equal in value", b"Content-Length: 3", b"Content-Length: 03"),
    lengths("three", *[b"Content-Length: 3"] * 3),
    lengths("another case", b"Content-Length: 3", b"content-length: 4"),
    lengths("upper case", b"CONTENT-LENGTH: 3", outcome=THREE),
    lengths("space before colon", b"Content-Length : 3"),
    lengths("leading space", b" Content-Length: 3"),
    lengths("nul in the name", b"Content-Length\x00: 3"),
    lengths("folded twin", b"Content-Length: 3", b" Content-Length: 4"),
    lengths("underscore twin", b"Content-Length: 3", b"Content_Length: 4", outcome=THREE),
    lengths("behind a bare lf", b"X: y\nContent-Length: 3"),
    lengths("behind a bare cr", b"X: y\rContent-Length: 3"),
    Case("cl_ alone is dropped", get(b"Content_Length: 3"),
         Forwarded(lacks=(b"content-length", b"content_length"))),
    Case("cl 0 on get", get(b"Content-Length: 0"), Forwarded(has={b"content-length": b"0"})),
]

CASES = CODINGS + CODING_NAMES + BOTH + LENGTHS + LENGTH_LINES
