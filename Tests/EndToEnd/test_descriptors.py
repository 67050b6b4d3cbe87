"""When descriptors run out, accepting pauses instead of spinning, and goes on afterwards."""

import socket
import time

import pytest

from edge.waiting import until

LIMIT = 96


@pytest.fixture
def edge(edges, configuration, upstream):
    return edges(configuration(upstream, {"workers": 1, "timeouts": {"handshake": "60s"}}),
                 descriptors=LIMIT)


def fill(edge):
    """Connects until well past the limit; the kernel's queue takes what the proxy cannot."""
    socks = []
    for _ in range(LIMIT + 60):
        sock = socket.socket()
        sock.settimeout(5)
        sock.connect(edge.address())
        socks.append(sock)
    return socks


def test_accepting_pauses_without_spinning_and_recovers(edge):
    assert edge.curl("/api/hello?id=1").status == 200
    kept = edge.http1()
    assert kept.get("/api/hello?id=1").status == 200
    socks = fill(edge)
    try:
        until(lambda: len(edge.descriptors()) >= LIMIT - 24, what="the descriptors are used up")
        before, began = edge.cpu(), time.monotonic()
        until(lambda: time.monotonic() - began > 2, every=0.1)
        assert edge.cpu() - before < 0.5, "spinning on accept"
        assert kept.get("/api/hello?id=1").status == 200, "who is in is still served"
    finally:
        for sock in socks:
            sock.close()
    until(lambda: edge.curl("/api/hello?id=1", check=False).status == 200, what="serving again")
    kept.close()
    until(lambda: len(edge.descriptors()) < LIMIT // 2, what="descriptors are given back")
    assert edge.registry()["drift"] is False


def test_a_dial_without_a_descriptor_is_a_clean_failure(edge, upstream):
    with edge.http1() as kept:
        assert kept.get("/api/hello?id=1").status == 200
        socks = fill(edge)
        try:
            until(lambda: len(edge.descriptors()) >= LIMIT - 24)
            statuses = {kept.get(f"/api/hello?id={n}").status for n in range(2, 13)}
            assert statuses <= {200, 502, 503}
        finally:
            for sock in socks:
                sock.close()
        until(lambda: kept.get("/api/hello?id=12").status == 200)
