"""Clients that take their time, and one that does not, to see that it never has to wait."""

import contextlib
import itertools
import socket
import ssl
import threading
import time

from .clients import Truncated
from .waiting import PATIENCE, until

# Short enough to wait for, long enough for a machine that is busy with other things.
DEADLINE = "1500ms"
SECONDS = 1.5
MIN_RATE = 2000


def read_to_end(sock, seconds=PATIENCE):
    """Everything up to the end of the connection, however it ends."""
    return drip(sock, (), seconds=seconds)


def drip(sock, pieces, every=0.05, seconds=PATIENCE):
    """Sends pieces one by one and reads meanwhile; what had come when the peer closed.

    Fails if the peer puts up with it for `seconds`.
    """
    pieces, received = iter(pieces), bytearray()
    deadline, due = time.monotonic() + seconds, 0.0
    while (now := time.monotonic()) < deadline:
        try:
            if now >= due and (piece := next(pieces, None)) is not None:
                sock.sendall(piece)
                due = now + every
        except (ConnectionError, ssl.SSLError):
            # What came before the end can still be read.
            pieces = iter(())
        sock.settimeout(max(due - now, 0.001) if due > now else every)
        try:
            data = sock.recv(65_536)
        except (socket.timeout, ssl.SSLWantReadError):
            continue
        except (ConnectionError, ssl.SSLError):
            return bytes(received)
        if not data:
            return bytes(received)
        received += data
    raise AssertionError(f"still connected after {seconds} s; received {bytes(received[-300:])}")


def octets(data):
    """Each byte by itself."""
    return (data[at:at + 1] for at in range(len(data)))


def for_ever(data):
    """The bytes of `data`, one by one, again and again."""
    return (octet for _ in itertools.count() for octet in octets(data))


def client_hello(context, server_name="localhost"):
    """The first flight of a TLS client, as bytes."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname=server_name)
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


class GoodClient:
    """Asks again and again, on one connection, and expects an answer each time.

    Only a connection that its own thread let rest for longer than the deadline may have ended.
    """

    def __init__(self, edge, path="/api/hello?id=9", allowed=(200,), pause=0.02):
        self.edge, self.path, self.allowed, self.pause = edge, path, allowed, pause
        self.statuses = {}
        self.refusals = []
        self.problem = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, *_):
        self._stop.set()
        self._thread.join(40)
        assert not self._thread.is_alive(), "a good client waits for its answer"
        if kind is None:
            assert self.problem is None, f"a good client was let down: {self.problem}"
            assert self.statuses, "the good client was not answered once"

    def _run(self):
        client, begun = None, 0.0
        try:
            while not self._stop.is_set():
                is_kept, client = client is not None, client or self.edge.http1()
                before, begun = begun, time.monotonic()
                try:
                    try:
                        client.request("GET", self.path)
                    finally:
                        rested = time.monotonic() - before
                    response = client.read()
                except (Truncated, ConnectionError, ssl.SSLError):
                    if not is_kept or rested < SECONDS:
                        raise
                    client.close()
                    client = None
                    continue
                self.statuses[response.status] = self.statuses.get(response.status, 0) + 1
                if response.status == 503:
                    self.refusals.append(response)
                assert response.status in self.allowed, f"{response.status}: {response.text}"
                if (response.get("connection") or "").lower() == "close":
                    client.close()
                    client = None
                self._stop.wait(self.pause)
        except Exception as problem:  # noqa: BLE001 - told by the test's own thread
            self.problem = f"{type(problem).__name__}: {problem}"
        finally:
            if client:
                client.close()


def impatient(certificates, **limits):
    """Changes to a configuration: every deadline is short; TLS first, then a plain listener."""
    return {
        "listeners": [
            {"address": "127.0.0.1:0", "tls": {"certificates": [certificates.ecdsa.options]}},
            {"address": "127.0.0.1:0"}],
        "timeouts": {name: DEADLINE for name in ("handshake", "head", "body", "write", "idle")},
        "upstream": {"idle_timeout": "4s"},
        "limits": {"min_rate": MIN_RATE, **limits}}


@contextlib.contextmanager
def reaped(edge, kind, good=True):
    """What happens inside meets a deadline of this kind; nothing of it is left, nobody waits."""
    def count():
        return edge.metric("edge_timeouts_total", kind=kind)
    before = count()
    with GoodClient(edge) if good else contextlib.nullcontext() as client:
        until(lambda: client is None or client.statuses, 20, "a good client's first answer")
        yield
        until(lambda: count() > before, 20,
              lambda: f"a timeout of kind {kind}: {edge_timeouts(edge)}")
    until(lambda: nothing_lives(edge), 20, lambda: f"nothing left: {edge.ledger()}")


def edge_timeouts(edge):
    return {dict(labels).get("kind"): value for (name, labels), value in edge.metrics().items()
            if name == "edge_timeouts_total" and value}


def nothing_lives(edge, but=0):
    """Whether no client is left, except so many good ones."""
    ledger = edge.ledger()
    return all(ledger[kind]["live"] <= but for kind in
               ("front_socket", "front_tls", "front_http2", "exchange", "waiter"))
