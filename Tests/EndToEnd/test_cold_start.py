"""The first requests for a host whose protocol is not known, and hosts that change theirs."""

import asyncio
import contextlib

import httpx
import pytest

from edge.waiting import until

COUNT = 100


def at_once(edge, path, count=COUNT, clients=4):
    """Sends so many requests at the same time, over a few connections; the responses."""
    async def run():
        context = edge.authority.client_context(None)
        async with contextlib.AsyncExitStack() as stack:
            made = [await stack.enter_async_context(httpx.AsyncClient(
                http2=True, verify=context, trust_env=False, timeout=60))
                for _ in range(clients)]
            base = f"https://localhost:{edge.port}"
            # A connection each, so that nothing but the upstream is cold.
            for client in made:
                assert (await client.get(base + "/unknown")).status_code == 404
            return await asyncio.gather(
                *(made[n % clients].get(base + path) for n in range(count)))
    return asyncio.run(run())


@pytest.fixture
def secure(upstream_with, certificates):
    """An upstream for id 1 behind TLS that speaks what ALPN says."""
    def make(*alpn, **options):
        return upstream_with(
            ["127.0.0.2"], certificates.upstream.server_context(alpn), **options)
    return make


def until_dialled(edge, upstream):
    """Waits until each dial has come to a TLS handshake, and each is known on both sides.

    The last ones may still be under way when the others have served all that waited.
    """
    def dialled():
        return (edge.metric("edge_upstream_dials_total"),
                edge.metric("edge_upstream_handshakes_total", result="success"))
    until(lambda: dialled() == (len(upstream.connections),) * 2,
          what=lambda: f"{dialled()} dials and handshakes of {len(upstream.connections)}")


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_requests_to_an_h2_host_share_one_dial(edge_for, secure, workers):
    upstream = secure("h2", "http/1.1")
    edge = edge_for(upstream, {"workers": workers}, scheme="https")
    responses = at_once(edge, "/api/delay?id=1&ms=100", clients=4 * workers)
    assert [r.status_code for r in responses] == [200] * COUNT
    # Each worker that was asked has a connection of its own, and no other.
    until_dialled(edge, upstream)
    assert len(upstream.connections) <= workers
    assert all(c.protocol == "h2" and c.requests > 0 for c in upstream.connections)
    assert sum(c.requests for c in upstream.connections) == COUNT
    assert edge.host("id-1.apps.test")["learned"] == "h2"


def test_an_h2_host_of_few_streams_gets_as_many_connections_as_it_takes(edge_for, secure):
    upstream = secure("h2", max_streams=10)
    edge = edge_for(upstream, {"workers": 1, "upstream": {"max_connections_per_host": 4}},
                    scheme="https")
    responses = at_once(edge, "/api/delay?id=1&ms=50")
    assert [r.status_code for r in responses] == [200] * COUNT
    until_dialled(edge, upstream)
    assert 2 <= len(upstream.connections) <= 4


def test_the_first_requests_to_an_h1_host_dial_up_to_the_cap(edge_for, secure):
    upstream = secure("http/1.1")
    edge = edge_for(upstream, {"workers": 1, "upstream": {"max_connections_per_host": 8}},
                    scheme="https")
    responses = at_once(edge, "/api/delay?id=1&ms=50")
    assert [r.status_code for r in responses] == [200] * COUNT
    until_dialled(edge, upstream)
    assert len(upstream.connections) == 8, "to the cap, and never beyond"
    assert edge.host("id-1.apps.test")["learned"] == "h1"


def test_two_workers_share_the_cap_of_an_h1_host(edge_for, secure):
    upstream = secure("http/1.1")
    edge = edge_for(upstream, {"workers": 2, "upstream": {"max_connections_per_host": 8}},
                    scheme="https")
    busy, most = set(), 0

    async def work(request, reply):
        nonlocal most
        busy.add(request)
        most = max(most, len(busy))
        await asyncio.sleep(0.02)
        busy.discard(request)
        await reply.head(200, length=0)
    upstream.script["/api/work"] = work
    responses = at_once(edge, "/api/work?id=1", clients=8)
    assert [r.status_code for r in responses] == [200] * COUNT
    assert 2 <= most <= 8


@pytest.mark.parametrize("before, after", [("h2", "http/1.1"), ("http/1.1", "h2")])
def test_a_host_that_changes_its_protocol_is_learned_anew(
        edge_for, secure, before, after):
    upstream = secure(before)
    edge = edge_for(upstream, {"workers": 2}, scheme="https")
    names = {"h2": "h2", "http/1.1": "h1"}

    def ask():
        responses = at_once(edge, "/api/delay?id=1&ms=5", 40)
        assert [r.status_code for r in responses] == [200] * 40
        return edge.host("id-1.apps.test")["learned"]
    assert ask() == names[before]
    # Old connections live on beside new ones of the other kind, then go.
    upstream.context.set_alpn_protocols([after])
    assert ask() in names.values()
    upstream.close_connections()
    assert ask() == names[after]
    until(lambda: names[before] not in {c.protocol for c in upstream.open_connections})


def test_a_host_that_cannot_be_dialled_is_unknown_again(edge_for, secure):
    upstream = secure("http/1.1")
    edge = edge_for(upstream, {"workers": 1}, scheme="https")
    assert edge.curl("/api/hello?id=1").status == 200
    assert edge.host("id-1.apps.test")["learned"] == "h1"
    upstream.close()
    assert edge.curl("/api/hello?id=1").status == 502
    assert edge.host("id-1.apps.test")["learned"] is None
    # So the first requests after that are those of a cold start.
    again = secure("h2", port=upstream.port)
    responses = at_once(edge, "/api/delay?id=1&ms=50")
    assert [r.status_code for r in responses] == [200] * COUNT
    assert len(again.connections) == 1
