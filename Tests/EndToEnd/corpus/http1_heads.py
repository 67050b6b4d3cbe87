"""Field lines and Host (RFC 9112 §5, RFC 9110 §7.2)."""

from .bytes1 import CONTROLS, HOST, START, get, told
from .outcomes import Case, Forwarded, Refused


def field(text, outcome=Refused(400), name=None):
    return Case(f"field {name or told(text)}", get(text), outcome)


NAMES = [field(b"X%cA: y" % byte, name=f"name with {chr(byte)}")
         for byte in b'"(),/;<=>?@[\\]{}'] + [
    field(b"X\xe9: y"), field(b"X\xff: y"), field(b"X\x80A: y"), field(b"\xa0X: y"),
    field(b": y"), field(b":"), field(b"X"), field(b"X y"), field(b"X : y"), field(b"X\t: y"),
    field(b"X A: y"), field(b" : y"), field(b":X: y"), field(b":path: /evil"),
    field(b"X!#$%&'*+-.^`|~0: y", Forwarded(has={b"x!#$%&'*+-.^`|~0": b"y"})),
    field(b"x_a: y", Forwarded(lacks=(b"x_a",))), field(b"_: y", Forwarded(lacks=(b"_",))),
    field(b"X-A: b\r\n c"), field(b"X-A: b\r\n\tc"), field(b"X-A:\r\n c"), field(b"X-A: b\r\n "),
    Case("field folded before the first", START + b" X: y\r\n" + HOST + b"\r\n", Refused(400)),
    Case("field folded host", START + b"Host: local\r\n host\r\n\r\n", Refused(400)),
    field(b"X-A: b\nX-B: c"), field(b"X-A: b\rX-B: c"), field(b"X-A: b\n\nGET /api/smuggled"),
    field(b"X-A: b\n\r\n"), field(b"X-A: b\r\r\n"), field(b"X-A: b\x00\r\nX-B: c"),
    field(b"X-A:", Forwarded(has={b"x-a": b""})), field(b"X-A:b", Forwarded(has={b"x-a": b"b"})),
    field(b"X-A: \t b \t", Forwarded(has={b"x-a": b"b"})),
    field(b"X-A: b\tc", Forwarded(has={b"x-a": b"b\tc"})),
    field(b"X-A: \x80\xff", Forwarded(has={b"x-a": b"\x80\xff"})),
    field(b"X-A: a:b: c", Forwarded(has={b"x-a": b"a:b: c"})),
    Case("field behind the head's end of bare lf", START + HOST + b"\nX: y\r\n\r\n", Refused(400)),
]


def control(byte, place, text):
    return Case(f"control {byte:#04x} in the {place}", get(text.replace(b"@", bytes([byte]))),
                Refused(400))


CONTROL_CASES = [control(byte, "name", b"X-@A: y") for byte in CONTROLS] + [
    control(byte, place, text) for byte in CONTROLS if byte != 9 for place, text in [
        ("value", b"X-A: b@c"), ("value's end", b"X-A: b@"), ("value's start", b"X-A:@b")]]


def host(value, outcome=Refused(400)):
    return Case(f"host {told(value)}", START + b"Host:" + value + b"\r\n\r\n", outcome)


def named(value):
    return host(b" " + value, Forwarded(has={b"host": value}))


HOSTS = [
    named(b"localhost"), named(b"localhost:80"), named(b"LOCALHOST"), named(b"a.b.c."),
    named(b"127.0.0.1:8080"), named(b"[::1]"), named(b"[::1]:80"), named(b"a_b"), named(b"a:"),
    named(b"a%41"), named(b"!$&'()*+;=~-"), named(b"a" * 253),
    host(b"localhost", Forwarded(has={b"host": b"localhost"})),
    host(b"\tlocalhost \t", Forwarded(has={b"host": b"localhost"})),
    host(b""), host(b" "), host(b" a b"), host(b" a,b"), host(b" a, b"), host(b" a/b"),
    host(b" a/"), host(b" u@a"), host(b" u:p@a"), host(b" @"), host(b" @a"), host(b" a?b"),
    host(b" a#b"), host(b" a\\b"), host(b" http://a"), host(b" a:b"), host(b" a:-1"),
    host(b" a:+1"), host(b" a:65536"), host(b" a:99999"), host(b" a:000080"), host(b" a:1:2"),
    host(b" a:80 "[:-1] + b"x"), host(b" :80"), host(b" :"), host(b" ["), host(b" []"),
    host(b" [::1"), host(b" ::1"), host(b" [::1]x"), host(b" [::1]]"), host(b" [::1%25lo]"),
    host(b" [a]"), host(b" [v1.a]"), host(b" [::g]"), host(b" a]"), host(b" %"), host(b" %4"),
    host(b" %zz"), host(b" a\xe9"), host(b" a\x00"), host(b" a\x7f"), host(b' "a"'), host(b" <a>"),
    host(b" a^b"), host(b" a`b"), host(b" a|b"), host(b" {a}"), host(b" a\tb"),
    host(b" " + b"a" * 300),
]
HOST_LINES = [
    Case("host missing", START + b"X: y\r\n\r\n", Refused(400)),
    Case("host and nothing else missing", START + b"\r\n", Refused(400)),
    Case("host twice", START + HOST + b"Host: evil\r\n\r\n", Refused(400)),
    Case("host twice and equal", START + HOST + HOST + b"\r\n", Refused(400)),
    Case("host twice, empty last", START + HOST + b"Host:\r\n\r\n", Refused(400)),
    Case("host twice, in other case", START + HOST + b"hOST: evil\r\n\r\n", Refused(400)),
    Case("host with a space before the colon", START + b"Host : localhost\r\n\r\n", Refused(400)),
    Case("host behind a space", START + b" Host: localhost\r\n\r\n", Refused(400)),
    Case("host behind a bare lf", START + b"X: y\nHost: localhost\r\n\r\n", Refused(400)),
    Case("host twice in http/1.0", b"GET /api/x?id=1 HTTP/1.0\r\n" + HOST + HOST + b"\r\n",
         Refused(400)),
    Case("host missing in http/1.0", b"GET /api/x?id=1 HTTP/1.0\r\n\r\n", Forwarded(closes=True)),
    Case("host empty in http/1.0", b"GET /api/x?id=1 HTTP/1.0\r\nHost:\r\n\r\n", Refused(400)),
    Case("host differs from an absolute target",
         b"GET http://localhost/api/x?id=1 HTTP/1.1\r\nHost: evil\r\n\r\n", Refused(400)),
    Case("host missing beside an absolute target",
         b"GET http://localhost/api/x?id=1 HTTP/1.1\r\n\r\n", Refused(400)),
    Case("host missing beside an absolute target in http/1.0",
         b"GET http://localhost/api/x?id=1 HTTP/1.0\r\n\r\n",
         Forwarded(closes=True, has={b"host": b"localhost"})),
    Case("host last", START + b"X: y\r\n" + HOST + b"\r\n", Forwarded()),
    Case("x-host is a field like others", get(b"X-Host: evil"),
         Forwarded(has={b"host": b"localhost", b"x-host": b"evil"})),
    Case("x-forwarded-host is not believed", get(b"X-Forwarded-Host: evil"),
         Forwarded(has={b"x-forwarded-host": b"localhost"})),
    Case("forwarding fields are not believed",
         get(b"X-Forwarded-For: 6.6.6.6", b"Forwarded: for=6.6.6.6", b"X-Forwarded-Proto: https"),
         Forwarded(has={b"x-forwarded-for": b"127.0.0.1", b"x-forwarded-proto": b"http"})),
]

CASES = NAMES + CONTROL_CASES + HOSTS + HOST_LINES
