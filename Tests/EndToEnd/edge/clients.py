"""Clients: curl, raw HTTP/1.1, raw HTTP/2 on hyper-h2, h2load."""

import contextlib
import re
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from edge.closing import Closing
from edge.waiting import PATIENCE


@dataclass
class Response:
    """One response as a client saw it."""

    status: int = 0
    fields: list = field(default_factory=list)
    body: bytes = b""
    trailers: list = field(default_factory=list)
    informational: list = field(default_factory=list)
    version: str = ""
    complete: bool = False
    error: object = None

    def get(self, name, otherwise=None):
        values = [value for field, value in self.fields if field.lower() == name.lower()]
        return ", ".join(values) if values else otherwise

    @property
    def text(self):
        return self.body.decode(errors="replace")


class Curl:
    """curl against one proxy; responses parsed, exit code kept."""

    def __init__(self, port, authority=None, host="localhost", address="127.0.0.1", scheme="https"):
        self.port, self.host, self.address, self.scheme = port, host, address, scheme
        self.authority = authority

    def __call__(self, path, *arguments, version="2", seconds=30, check=True, body=None):
        """Requests a path; `version` is 1.0, 1.1, 2 or h2c."""
        flags = {"1.0": "--http1.0", "1.1": "--http1.1", "2": "--http2",
                 "h2c": "--http2-prior-knowledge"}
        command = [
            "curl", "-sS", "-i", flags[version], "--path-as-is", "--max-time", str(seconds),
            "--resolve", f"{self.host}:{self.port}:{self.address}", "--noproxy", "*"]
        if self.scheme == "https":
            command += ["--cacert", str(self.authority.certificate)]
        command += [*map(str, arguments), f"{self.scheme}://{self.host}:{self.port}{path}"]
        if body is not None:
            command += ["--data-binary", "@-"]
        done = subprocess.run(command, input=body or b"", capture_output=True, timeout=seconds + 10)
        response = self._parsed(done.stdout)
        response.error = done.returncode or None
        response.complete = done.returncode == 0
        if check:
            assert done.returncode == 0, f"curl {done.returncode}: {done.stderr.decode()}"
        return response

    def _parsed(self, data):
        response = Response()
        while data.startswith(b"HTTP/"):
            head, _, data = data.partition(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            parts = lines[0].split(" ")
            status = int(parts[1])
            fields = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]
            if status < 200 and status != 101:
                response.informational.append((status, fields))
                continue
            response.status, response.fields, response.version = status, fields, parts[0]
            break
        response.body = data
        return response


def connect(address, context=None, server_name="localhost", alpn=None, seconds=PATIENCE,
            receive_buffer=None):
    """A connected socket, with TLS when there is a context."""
    if isinstance(address, str):
        raw = socket.socket(socket.AF_UNIX)
    else:
        raw = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    raw.settimeout(seconds)
    if receive_buffer:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    raw.connect(address)
    if raw.family != socket.AF_UNIX:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if context is None:
        return raw
    if alpn is not None:
        context.set_alpn_protocols(list(alpn))
    return context.wrap_socket(raw, server_hostname=server_name)


class Truncated(Exception):
    """The connection ended before the response did."""

    def __init__(self, response):
        super().__init__(f"after {response.status} and {len(response.body)} bytes")
        self.response = response


class HTTP1(Closing):
    """A raw HTTP/1.1 connection."""

    def __init__(self, sock):
        self.socket = sock
        self.buffer = bytearray()

    def send(self, data):
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def request(self, method="GET", target="/", host="localhost", fields=(), body=b""):
        """Sends one request, with a content-length when there is a body."""
        lines = [f"{method} {target} HTTP/1.1"]
        if host is not None:
            lines.append(f"Host: {host}")
        lines += [f"{name}: {value}" for name, value in fields]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)

    def more(self):
        """Reads once; False at the end of the connection."""
        try:
            data = self.socket.recv(262_144)
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            data = b""
        self.buffer += data
        return bool(data)

    def at_end(self, seconds=PATIENCE):
        """True when the peer closes within the time, with nothing more sent."""
        self.socket.settimeout(seconds)
        try:
            return not self.buffer and not self.more()
        except TimeoutError:
            return False

    def read(self, head=False):
        """Reads one final response; raises Truncated when the connection ends within it."""
        response = Response()
        while True:
            raw = self._until(b"\r\n\r\n", response)
            lines = raw.decode("latin-1").split("\r\n")
            response.version, status = lines[0].split(" ")[:2]
            fields = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]
            if int(status) >= 200 or int(status) == 101:
                break
            response.informational.append((int(status), fields))
        response.status, response.fields = int(status), fields
        body = bytearray()
        try:
            self._body(response, body, head)
        finally:
            response.body = bytes(body)
        response.complete = True
        return response

    def _body(self, response, body, head):
        if head or response.status in (101, 204, 304):
            return
        if "chunked" in (response.get("transfer-encoding") or ""):
            while True:
                size = int(self._until(b"\r\n", response).split(b";")[0], 16)
                if size == 0:
                    break
                body += self._exactly(size + 2, response, body)[:-2]
            while line := self._until(b"\r\n", response):
                name, value = line.decode("latin-1").split(":", 1)
                response.trailers.append((name.strip().lower(), value.strip()))
        elif (length := response.get("content-length")) is not None:
            body += self._exactly(int(length), response, body)
        else:
            while self.more():
                pass
            body += self.buffer
            self.buffer.clear()

    def _until(self, mark, response):
        while mark not in self.buffer:
            if not self.more():
                raise Truncated(response)
        end = self.buffer.index(mark)
        data = bytes(self.buffer[:end])
        del self.buffer[:end + len(mark)]
        return data

    def _exactly(self, count, response, body):
        while len(self.buffer) < count:
            if not self.more():
                body += self.buffer
                raise Truncated(response)
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def get(self, target, **options):
        self.request("GET", target, **options)
        return self.read()


class HTTP2(Closing):
    """A raw HTTP/2 connection with blocking reads; windows are given back unless told not to."""

    def __init__(self, sock, window=None, scheme="https", authority="localhost"):
        self.socket, self.scheme, self.authority = sock, scheme, authority
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=True, header_encoding="utf-8", validate_outbound_headers=False,
            normalize_outbound_headers=False, validate_inbound_headers=True))
        if window is not None:
            # As initial values: a later change would be enforced without being announced.
            values = dict(self.h2.local_settings)
            values[h2.settings.SettingCodes.INITIAL_WINDOW_SIZE] = window
            self.h2.local_settings = h2.settings.Settings(client=True, initial_values=values)
        self.h2.local_settings[h2.settings.SettingCodes.ENABLE_PUSH] = 0
        self.streams = {}
        self.goaway = None
        self._pending = bytearray()
        self.ended = False
        self.stalled = set()
        self.settings = {}
        self.h2.initiate_connection()
        if window is None:
            self.h2.increment_flow_control_window(1 << 24)
        self.flush()

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            # A short wait for something to read is none for room to write.
            self.socket.settimeout(PATIENCE)
            self.socket.sendall(data)

    def start(self, method="GET", path="/", fields=(), end=True, authority=None, scheme=None,
              extra=()):
        """Opens a stream with a request head; `extra` pseudo fields go first."""
        stream = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", scheme or self.scheme),
                (":authority", authority or self.authority), (":path", path), *extra, *fields]
        self.streams[stream] = Response(version="HTTP/2")
        self.h2.send_headers(stream, [pair for pair in head if pair[1] is not None], end_stream=end)
        self.flush()
        return stream

    def send(self, stream, data, end=False):
        """Sends body bytes as the windows allow."""
        view = memoryview(data)
        while view:
            if self.streams[stream].error is not None:
                return
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room <= 0:
                if self.streams[stream].complete:
                    return
                assert self.pump(), "the connection ended while a body was being sent"
                continue
            last = room >= len(view)
            self.h2.send_data(stream, bytes(view[:room]), end_stream=end and last)
            view = view[room:]
            self.flush()
        if end and not data:
            self.h2.end_stream(stream)
            self.flush()

    def trailers(self, stream, fields):
        self.h2.send_headers(stream, list(fields), end_stream=True)
        self.flush()

    def reset(self, stream, code=8):
        self.h2.reset_stream(stream, code)
        self.flush()

    def pump(self, seconds=None):
        """Reads once and applies the events; False at the end of the connection."""
        self.socket.settimeout(seconds or 20)
        try:
            data = self.socket.recv(262_144)
        except (ConnectionError, ssl.SSLError):
            data = b""
        if not data:
            self.ended = True
            return False
        for event in self.h2.receive_data(self._without_goaway(data)):
            self._received(event)
        # A peer that has ended the connection needs no windows; the next read tells of its end.
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self.flush()
        return True

    def _without_goaway(self, data):
        """Whole frames but GOAWAY: hyper-h2 takes nothing after one, though streams go on."""
        self._pending += data
        kept, at = bytearray(), 0
        while len(self._pending) >= at + 9:
            end = at + 9 + int.from_bytes(self._pending[at:at + 3], "big")
            if len(self._pending) < end:
                break
            frame = self._pending[at:end]
            if frame[3] == 7:
                last = int.from_bytes(frame[9:13], "big") & 0x7FFF_FFFF
                self.goaway = (int.from_bytes(frame[13:17], "big"), last)
            else:
                kept += frame
            at = end
        del self._pending[:at]
        return bytes(kept)

    def _received(self, event):
        stream = getattr(event, "stream_id", None)
        response = self.streams.get(stream)
        if isinstance(event, h2.events.RemoteSettingsChanged):
            self.settings.update({int(s.setting): s.new_value
                                  for s in event.changed_settings.values()})
        elif isinstance(event, h2.events.InformationalResponseReceived):
            fields = dict(event.headers)
            response.informational.append((int(fields.pop(":status")), list(fields.items())))
        elif isinstance(event, h2.events.ResponseReceived):
            response.status = int(dict(event.headers)[":status"])
            response.fields = [pair for pair in event.headers if not pair[0].startswith(":")]
        elif isinstance(event, h2.events.DataReceived):
            response.body += event.data
            if stream not in self.stalled and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
        elif isinstance(event, h2.events.TrailersReceived):
            response.trailers = list(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            response.complete = True
        elif isinstance(event, h2.events.StreamReset):
            response.error = int(event.error_code)

    def finish(self, stream, seconds=PATIENCE):
        """Reads until the stream ended, was reset, or the connection is gone."""
        deadline = time.monotonic() + seconds
        response = self.streams[stream]
        while not response.complete and response.error is None and not self.ended:
            left = deadline - time.monotonic()
            assert left > 0, f"stream {stream} not finished: {response}"
            try:
                self.pump(left)
            except TimeoutError:
                continue
        return response

    def until(self, condition, seconds=PATIENCE, what="the condition"):
        """Reads until the condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            left = deadline - time.monotonic()
            assert left > 0 and not self.ended, f"not within {seconds} s: {what}"
            try:
                self.pump(min(left, 0.2))
            except TimeoutError:
                continue

    def get(self, path, **options):
        return self.finish(self.start("GET", path, **options))

    def post(self, path, body, fields=(), **options):
        stream = self.start("POST", path, fields=fields, end=False, **options)
        self.send(stream, body, end=True)
        return self.finish(stream)


@dataclass
class Load:
    """What h2load reported."""

    total: int
    succeeded: int
    failed: int
    errored: int
    by_class: dict
    seconds: float
    text: str


def h2load(url, requests=None, clients=4, streams=1, uris=None, protocol=None, seconds=120,
           arguments=()):
    """Runs h2load to its end; `uris` is a file of URIs that every client takes in turn."""
    command = ["h2load", "-c", str(clients), "-m", str(streams), *map(str, arguments)]
    if requests is not None:
        command += ["-n", str(requests)]
    if protocol == "h1":
        command += ["--h1"]
    command += ["-i", str(uris)] if uris else [url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds,
                          stdin=subprocess.DEVNULL)
    text = done.stdout
    assert done.returncode == 0, f"h2load: {done.stderr}\n{text}"
    return parse_h2load(text)


def parse_h2load(text):
    counts = re.search(
        r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, "
        r"(\d+) errored", text)
    classes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    finished = re.search(r"finished in ([\d.]+)(ms|s|us)", text)
    assert counts and classes, text
    scale = {"s": 1, "ms": 1e-3, "us": 1e-6}[finished[2]] if finished else 1
    return Load(
        int(counts[1]), int(counts[4]), int(counts[5]), int(counts[6]),
        {n + 2: int(classes[n + 1]) for n in range(4)},
        float(finished[1]) * scale if finished else 0, text)


def s_client(server, *arguments, seconds=15, name="localhost", sent=b"Q\n"):
    """Runs `openssl s_client` against a server's port; its output."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}",
               *map(str, arguments)]
    command += ["-servername", name] if name else ["-noservername"]
    done = subprocess.run(command, input=sent, capture_output=True, timeout=seconds)
    return (done.stdout + done.stderr).decode(errors="replace")
