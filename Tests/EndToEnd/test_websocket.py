"""WebSocket through the proxy: Upgrade from HTTP/1.1, extended CONNECT from HTTP/2."""

import asyncio
import os

import pytest
import websockets

from edge.waiting import until


def talk(edge, path, conversation, plain=False, **options):
    """Runs a conversation over one WebSocket."""
    async def run():
        scheme = "ws" if plain else "wss"
        host, port = edge.address()
        context = None if plain else edge.authority.client_context(["http/1.1"])
        async with websockets.connect(
                f"{scheme}://localhost:{port}{path}", ssl=context, host=host, proxy=None,
                max_size=None, open_timeout=50, **options) as socket:
            return await conversation(socket)
    return asyncio.run(asyncio.wait_for(run(), 60))


def test_messages_pass_both_ways(edge_for, upstream):
    edge = edge_for(upstream)

    async def conversation(socket):
        for message in ("hello", b"\x00\xff", "", "\u00e9" * 1000, os.urandom(300_000)):
            await socket.send(message)
            assert await socket.recv() == message
        await asyncio.wait_for(await socket.ping(), 10)
    talk(edge, "/api/websocket?id=1", conversation)
    assert upstream.requests[-1].get("upgrade") == "websocket"
    line = edge.access_log(1)[0]
    assert line["status"] == 101 and line["id"] == "1" and line["received"] > 300_000
    until(lambda: not upstream.open_connections, what="a tunnel is not kept for reuse")


def test_messages_pass_over_a_plain_listener(edge_for, upstream):
    edge = edge_for(upstream, {"listeners": [{"address": "127.0.0.1:0"}]})

    async def conversation(socket):
        await socket.send("plain")
        return await socket.recv()
    assert talk(edge, "/api/websocket?id=1", conversation, plain=True) == "plain"


def test_a_large_volume_passes_with_backpressure(edge_for, upstream):
    edge = edge_for(upstream)
    message = os.urandom(1 << 20)

    async def conversation(socket):
        async def send():
            for _ in range(16):
                await socket.send(message)
        sending = asyncio.ensure_future(send())
        for _ in range(16):
            assert await socket.recv() == message
        await sending
    talk(edge, "/api/websocket?id=1", conversation)


@pytest.mark.parametrize("size", [100, 200_000])
def test_what_is_sent_right_behind_the_upgrade_arrives(size, edge_for, upstream):
    """More than a head's worth waits in the kernel until the host has switched, not for ever."""
    edge = edge_for(upstream)
    payload = os.urandom(size)
    # A binary message of the client, masked with zeros (RFC 6455 section 5.2).
    message = b"\x82\xff" + size.to_bytes(8, "big") + bytes(4) + payload
    with edge.http1() as client:
        client.socket.sendall((
            "GET /api/websocket?id=1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").encode() + message)
        received = b""
        while not received.endswith(payload):
            more = client.socket.recv(65_536)
            assert more, "the tunnel has ended"
            received += more
    assert received.startswith(b"HTTP/1.1 101 ")


def test_an_upgrade_that_is_refused_is_an_ordinary_answer(edge_for, upstream):
    edge = edge_for(upstream)
    with edge.http1() as client:
        client.request("GET", "/api/hello?id=1", fields=[
            ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")])
        assert client.read().status == 200
        assert client.get("/api/hello?id=1").status == 200


def test_the_upstreams_end_ends_the_tunnel(edge_for, upstream):
    edge = edge_for(upstream)

    async def conversation(socket):
        await socket.send("x")
        await socket.recv()
        upstream.close_connections(reset=True)
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(socket.recv(), 10)
    talk(edge, "/api/websocket?id=1", conversation)


def test_the_clients_end_ends_the_tunnel(edge_for, upstream):
    edge = edge_for(upstream)

    async def conversation(socket):
        await socket.send("x")
        await socket.recv()
        socket.transport.abort()
    try:
        talk(edge, "/api/websocket?id=1", conversation)
    except websockets.ConnectionClosed:
        pass
    until(lambda: not upstream.open_connections)


def test_bytes_sent_with_the_upgrade_arrive(edge_for, upstream):
    edge = edge_for(upstream)
    with edge.http1() as client:
        client.send("GET /api/websocket?id=1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
                    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        assert client.read().status == 101
        client.send(b"\x81\x83\x00\x00\x00\x00abc")
        until(lambda: len(client.buffer) >= 5 or not client.more())
        assert bytes(client.buffer) == b"\x81\x03abc"


def test_many_tunnels_at_once(edge_for, upstream):
    edge = edge_for(upstream)

    async def one(context, number):
        host, port = edge.address()
        async with websockets.connect(
                f"wss://localhost:{port}/api/websocket?id={number % 12 + 1}", ssl=context,
                host=host, proxy=None, open_timeout=50) as socket:
            for turn in range(5):
                await socket.send(f"{number}-{turn}")
                assert await socket.recv() == f"{number}-{turn}"

    async def all_of_them():
        context = edge.authority.client_context(["http/1.1"])
        await asyncio.gather(*(one(context, number) for number in range(60)))
    asyncio.run(asyncio.wait_for(all_of_them(), 60))
    until(lambda: not upstream.open_connections)
