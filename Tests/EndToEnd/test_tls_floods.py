"""Hostile clients after the handshake: work without data, records that are wrong, renegotiation.

Each connection ends, its cost is bounded, and nobody else notices.
"""

import os
import re
import subprocess

import pytest

from edge import tlswire as wire
from edge.siege import UNLIMITED, Siege, ended
from edge.tlswire import TLS12, TLS13, client_hello, extensions, message, record
from edge.upstream import Upstream
from edge.waiting import until


@pytest.fixture(scope="module")
def siege(module_edges, module_keep, configuration):
    upstream = module_keep(Upstream(["127.0.0.2", "127.0.0.3"]))
    siege = Siege(module_edges(configuration(upstream, UNLIMITED)))
    with siege.group():
        for version in (TLS12, TLS13):
            for _ in range(30):
                with version(siege.edge.address()) as client:
                    client.get("/api/hello?id=1")
                    client.send_sealed(wire.DATA, os.urandom(wire.MOST_PLAINTEXT))
                    assert ended(client)
    siege.settle()
    return siege


def opened(siege, version):
    """A connection that has had an answer."""
    client = version(siege.edge.address())
    assert client.get("/api/hello?id=1").startswith(b"HTTP/1.1 200 ")
    return client


# Work without data.

def updates(client, count, data=0, requested=True, cut=None):
    """KeyUpdates, with so many bytes of data behind each, or in records of `cut` bytes."""
    pieces = []
    for _ in range(count):
        if cut:
            whole = message(wire.KEY_UPDATE, bytes([requested]))
            pieces += [client.seal(wire.HANDSHAKE, whole[at:at + cut])
                       for at in range(0, len(whole), cut)]
            client.writing = client.writing.update()
        else:
            pieces.append(client.key_update(requested))
        if data:
            pieces.append(client.seal(wire.DATA, b"G" * data))
    return b"".join(pieces)


@pytest.mark.parametrize("options", [
    {"requested": True}, {"requested": False}, {"data": 1}, {"data": 400}, {"cut": 2}],
    ids=["requested", "not requested", "a byte after each", "some data after each", "in pieces"])
def test_a_flood_of_key_updates_ends_the_connection(siege, options):
    """20 000 of them would cost a third of a second; what is answered is bounded as well."""
    with siege.group(floods=1):
        with opened(siege, TLS13) as client:
            flood = updates(client, 20_000, **options)
            before = siege.edge.cpu()
            client.send(flood)
            client.socket.settimeout(10)
            assert len(client.drain()) < 64 * 1024
            assert siege.edge.cpu() - before < 0.3


def test_a_few_key_updates_are_nothing(siege):
    """As often as any client would, with requests between them."""
    with siege.group(floods=0):
        with opened(siege, TLS13) as client:
            for requested in [True, False] * 15:
                client.send(client.key_update(requested))
                assert client.get("/api/hello?id=1").startswith(b"HTTP/1.1 200 ")


def test_key_updates_that_data_pays_for_may_go_on(siege):
    """16 KiB of data for each: 150 of them are more than could be had for nothing."""
    floods = siege.edge.metric("edge_floods_total")
    body = b"x" * wire.MOST_PLAINTEXT
    with siege.group():
        with opened(siege, TLS13) as client:
            client.send_sealed(
                wire.DATA, b"POST /api/digest?id=1 HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Length: %d\r\n\r\n" % (len(body) * 150))
            for _ in range(150):
                client.send(client.seal(wire.DATA, body), client.key_update())
            assert client.answer().startswith(b"HTTP/1.1 200 ")
    assert siege.edge.metric("edge_floods_total") == floods


def test_renegotiation_is_refused_once(siege):
    """One no_renegotiation and the end, however many ClientHellos come."""
    again = client_hello(extensions(b"", version=0x0303), wire.SUITES_12)
    with siege.group(floods=2):
        for count in (1, 20_000):
            with opened(siege, TLS12) as client:
                flood = b"".join(client.seal(wire.HANDSHAKE, again) for _ in range(count))
                before = siege.edge.cpu()
                client.send(flood)
                client.socket.settimeout(10)
                answer = client.drain()
                # A buffer full of ClientHellos is worked on before the end.
                assert len(answer) < 4096
                assert siege.edge.cpu() - before < 0.3
                if count == 1:
                    kind, body = client.reading.open(answer[:5], answer[5:5 + answer[4]])
                    assert (kind, body) == (wire.ALERT, b"\1\x64")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_gets_no_renegotiation(siege, version):
    """`R` in s_client asks for it; TLS 1.3 does not have it."""
    with siege.group():
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{siege.edge.port}",
                   "-servername", "localhost", version]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT) as client:
            seen = b""
            while b"Verify return code" not in seen:
                seen += client.stdout.read1(65536)
            client.stdin.write(b"R\n")
            client.stdin.flush()
            client.stdin.close()
            seen += client.stdout.read()
            client.wait(10)
        text = seen.decode(errors="replace")
        assert "RENEGOTIATING" in text
        assert re.search("no renegotiation|unexpected message|wrong ssl version", text), text


# Records that are wrong, or right and useless.

def second_hello(_):
    return record(wire.HANDSHAKE, client_hello(extensions(bytes(32))), 0x0301)


def too_long(client):
    """Sealed content one byte longer than is allowed."""
    return client.seal(wire.DATA, bytes(wire.MOST_PLAINTEXT + 1))


def replayed(client):
    once = client.seal(wire.DATA, b"GET ")
    return once + once


def damaged(client):
    whole = bytearray(client.seal(wire.DATA, b"GET /"))
    whole[-1] ^= 1
    return bytes(whole)


def interleaved(client):
    """Data within a handshake message (RFC 8446 §5.1)."""
    update = message(wire.KEY_UPDATE, b"\1")
    return client.seal(wire.HANDSHAKE, update[:3]) + client.seal(wire.DATA, b"GET ") \
        + client.seal(wire.HANDSHAKE, update[3:])


FATAL = [
    ("an alert in plaintext", lambda c: record(wire.ALERT, b"\2\x28"), (TLS13, TLS12)),
    ("close_notify in plaintext", lambda c: record(wire.ALERT, b"\1\0"), (TLS13, TLS12)),
    ("data in plaintext", lambda c: record(wire.DATA, b"GET / HTTP/1.1\r\n\r\n"), (TLS13, TLS12)),
    ("a hello in plaintext", second_hello, (TLS13, TLS12)),
    ("a sealed hello", lambda c: c.seal(wire.HANDSHAKE, second_hello(c)[5:]), (TLS13,)),
    ("a fatal alert", lambda c: c.seal(wire.ALERT, b"\2\x28"), (TLS13, TLS12)),
    ("close_notify", lambda c: c.seal(wire.ALERT, b"\1\0"), (TLS13, TLS12)),
    ("an unknown alert", lambda c: c.seal(wire.ALERT, b"\2\xff"), (TLS13, TLS12)),
    ("half an alert", lambda c: c.seal(wire.ALERT, b"\1"), (TLS13, TLS12)),
    ("alerts without end", lambda c: b"".join(
        c.seal(wire.ALERT, b"\1\x5a") for _ in range(5000)), (TLS13, TLS12)),
    ("empty records without end", lambda c: b"".join(
        c.seal(wire.DATA, b"") for _ in range(5000)), (TLS13, TLS12)),
    ("empty records with padding", lambda c: b"".join(
        c.seal(wire.DATA, b"", 1000) for _ in range(2000)), (TLS13,)),
    ("CCS", lambda c: record(wire.CHANGE_CIPHER_SPEC, b"\1"), (TLS13,)),
    ("sealed CCS", lambda c: c.seal(wire.CHANGE_CIPHER_SPEC, b"\1"), (TLS13, TLS12)),
    ("a heartbeat", lambda c: c.seal(wire.HEARTBEAT, b"\1\x40\0"), (TLS13, TLS12)),
    ("a heartbeat in plaintext", lambda c: record(wire.HEARTBEAT, b"\1\x40\0"), (TLS13, TLS12)),
    ("an unknown record", lambda c: c.seal(99, b"x"), (TLS13, TLS12)),
    ("padding only", lambda c: c.seal(0, b"", 100), (TLS13,)),
    ("a ticket", lambda c: c.seal(wire.HANDSHAKE, message(wire.NEW_SESSION_TICKET, bytes(20))),
     (TLS13, TLS12)),
    ("a HelloRequest", lambda c: c.seal(wire.HANDSHAKE, message(wire.HELLO_REQUEST, b"")),
     (TLS13, TLS12)),
    ("a Finished", lambda c: c.seal(wire.HANDSHAKE, message(wire.FINISHED, bytes(32))),
     (TLS13, TLS12)),
    ("a Certificate", lambda c: c.seal(wire.HANDSHAKE, message(wire.CERTIFICATE, bytes(4))),
     (TLS13, TLS12)),
    ("a wrong KeyUpdate", lambda c: c.seal(wire.HANDSHAKE, message(wire.KEY_UPDATE, b"\2")),
     (TLS13,)),
    ("a long KeyUpdate", lambda c: c.seal(wire.HANDSHAKE, message(wire.KEY_UPDATE, b"\1\1")),
     (TLS13,)),
    ("a KeyUpdate", lambda c: c.seal(wire.HANDSHAKE, message(wire.KEY_UPDATE, b"\1")), (TLS12,)),
    ("an empty message", lambda c: c.seal(wire.HANDSHAKE, b""), (TLS13,)),
    ("a huge message", lambda c: c.seal(wire.HANDSHAKE, message(wire.KEY_UPDATE, b"", 0xFFFFFF)),
     (TLS13, TLS12)),
    ("data in a message", interleaved, (TLS13,)),
    ("too much content", too_long, (TLS13, TLS12)),
    ("too long a record", lambda c: record(wire.DATA, bytes(100), length=wire.MOST_SEALED + 1),
     (TLS13,)),
    ("too long a record of 1.2", lambda c: record(wire.DATA, bytes(100), length=18_433), (TLS12,)),
    ("a record twice", replayed, (TLS13, TLS12)),
    ("a damaged record", damaged, (TLS13, TLS12)),
    ("a record of nothing", lambda c: record(wire.DATA, b""), (TLS13, TLS12)),
    ("less than a tag", lambda c: record(wire.DATA, bytes(7)), (TLS13, TLS12)),
]


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_what_is_no_data_ends_the_connection(siege, version):
    with siege.group(failures=0):
        for name, make, versions in FATAL:
            if version not in versions:
                continue
            with opened(siege, version) as client:
                client.send(make(client))
                assert ended(client), name


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_small_records_are_only_slow(siege, version):
    """A request of one byte per record, with an empty record after each."""
    request = b"GET /api/hello?id=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with siege.group(floods=0):
        with opened(siege, version) as client:
            for _ in range(20):
                client.send(*(client.seal(wire.DATA, request[at:at + 1])
                              + client.seal(wire.DATA, b"") for at in range(len(request))))
                assert client.answer().startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_request_can_be_padded_to_a_full_record(siege, version):
    """The longest record that is allowed is taken."""
    head = b"POST /api/digest?id=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16300\r\n\r\n"
    with siege.group(floods=0):
        with opened(siege, version) as client:
            client.send_sealed(wire.DATA, (head + bytes(16_300))[:wire.MOST_PLAINTEXT])
            client.send_sealed(wire.DATA, (head + bytes(16_300))[wire.MOST_PLAINTEXT:])
            assert client.answer().startswith(b"HTTP/1.1 200 ")


def test_who_floods_and_does_not_read_is_ended_too(siege):
    """Answers to KeyUpdates wait in the proxy only as far as the bound goes."""
    with siege.group(floods=20):
        held = [opened(siege, TLS13) for _ in range(20)]
        for client in held:
            client.send(updates(client, 3000))
        until(lambda: siege.edge.ledger()["front_tls"]["live"] <= 1)
        for client in held:
            client.close()
