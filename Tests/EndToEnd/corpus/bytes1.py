"""How the HTTP/1.1 tables write requests."""

START = b"GET /api/x?id=1 HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"
POST = b"POST /api/x?id=1 HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
HIDDEN = b"GET /api/smuggled?id=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"


def get(*lines):
    """A GET with further field lines."""
    return START + HOST + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def post(*lines, body=b""):
    """A POST with field lines, whose content is as given."""
    return POST + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def told(data):
    """Bytes as part of a case's name."""
    text = data if isinstance(data, str) else data.decode("latin-1")
    shown = text.encode("unicode_escape").decode().replace(" ", "\\s") or "nothing"
    return shown if len(shown) <= 60 else f"{shown[:50]}… of {len(text)}"


# Around the sizes of buffers: what fills its buffer must not lose a byte by moving.
AROUND = [size - less for size in (2048, 4096, 8192, 16_384) for less in range(0, 121, 8)]

# Controls: all but HTAB are refused wherever they stand; HTAB only in values is allowed.
CONTROLS = [byte for byte in (*range(32), 127)]
