"""One id that hangs, fails or trickles: what the others notice of it, and what it may hold."""

import asyncio
import contextlib
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from edge.clients import parse_h2load
from edge.servers import Nginx, Resolver
from edge.waiting import until

A = "id-1.apps.test"


def at_rest(edge, host=A):
    """The figures of one host, once its queue has filled."""
    return edge.host(host) or {"connections": 0, "in_flight": 0, "waiting": 0}


@contextlib.contextmanager
def streams(edge, path, count, clients=8):
    """Requests under way on several HTTP/2 connections, so that both workers have some."""
    opened = [edge.http2() for _ in range(clients)]
    try:
        yield [(opened[n % clients], opened[n % clients].start(path=path)) for n in range(count)]
    finally:
        for client in opened:
            client.close()


def waited(line):
    return line["queue_ms"] or 0


class Turns:
    """Answers of an upstream, each of which is given when the test says so."""

    path = "/api/turn"

    def __init__(self, upstream):
        self._loop, self._given = upstream._loop, asyncio.Semaphore(0)
        upstream.script[self.path] = self._answer

    async def _answer(self, request, reply):
        await request.read()
        await self._given.acquire()
        await reply.head(200, length=0)

    def give(self, count=1):
        for _ in range(count):
            self._loop.call_soon_threadsafe(self._given.release)

    def served_meanwhile(self, edge, numbers):
        """Asks for each id while answers are given one by one, as slowly as that takes."""
        with ThreadPoolExecutor(1) as pool:
            for number in numbers:
                asked = pool.submit(edge.curl, f"/api/hello?id={number}")
                until(lambda: asked.done() or self.give(), 25, f"id {number}", every=0.2)
                assert asked.result().status == 200


# Shares of the connections of the process.

def test_a_host_that_hangs_leaves_most_connections_to_others(edge_for, upstream):
    edge = edge_for(upstream, {"registry": {"max_connections": 8}})
    with streams(edge, "/api/never?id=1", 40):
        until(lambda: at_rest(edge)["waiting"] == 38, what="all but two wait")
        assert edge.host(A)["connections"] == edge.host(A)["in_flight"] == 2
        for _ in range(3):
            for number in range(2, 13):
                assert edge.curl(f"/api/hello?id={number}").status == 200
        assert edge.host(A)["connections"] == 2
        assert edge.registry()["totals"]["connections"] <= 8
        others = edge.access_log(33, where=lambda line: line["id"] != "1")
        assert {line["error"] for line in others} <= {None, ""}
        assert max(map(waited, others)) < 5000, "nobody waited for the host that hangs"
    assert edge.settled()["hosts"]


def test_a_host_may_have_all_when_so_configured(edge_for, upstream):
    edge = edge_for(upstream, {"registry": {"max_connections": 8, "max_share": 100}})
    with streams(edge, "/api/never?id=1", 40):
        until(lambda: at_rest(edge)["in_flight"] == 8)


@pytest.mark.parametrize("versions", [["1.1"], ["h2c"]])
def test_a_busy_host_gives_up_what_is_above_its_share(edge_for, upstream_with, versions):
    upstream = upstream_with([f"127.0.0.{n + 1}" for n in range(1, 13)], max_streams=1)
    edge = edge_for(upstream, {"registry": {"max_connections": 4, "max_share": 100},
                               "upstream": {"queue_timeout": "80s"}}, versions=versions)
    turns = Turns(upstream)
    with streams(edge, f"{turns.path}?id=1", 160) as busy:
        until(lambda: at_rest(edge)["connections"] == 4, 20)
        until(lambda: at_rest(edge)["waiting"] == 156, 20)
        turns.served_meanwhile(edge, (2, 3, 4))
        assert edge.host(A)["waiting"] > 20, "long before its own queue is done"
        turns.give(len(busy))
        assert {client.finish(stream, 30).status for client, stream in busy} == {200}
    edge.settled()
    assert edge.registry()["totals"]["connections"] <= 4


def test_with_more_hosts_than_places_they_take_turns(edge_for, upstream):
    edge = edge_for(upstream, {"registry": {"max_connections": 2},
                               "upstream": {"queue_timeout": "80s"}})
    busy = ("id-1.apps.test", "id-2.apps.test")
    turns = Turns(upstream)
    with (streams(edge, f"{turns.path}?id=1", 100), streams(edge, f"{turns.path}?id=2", 100)):
        until(lambda: all(at_rest(edge, host)["waiting"] > 90 for host in busy), 20)
        turns.served_meanwhile(edge, range(3, 8))
        assert all(edge.host(host)["waiting"] > 10 for host in busy)
        others = edge.access_log(5, where=lambda line: line["id"] not in "12")
        assert any(waited(line) > 1 for line in others), "there was no place left for it"


def test_who_starved_and_left_holds_nobody_up(edge_for, upstream):
    """Clients that give up while their host lacks a connection leave nothing behind."""
    edge = edge_for(upstream, {"registry": {"max_connections": 2, "max_share": 100}})
    with streams(edge, "/api/never?id=1", 4):
        until(lambda: at_rest(edge)["in_flight"] == 2)
        with streams(edge, "/api/hello?id=2", 6):
            until(lambda: at_rest(edge, "id-2.apps.test")["waiting"] == 6)
        until(lambda: at_rest(edge, "id-2.apps.test")["waiting"] == 0)
    until(lambda: at_rest(edge)["in_flight"] == 0)
    # Kept alive again: nobody is below its share and without a connection.
    for _ in range(6):
        assert edge.curl("/api/hello?id=1").status == 200
    with edge.http1() as client:
        for _ in range(6):
            assert client.get("/api/hello?id=1").status == 200
    assert edge.host(A)["reused"] >= 5


# Latency of the others.

BAD = "id-1.apps.mix"
OTHERS = range(2, 27)
IN_FLIGHT, QUEUE = 8, 16
ROUNDS, SECONDS, RATE = 4, 1, 600
# Of each round, while its connections are made.
START_SECONDS = 0.25


@contextlib.contextmanager
def filled(edge, path):
    """Requests that do not end, as many as there is room for; what is beyond that is refused."""
    with streams(edge, path, 40) as some:
        def is_full():
            # Until all places are taken, some wait for a dial only, and leave the queue after it.
            figures = at_rest(edge, BAD)
            if figures["in_flight"] >= IN_FLIGHT and figures["waiting"] >= QUEUE:
                return True
            for client, _ in some[:8]:
                client.start(path=path)
            return False
        until(is_full, what="its queue is full", every=0.05)
        yield


def disturb_hanging(edge):
    return filled(edge, "/api/never?id=1")


def disturb_trickling(edge):
    return filled(edge, "/api/drip?id=1&count=100000&ms=20")


@contextlib.contextmanager
def disturb_failing(edge):
    """Twice as many requests as the host can take, each answered 500 after a tenth of a second."""
    load = subprocess.Popen(
        ["h2load", "-c", "4", "-m", "20", "--rps", "40", "-D", str(SECONDS + 3),
         f"https://127.0.0.1:{edge.port}/api/fail?id=1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        load.kill()
        load.wait()


DISTURBANCES = {"hanging": disturb_hanging, "failing": disturb_failing,
                "trickling": disturb_trickling}


def measure(edge, folder, name):
    """The latencies, in milliseconds, of a steady load on all ids but A."""
    uris, log = folder / "uris", folder / f"{name}.log"
    uris.write_text("".join(f"https://127.0.0.1:{edge.port}/api/hello?id={n}\n" for n in OTHERS))
    count = RATE * SECONDS
    done = subprocess.run(
        ["h2load", "-c", "6", "-m", "4", "-n", str(count), "--rps", str(RATE // 6),
         f"--log-file={log}", "-i", str(uris)],
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    load = parse_h2load(done.stdout)
    assert load.by_class[2] == load.succeeded == count, done.stdout
    samples = [(int(begin) / 1e6, int(took) / 1e3) for begin, _, took in
               (line.split("\t") for line in log.read_text().splitlines())]
    steady = min(begin for begin, _ in samples) + START_SECONDS
    return sorted(took for begin, took in samples if begin >= steady)


def percentile(values, percent):
    return values[min(len(values) - 1, int(len(values) * percent / 100))]


@pytest.mark.parametrize("kind", DISTURBANCES)
def test_the_others_do_not_notice(edges, configuration, upstream_with, keep, tmp_path, kind):
    nginx = keep(Nginx(tmp_path / "nginx"))
    bad = upstream_with(["127.0.0.2"], port=nginx.port)

    async def late_500(request, reply):
        await asyncio.sleep(0.1)
        await reply.head(500, length=0)
    bad.script["/api/fail"] = late_500
    names = {BAD: "127.0.0.2", **{f"id-{n}.apps.mix": "127.0.0.1" for n in OTHERS}}
    resolver = keep(Resolver(tmp_path / "dns", names=names))
    edge = edges(configuration(nginx, {
        "resolver": {"servers": [resolver.address]},
        "upstream": {"max_in_flight_per_host": IN_FLIGHT, "max_queue_per_host": QUEUE,
                     "queue_timeout": "60s"}}, name="id-{id}.apps.mix"))
    measure(edge, tmp_path, "warm")
    calm, disturbed, used = [], [], []
    for turn in range(ROUNDS):
        calm.append(measure(edge, tmp_path, f"calm-{turn}"))
        with DISTURBANCES[kind](edge):
            until(lambda: at_rest(edge, BAD)["waiting"] >= QUEUE, 30, "A's queue is full")
            before, began = edge.cpu(), time.monotonic()
            disturbed.append(measure(edge, tmp_path, f"{kind}-{turn}"))
            used.append((edge.cpu() - before) / (time.monotonic() - began))
            bad_host = edge.host(BAD)
            assert bad_host["in_flight"] <= IN_FLIGHT
            # Besides the queue there may be as many as wait for a dial of their own.
            assert bad_host["waiting"] <= QUEUE + IN_FLIGHT
        until(lambda: at_rest(edge, BAD)["in_flight"] == 0)
    total = RATE * SECONDS * (2 * ROUNDS + 1)
    lines = edge.access_log(total, where=lambda line: line["id"] != "1")
    assert len(lines) == total and {line["status"] for line in lines} == {200}
    assert {line["attempts"] for line in lines} == {1}
    # Nobody has waited for anything but a connection's own dial, which takes long only where the
    # machine stands still for a moment.
    late = [line for line in lines[RATE * SECONDS:] if waited(line) > 100]
    assert len(late) < len(lines) / 100, late[:3]
    refused = edge.access_log(where=lambda line: line["id"] == "1" and line["status"] == 503)
    assert {line["error"] for line in refused} == {"queue_full"}
    figures = {name: {p: sorted(percentile(r, p) for r in rounds) for p in (50, 99)}
               for name, rounds in (("calm", calm), (kind, disturbed))}
    print(f"\nms, {ROUNDS} rounds each of {RATE * SECONDS} requests; "
          f"the proxy's share of a core while disturbed: {statistics.median(used):.2f}")
    for name, its in figures.items():
        print(f"{name:10} p50 {statistics.median(its[50]):6.3f}   p99 best {its[99][0]:6.3f}  "
              f"quarter {its[99][ROUNDS // 4]:6.3f}  median {statistics.median(its[99]):6.3f}")
    # A quiet machine shows less than a tenth. This is enough to see anyone wait for A's tenths of
    # seconds; of the rounds one of the better ones, since whatever else the machine does only adds.
    assert figures[kind][99][ROUNDS // 4] <= figures["calm"][99][ROUNDS // 4] * 2 + 50
