"""A proxy under attack: what must hold during and after each group of hostile connections."""

import contextlib
import threading
import time

from .tlswire import Raw
from .waiting import until

# What the process may grow by over all groups, once it is warm: buffers that workers keep, and the
# C library's own idea of what to give back.
MOST_GROWTH = 8 * 1024 * 1024


# A siege is laid by one address, which would soon be too fast for its limit.
UNLIMITED = {"limits": {"handshakes_per_second_per_address": 0}}


class Siege:
    """Counts what a proxy says of itself before a group of attacks, and again after it."""

    def __init__(self, edge):
        self.edge = edge
        self.descriptors = self.memory = 0

    def settle(self):
        """Takes the state that every group must come back to; the proxy is warm."""
        self._at_rest()
        self.descriptors = self._descriptors()
        self.memory = self.edge.rss()

    def failures(self):
        return self.edge.metric("edge_handshakes_total", result="failure")

    @contextlib.contextmanager
    def group(self, failures=None, floods=None):
        """One group; `failures` handshakes and `floods` are counted at its end, if given."""
        before, floods_before = self.failures(), self.edge.metric("edge_floods_total")
        with self._good_requests() as good:
            yield
        assert good and set(good) == {200}, f"good requests meanwhile: {good}"
        assert self.edge.curl("/api/hello?id=1").status == 200
        if failures is not None:
            until(lambda: self.failures() - before >= failures,
                  what=lambda: f"{failures} failures, not {self.failures() - before}")
            assert self.failures() - before == failures
        if floods is not None:
            until(lambda: self.edge.metric("edge_floods_total") - floods_before >= floods,
                  what=lambda: f"{floods} floods: {self.edge.metric('edge_floods_total')}")
        self._at_rest()
        if self.memory:
            until(lambda: self._descriptors() <= self.descriptors,
                  what=lambda: f"{self.descriptors} descriptors: {self.edge.descriptors()}")
            grown = self.edge.rss() - self.memory
            assert grown < MOST_GROWTH, f"grown by {grown} bytes"

    def _descriptors(self):
        """Open descriptors, without the connections kept to upstreams."""
        return len(self.edge.descriptors()) - self.edge.ledger()["upstream_socket"]["live"]

    def _at_rest(self):
        """Waits until no client is left, and the counts agree with what is there."""
        def nothing():
            ledger = self.edge.ledger()
            return all(ledger[kind]["live"] == 0 for kind in ("front_tls", "front_socket"))
        until(nothing, what=lambda: f"no client is left: {self.edge.ledger()}")
        assert self.edge.registry()["drift"] is False

    @contextlib.contextmanager
    def _good_requests(self):
        """A client that asks all the time; the statuses it got."""
        statuses, stop = [], threading.Event()

        def ask():
            with self.edge.http1() as client:
                while True:
                    statuses.append(client.get("/api/hello?id=2").status)
                    if stop.wait(0.01):
                        return
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        try:
            yield statuses
        finally:
            stop.set()
            thread.join(30)
        assert not thread.is_alive(), "a good request is not answered"

    def assault(self, payloads):
        """Sends each payload on a connection of its own, ends it, and returns what was answered."""
        answers = []
        for payload in payloads:
            with Raw(self.edge.address()) as raw:
                raw.send(payload)
                raw.finish_sending()
                answers.append(raw.drain())
        return answers


def ended(client, seconds=10):
    """Whether the peer closes the connection within the time, whatever it sends before."""
    client.socket.settimeout(seconds)
    began = time.monotonic()
    try:
        client.drain()
    except TimeoutError:
        return False
    return time.monotonic() - began < seconds
