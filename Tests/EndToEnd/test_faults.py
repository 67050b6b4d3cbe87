"""Each system call of the proxy fails once: the client sees it or does not, and nothing is left."""

import errno
import signal
import socket
import threading

import pytest

from edge import faults as faulty
from edge.dns import ScriptedDNS
from edge.faults import SHORT, Faults
from edge.frames import GOAWAY, NO_ERROR, PING, ping
from edge.ground import (
    DEADLINES, Ground, http1, http2, http10, over_tls, over_tls_http1, pages, websocket)
from edge.upstream import Upstream
from edge.waiting import until

E = errno
RECEIVING = [E.EINTR, E.EAGAIN, E.ECONNRESET, E.ETIMEDOUT, E.ENOMEM, SHORT]
SENDING = [E.EINTR, E.EAGAIN, E.EPIPE, E.ECONNRESET, E.ENOBUFS, E.ENOMEM, SHORT]
SOCKETS = {
    "accept4": [E.EMFILE, E.ENFILE, E.ENOBUFS, E.ENOMEM, E.ECONNABORTED, E.EAGAIN, E.EINTR,
                E.EPROTO, E.EPERM],
    "socket": [E.EMFILE, E.ENFILE, E.ENOBUFS, E.ENOMEM],
    "connect": [E.ECONNREFUSED, E.ENETUNREACH, E.EADDRNOTAVAIL, E.EAGAIN, E.EINTR, E.ENOBUFS],
    "setsockopt": [E.ENOBUFS, E.ENOMEM],
    "getsockopt": [E.ENOBUFS, E.ECONNRESET],
    "getsockname": [E.ENOBUFS],
    "fcntl": [E.EMFILE],
    "recv": RECEIVING,
    "recvfrom": [E.EINTR, E.EAGAIN, E.ECONNREFUSED, SHORT],
    "send": SENDING,
    "shutdown": [E.ENOTCONN],
    "close": [E.EINTR, E.EIO],
    "epoll_ctl": [E.ENOMEM, E.ENOSPC],
    "epoll_wait": [E.EINTR],
    "write": [E.EINTR, E.EAGAIN, E.ENOSPC, E.EPIPE, SHORT],
}

@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return faulty.build(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def settings(configuration, module_keep, certificates):
    """Routes by path: to HTTP/1, to h2c, and to https upstreams, one host for each id."""
    plain = module_keep(Upstream())
    secure = module_keep(Upstream(context=certificates.upstream.server_context()))

    def route(path, upstream, scheme="http", **more):
        return {"path": path, "id": {"query": "id"},
                "upstream": f"{scheme}://id-{{id}}.wild.test:{upstream.port}",
                "host": "upstream", **more}
    trust = {"tls": {"ca": str(certificates.authority.certificate)}}
    dns = module_keep(ScriptedDNS())
    return configuration(None, {**DEADLINES, "routes": [
        route("/h1", plain, versions=["1.1"]), route("/h2c", plain, versions=["h2c"]),
        route("/tls", secure, "https", **trust),
        route("/tls1", secure, "https", versions=["1.1"], **trust)],
        "resolver": {**DEADLINES["resolver"], "servers": [dns.address]}})


@pytest.fixture(scope="module")
def grounds():
    return []


@pytest.fixture
def ground(grounds, module_edges, settings, library, tmp_path_factory):
    """The file's proxy, or another one if a fault has killed it."""
    if not grounds or grounds[-1].edge.process.poll() is not None:
        grounds.append(Ground(module_edges, settings, library, tmp_path_factory.mktemp("ground")))
    return grounds[-1]


class Tunnel:
    """Takes an upgrade of one connection, and counts what comes after it."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.received = 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        sock, _ = self.listener.accept()
        with sock:
            sock.settimeout(60)
            head = b""
            while b"\r\n\r\n" not in head:
                head += sock.recv(1)
            sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n"
                         b"upgrade: bytes\r\n\r\n")
            while data := sock.recv(65_536):
                self.received += len(data)

    def close(self):
        self.listener.close()


def steps_of(table):
    return [pytest.param(call, codes, id=call) for call, codes in table.items()]


def some(*names):
    return {name: SOCKETS[name] for name in names}


@pytest.mark.parametrize("call, codes", steps_of(SOCKETS))
def test_http1_survives_each_call_that_fails(ground, call, codes):
    for code in codes:
        ground.walk(call, code, http1)


@pytest.mark.parametrize("call, codes", steps_of(some("recv", "send", "epoll_ctl")))
def test_an_answer_until_the_close_is_never_taken_for_whole(ground, call, codes):
    for code in codes:
        ground.walk(call, code, http10)


@pytest.mark.parametrize("call, codes", steps_of(some("recv", "send", "epoll_ctl", "close")))
def test_http2_survives_each_call_that_fails(ground, call, codes):
    for code in codes:
        ground.walk(call, code, http2)


# Its handshakes are dear: one code of each kind.
OVER_TLS = {"recv": [E.EAGAIN, E.ECONNRESET, SHORT], "send": [E.EAGAIN, E.EPIPE, E.ENOBUFS, SHORT],
            "connect": [E.ECONNREFUSED, E.EADDRNOTAVAIL], "getsockopt": [E.ECONNRESET]}


@pytest.mark.parametrize("call, codes", steps_of(OVER_TLS))
def test_tls_upstreams_survive_each_call_that_fails(ground, call, codes):
    for code in codes:
        ground.walk(call, code, over_tls)
        ground.walk(call, code, over_tls_http1)


@pytest.mark.parametrize("call, codes", steps_of(some("recv", "send", "shutdown", "close")))
def test_a_tunnel_survives_each_call_that_fails(ground, call, codes):
    for code in codes:
        ground.walk(call, code, websocket)


PAGES = {**some("recv", "send", "epoll_ctl", "close", "write"), "read": [E.EINTR, E.EAGAIN, E.EIO],
         "open": [E.EMFILE, E.ENFILE, E.ENOMEM]}


@pytest.mark.parametrize("call, codes", steps_of(PAGES))
def test_the_admin_pages_survive_each_call_that_fails(ground, call, codes):
    for code in codes:
        if call != "write" or code == E.EINTR:
            ground.walk(call, code, pages)


LASTING = [("socket", E.EMFILE), ("socket", E.ENFILE), ("connect", E.EADDRNOTAVAIL),
           ("setsockopt", E.ENOBUFS), ("epoll_ctl", E.ENOSPC), ("epoll_ctl", E.ENOMEM),
           ("recv", E.ENOMEM), ("send", E.ENOBUFS), ("getsockopt", E.ENOBUFS)]


@pytest.mark.parametrize("call, code", LASTING,
                         ids=[f"{call}-{faulty.name(code)}" for call, code in LASTING])
@pytest.mark.parametrize("scenario", [http1, http2, over_tls])
def test_what_fails_for_a_while_is_over_with_its_cause(ground, scenario, call, code):
    for first in (1, 2, 3):
        ground.faults.arm(call, first, code, ("proxy", "dns"), lasts=True)
        scenario(ground.edge)
        fired = ground.faults.disarm()
        ground.check()
        assert fired or first > 1
        assert set(scenario(ground.edge)) == {"answered"}
        ground.check()


@pytest.mark.parametrize("code", [E.EMFILE, E.ENFILE, E.ENOBUFS, E.ENOMEM])
def test_clients_wait_while_none_can_be_accepted(ground, code):
    before = ground.edge.metric("edge_accept_pauses_total")
    ground.faults.arm("accept4", 1, code, lasts=True)
    waiting = Waiting(lambda: http1(ground.edge))
    until(lambda: ground.faults.fired() >= 3, what="the listener is tried again")
    assert waiting.is_alive()
    ground.faults.disarm()
    waiting.join(20)
    assert waiting.outcomes == ["answered"] * 3
    assert ground.edge.metric("edge_accept_pauses_total") >= before + 3
    ground.check()


def test_what_a_client_sent_into_a_tunnel_arrives_before_its_end(
        edges, configuration, library, tmp_path, keep):
    server, faults = keep(Tunnel()), Faults(library, tmp_path / "faults")
    edge = edges(configuration(server, name="id-{id}.wild.test"), environment=faults.environment)
    with edge.http1() as client:
        client.request("GET", "/api/x?id=1",
                       fields=[("Connection", "upgrade"), ("Upgrade", "bytes")])
        assert client.read().status == 101
        faults.arm("send", 1, E.EAGAIN, lasts=True)
        client.send(bytes(1000))
    # For as long as the kernel takes nothing, each look of it makes another attempt.
    until(lambda: faults.fired() >= 5000 or not server.thread.is_alive(), 40, "attempts to send")
    faults.disarm()
    server.thread.join(20)
    assert server.received == 1000


def test_a_write_that_has_to_wait_wins_no_idle_time(
        edges, configuration, library, tmp_path, upstream):
    faults = Faults(library, tmp_path / "faults")
    edge = edges(configuration(upstream, {"timeouts": {"idle": "2s"}}),
                 environment=faults.environment)
    with edge.frames() as client:
        client.request(1)
        assert client.response(1)[0] == 200

        def goodbye():
            faults.arm("send", 1, E.EAGAIN)
            client.send(ping())
            answer = client.until(lambda f: f.kind in (PING, GOAWAY))
            assert faults.disarm() or answer.kind == GOAWAY
            return answer.kind == GOAWAY and answer
        # A PING each tenth of a second, which is far from a flood.
        found = until(goodbye, what="an end although answers to PINGs had to wait", every=0.1)
        assert found.code == NO_ERROR


class Waiting(threading.Thread):
    """A client in a thread of its own."""

    def __init__(self, scenario):
        super().__init__(daemon=True)
        self.scenario, self.outcomes = scenario, None
        self.start()

    def run(self):
        self.outcomes = self.scenario()


MEMORY = {"openssl": ("malloc", "tls"), "c-ares": ("malloc", "dns"),
          "http2": ("malloc", "http2"), "nghttp2": ("http2_malloc", "http2")}
MEMORY_SCENARIOS = [
    ("http2", http2), ("http2", over_tls), ("nghttp2", http2), ("nghttp2", over_tls),
    ("openssl", http1), ("openssl", over_tls), ("openssl", http2), ("c-ares", http1)]


@pytest.mark.parametrize("whose, scenario", MEMORY_SCENARIOS)
def test_without_memory_a_connection_ends_not_the_process(ground, whose, scenario):
    call, caller = MEMORY[whose]
    # nghttp2 asks a hundred times, and each of them is another state to give up in.
    dense = 400 if whose == "nghttp2" else 40
    assert ground.walk(call, E.ENOMEM, scenario, (caller,), dense=dense, growth=1.08)


@pytest.mark.parametrize("scenario", [http2, over_tls])
def test_while_http2_finds_no_memory_its_connections_end(ground, scenario):
    first, fired = 1, True
    while fired:
        ground.faults.arm("http2_malloc", first, E.ENOMEM, ("http2",), lasts=True)
        with ground.edge.blamed():
            scenario(ground.edge)
        fired = ground.faults.disarm()
        ground.check()
        first += 1
    assert first > 40
    assert set(scenario(ground.edge)) == {"answered"}


def test_a_failure_tells_how_the_proxy_died(edges, configuration):
    edge = edges(configuration(1))
    edge.expected_exit = -signal.SIGKILL
    edge.send(signal.SIGKILL)
    with pytest.raises(AssertionError) as failure:
        until(lambda: edge.registry() is None, what="a failure")
    assert "died of SIGKILL" in str(failure.value)
    assert f"ready pid={edge.pid}" in str(failure.value)
