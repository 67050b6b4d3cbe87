"""A reload that lowers bounds of connections and hosts: idle ones leave, nothing is cut."""

import pytest

from edge.configuration import merged
from edge.gate import Gate
from edge.waiting import until


def lowered(edge, changes):
    edge.write(merged(edge.configuration, changes))
    edge.reload()


def held(edge, gate, client, ids):
    """Streams under way to these ids."""
    before = gate.waiting
    streams = [client.start(path=f"/api/gate?id={n}") for n in ids]
    until(lambda: gate.waiting == before + len(streams))
    return streams


def rested(edge, upstream, ids, gate=None):
    """Leaves as many idle connections to each of these ids as they are listed."""
    gate = Gate(upstream, "/api/rest")
    with edge.http2() as client:
        streams = [client.start(path=f"/api/rest?id={n}") for n in ids]
        until(lambda: gate.waiting == len(ids))
        gate.open()
        assert [client.finish(stream).status for stream in streams] == [200] * len(ids)


def finished(gate, client, streams):
    gate.open()
    assert [client.finish(stream).status for stream in streams] == [200] * len(streams)


@pytest.mark.parametrize("versions", [["1.1"], ["h2c"]], ids=["h1", "h2c"])
def test_connections_in_all_are_lowered(edge_for, upstream, versions):
    edge = edge_for(upstream, versions=versions)
    gate = Gate(upstream)
    rested(edge, upstream, [*range(5, 13)] * 2)
    with edge.http2() as client:
        streams = held(edge, gate, client, [1, 2, 3, 4])
        assert len(upstream.open_connections) >= 12
        lowered(edge, {"registry": {"max_connections": 3}})
        until(lambda: len(upstream.open_connections) == 4, what="what rests is closed, no more")
        assert not any(client.streams[stream].complete for stream in streams)
        finished(gate, client, streams)
    until(lambda: len(upstream.open_connections) <= 3, what="and what was busy, once it rests")
    for n in range(1, 13):
        assert edge.curl(f"/api/hello?id={n}").status == 200
    assert edge.registry()["totals"]["connections"] <= 3


def test_connections_of_a_host_are_lowered_and_others_keep_theirs(edge_for, upstream):
    edge = edge_for(upstream, versions=["1.1"])
    gate = Gate(upstream)
    rested(edge, upstream, [1] * 8 + [2])
    with edge.http2() as client:
        streams = held(edge, gate, client, [1] * 4)
        kept = [c for c in upstream.open_connections if c.local[0] == "127.0.0.3"]
        lowered(edge, {"upstream": {"max_connections_per_host": 2}})
        mine = lambda: [c for c in upstream.open_connections if c.local[0] == "127.0.0.2"]
        until(lambda: len(mine()) == 4)
        finished(gate, client, streams)
        until(lambda: len(mine()) == 2)
    assert [c for c in upstream.open_connections if c.local[0] == "127.0.0.3"] == kept
    before = len(upstream.connections)
    lowered(edge, {"upstream": {"max_connections_per_host": 2}})
    assert edge.curl("/api/hello?id=1").status == 200
    assert len(mine()) <= 2 and len(upstream.connections) - before <= 1


def test_hosts_are_lowered_and_busy_ones_stay_until_they_are_not(edge_for, upstream):
    edge = edge_for(upstream)
    gate = Gate(upstream)
    rested(edge, upstream, range(1, 13))
    hosts = lambda: {host["host"] for host in edge.registry()["hosts"]}
    busy = {f"id-{n}.apps.test" for n in (3, 5, 7, 9)}
    with edge.http2() as client:
        streams = held(edge, gate, client, [3, 5, 7, 9])
        lowered(edge, {"registry": {"max_hosts": 2}})
        until(lambda: hosts() == busy, what="idle hosts have left")
        until(lambda: len({c.local[0] for c in upstream.open_connections}) == 4)
        finished(gate, client, streams)
    until(lambda: len(hosts()) == 2, what="those that were busy leave later")
    until(lambda: len({c.local[0] for c in upstream.open_connections}) <= 2)
    assert edge.curl("/api/hello?id=12").status == 200


def test_bounds_are_raised_for_those_who_wait(edge_for, upstream):
    edge = edge_for(upstream, {"workers": 1, "upstream": {"max_connections_per_host": 1}},
                    versions=["1.1"])
    gate = Gate(upstream)
    with edge.http2() as client:
        first = held(edge, gate, client, [1])
        second = client.start(path="/api/hello?id=1")
        until(lambda: edge.ledger()["waiter"]["live"] == 1)
        lowered(edge, {"upstream": {"max_connections_per_host": 5}})
        third = client.get("/api/hello?id=1")
        assert third.status == 200, "the bound in force is that of who comes now"
        assert client.finish(second).status == 200
        finished(gate, client, first)
