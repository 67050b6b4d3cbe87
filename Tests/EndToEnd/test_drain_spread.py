"""SIGTERM: clients are told to leave one after the other, not all in one moment."""

import signal
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from edge import frames
from edge.clients import Truncated
from edge.gate import Gate
from edge.waiting import until

SPREAD = 3.0


class Watched:
    """A client at rest that notes when it is told to leave: by GOAWAY, or by the close."""

    def __init__(self, client, is_http2):
        self.client, self.is_http2 = client, is_http2
        self.told = None
        client.socket.setblocking(False)

    def look(self):
        """Reads what is there; the first GOAWAY or the end is what counts."""
        try:
            while data := self.client.socket.recv(65_536):
                self.client.buffer += data
            self.note()
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except OSError:
            self.note()
        while self.is_http2 and (found := self.client._take()):
            if found.kind == frames.GOAWAY:
                self.note()

    def note(self):
        self.told = self.told or time.monotonic()


def watch(clients, seconds=30):
    """Looks at all clients until each was told; when that was, in order."""
    deadline = time.monotonic() + seconds
    while waiting := [client for client in clients if client.told is None]:
        assert time.monotonic() < deadline, f"{len(waiting)} were not told"
        for client in waiting:
            client.look()
        time.sleep(0.005)
    return sorted(client.told for client in clients)


def is_spread(times, what):
    """No tenth of the whole has more than half of the clients, however busy the machine is."""
    whole = times[-1] - times[0]
    assert SPREAD / 2 < whole < SPREAD * 3, f"{what}: {whole} s"
    for tenth in range(10):
        begin = times[0] + whole * tenth / 10
        share = sum(begin <= at <= begin + whole / 10 for at in times) / len(times)
        assert share <= 0.5, f"{what}: {share:.0%} in tenth {tenth + 1}"


def opened(edge, keep, count):
    """Clients at rest after a request each, half of either version."""
    clients = []
    for number in range(count // 2):
        one, two = keep(edge.http1()), keep(edge.frames())
        assert one.get(f"/api/hello?id={number % 12 + 1}").status == 200
        two.request(1, path=f"/api/hello?id={number % 12 + 1}")
        assert two.response(1)[0] == 200
        clients += [Watched(one, False), Watched(two, True)]
    return clients


def asks_until_told(edge):
    """One request after the other over a connection; the statuses, the last one's with close."""
    with edge.http1() as client:
        answers, begun = [], time.monotonic()
        while True:
            before, begun = begun, time.monotonic()
            try:
                try:
                    client.request(target=f"/api/hello?id={len(answers) % 12 + 1}")
                finally:
                    rested = time.monotonic() - before
                response = client.read()
            except (Truncated, ConnectionError, ssl.SSLError):
                # Who does not ask within the second that follows its turn is at rest.
                assert rested > 1, answers
                return answers, time.monotonic()
            answers.append(response.status)
            if response.get("connection") == "close":
                assert client.at_end()
                return answers, time.monotonic()
            time.sleep(0.05)


def test_hundreds_of_clients_leave_one_after_the_other(edge_for, upstream, keep):
    edge = edge_for(upstream, {"shutdown": {"grace": "30s", "spread": "3s"}})
    gate = Gate(upstream)
    idle = opened(edge, keep, 600)
    slow, two = [keep(edge.http1()) for _ in range(10)], keep(edge.http2())
    for client in slow:
        client.request(target="/api/gate?id=1")
    streams = [two.start(path="/api/gate?id=2") for _ in range(10)]
    until(lambda: gate.waiting == 20, 30)
    with ThreadPoolExecutor(20) as pool:
        busy = [pool.submit(asks_until_told, edge) for _ in range(20)]
        until(lambda: edge.ledger()["front_socket"]["live"] == 631)
        before = len(upstream.connections), len(upstream.requests)
        began = time.monotonic()
        edge.send(signal.SIGTERM)
        watching = pool.submit(watch, [client for client in idle if client.is_http2])
        closes = watch([client for client in idle if not client.is_http2])
        goaways = watching.result(30)
        answered = [run.result(30) for run in busy]
    is_spread(goaways, "GOAWAYs")
    is_spread(closes, "closes")
    assert {status for statuses, _ in answered for status in statuses} == {200}
    last = sorted(at - began for _, at in answered)
    assert last[-1] - last[0] > SPREAD / 4, f"told in one moment: {last}"
    dials, asked = len(upstream.connections) - before[0], len(upstream.requests) - before[1]
    assert dials < asked / 2, "connections to services were kept meanwhile"
    gate.open()
    assert [client.read().body for client in slow] == [b"/api/gate?id=1"] * 10
    assert [two.finish(stream).body for stream in streams] == [b"/api/gate?id=2"] * 10
    assert edge.wait(20) == 0


@pytest.mark.parametrize("spread", ["0s", "7s"])
def test_few_clients_are_not_held_back(edge_for, upstream, keep, spread):
    """Some clients end within their moment of a second, whatever the spread is."""
    edge = edge_for(upstream, {"shutdown": {"grace": "15s", "spread": spread}})
    clients = opened(edge, keep, 20)
    began = time.monotonic()
    edge.send(signal.SIGTERM)
    watch(clients)
    assert edge.wait(10) == 0
    assert time.monotonic() - began < 9


def test_the_deadline_holds_while_clients_are_told(edge_for, upstream, keep):
    edge = edge_for(upstream, {"workers": 1, "shutdown": {"grace": "2s", "spread": "1s"}})
    edge.expected_exit = 2
    for _ in range(150):
        keep(edge.http1()).request(target="/api/never?id=1")
    until(lambda: len(upstream.requests) == 150, 30)
    began = time.monotonic()
    edge.send(signal.SIGTERM)
    assert edge.wait(20) == 2
    assert 1.9 < time.monotonic() - began < 10


def test_handshakes_and_heads_under_way_are_finished(edge_for, upstream, keep):
    """Begun before the signal, completed before their turn has passed."""
    edge = edge_for(upstream, {"shutdown": {"grace": "15s", "spread": "1s"}})
    half = keep(edge.http1())
    half.send("GET /api/hello?id=1 HTTP/1.1\r\nHost: local")
    raw = [keep(edge.tcp()) for _ in range(4)]
    until(lambda: edge.ledger()["front_socket"]["live"] == 5)
    edge.send(signal.SIGTERM)
    statuses = []

    def shake(sock):
        context = edge.authority.client_context(["http/1.1"])
        with context.wrap_socket(sock, server_hostname="localhost") as secure:
            secure.sendall(b"GET /api/hello?id=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            statuses.append(secure.recv(4096).split(b" ")[1])
    threads = [threading.Thread(target=shake, args=(sock,)) for sock in raw]
    for thread in threads:
        thread.start()
    half.send("host\r\n\r\n")
    response = half.read()
    assert response.status == 200
    for thread in threads:
        thread.join(10)
    assert statuses == [b"200"] * 4
    half.socket.shutdown(socket.SHUT_RDWR)
    assert edge.wait(15) == 0


def test_a_flood_of_signals_ends_in_one_clean_drain(edge_for, upstream, keep):
    """SIGHUPs before, with and behind SIGTERM, and more of both while the process drains."""
    edge = edge_for(upstream, {"shutdown": {"grace": "15s", "spread": "1s"}})
    gate = Gate(upstream)
    client = keep(edge.http2())
    stream = client.start(path="/api/gate?id=1")
    until(lambda: gate.waiting == 1)
    for _ in range(20):
        edge.send(signal.SIGHUP)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        edge.send(number)
    until(lambda: edge.ask("/readyz")[0] == 503)
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        edge.send(number)
    gate.open()
    assert client.finish(stream).body == b"/api/gate?id=1"
    assert edge.wait(15) == 0
    assert "leaked" not in edge.control_log() and "refused" not in edge.control_log()
