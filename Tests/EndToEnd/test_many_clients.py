"""Many clients: idle ones are held cheaply, and no address takes what belongs to all."""

import concurrent.futures
import contextlib
import resource
import socket
import ssl

import pytest

from edge import frames
from edge.slow import GoodClient
from edge.waiting import until

EACH = 4000
ADDRESSES = [f"127.0.{third}.{last}" for third in (20, 21) for last in range(1, 9)]
# What one may cost at most, all told: 13 KiB are OpenSSL's session, and no buffer is in it.
MOST_BYTES = {"http/1.1": 18 * 1024, "h2": 36 * 1024}


@pytest.fixture
def many_descriptors():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def dial(edge, source, context=None, listener=0):
    """A connection from an address of our choice."""
    sock = socket.create_connection(edge.address(listener), 30, (source, 0))
    if context is None:
        return sock
    return context.wrap_socket(sock, server_hostname="localhost")


def rest_http1(sock):
    """One request, so that the connection is between requests."""
    sock.sendall(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert sock.recv(4096).startswith(b"HTTP/1.1 404 ")


def rest_http2(sock):
    """A preface, and the proxy's answer to it."""
    sock.sendall(frames.PREFACE + frames.settings())
    received = b""
    while frames.settings(ack=True) not in received:
        more = sock.recv(4096)
        assert more, "the connection ended"
        received += more


def open_many(edge, alpn, rest, count):
    """Descriptors of `count` idle TLS connections; TLS's own memory of this side is given back."""
    context = edge.authority.client_context([alpn])

    def one(number):
        sock = dial(edge, ADDRESSES[number % len(ADDRESSES)], context)
        rest(sock)
        return socket.socket(fileno=sock.detach())
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(count)))


@pytest.mark.timeout(300)
def test_thousands_of_idle_connections_are_cheap_and_hold_up_nobody(
        edges, configuration, upstream, many_descriptors):
    edge = edges(configuration(upstream, {
        "timeouts": {"idle": "10m", "head": "2m", "handshake": "2m"},
        "limits": {"max_connections": 9000}}), descriptors=20_000)
    edge.curl("/api/hello?id=9")
    with GoodClient(edge) as good:
        until(lambda: good.statuses, 20, "a good client's first answer")
        descriptors, connections = edge.sockets(), edge.ledger()["front_socket"]["live"]
        kept, costs = [], {}
        try:
            for alpn, rest in (("http/1.1", rest_http1), ("h2", rest_http2)):
                before = edge.rss()
                kept += open_many(edge, alpn, rest, EACH)
                costs[alpn] = (edge.rss() - before) / EACH
            ledger = edge.ledger()
            assert ledger["front_socket"]["live"] >= 2 * EACH
            assert ledger["front_http2"]["live"] == EACH
            assert edge.curl("/api/hello?id=1").status == 200
            assert edge.curl("/api/hello?id=2", version="1.1").status == 200
            answered = sum(good.statuses.values())
            until(lambda: sum(good.statuses.values()) > answered + 10, 30, "answers go on")
        finally:
            for sock in kept:
                sock.close()
        print("bytes per idle connection:", {name: round(cost) for name, cost in costs.items()})
        assert all(costs[alpn] < MOST_BYTES[alpn] for alpn in costs), costs
        until(lambda: edge.ledger()["front_socket"]["live"] <= connections, 60, edge.ledger)
        # One of the good client's connections to the upstream may have come or gone.
        until(lambda: edge.sockets() <= descriptors + 2, 20, edge.sockets)
    until(lambda: edge.ledger()["front_tls"]["live"] == 0, 20)
    assert edge.ledger()["front_http2"]["live"] == 0


# Limits.

def refused(edge, reason):
    return edge.metric("edge_front_connections_refused_total", reason=reason)


def plain(certificates, **more):
    """Changes to a configuration: TLS and a plain listener, and limits."""
    return {"workers": 2, "listeners": [
        {"address": "127.0.0.1:0", "tls": {"certificates": [certificates.ecdsa.options]}},
        {"address": "127.0.0.1:0"}], **more}


def is_served(sock):
    """Whether a request is answered on a connection that may have been closed at once."""
    sock.settimeout(10)
    try:
        sock.sendall(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return sock.recv(4096).startswith(b"HTTP/1.1 404 ")
    except (ConnectionError, ssl.SSLError):
        return False


def test_an_address_has_its_share_of_connections_and_others_have_theirs(
        edge_for, upstream, certificates, keep):
    edge = edge_for(upstream, plain(
        certificates, limits={"max_connections_per_address": 5}))
    greedy = [keep(dial(edge, "127.0.30.1", listener=1)) for _ in range(5)]
    assert all(is_served(sock) for sock in greedy)
    assert not is_served(keep(dial(edge, "127.0.30.1", listener=1)))
    assert refused(edge, "address_limit") == 1
    assert is_served(keep(dial(edge, "127.0.30.2", listener=1)))
    with pytest.raises((ConnectionError, ssl.SSLError)):
        dial(edge, "127.0.30.1", edge.authority.client_context(["h2"]))
    # A place that was given up can be taken again, as often as one likes.
    for _ in range(20):
        live = edge.ledger()["front_socket"]["live"]
        greedy.pop().close()
        until(lambda: edge.ledger()["front_socket"]["live"] < live)
        greedy.append(keep(dial(edge, "127.0.30.1", listener=1)))
        assert is_served(greedy[-1])
    assert refused(edge, "address_limit") == 2


def test_trusted_proxies_have_no_limits_per_address(edge_for, upstream, certificates, keep):
    edge = edge_for(upstream, plain(
        certificates, trusted_proxies=["127.0.31.0/24"],
        limits={"max_connections_per_address": 3, "handshakes_per_second_per_address": 1,
                "requests_per_second_per_address": 1}))
    trusted = [keep(dial(edge, "127.0.31.1", listener=1)) for _ in range(20)]
    assert all(is_served(sock) for sock in trusted)
    context = edge.authority.client_context(["http/1.1"])
    assert all(is_served(keep(dial(edge, "127.0.31.1", context))) for _ in range(20))
    others = [keep(dial(edge, "127.0.32.1", listener=1)) for _ in range(4)]
    assert [is_served(sock) for sock in others].count(False) == 1


def has_ipv6():
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
def test_an_ipv6_client_is_counted_by_its_prefix(edge_for, upstream, keep):
    edge = edge_for(upstream, {"listeners": [{"address": "[::1]:0"}],
                               "limits": {"max_connections_per_address": 3, "ipv6_prefix": 64}})
    kept = [keep(dial(edge, "::1")) for _ in range(3)]
    assert all(is_served(sock) for sock in kept)
    assert not is_served(keep(dial(edge, "::1")))
    # Another prefix counts anew; those that live on go off the count that they were put on.
    edge.configuration["limits"]["ipv6_prefix"] = 128
    edge.write(edge.configuration)
    edge.reload()
    more = [keep(dial(edge, "::1")) for _ in range(3)]
    assert all(is_served(sock) for sock in more)
    assert not is_served(keep(dial(edge, "::1")))
    for sock in kept + more:
        sock.close()
    until(lambda: edge.ledger()["front_socket"]["live"] == 0)
    until(lambda: edge.metric("edge_client_addresses") == 0)
    again = [keep(dial(edge, "::1")) for _ in range(3)]
    assert all(is_served(sock) for sock in again)


def test_the_process_has_a_limit_of_connections(edge_for, upstream, certificates, keep):
    edge = edge_for(upstream, plain(certificates, limits={"max_connections": 10}))
    kept = [keep(dial(edge, f"127.0.33.{n + 1}", listener=1)) for n in range(10)]
    assert all(is_served(sock) for sock in kept)
    assert not is_served(keep(dial(edge, "127.0.33.99", listener=1)))
    assert refused(edge, "limit") == 1
    kept.pop().close()
    until(lambda: edge.ledger()["front_socket"]["live"] == 9)
    assert is_served(keep(dial(edge, "127.0.33.99", listener=1)))


def test_handshakes_of_an_address_have_a_rate(edge_for, upstream, certificates, keep):
    edge = edge_for(upstream, plain(
        certificates, limits={"handshakes_per_second_per_address": 2}))
    context = edge.authority.client_context(["http/1.1"])
    made = failed = 0
    for _ in range(100):
        try:
            keep(dial(edge, "127.0.34.1", context))
            made += 1
        except (ConnectionError, ssl.SSLError):
            failed += 1
        if failed >= 3:
            break
    # Five seconds' worth at once, and what comes back while this runs.
    assert made >= 10 and failed == 3
    assert refused(edge, "handshake_rate") == 3
    # Plain connections and other addresses are not meant.
    assert is_served(keep(dial(edge, "127.0.34.1", listener=1)))
    assert is_served(keep(dial(edge, "127.0.34.2", context)))
    until(lambda: _handshakes(edge, context, keep), what="its turn comes again", every=0.2)


def _handshakes(edge, context, keep):
    try:
        keep(dial(edge, "127.0.34.1", context))
        return True
    except (ConnectionError, ssl.SSLError):
        return False


def test_requests_have_no_rate_unless_one_is_set(edge_for, upstream):
    edge = edge_for(upstream)
    with edge.http1() as client:
        assert all(client.get("/nowhere").status == 404 for _ in range(300))


def test_requests_of_an_address_have_a_rate_over_all_its_connections(edge_for, upstream):
    edge = edge_for(upstream, {"limits": {"requests_per_second_per_address": 1}})
    with edge.http1() as first, edge.http2() as second:
        answers = [client.get("/api/hello?id=1") for client in [first, second] * 10]
        statuses = [answer.status for answer in answers]
        assert statuses[:5] == [200] * 5 and set(statuses) == {200, 429}
        limited = {answer.version: answer for answer in answers if answer.status == 429}
        assert set(limited) == {"HTTP/1.1", "HTTP/2"}
        for answer in limited.values():
            assert answer.get("retry-after") == "1"
            assert "http_request_denied" in answer.get("proxy-status")
        # The connections serve on, and time gives turns back.
        until(lambda: first.get("/api/hello?id=1").status == 200, 10, every=0.3)
    assert edge.metric("edge_errors_total", reason="request_rate") >= statuses.count(429)


def test_a_reload_changes_the_limits_at_once(edge_for, upstream, certificates, keep):
    edge = edge_for(upstream, plain(certificates))

    def limits(**values):
        edge.write({**edge.configuration, "limits": values})
        edge.reload()
    kept = [keep(dial(edge, "127.0.35.1", listener=1)) for _ in range(6)]
    assert all(is_served(sock) for sock in kept)
    limits(max_connections_per_address=4)
    # Those that are there stay; the next one is one too many.
    assert all(is_served(sock) for sock in kept)
    assert not is_served(keep(dial(edge, "127.0.35.1", listener=1)))
    limits(max_connections_per_address=7)
    kept.append(keep(dial(edge, "127.0.35.1", listener=1)))
    assert is_served(kept[-1])
    limits(max_connections=3)
    assert not is_served(keep(dial(edge, "127.0.35.2", listener=1)))
    limits(requests_per_second_per_address=1)
    with edge.http1() as client:
        statuses = [client.get("/nowhere").status for _ in range(20)]
        assert 429 in statuses
    limits()
    with edge.http1() as client:
        assert {client.get("/nowhere").status for _ in range(20)} == {404}
