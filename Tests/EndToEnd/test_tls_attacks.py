"""Hostile handshakes: some thousands of ClientHellos and handshakes that are wrong in every way.

Whatever comes, the proxy lives, serves others meanwhile, counts the failure and keeps nothing.
"""

import os
import random
import socket
import struct

import pytest

from edge import tlswire as wire
from edge.siege import UNLIMITED, Siege, ended
from edge.tlswire import TLS12, TLS13, Ended, Raw, client_hello, extensions, message, record
from edge.upstream import Upstream
from edge.waiting import until

SEED = 20_461


def hello(version=0x0304, session=b"", rng=None):
    """A ClientHello that would be accepted; the same each time for the same `rng`."""
    rng = rng or random.Random(SEED)
    return client_hello(extensions(rng.randbytes(32), version=version), random=rng.randbytes(32),
                        session=session)


def hello_record(**options):
    return record(wire.HANDSHAKE, hello(**options), 0x0301)


@pytest.fixture(scope="module")
def siege(module_edges, module_keep, configuration):
    upstream = module_keep(Upstream(["127.0.0.2", "127.0.0.3"]))
    siege = Siege(module_edges(configuration(upstream, UNLIMITED)))
    rng = random.Random(SEED)
    with siege.group():
        siege.assault(mutation(rng, hello_record()) for _ in range(300))
        for _ in range(50):
            with TLS13(siege.edge.address()) as client:
                client.get("/api/hello?id=1")
    siege.settle()
    return siege


# Bytes that are no handshake, or almost one.

def mutation(rng, data):
    """The bytes with a few of them changed."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flipped(rng):
    """1200 hellos, of either version, with up to eight bits flipped."""
    return [mutation(rng, hello_record(version=rng.choice((0x0303, 0x0304)), rng=rng))
            for _ in range(1200)]


def truncated(rng):
    """Every beginning of a hello, the record's length as it is or that of what follows."""
    body = hello(rng=rng)
    whole = record(wire.HANDSHAKE, body, 0x0301)
    return [whole[:size] for size in range(len(whole))] + [
        record(wire.HANDSHAKE, body[:size], 0x0301) for size in range(1, len(body))]


def lying(rng):
    """Hellos whose bytes 1 to n, which hold all lengths, say something else."""
    body = hello(session=rng.randbytes(32), rng=rng)
    cases = []
    for at in range(1, len(body) - 1):
        for value in (0, 1, 0x7FFF, 0xFFFF, rng.randrange(0x10000)):
            cases.append(record(wire.HANDSHAKE, body[:at] + struct.pack(">H", value)
                                + body[at + 2:], 0x0301))
    return rng.sample(cases, 900)


def doubled(rng):
    """Each extension twice, beside the first one or at the end."""
    listed = extensions(rng.randbytes(32))
    return [record(wire.HANDSHAKE, client_hello(listed[:place] + [again] + listed[place:]), 0x0301)
            for again in listed for place in range(len(listed) + 1)]


def stuffed(rng):
    """Extensions of any number with any content, known ones with a wrong one."""
    numbers = [*range(64), 0x3374, 0xFF01, 0xFE0D, 0x4469, 0x0A0A]
    cases = []
    for _ in range(900):
        listed = [(number, rng.randbytes(rng.randrange(64)) if rng.random() < 0.3 else body)
                  for number, body in extensions(rng.randbytes(32))]
        for _ in range(rng.randrange(4)):
            listed.insert(rng.randrange(len(listed) + 1),
                          (rng.choice(numbers), rng.randbytes(rng.randrange(200))))
        cases.append(record(wire.HANDSHAKE, client_hello(listed), 0x0301))
    return cases


def other_records(rng):
    """Records of any type and version with any content, alone and before a good hello."""
    cases = []
    for _ in range(700):
        body = rng.randbytes(rng.choice((0, 1, 2, 5, 64, 300)))
        kind = rng.choice((20, 21, 22, 23, 24, 0, 255, rng.randrange(256)))
        first = record(kind, body, rng.choice((0x0300, 0x0301, 0x0303, 0x0304, 0x0002, 0xFFFF)))
        cases.append(first + (hello_record(rng=rng) if rng.random() < 0.5 else b""))
    return cases


def noise(rng):
    """Bytes of any kind."""
    return [rng.randbytes(rng.choice((1, 4, 5, 6, 100, 2000))) for _ in range(700)]


def reordered(rng):
    """Messages that are not the first, alone and before a hello."""
    kinds = [*range(26), 67, 254, 255]
    later = [message(kind, rng.randbytes(size)) for kind in kinds for size in (0, 1, 40)]
    return ([record(wire.HANDSHAKE, part, 0x0301) for part in later]
            + [record(wire.HANDSHAKE, part + hello(rng=rng), 0x0301) for part in later]
            + [hello_record(rng=rng) + record(wire.HANDSHAKE, part) for part in later]
            + [hello_record(rng=rng) + hello_record(rng=rng)])


def too_large(rng):
    """Records above 2^14 + 256 bytes, and hellos that announce more than is ever needed."""
    return ([record(wire.HANDSHAKE, hello(rng=rng) + bytes(size), 0x0301)
             for size in (16_385, 16_641, 20_000, 60_000)]
            + [record(kind, b"\x01" * 100, 0x0301, length=length)
               for kind in (20, 21, 22, 23) for length in (16_385, 16_641, 0xFFFF)]
            + [record(wire.HANDSHAKE, message(wire.CLIENT_HELLO, bytes(100), length), 0x0301)
               for length in (16_385, 65_536, 131_396, 0xFFFFFF)])


def tiny(rng):
    """Floods of empty and one-byte records before, within and instead of a hello."""
    body = hello(rng=rng)
    empty = record(wire.HANDSHAKE, b"", 0x0301)
    return ([empty * count for count in (1, 31, 33, 5000)]
            + [empty * count + record(wire.HANDSHAKE, body, 0x0301) for count in (1, 33)]
            + [record(wire.HANDSHAKE, body[:5], 0x0301) + empty * 40
               + record(wire.HANDSHAKE, body[5:], 0x0301)]
            + [record(wire.CHANGE_CIPHER_SPEC, b"\1") * count for count in (1, 2, 5000)]
            + [hello_record(rng=rng) + record(wire.CHANGE_CIPHER_SPEC, b"\1") * 5000]
            + [record(wire.ALERT, b"\1\0") * count for count in (1, 5000)]
            + [record(wire.ALERT, b"\1\x5a") * 5000 + hello_record(rng=rng)]
            + [record(wire.HANDSHAKE, body[:50], 0x0301) + record(wire.ALERT, b"\1\x5a")
               + record(wire.HANDSHAKE, body[50:], 0x0301)]
            + [record(wire.HANDSHAKE, body[:50], 0x0301) + record(wire.DATA, b"x")
               + record(wire.HANDSHAKE, body[50:], 0x0301)]
            + [record(wire.DATA, b"") * 5000, record(wire.HEARTBEAT, b"\1\x40\0") * 50])


def other_protocols(_):
    """What is meant for another port."""
    return [
        # SSL 2.0, alone and as older clients used it to ask for TLS.
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80" + bytes(34),
        b"\x80\x2b\x01\x03\x01\x00\x12\x00\x00\x00\x10\x00\x00\x2f\x00\x00\x35" + bytes(28),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"POST / HTTP/1.1\r\n",
        b"HEAD / HTTP/1.0\r\n", b"CONNECT localhost:443 HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n", b"EHLO localhost\r\n", b"\0" * 4096, b"\xff" * 4096, b"",
        b"\x16",
    ]


GROUPS = [flipped, truncated, lying, doubled, stuffed, other_records, noise, reordered, too_large,
          tiny, other_protocols]


@pytest.mark.parametrize("group", GROUPS, ids=[group.__name__ for group in GROUPS])
def test_a_broken_hello_fails_and_harms_nobody(siege, group):
    payloads = group(random.Random(f"{SEED} {group.__name__}"))
    with siege.group(failures=len(payloads)):
        answers = siege.assault(payloads)
    for payload, answer in zip(payloads, answers):
        assert answer[:1] in (b"", b"\x15", b"\x16"), (payload.hex(), answer[:80])
        assert len(answer) < 8192, (payload.hex(), len(answer))


def test_there_are_thousands_of_them():
    """The groups above are as large as they are said to be."""
    assert sum(len(group(random.Random(f"{SEED} {group.__name__}"))) for group in GROUPS) >= 5000


# What is strange, but right.

@pytest.mark.parametrize("version", [0x0303, 0x0304], ids=["1.2", "1.3"])
def test_a_hello_may_be_split_anywhere(siege, version):
    body = hello(version, rng=random.Random(SEED))
    cases = [record(wire.HANDSHAKE, body[:at], 0x0301) + record(wire.HANDSHAKE, body[at:], 0x0301)
             for at in range(1, len(body))]
    cases += [wire.records(wire.HANDSHAKE, body, size) for size in (1, 2, 3, 7)]
    with siege.group(failures=len(cases)):
        answers = siege.assault(cases)
    for at, answer in enumerate(answers):
        assert answer[:1] == b"\x16" and answer[5] == wire.SERVER_HELLO, (at, answer[:40])


def padded_hello(size):
    """A hello of so many bytes."""
    listed = extensions(bytes(range(32)))
    lacks = size - len(client_hello(listed + [(21, b"")]))
    return wire.records(
        wire.HANDSHAKE, client_hello(listed + [(21, bytes(lacks))]), wire.MOST_PLAINTEXT)


def test_a_hello_may_have_16_kib_and_no_more(siege):
    most = 16 * 1024 + 4
    with siege.group(failures=4):
        taken = siege.assault([padded_hello(size) for size in (4096, most)])
        refused = siege.assault([padded_hello(size) for size in (most + 1, 60_000)])
    assert [answer[:1] for answer in taken] == [b"\x16", b"\x16"]
    assert refused == [b"", b""]


def test_announced_lengths_take_no_memory(siege):
    """500 clients that announce the largest hello each would take 80 MiB."""
    with siege.group(failures=500):
        held = [Raw(siege.edge.address()) for _ in range(500)]
        for raw in held:
            raw.send(record(wire.HANDSHAKE, message(wire.CLIENT_HELLO, bytes(60), 131_000), 0x0301))
        assert all(ended(raw) for raw in held)
        for raw in held:
            raw.close()


@pytest.mark.parametrize("first", [1, 2, 3], ids="in {} records".format)
def test_the_second_hello_is_bounded_too(siege, first):
    """After HelloRetryRequest, and sent ahead of it; its header in one record or in several."""
    listed = [(number, b"\0\0" if number == wire.KEY_SHARE else body)
              for number, body in extensions(bytes(32))]
    one = record(wire.HANDSHAKE, client_hello(listed, wire.SUITES_13), 0x0301)
    two = wire.records(wire.HANDSHAKE, message(wire.CLIENT_HELLO, bytes(60), 131_000), 4 // first)
    change = record(wire.CHANGE_CIPHER_SPEC, b"\1")
    with siege.group(failures=2):
        with Raw(siege.edge.address()) as raw:
            raw.send(one)
            kind, body = raw.read()
            assert kind == wire.HANDSHAKE and wire.RETRY in body
            raw.send(change, two)
            assert ended(raw)
        with Raw(siege.edge.address()) as raw:
            raw.send(one, change, two)
            assert ended(raw)


# Later in the handshake.

def wrong_finishes():
    """Names, versions, and what comes in place of the client's last flight."""
    return [
        ("nothing", None),
        ("a plaintext alert", lambda c: c.send(record(wire.ALERT, b"\2\x28"))),
        ("a close_notify", lambda c: c.send(record(wire.ALERT, b"\1\0"))),
        ("data in plaintext", lambda c: c.send(record(wire.DATA, b"GET / HTTP/1.1\r\n\r\n"))),
        ("another hello", lambda c: c.send(hello_record())),
        ("a wrong Finished", lambda c: c.send_sealed(wire.HANDSHAKE, message(20, bytes(32)))),
        ("a short Finished", lambda c: c.send_sealed(wire.HANDSHAKE, message(20, bytes(4)))),
        ("a Finished without its rest",
         lambda c: c.send_sealed(wire.HANDSHAKE, message(20, bytes(4), 32))),
        ("a Certificate", lambda c: c.send_sealed(wire.HANDSHAKE, message(11, bytes(4)))),
        ("a large Certificate",
         lambda c: c.send_sealed(wire.HANDSHAKE, message(11, bytes(4), 0xFFFFFF))),
        ("EndOfEarlyData", lambda c: c.send_sealed(wire.HANDSHAKE, message(5, b""))),
        ("a KeyUpdate", lambda c: c.send_sealed(wire.HANDSHAKE, message(24, b"\1"))),
        ("empty messages", lambda c: c.send(*(c.seal(wire.HANDSHAKE, b"") for _ in range(500)))),
        ("CCS without end", lambda c: c.send(record(wire.CHANGE_CIPHER_SPEC, b"\1") * 5000)),
        ("a wrong CCS", lambda c: c.send(record(wire.CHANGE_CIPHER_SPEC, b"\2"))),
        ("alerts without end",
         lambda c: c.send(*(c.seal(wire.ALERT, b"\1\x5a") for _ in range(500)))),
        ("data before Finished", lambda c: c.send_sealed(wire.DATA, b"GET / HTTP/1.1\r\n\r\n")),
        ("garbage", lambda c: c.send(record(wire.HANDSHAKE, os.urandom(64)))),
        ("sealed garbage", lambda c: c.send(record(wire.DATA, os.urandom(64)))),
        ("too much", lambda c: c.send(record(wire.DATA, bytes(100), length=16_641))),
    ]


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_handshake_that_ends_wrongly_fails(siege, version):
    cases = wrong_finishes()
    with siege.group(failures=len(cases)):
        for name, act in cases:
            with version(siege.edge.address(), finish=False) as client:
                if act:
                    act(client)
                client.finish_sending()
                assert ended(client), name


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_damaged_last_flight_fails(siege, version):
    rng = random.Random(SEED)
    with siege.group(failures=150):
        for _ in range(150):
            with version(siege.edge.address(), finish=False) as client:
                client.send(mutation(rng, last_flight(client)))
                client.finish_sending()
                assert ended(client)


def last_flight(client):
    """What a client would end its handshake with; of TLS 1.3 only the tag counts, and all of it."""
    if isinstance(client, TLS13):
        return client.seal(wire.HANDSHAKE, client.finished())[5:]
    return record(wire.HANDSHAKE, client.key_exchange()) \
        + record(wire.CHANGE_CIPHER_SPEC, b"\1") + record(wire.HANDSHAKE, os.urandom(40))


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_leaving_at_every_stage_leaves_nothing(siege, version):
    """A close, and a reset, before the hello, within it, after it, and before the end."""
    whole = hello_record(version=0x0303 if version is TLS12 else 0x0304)
    with siege.group():
        for reset in (False, True):
            for size in (0, 1, 5, 50, len(whole)):
                with Raw(siege.edge.address()) as raw:
                    raw.send(whole[:size])
                    leave(raw, reset)
            for finish in (False, True):
                client = version(siege.edge.address(), finish=finish)
                leave(client, reset)


def leave(client, reset):
    if reset:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_half_a_handshake_does_not_stand_for_long(module_edges, configuration):
    """Every stage of a handshake is left standing, and reaped by `timeouts.handshake`."""
    siege = Siege(module_edges(configuration(9, {"timeouts": {"handshake": "2s"}})))
    edge, whole = siege.edge, hello_record()
    held = []
    for size in (0, 1, 5, 9, 100, len(whole)):
        for _ in range(40):
            raw = Raw(edge.address())
            raw.send(whole[:size])
            held.append(raw)
    held += [version(edge.address(), finish=False) for version in (TLS12, TLS13)
             for _ in range(20)]
    try:
        assert all(ended(raw) for raw in held)
        until(lambda: edge.metric("edge_timeouts_total", kind="handshake") == len(held),
              what=lambda: f"{len(held)} timeouts")
        until(lambda: edge.ledger()["front_tls"]["live"] == 0)
    finally:
        for raw in held:
            raw.close()


# Resumption and early data.

def psk(identity, binder=bytes(32)):
    """A pre_shared_key extension, which stands last."""
    return (wire.PSK, wire.vector(wire.vector(identity) + bytes(4)) + wire.vector(
        wire.vector(binder, 1)))


def test_a_ticket_that_is_none_is_no_session(siege):
    """Garbage of any size means a full handshake, on both versions."""
    rng = random.Random(SEED)
    cases = []
    for size in (1, 15, 16, 32, 79, 80, 160, 1000, 8000):
        plain = [(n, rng.randbytes(size) if n == wire.TICKET else b)
                 for n, b in extensions(b"", version=0x0303)]
        cases.append(record(wire.HANDSHAKE, client_hello(plain, wire.SUITES_12), 0x0301))
        listed = extensions(rng.randbytes(32)) + [psk(rng.randbytes(size))]
        cases.append(record(wire.HANDSHAKE, client_hello(listed, wire.SUITES_13), 0x0301))
    with siege.group(failures=len(cases)):
        answers = siege.assault(cases)
    for answer in answers:
        assert answer[:1] == b"\x16" and answer[5] == wire.SERVER_HELLO, answer[:40]
        assert len(answer) > 500, "with a certificate"


def test_a_ticket_without_its_secret_is_refused(siege):
    with TLS13(siege.edge.address()) as client:
        kind, body, _ = client.next_message()
        assert kind == wire.NEW_SESSION_TICKET
        lifetime, age, size = struct.unpack_from(">IIB", body)
        at = 9 + size
        ticket = body[at + 2:at + 2 + int.from_bytes(body[at:at + 2], "big")]
        rest = body[at + 2 + len(ticket):]
        assert rest == b"\0\0", f"no extension of the ticket, so no early data: {rest.hex()}"
    listed = extensions(os.urandom(32)) + [psk(ticket)]
    with siege.group(failures=1):
        with Raw(siege.edge.address()) as raw:
            raw.send(record(wire.HANDSHAKE, client_hello(listed, wire.SUITES_13), 0x0301))
            with pytest.raises(Ended) as alert:
                raw.read()
            assert alert.value.args[0][0] == 2


def test_early_data_is_not_read(siege):
    """It is passed over, up to a record's worth, and never becomes a request."""
    seen = len(siege.edge.access_log(1))
    with siege.group():
        for much in (100, 5000):
            listed = extensions(os.urandom(32)) + [(wire.EARLY_DATA, b""), psk(os.urandom(100))]
            with Raw(siege.edge.address()) as raw:
                raw.send(record(wire.HANDSHAKE, client_hello(listed, wire.SUITES_13), 0x0301),
                         record(wire.DATA, os.urandom(much)))
                kind, body = raw.read()
                assert kind == wire.HANDSHAKE and wire.RETRY not in body
                raw.finish_sending()
                assert ended(raw)
        for much in (5, 40):
            listed = extensions(os.urandom(32)) + [(wire.EARLY_DATA, b""), psk(os.urandom(100))]
            with Raw(siege.edge.address()) as raw:
                raw.send(record(wire.HANDSHAKE, client_hello(listed, wire.SUITES_13), 0x0301),
                         *(record(wire.DATA, os.urandom(16_000)) for _ in range(much)))
                assert ended(raw)
    assert all(line["status"] == 200 for line in siege.edge.access_log(seen))
