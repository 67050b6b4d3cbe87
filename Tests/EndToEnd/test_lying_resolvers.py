"""Resolvers that are dead, mute, broken or lying: right status, within the deadline, no leak."""

import itertools
import time

import pytest

from edge.configuration import merged
from edge.dns import (
    A, CNAME, FORMAT_ERROR, NAME_ERROR, REFUSED, SERVER_FAILURE, ScriptedDNS, address, encoded,
    record)
from edge.servers import refused_port
from edge.waiting import until

HERE = "127.0.0.1"
# Short enough to wait for, long enough for an answer on a machine with much else to do.
RESOLVER = {"timeout": "600ms", "attempts": 2, "search": False}
TRUNCATED = 0x0200
numbers = itertools.count(1)


def named(query, name, *more):
    """An answer whose record is for another name."""
    return query.reply(address(HERE, name=encoded(name)), *more)


def loop(query):
    """A record whose name points at itself."""
    return query.reply(record(A, b"\x7f\0\0\1", name=b"\xc0" + bytes([12 + len(query.question)])))


def alias_loop(query):
    return query.reply(record(CNAME, encoded("a.test")),
                       record(CNAME, b"\xc0\x0c", name=encoded("a.test")))


def alias(query):
    """Another name's address, by way of an alias."""
    there = [address(HERE, name=encoded("there.test"))] if query.kind == A else []
    return query.reply(record(CNAME, encoded("there.test")), *there)


def either(v4, v6):
    """One script for each family."""
    return lambda query: (v4 if query.kind == A else v6)(query)


def fine(query):
    return query.addresses(HERE)


def nothing(query):
    return query.reply()


def fails(code):
    return lambda query: query.reply(code=code)


# What the resolver does, and the statuses that are right then.
LIES = {
    "SERVFAIL": (fails(SERVER_FAILURE), {502}),
    "REFUSED": (fails(REFUSED), {502}),
    "FORMERR": (fails(FORMAT_ERROR), {502}),
    "NXDOMAIN": (fails(NAME_ERROR), {404}),
    "no data": (nothing, {404}),
    "silence": (lambda query: None, {504}),
    "another id": (lambda query: query.reply(address(HERE), number=query.number ^ 1), {504}),
    "another question":
        (lambda query: query.reply(address(HERE), question=encoded("x.test") + b"\0\1\0\1"), {504}),
    "no question": (lambda query: query.reply(address(HERE), question=b""), {502, 504}),
    "half a message": (lambda query: fine(query)[:len(query.question) + 16], {502, 504}),
    "a header only": (lambda query: fine(query)[:12], {502, 504}),
    "an empty datagram": (lambda query: b"", {502, 504}),
    "noise": (lambda query: query.data[:2] + bytes(range(200, 255)), {502, 504}),
    "the question back": (lambda query: query.data, {404, 502, 504}),
    "a compression loop": (loop, {404, 502, 504}),
    "an alias loop": (alias_loop, {404, 502}),
    "four bytes announced, two there":
        (lambda query: query.reply(address(HERE))[:-2], {404, 502, 504}),
    "a record of three bytes": (lambda query: query.reply(record(A, b"\x7f\0\0")), {404, 502}),
    "0.0.0.0": (lambda query: query.addresses("0.0.0.0"), {404, 502}),
    "::": (either(nothing, lambda query: query.addresses("::")), {404, 502}),
    "an IPv4 failure beside no data": (either(fails(SERVER_FAILURE), nothing), {502}),
    "no data beside an IPv6 failure": (either(nothing, fails(SERVER_FAILURE)), {502}),
}
# What must not keep anybody from the right address.
NUISANCES = {
    "IPv6 fails": either(fine, fails(SERVER_FAILURE)),
    "IPv6 does not exist": either(fine, fails(NAME_ERROR)),
    "IPv6 is not answered": either(fine, lambda query: None),
    "every answer twice": lambda query: [fine(query), fine(query)],
    "a forged id first": lambda query: [
        query.reply(address("127.0.0.9"), number=query.number ^ 1), fine(query)],
    "a forged question first": lambda query: [
        query.reply(address("127.0.0.9"), question=encoded("x.test") + b"\0\1\0\1"), fine(query)],
    "an alias": alias,
    "TTL 0": lambda query: query.addresses(HERE, ttl=0),
    "a TTL of 2^32 - 1": lambda query: query.addresses(HERE, ttl=(1 << 32) - 1),
    "a dead address first": lambda query: query.addresses("127.0.0.9", HERE),
    "thirty addresses":
        lambda query: query.addresses(HERE, *[f"127.0.1.{n}" for n in range(29)]),
}


@pytest.fixture
def lied_to(edge_for, keep, upstream_with):
    """A proxy whose resolver follows a script; asks for an id, and checks that nothing is left."""
    upstream = upstream_with([HERE])

    def start(script, **changes):
        dns = keep(ScriptedDNS(script))
        edge = edge_for(upstream, {"workers": 1, "resolver": {
            **RESOLVER, "servers": [dns.address], **changes}})
        edge.dns = dns
        return edge
    return start


def ask(edge, number=None):
    began = time.monotonic()
    response = edge.curl(f"/api/hello?id={number or next(numbers)}")
    assert time.monotonic() - began < 12
    registry = edge.settled()
    live = {entry["kind"]: entry["live"] for entry in registry["ledger"]}
    assert registry["drift"] is False and live["waiter"] == 0
    return response


@pytest.mark.parametrize("lie", LIES)
def test_a_resolver_that_lies_is_an_error_of_the_right_kind(lied_to, lie):
    script, statuses = LIES[lie]
    edge = lied_to(script)
    response = ask(edge)
    assert response.status in statuses, response
    assert "dns" in response.get("proxy-status"), response
    until(lambda: edge.ledger()["resolver_query"]["live"] == 0, what="no query is left")
    # It comes to its senses.
    edge.dns.script = fine
    assert ask(edge).status == 200


@pytest.mark.parametrize("nuisance", NUISANCES)
def test_a_nuisance_of_a_resolver_is_no_error(lied_to, nuisance):
    edge = lied_to(NUISANCES[nuisance])
    assert ask(edge).status == 200
    until(lambda: edge.ledger()["resolver_query"]["live"] == 0, what="no query is left")


def test_an_answer_for_another_name_is_not_believed(lied_to):
    edge = lied_to(lambda query: named(query, "other.test"))
    assert ask(edge).status in (404, 502, 504)


def test_a_truncated_answer_is_asked_for_over_tcp(lied_to):
    many = [f"127.0.{n >> 8}.{n & 255}" for n in range(2, 1200)]

    def script(query):
        return query.addresses(HERE, *many) if query.over_tcp else query.reply(flags=TRUNCATED)
    edge = lied_to(script)
    number = next(numbers)
    assert ask(edge, number).status == 200
    assert edge.dns.over_tcp >= 1
    assert len(edge.host(f"id-{number}.apps.test")["addresses"]) <= 32
    until(lambda: edge.ledger()["resolver_query"]["live"] == 0)


def test_a_truncated_answer_without_tcp_is_an_error(lied_to):
    edge = lied_to(lambda query: None if query.over_tcp else query.reply(flags=TRUNCATED))
    assert ask(edge).status in (502, 504)


def test_a_dead_resolver_is_an_error_at_once(edge_for, keep, upstream):
    port, held = refused_port()
    keep(held)
    # Its silence would last longer than is waited for here.
    edge = edge_for(upstream, {"resolver": {
        **RESOLVER, "timeout": "30s", "servers": [f"127.0.0.1:{port}"]}})
    began = time.monotonic()
    assert ask(edge).status == 502
    assert time.monotonic() - began < 12


def test_the_second_server_is_asked_when_the_first_is_mute(lied_to, keep):
    mute = keep(ScriptedDNS(lambda query: None))
    spoken = keep(ScriptedDNS(fine))
    edge = lied_to(fine, servers=[mute.address, spoken.address])
    assert ask(edge).status == 200
    assert mute.asked() and spoken.asked()


def test_a_name_that_flips_between_existing_and_not_is_followed(lied_to):
    edge = lied_to(fails(NAME_ERROR), negative_ttl="1s", min_ttl="1s", max_ttl="1s", stale="0s")
    edge.write(merged(edge.configuration, {"upstream": {"keepalive": "100ms"}}))
    edge.reload()
    number = next(numbers)
    for script, status in [(fine, 200), (fails(NAME_ERROR), 404)] * 2:
        assert ask(edge, number).status in (200, 404)
        edge.dns.script = script
        # Rarely enough for the connection to be gone, over which nobody would ask for the name.
        until(lambda: ask(edge, number).status == status, 20, f"{status} after the flip", every=0.4)


def test_a_flood_of_answers_that_nobody_asked_for_is_ignored(lied_to):
    edge = lied_to(lambda query: [query.reply(address("127.0.0.9"), number=n) for n in range(100)
                                  if n != query.number] + [fine(query)])
    assert ask(edge).status == 200
