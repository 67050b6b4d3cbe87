"""An independent, strict reader of HTTP/1.1 messages: what it does not understand is malformed.

It shares nothing with the proxy or the other clients here, and takes no liberty that RFC 9112
allows a recipient: it judges what the proxy wrote.
"""

import re
from dataclasses import dataclass, field

import h11

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
VALUE = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
TARGET = re.compile(rb"/[\x21\x22\x24-\x7e]*|\*")
HOST = re.compile(rb"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9\-._~!$&'()*+;=%]+)(:[0-9]{0,5})?")
NUMBER = re.compile(rb"0|[1-9][0-9]{0,18}")
HEX = re.compile(rb"[0-9a-fA-F]{1,16}")

CONNECTION_FIELDS = {b"keep-alive", b"proxy-connection", b"http2-settings"}
# RFC 9110 §6.5.1: framing, routing, modifiers, authentication, content, and response control.
NOT_IN_TRAILERS = {
    b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding",
    b"upgrade", b"http2-settings", b"content-length", b"content-type", b"content-encoding",
    b"content-range", b"host", b"authorization", b"proxy-authorization", b"proxy-authenticate",
    b"www-authenticate", b"cookie", b"set-cookie", b"cache-control", b"pragma", b"expect",
    b"expires", b"age", b"date", b"location", b"retry-after", b"vary", b"max-forwards", b"range",
    b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range",
    b"via", b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"}


class Malformed(Exception):
    """The bytes are not a message that every reader understands alike."""


@dataclass
class Message:
    """A whole message; names are in lower case."""

    start: tuple
    fields: list
    body: bytes = b""
    trailers: list = field(default_factory=list)
    head: bytes = b""
    raw: bytes = b""
    framing: str = "none"

    @property
    def method(self):
        return self.start[0]

    @property
    def target(self):
        return self.start[1]

    @property
    def status(self):
        return int(self.start[1])

    def values(self, name):
        return [value for known, value in self.fields if known == name]

    def get(self, name):
        """The only value of a field; None without one."""
        found = self.values(name)
        demand(len(found) <= 1, f"{name} is repeated")
        return found[0] if found else None


def demand(condition, what):
    if not condition:
        raise Malformed(what)


def read_head(data):
    """Start line, fields and length of the head; None while its end is missing."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    lines = bytes(data[:end]).split(b"\r\n")
    for line in lines:
        demand(not re.search(rb"[\r\n\0]", line), f"a control byte in {line!r}")
    return lines[0], [field_line(line) for line in lines[1:]], end + 4


def field_line(line):
    name, colon, value = line.partition(b":")
    demand(colon and TOKEN.fullmatch(name), f"no field line: {line!r}")
    value = value.strip(b" \t")
    demand(VALUE.fullmatch(value), f"no field value: {value!r}")
    return name.lower(), value


def read_request(data):
    """One request and its length; None while it is incomplete."""
    found = read_head(data)
    if found is None:
        return None
    line, fields, length = found
    parts = line.split(b" ")
    demand(len(parts) == 3 and parts[2] == b"HTTP/1.1", f"no request line: {line!r}")
    demand(TOKEN.fullmatch(parts[0]) and TARGET.fullmatch(parts[1]), f"no request line: {line!r}")
    message = Message(tuple(parts), fields, head=bytes(data[:length]))
    return finish(message, data, length, otherwise="none")


def read_response(data, method=b"GET", ended=False):
    """One response and its length; None while it is incomplete. `ended`: the peer has closed."""
    found = read_head(data)
    if found is None:
        return None
    line, fields, length = found
    match = re.fullmatch(rb"HTTP/1\.1 ([1-9][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)", line)
    demand(match, f"no status line: {line!r}")
    message = Message((b"HTTP/1.1", match[1], match[2]), fields, head=bytes(data[:length]))
    lengths, codings = message.values(b"content-length"), message.values(b"transfer-encoding")
    if message.status < 200 or message.status == 204:
        demand(not lengths and not codings, "framing in a response without content")
    if method == b"HEAD" or message.status < 200 or message.status in (204, 304):
        demand(not (lengths and codings), "both lengths")
        message.raw = bytes(data[:length])
        return message, length
    return finish(message, data, length, otherwise="close", ended=ended)


def finish(message, data, length, otherwise, ended=False):
    """Reads the content as the fields delimit it."""
    announced, coding = message.get(b"content-length"), message.get(b"transfer-encoding")
    demand(announced is None or coding is None, "both Content-Length and Transfer-Encoding")
    if coding is not None:
        demand(coding == b"chunked", f"a transfer coding {coding!r}")
        message.framing = "chunked"
        found = read_chunks(data, length)
        if found is None:
            return None
        message.body, message.trailers, end = found
    elif announced is not None:
        demand(NUMBER.fullmatch(announced), f"a content length {announced!r}")
        message.framing = "length"
        end = length + int(announced)
        if len(data) < end:
            return None
        message.body = bytes(data[length:end])
    elif otherwise == "close":
        message.framing = "close"
        if not ended:
            return None
        message.body, end = bytes(data[length:]), len(data)
    else:
        end = length
    message.raw = bytes(data[:end])
    return message, end


def read_chunks(data, at):
    """Content, trailer lines and end of a chunked message; None while it is incomplete."""
    body = bytearray()
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            demand(len(data) - at <= 18, "a chunk size without end")
            return None
        demand(HEX.fullmatch(data[at:end]), f"no chunk size: {bytes(data[at:end])!r}")
        size, at = int(data[at:end], 16), end + 2
        if size == 0:
            break
        if len(data) < at + size + 2:
            return None
        demand(data[at + size:at + size + 2] == b"\r\n", "a chunk longer than its size")
        body += data[at:at + size]
        at += size + 2
    trailers = []
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            return None
        line, at = bytes(data[at:end]), end + 2
        if not line:
            return bytes(body), trailers, at
        demand(not re.search(rb"[\r\n\0]", line), f"a control byte in {line!r}")
        trailers.append(field_line(line))


# What must hold for whatever the proxy passes on.

def check_request(message):
    """A request that the proxy may send: one host, one framing, no field of another connection."""
    names = [name for name, _ in message.fields]
    demand(message.target != b"*" or message.method == b"OPTIONS", "an asterisk without OPTIONS")
    host = message.get(b"host")
    demand(host is not None and HOST.fullmatch(host), f"a host {host!r}")
    check_connection(message)
    check_common(message)
    check_underscores(message.fields + message.trailers)
    for name in (b"via", b"forwarded", b"x-forwarded-for", b"x-forwarded-proto"):
        demand(names.count(name) == 1, f"{names.count(name)} lines of {name}")
    demand(names.count(b"x-forwarded-host") <= 1, "several x-forwarded-host")
    demand(names.count(b"cookie") <= 1, "several cookie lines")
    second_opinion(message)


def check_connection(message):
    """Connection says `te` and `upgrade` only, and exactly when these fields are there."""
    options = (message.get(b"connection") or b"").split(b", ")
    demand(set(options) <= {b"", b"te", b"upgrade"}, f"connection options {options}")
    te, upgrade = message.get(b"te"), message.get(b"upgrade")
    demand(te in (None, b"trailers") and (te is not None) == (b"te" in options), f"a te {te!r}")
    demand((upgrade is not None) == (b"upgrade" in options), f"an upgrade {upgrade!r}")
    demand(b"h2c" not in (upgrade or b"").lower(), "an upgrade to h2c")


def check_response(message):
    """A response that the proxy may send."""
    options = (message.get(b"connection") or b"").split(b", ")
    allowed = {b"upgrade"} if message.status == 101 else {b"", b"close", b"keep-alive"}
    demand(set(options) <= allowed, f"connection options {options}")
    demand(message.status == 101 or not message.values(b"upgrade"), "an upgrade in a response")
    demand(not message.values(b"te"), "te in a response")
    check_common(message)


def check_common(message):
    for name, _ in message.fields:
        demand(name not in CONNECTION_FIELDS, f"{name} was passed on")
    check_trailers(message.trailers)


def check_trailers(trailers):
    for name, _ in trailers:
        demand(name not in NOT_IN_TRAILERS, f"{name} in trailers")


def check_underscores(fields):
    """Requests lose such names by default: some servers cannot tell them from others."""
    for name, _ in fields:
        demand(b"_" not in name, f"{name} was passed on")


def second_opinion(message):
    """h11 reads the same bytes as the same single request."""
    peer = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    peer.receive_data(message.raw)
    request, body = peer.next_event(), b""
    demand(isinstance(request, h11.Request), f"h11 sees {request}")
    demand((request.method, request.target) == message.start[:2], f"h11 sees {request}")
    while isinstance(event := peer.next_event(), h11.Data):
        body += event.data
    demand(isinstance(event, h11.EndOfMessage) and body == message.body, "h11 sees other content")
    demand(peer.trailing_data[0] == b"", "h11 sees bytes behind the request")
