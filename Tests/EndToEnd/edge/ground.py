"""A proxy under faults: what clients may see of one, and what must be left of it."""

import errno
import itertools
import ssl

from . import faults as faulty
from .clients import HTTP1, Response, Truncated, connect
from .faults import SHORT, Faults, walk
from .upstream import pattern
from .waiting import until

BODY = pattern(100_000)
LARGE = 100_000
# Above every deadline of the configuration together: later is a hang.
PATIENCE = 20
# Short, for some faults are noticed by them alone; long enough for services that share a busy
# machine, and for the bystander to rest meanwhile.
DEADLINES = {
    "workers": 1,
    "upstream": {"dial_timeout": "2s", "handshake_timeout": "2s", "response_timeout": "3s",
                 "idle_timeout": "3s", "queue_timeout": "4s", "keepalive": "2s"},
    "timeouts": {"handshake": "4s", "head": "4s", "body": "4s", "write": "4s", "idle": "60s"},
    "resolver": {"timeout": "500ms", "attempts": 3},
}
# What the kernel may do at any time and a client must not notice.
UNNOTICED = {errno.EINTR, errno.EAGAIN, SHORT}
# Whatever these come to, the client waits a moment at most.
HARMLESS = {"accept4", "close", "write", "epoll_wait", "recvfrom"}
ids = itertools.count(1000)


class Ground:
    """A proxy with faults, its upstreams, and a connection that no fault may touch."""

    def __init__(self, start, settings, library, folder):
        self.faults = Faults(library, folder / "faults")
        self.edge = start(settings, environment=self.faults.environment)
        self.bystander = self.edge.http1(seconds=PATIENCE)
        self.check_good()
        self.base = until(self.rest, what="a base")

    def rest(self):
        """Descriptors beside connections, once nothing is under way; None before."""
        registry = self.edge.registry()
        live = {entry["kind"]: entry["live"] for entry in registry["ledger"]}
        assert registry["drift"] is False, registry["ledger"]
        quiet = live["exchange"] == live["waiter"] == live["resolver_query"] == 0
        if not quiet or live["front_socket"] != 1:
            return None
        return registry["descriptors"]["open"] - live["front_socket"] - live["upstream_socket"]

    def check_good(self):
        assert self.bystander.get("/h1/hello?id=7").text.startswith("hello from"), "a bystander"

    def check(self):
        """Nothing is under way, nothing has leaked, and others are served."""
        self.edge.assert_alive()
        with self.edge.blamed():
            self.check_good()
            until(lambda: self.rest() == self.base,
                  what=lambda: f"at rest with {self.base} descriptors: {self.edge.registry()}")

    def walk(self, call, code, scenario, callers=("proxy", "dns"), **options):
        """Walks through a scenario; what must go unnoticed is answered, whatever else is judged."""
        must_answer = call in HARMLESS or code in UNNOTICED and call != "connect"

        def perform():
            with self.edge.blamed():
                outcomes = scenario(self.edge)
            assert not must_answer or outcomes == ["answered"] * len(outcomes), (
                outcomes, outcomes.cause)
        steps = walk(self.faults, call, code, perform, self.check, callers, **options)
        faulty.record(f"{scenario.__name__} {call} {faulty.name(code)} {steps}")
        return steps


# Scenarios: each dials and looks up a new name, and judges what its client sees.

def judged(response, expected):
    """Whole and right, an error of the proxy's own, or visibly cut."""
    if not response.complete:
        return "cut"
    if response.status == 200:
        assert response.body == expected or callable(expected) and expected(response), (
            f"a wrong body of {len(response.body)} bytes")
        return "answered"
    assert response.status in (502, 503, 504), f"{response.status} {response.text}"
    assert response.get("proxy-status").startswith("edge-proxy; error="), response
    return f"refused: {response.status} {response.get('proxy-status')} {response.text}"


def hello_of(number):
    """Says whether a response is the greeting of this id's host."""
    return lambda response: response.text.startswith(f"hello from id-{number}.wild.test")


class Cut(Exception):
    """The connection ended."""


class Outcomes(list):
    """What became of requests, in order, and what the client knows of the end of its connection."""

    cause = None


def outcomes_of(body):
    """The outcomes that `body` collects; its connection may end at any point, but not hang."""
    outcomes = Outcomes()
    try:
        body(outcomes)
    except TimeoutError:
        raise AssertionError("neither answered nor cut: a hang") from None
    except (Truncated, ConnectionError, ssl.SSLError, Cut) as end:
        outcomes.append("cut")
        outcomes.cause = repr(end)
    return outcomes


def http1(edge, prefix="/h1"):
    """GET, POST, GET over one connection."""
    number = next(ids)

    def run(outcomes):
        with edge.http1(seconds=PATIENCE) as client:
            for method, path, body, expected in [
                    ("GET", "hello", b"", hello_of(number)), ("POST", "echo", BODY, BODY),
                    ("GET", "hello", b"", hello_of(number))]:
                client.request(method, f"{prefix}/{path}?id={number}", body=body)
                response = client.read()
                outcomes.append(judged(response, expected))
                if response.get("connection") == "close":
                    return
    return outcomes_of(run)


def http10(edge):
    """An answer whose end is the connection's: only TLS's farewell says that it is whole."""
    number = next(ids)

    def run(outcomes):
        context = edge.authority.client_context(["http/1.1"])
        with context.wrap_socket(edge.tcp(seconds=PATIENCE), server_hostname="localhost",
                                 suppress_ragged_eofs=False) as sock:
            sock.sendall(f"GET /h1/large?id={number}&size={LARGE}&framing=close HTTP/1.0\r\n"
                         "Host: localhost\r\n\r\n".encode())
            received = b""
            while data := sock.recv(65_536):
                received += data
        head, _, body = received.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        fields = [tuple(line.lower().split(": ", 1)) for line in lines[1:]]
        status = int(lines[0].split()[1]) if head else 0
        response = Response(status, fields, body, complete=bool(head))
        outcomes.append(judged(response, pattern(LARGE)))
    return outcomes_of(run)


def http2(edge, prefix="/h2c"):
    """Three streams at once over one connection, one with a body, one with a long answer."""
    number = next(ids)

    def run(outcomes):
        with edge.http2(seconds=PATIENCE) as client:
            hello = client.start(path=f"{prefix}/hello?id={number}")
            large = client.start(path=f"{prefix}/large?id={number}&size={LARGE}")
            echo = client.start("POST", f"{prefix}/echo?id={number}", end=False)
            try:
                client.send(echo, BODY, end=True)
            except AssertionError:
                raise Cut from None
            outcomes.append(judged(client.finish(hello, PATIENCE), hello_of(number)))
            outcomes.append(judged(client.finish(large, PATIENCE), pattern(LARGE)))
            outcomes.append(judged(client.finish(echo, PATIENCE), BODY))
    return outcomes_of(run)


def over_tls(edge):
    """The same as `http1`, with an https upstream that takes HTTP/2."""
    return http1(edge, "/tls")


def over_tls_http1(edge):
    """The same as `http2`, with an https upstream that takes HTTP/1.1."""
    return http2(edge, "/tls1")


UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
           ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]


def websocket(edge):
    """An upgrade, a message and its echo, and the farewell."""
    number = next(ids)

    def frame(opcode, payload):
        return bytes([128 | opcode, 128 | len(payload)]) + bytes(4) + payload

    def run(outcomes):
        with edge.http1(seconds=PATIENCE) as client:
            client.request("GET", f"/h1/websocket?id={number}", fields=UPGRADE)
            response = client.read()
            if response.status != 101:
                outcomes.append(judged(response, None))
                return
            for opcode, payload in [(1, b"a message"), (8, b"\x03\xe8")]:
                client.send(frame(opcode, payload))
                wanted = bytes([128 | opcode, len(payload)]) + payload
                while len(client.buffer) < len(wanted):
                    if not client.more():
                        raise Cut
                assert client.buffer[:len(wanted)] == wanted, bytes(client.buffer)
                del client.buffer[:len(wanted)]
                outcomes.append("answered")
            assert client.at_end(PATIENCE), "the tunnel ends with the upstream"
    return outcomes_of(run)


def pages(edge):
    """The admin listener's pages, each over a connection of its own."""
    host, port = edge.admin.rsplit(":", 1)

    def run(outcomes):
        for path, mark in [("/metrics", b"edge_ledger_live"), ("/registry", b'"ledger"'),
                           ("/healthz", b"ok")]:
            with HTTP1(connect((host, int(port)), seconds=PATIENCE)) as client:
                outcomes.append(judged(client.get(path), lambda response: mark in response.body))
    return outcomes_of(run)
