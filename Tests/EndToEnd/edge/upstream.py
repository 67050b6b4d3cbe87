"""A scripted upstream: HTTP/1.1, h2c and TLS on one port, which counts and records everything."""

import asyncio
import base64
import hashlib
import itertools
import json
import socket
import struct
import threading
import time
from urllib.parse import parse_qs, urlsplit

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from .waiting import until

HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WEBSOCKET_KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Aborted(Exception):
    """The exchange is over because the script or the peer ended the connection."""


class Connection:
    """What is remembered of one accepted TCP connection."""

    def __init__(self, number, local, peer):
        self.number = number
        self.local = local
        self.peer = peer
        self.protocol = None
        self.server_name = None
        self.requests = 0
        self.closed = False
        self.received = bytearray()
        self.hosts = set()


class Request:
    """One request as it arrived, with its body as a stream of chunks."""

    def __init__(self, connection, method, target, fields, raw_head=b""):
        self.connection = connection
        self.method = method
        self.target = target
        self.fields = fields
        self.raw_head = raw_head
        self.trailers = []
        self.body_size = 0
        self.digest = hashlib.sha256()
        self.complete = False
        self.cancelled = False
        self._chunks = asyncio.Queue()
        self._exhausted = False

    @property
    def path(self):
        return urlsplit(self.target).path

    @property
    def query(self):
        return {name: values[-1] for name, values in
                parse_qs(urlsplit(self.target).query, keep_blank_values=True).items()}

    def get(self, name, otherwise=None):
        """The values of a field joined by a comma, or `otherwise`."""
        values = [value for field, value in self.fields if field.lower() == name.lower()]
        return ", ".join(values) if values else otherwise

    @property
    def host(self):
        return self.get(":authority") or self.get("host")

    async def chunks(self):
        """The body's chunks as they come; the HTTP/2 window follows what is taken here."""
        while True:
            chunk, taken = await self._chunks.get()
            if chunk is None:
                self._exhausted = True
                if self.cancelled:
                    raise Aborted("the request body was cut short")
                return
            self.body_size += len(chunk)
            self.digest.update(chunk)
            yield chunk
            if taken:
                taken()

    async def read(self):
        """The whole body."""
        body = bytearray()
        async for chunk in self.chunks():
            body += chunk
        return bytes(body)

    async def discard(self):
        """Reads what is left of the body."""
        if not self._exhausted:
            await self.read()

    def _feed(self, chunk, taken=None):
        self._chunks.put_nowait((chunk, taken))

    def _end(self, cancelled=False):
        self.cancelled = self.cancelled or cancelled
        self.complete = self.complete or not cancelled
        self._chunks.put_nowait((None, None))


class Upstream:
    """A server on one port of one or more loopback addresses, run by a thread of its own.

    What it answers is named by the last part of the path (see `BEHAVIOURS`), or by `script`,
    a mapping from path to a coroutine `(request, reply)`. A connection that rests is closed after
    `idle_seconds`, a number or a function that returns one; with `says_goaway`, HTTP/2 says so.
    """

    def __init__(self, addresses=("127.0.0.1",), context=None, idle_seconds=None, backlog=512,
                 max_streams=None, record_bytes=False, port=0, says_goaway=False):
        self.addresses = list(addresses)
        self.context = context
        self.idle_seconds = idle_seconds
        self.backlog = backlog
        self.max_streams = max_streams
        self.says_goaway = says_goaway
        self.draining = False
        self.record_bytes = record_bytes
        self.connections = []
        self.requests = []
        self.script = {}
        self.live = set()
        self._writers = set()
        self._sessions = set()
        self._servers = []
        self._numbers = itertools.count(1)
        self._sockets = self._bind(port)
        self.port = self._sockets[0].getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="upstream")
        self._thread.start()
        assert self._started.wait(10), "the upstream did not start"

    def _bind(self, wanted):
        for _ in range(500 if wanted else 50):
            sockets, port = [], wanted
            try:
                for address in self.addresses:
                    family = socket.AF_INET6 if ":" in address else socket.AF_INET
                    # Named as TCP, or asyncio leaves Nagle's delay on: 40 ms for each answer.
                    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
                    sockets.append(listener)
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    listener.bind((address, port))
                    port = listener.getsockname()[1]
                return sockets
            except OSError:
                for listener in sockets:
                    listener.close()
                # A process that is being started may hold a copy of what was closed here before.
                time.sleep(0.02 if wanted else 0)
        raise AssertionError(f"no common port on {self.addresses}")

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda loop, context: None)

        async def start():
            for listener in self._sockets:
                self._servers.append(await asyncio.start_server(
                    self._accepted, sock=listener, ssl=self.context, backlog=self.backlog,
                    limit=1 << 18))
            self._started.set()

        self._loop.create_task(start())
        self._loop.run_forever()

    def idle(self):
        """Seconds after which a connection that comes to rest now is closed; None: never."""
        return self.idle_seconds() if callable(self.idle_seconds) else self.idle_seconds

    def drain(self, seconds=10):
        """Accepts nothing more, answers what has come, closes what rests, and ends."""
        def stop():
            self.draining = True
            for server in self._servers:
                server.close()
            for session in list(self._sessions):
                session.drain()
        self._loop.call_soon_threadsafe(stop)
        until(lambda: self.draining and not self._writers, seconds, "the upstream has drained")
        self.close()

    def close(self, reset=False):
        """Closes the listeners and every connection, and ends the thread."""
        def stop():
            for server in self._servers:
                server.close()
            for writer in list(self._writers):
                _abort(writer) if reset else writer.transport.abort()
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            end = asyncio.gather(*tasks, return_exceptions=True)
            end.add_done_callback(lambda _: self._loop.call_later(0.01, self._loop.stop))
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(stop)
            self._thread.join(10)
        for listener in self._sockets:
            listener.close()

    def close_connections(self, reset=False):
        """Ends every open connection from this side; returns when the end is on its way."""
        done = threading.Event()

        def close():
            for writer in list(self._writers):
                _abort(writer) if reset else writer.close()
            # Sockets are closed by what this has scheduled.
            self._loop.call_soon(self._loop.call_soon, done.set)
        self._loop.call_soon_threadsafe(close)
        assert done.wait(10)

    def write(self, data):
        """Sends bytes on every open connection; returns when they are on their way."""
        done = threading.Event()

        def write():
            for writer in list(self._writers):
                writer.write(data)
            done.set()
        self._loop.call_soon_threadsafe(write)
        assert done.wait(10)

    @property
    def open_connections(self):
        return [c for c in self.connections if not c.closed]

    def connections_by(self, key):
        """Counts connections by a function of the connection."""
        counts = {}
        for connection in list(self.connections):
            name = key(connection)
            counts[name] = counts.get(name, 0) + 1
        return counts

    async def _accepted(self, reader, writer):
        sock = writer.get_extra_info("socket")
        connection = Connection(
            next(self._numbers), sock.getsockname(), writer.get_extra_info("peername"))
        self.connections.append(connection)
        self._writers.add(writer)
        try:
            tls = writer.get_extra_info("ssl_object")
            negotiated = tls.selected_alpn_protocol() if tls else None
            connection.tls = tls.version() if tls else None
            connection.resumed = tls.session_reused if tls else None
            first = await self._first_bytes(reader)
            is_http2 = negotiated == "h2" or first.startswith(HTTP2_PREFACE)
            if first:
                connection.protocol = "h2" if is_http2 else "h1"
                kind = HTTP2Session if is_http2 else HTTP1Session
                session = kind(self, connection, reader, writer, first)
                self._sessions.add(session)
                try:
                    if self.draining:
                        session.drain()
                    await session.run()
                finally:
                    self._sessions.discard(session)
        except (Aborted, ConnectionError, asyncio.IncompleteReadError, TimeoutError,
                asyncio.LimitOverrunError, asyncio.TimeoutError):
            pass
        except asyncio.CancelledError:
            pass
        finally:
            connection.closed = True
            self._writers.discard(writer)
            writer.close()

    async def _first_bytes(self, reader):
        # What has not been used yet does not rest, unless the time is fixed.
        idle = None if callable(self.idle_seconds) else self.idle_seconds
        first = b""
        # A read may end within the preface, too, and only the whole of it says what is spoken.
        while HTTP2_PREFACE.startswith(first) and first != HTTP2_PREFACE:
            more = await asyncio.wait_for(reader.read(65_536), idle or 600)
            if not more:
                break
            first += more
        return first

    async def _perform(self, request, reply):
        self.requests.append(request)
        request.connection.requests += 1
        request.connection.hosts.add(request.host)
        name = request.path.rstrip("/").rsplit("/", 1)[-1]
        behaviour = self.script.get(request.path) or BEHAVIOURS.get(name) or BEHAVIOURS["hello"]
        await behaviour(request, reply)


def _abort(writer):
    """Closes with a TCP reset."""
    sock = writer.get_extra_info("socket")
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    writer.transport.abort()


class HTTP1Session:
    """The server half of one HTTP/1.1 connection."""

    def __init__(self, upstream, connection, reader, writer, first):
        self.upstream, self.connection = upstream, connection
        self.reader, self.writer = reader, writer
        self.buffer = bytearray(first)
        self.is_busy = False
        self._record(first)

    def drain(self):
        """Closes a connection that rests; a busy one is closed after its answer."""
        if not self.is_busy:
            self.writer.close()

    def _record(self, data):
        if self.upstream.record_bytes:
            self.connection.received += data

    async def run(self):
        while True:
            head = await self._head()
            if head is None:
                return
            self.is_busy = True
            lines = head.decode("latin-1").split("\r\n")
            method, target, version = lines[0].split(" ", 2)
            fields = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]
            request = Request(self.connection, method, target, fields, head)
            request.version = version
            reply = HTTP1Reply(self, request)
            body = asyncio.ensure_future(self._body(request))
            watch = asyncio.ensure_future(self._watch(body, request, asyncio.current_task()))
            try:
                await self.upstream._perform(request, reply)
                await reply.finish()
                if not reply.keep_alive or self.upstream.draining:
                    return
                await request.discard()
                await body
                self.is_busy = False
            finally:
                body.cancel()
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)

    async def _watch(self, body, request, task):
        """Ends an exchange whose peer left while the answer was still being made."""
        await asyncio.wait([body])
        if request.get("upgrade"):
            return
        while await self._more():
            pass
        task.cancel()

    async def _head(self):
        while b"\r\n\r\n" not in self.buffer:
            if not await self._more(self.upstream.idle()):
                return None
        end = self.buffer.index(b"\r\n\r\n")
        head = bytes(self.buffer[:end])
        del self.buffer[:end + 4]
        return head

    async def _more(self, seconds=None):
        data = await asyncio.wait_for(self.reader.read(262_144), seconds)
        self._record(data)
        self.buffer += data
        return bool(data)

    async def _body(self, request):
        try:
            if "chunked" in (request.get("transfer-encoding") or ""):
                await self._chunked(request)
            else:
                left = int(request.get("content-length") or 0)
                while left > 0:
                    if not self.buffer and not await self._more():
                        raise Aborted
                    chunk = bytes(self.buffer[:left])
                    del self.buffer[:len(chunk)]
                    left -= len(chunk)
                    await self._offer(request, chunk)
            request._end()
        except (Aborted, ConnectionError):
            request._end(cancelled=True)

    async def _offer(self, request, chunk):
        """Hands a chunk over and waits until it was taken, so that TCP pushes back."""
        taken = asyncio.Event()
        request._feed(chunk, taken.set)
        await taken.wait()

    async def _chunked(self, request):
        while True:
            size = int((await self._line()).split(b";")[0], 16)
            if size == 0:
                break
            while len(self.buffer) < size + 2:
                if not await self._more():
                    raise Aborted
            chunk = bytes(self.buffer[:size])
            del self.buffer[:size + 2]
            await self._offer(request, chunk)
        while line := await self._line():
            name, value = line.decode("latin-1").split(":", 1)
            request.trailers.append((name.strip(), value.strip()))

    async def _line(self):
        while b"\r\n" not in self.buffer:
            if not await self._more():
                raise Aborted
        end = self.buffer.index(b"\r\n")
        line = bytes(self.buffer[:end])
        del self.buffer[:end + 2]
        return line


class HTTP1Reply:
    """Writes one HTTP/1.1 response, piece by piece."""

    protocol = "h1"

    def __init__(self, session, request):
        self.session, self.request = session, request
        self.writer = session.writer
        self.keep_alive = (request.get("connection") or "").lower() != "close"
        self.chunked = False
        self.ended = False
        self.started = False

    async def raw(self, data):
        """Bytes as they are; the connection closes after the reply unless said otherwise."""
        self.started = True
        self.writer.write(data)
        await self.writer.drain()

    async def informational(self, status, fields=()):
        await self.raw(self._head(status, fields))
        self.started = False

    async def head(self, status, fields=(), length=None, close_delimited=False):
        fields = list(fields)
        bodiless = status in (204, 304) or status < 200
        if length is not None:
            fields.append(("content-length", str(length)))
        elif close_delimited:
            fields.append(("connection", "close"))
            self.keep_alive = False
        elif not bodiless:
            fields.append(("transfer-encoding", "chunked"))
            self.chunked = self.request.method != "HEAD"
        await self.raw(self._head(status, fields))

    async def data(self, chunk):
        if self.request.method == "HEAD":
            return
        if self.chunked:
            await self.raw(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        else:
            await self.raw(chunk)

    async def finish(self, trailers=()):
        if self.ended:
            return
        self.ended = True
        if self.chunked:
            lines = "".join(f"{name}: {value}\r\n" for name, value in trailers)
            await self.raw(b"0\r\n" + lines.encode() + b"\r\n")

    async def close(self):
        """Closes in an orderly way, wherever the response stands."""
        self.ended = True
        self.writer.close()
        raise Aborted

    async def reset(self):
        self.ended = True
        _abort(self.writer)
        raise Aborted

    def _head(self, status, fields):
        lines = [f"HTTP/1.1 {status} Scripted"] + [f"{name}: {value}" for name, value in fields]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class HTTP2Session:
    """The server half of one HTTP/2 connection."""

    def __init__(self, upstream, connection, reader, writer, first):
        self.upstream, self.connection = upstream, connection
        self.reader, self.writer, self.first = reader, writer, first
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=False, header_encoding="utf-8", validate_inbound_headers=False,
            validate_outbound_headers=False, normalize_outbound_headers=False))
        self.requests = {}
        self.windows = asyncio.Condition()
        self.goaway = None
        self.tasks = set()
        self.last_stream = 0
        self.is_draining = False

    def say_goaway(self):
        """Takes no stream beyond those that have come; those are answered."""
        self.is_draining = True
        self.flush()
        self.writer.write(struct.pack(">IBIII", 8 << 8 | 7, 0, 0, self.last_stream, 0))

    def drain(self):
        self.say_goaway()
        if not self.tasks:
            self.writer.close()

    def _done(self, task):
        self.tasks.discard(task)
        if self.is_draining and not self.tasks:
            self.writer.close()

    async def run(self):
        if self.upstream.max_streams is not None:
            # As initial values: a later change would be enforced without being announced.
            values = dict(self.h2.local_settings)
            values[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS] = self.upstream.max_streams
            self.h2.local_settings = h2.settings.Settings(client=False, initial_values=values)
        self.h2.initiate_connection()
        self.flush()
        data, tasks = self.first, self.tasks
        try:
            while data:
                if self.upstream.record_bytes:
                    self.connection.received += data
                try:
                    events = self.h2.receive_data(data)
                except h2.exceptions.ProtocolError as problem:
                    self.goaway = str(problem)
                    self.flush()
                    return
                for event in events:
                    task = await self._received(event)
                    if task:
                        tasks.add(task)
                        task.add_done_callback(self._done)
                self.flush()
                data = await self._more(self.upstream.idle())
        finally:
            for request in self.requests.values():
                request._end(cancelled=not request.complete)
            for task in list(tasks):
                task.cancel()

    async def _more(self, idle):
        """What comes next; nothing once the connection has rested for `idle` seconds."""
        while True:
            try:
                return await asyncio.wait_for(
                    self.reader.read(262_144), idle and max(idle, 0.001))
            except asyncio.TimeoutError:
                is_unused = callable(self.upstream.idle_seconds) and not self.last_stream
                if not self.tasks and not is_unused:
                    if self.upstream.says_goaway:
                        self.say_goaway()
                    return b""

    def flush(self):
        data = self.h2.data_to_send()
        if data and not self.writer.is_closing():
            self.writer.write(data)

    async def _received(self, event):
        if isinstance(event, h2.events.RequestReceived):
            if self.is_draining:
                return None
            self.last_stream = event.stream_id
            fields = list(event.headers)
            named = dict(fields)
            request = Request(self.connection, named.get(":method"), named.get(":path", ""), fields)
            request.stream = event.stream_id
            request.version = "HTTP/2.0"
            self.requests[event.stream_id] = request
            return asyncio.ensure_future(self._perform(request))
        if isinstance(event, h2.events.DataReceived):
            request, size = self.requests.get(event.stream_id), event.flow_controlled_length
            if request:
                request._feed(event.data, lambda: self._taken(size, event.stream_id))
            else:
                self._taken(size, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            if request := self.requests.get(event.stream_id):
                request.trailers = list(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            if request := self.requests.get(event.stream_id):
                request._end()
        elif isinstance(event, h2.events.StreamReset):
            if request := self.requests.pop(event.stream_id, None):
                request.reset_code = event.error_code
                request._end(cancelled=True)
        if isinstance(event, (h2.events.WindowUpdated, h2.events.RemoteSettingsChanged,
                              h2.events.StreamReset)):
            async with self.windows:
                self.windows.notify_all()
        return None

    def _taken(self, size, stream):
        if size:
            try:
                self.h2.acknowledge_received_data(size, stream)
            except (KeyError, h2.exceptions.ProtocolError):
                return
            self.flush()

    async def _perform(self, request):
        reply = HTTP2Reply(self, request)
        try:
            await self.upstream._perform(request, reply)
            await reply.finish()
        except (Aborted, ConnectionError, h2.exceptions.ProtocolError):
            pass
        finally:
            self.requests.pop(request.stream, None)


class HTTP2Reply:
    """Writes one HTTP/2 response, piece by piece, within the peer's windows."""

    protocol = "h2"

    def __init__(self, session, request):
        self.session, self.request, self.stream = session, request, request.stream
        self.ended = False
        self.keep_alive = True

    async def raw(self, data):
        """Bytes as they are, onto the connection."""
        self.session.writer.write(data)
        await self.session.writer.drain()

    async def informational(self, status, fields=()):
        self._send_head(status, fields)

    async def head(self, status, fields=(), length=None, close_delimited=False):
        fields = list(fields)
        if length is not None:
            fields.append(("content-length", str(length)))
        self._send_head(status, fields)

    def _send_head(self, status, fields):
        self.session.h2.send_headers(
            self.stream, [(":status", str(status))] + [(n.lower(), v) for n, v in fields])
        self.session.flush()

    async def data(self, chunk):
        if self.request.method == "HEAD":
            return
        connection, view = self.session.h2, memoryview(chunk)
        while view:
            room = min(connection.local_flow_control_window(self.stream),
                       connection.max_outbound_frame_size)
            if room <= 0:
                async with self.session.windows:
                    await self.session.windows.wait()
                if self.request.cancelled:
                    raise Aborted
                continue
            connection.send_data(self.stream, bytes(view[:room]))
            view = view[room:]
            self.session.flush()
            await self.session.writer.drain()

    async def finish(self, trailers=()):
        if self.ended:
            return
        self.ended = True
        if trailers:
            self.session.h2.send_headers(self.stream, list(trailers), end_stream=True)
        else:
            self.session.h2.end_stream(self.stream)
        self.session.flush()

    async def close(self):
        """Closes the TCP connection in an orderly way."""
        self.ended = True
        self.session.writer.close()
        raise Aborted

    async def reset(self):
        """Resets the stream; the connection lives."""
        self.ended = True
        self.session.h2.reset_stream(self.stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
        self.session.flush()
        raise Aborted


# What an upstream can be asked to do, by the last part of the path and the query's parameters.

async def hello(request, reply):
    """`hello from HOST`, with the parameters `size` for a longer body and `status`."""
    await request.read()
    text = f"hello from {request.host} on {request.connection.number}\n".encode()
    size = int(request.query.get("size", len(text)))
    body = (text * (size // len(text) + 1))[:size]
    await reply.head(int(request.query.get("status", 200)), [
        ("content-type", "text/plain"), ("x-connection", str(request.connection.number)),
        ("x-protocol", reply.protocol)], length=size)
    await reply.data(body)


async def echo(request, reply):
    """The body back as it comes."""
    length = request.get("content-length") if "length" in request.query else None
    await reply.head(200, [("content-type", "application/octet-stream")], length=length)
    async for chunk in request.chunks():
        await reply.data(chunk)


async def digest(request, reply):
    """Reads the body and answers its size and SHA-256."""
    await request.read()
    text = json.dumps({"size": request.body_size, "sha256": request.digest.hexdigest(),
                       "trailers": request.trailers}).encode()
    await reply.head(200, [("content-type", "application/json")], length=len(text))
    await reply.data(text)


async def fields(request, reply):
    """The request's fields as JSON."""
    await request.read()
    text = json.dumps(request.fields).encode()
    await reply.head(200, [("content-type", "application/json")], length=len(text))
    await reply.data(text)


def pattern(size, offset=0):
    """`size` bytes that differ by position, to notice what is lost, doubled, or swapped."""
    block = b"".join(struct.pack(">Q", n) for n in range(4096))
    start = offset % len(block)
    return (block * ((start + size) // len(block) + 1))[start:start + size]


async def large(request, reply):
    """`size` bytes of the pattern, with a length, or `framing=chunked|close`."""
    size = int(request.query.get("size", 8 << 20))
    framing = request.query.get("framing", "length")
    await reply.head(200, [("content-type", "application/octet-stream")],
                     length=size if framing == "length" else None,
                     close_delimited=framing == "close")
    sent = 0
    while sent < size:
        step = min(32_768, size - sent)
        await reply.data(pattern(step, sent))
        sent += step


async def delay(request, reply):
    """Waits `ms` before the head."""
    await request.read()
    await asyncio.sleep(int(request.query.get("ms", 100)) / 1000)
    await reply.head(200, length=4)
    await reply.data(b"late")


async def never(request, reply):
    """Reads the request and never answers."""
    await request.read()
    await asyncio.sleep(600)


async def drip(request, reply):
    """`count` bytes, one every `ms`."""
    await reply.head(200, [("content-type", "text/plain")])
    for _ in range(int(request.query.get("count", 10))):
        await reply.data(b".")
        await asyncio.sleep(int(request.query.get("ms", 20)) / 1000)


async def stall(request, reply):
    """A head, half of the body, and then nothing."""
    await reply.head(200, length=1000)
    await reply.data(b"x" * 500)
    await asyncio.sleep(600)


async def truncate(request, reply):
    """Half of a body, then the connection closes; `framing=chunked` leaves the last chunk out."""
    await reply.head(200, length=None if request.query.get("framing") == "chunked" else 1000)
    await reply.data(b"x" * 500)
    await asyncio.sleep(0.05)
    await reply.close()


async def reset_head(request, reply):
    """A reset instead of a head."""
    await request.read()
    await reply.reset()


async def close_head(request, reply):
    """The connection closes before the head."""
    await request.read()
    await reply.close()


async def reset_body(request, reply):
    """A reset in the middle of the body."""
    await reply.head(200, length=1000)
    await reply.data(b"x" * 500)
    await asyncio.sleep(0.05)
    await reply.reset()


async def no_content(request, reply):
    await request.read()
    await reply.head(204, [("x-kind", "204")])


async def not_modified(request, reply):
    """304 with the length that the 200 would have had."""
    await request.read()
    await reply.head(304, [("etag", '"v1"')], length=12345 if reply.protocol == "h1" else None)


async def trailers(request, reply):
    """A body with trailers."""
    await request.read()
    await reply.head(200, [("trailer", "x-checksum"), ("content-type", "text/plain")])
    await reply.data(b"body with trailers\n")
    await reply.finish([("x-checksum", "abc123"), ("x-second", "2")])


async def informational(request, reply):
    """102, 103 with a Link, then 200."""
    await request.read()
    await reply.informational(102)
    await reply.informational(103, [("link", "</style.css>; rel=preload")])
    await reply.head(200, length=5)
    await reply.data(b"final")


async def expect(request, reply):
    """Sends 100 only when asked, then reads the body; `refuse` answers 417 unread."""
    if "refuse" in request.query:
        reply.keep_alive = False
        await reply.head(417, [("connection", "close")] if reply.protocol == "h1" else [], length=0)
        return
    if "100-continue" in (request.get("expect") or ""):
        await reply.informational(100)
    await digest(request, reply)


async def early(request, reply):
    """Answers before the body was read, and goes on reading it."""
    await reply.head(200, length=5)
    await reply.data(b"early")
    await request.read()


async def duplex(request, reply):
    """A head at once, and each chunk back as soon as it comes."""
    await reply.head(200, [("content-type", "application/octet-stream")])
    async for chunk in request.chunks():
        await reply.data(chunk)


async def malformed(request, reply):
    """Bytes that are no response, chosen by `kind`."""
    kinds = {
        "garbage": b"\x16\x03\x01 this is not HTTP\r\n\r\n",
        "status": b"HTTP/1.1 abc OK\r\ncontent-length: 0\r\n\r\n",
        "version": b"HTTP/3.7 200 OK\r\ncontent-length: 0\r\n\r\n",
        "both": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"
                b"0\r\n\r\n",
        "negative": b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nhello",
        "lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        "field": b"HTTP/1.1 200 OK\r\nbad name: x\r\ncontent-length: 0\r\n\r\n",
        "nul": b"HTTP/1.1 200 OK\r\nx: a\x00b\r\ncontent-length: 0\r\n\r\n",
        "huge": b"HTTP/1.1 200 OK\r\nx: " + b"a" * (1 << 20) + b"\r\n\r\n",
    }
    await request.read()
    reply.keep_alive = False
    await reply.raw(kinds[request.query["kind"]])
    reply.ended = True


async def hop_by_hop(request, reply):
    """A response full of fields that belong to one connection only."""
    await request.read()
    listed = [("keep-alive", "timeout=5"), ("proxy-authenticate", "Basic"), ("x-kept", "yes")]
    if reply.protocol == "h1":
        listed += [("connection", "x-private"), ("x-private", "secret"),
                   ("proxy-connection", "keep-alive"), ("upgrade", "h2c")]
    await reply.head(200, listed, length=2)
    await reply.data(b"ok")


async def websocket(request, reply):
    """The WebSocket handshake, then every message back (RFC 6455)."""
    if reply.protocol != "h1" or (request.get("upgrade") or "").lower() != "websocket":
        await reply.head(400, length=0)
        return
    key = request.get("sec-websocket-key").encode() + WEBSOCKET_KEY_SUFFIX
    accept = base64.b64encode(hashlib.sha1(key).digest()).decode()
    await reply.head(101, [("upgrade", "websocket"), ("connection", "upgrade"),
                           ("sec-websocket-accept", accept)])
    reply.ended, reply.keep_alive = True, False
    session = reply.session
    while True:
        opcode, payload = await _read_frame(session)
        if opcode == 8:
            await reply.raw(_frame(8, payload))
            await reply.close()
        if opcode == 9:
            await reply.raw(_frame(10, payload))
        elif opcode in (1, 2):
            await reply.raw(_frame(opcode, payload))


async def _take(session, count):
    while len(session.buffer) < count:
        if not await session._more():
            raise Aborted
    data = bytes(session.buffer[:count])
    del session.buffer[:count]
    return data


async def _read_frame(session):
    first, second = await _take(session, 2)
    size = second & 127
    if size == 126:
        size = int.from_bytes(await _take(session, 2), "big")
    elif size == 127:
        size = int.from_bytes(await _take(session, 8), "big")
    mask = await _take(session, 4)
    data = await _take(session, size)
    whole = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return first & 15, (int.from_bytes(data, "big") ^ whole).to_bytes(size, "big")


def _frame(opcode, payload):
    size = len(payload)
    if size < 126:
        return bytes([128 | opcode, size]) + payload
    if size < 65_536:
        return bytes([128 | opcode, 126]) + size.to_bytes(2, "big") + payload
    return bytes([128 | opcode, 127]) + size.to_bytes(8, "big") + payload


BEHAVIOURS = {name: value for name, value in {
    "hello": hello, "echo": echo, "digest": digest, "fields": fields, "large": large,
    "delay": delay, "never": never, "drip": drip, "stall": stall, "truncate": truncate,
    "reset-head": reset_head, "close-head": close_head, "reset-body": reset_body,
    "204": no_content, "304": not_modified, "trailers": trailers, "expect": expect,
    "informational": informational, "early": early, "duplex": duplex, "malformed": malformed,
    "hop-by-hop": hop_by_hop, "websocket": websocket}.items()}
