"""A scan of random ids beside the load of those in use: who is in use does not notice.

100 000 ids by default; EDGE_SCAN_IDS says how many (`make soak`: a million).
"""

import os
import random
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from edge.clients import h2load
from edge.dns import NAME_ERROR, ScriptedDNS
from edge.servers import Nginx
from edge.waiting import until

SCANNED = int(os.environ.get("EDGE_SCAN_IDS", 100_000))
HOT = 1000
HOSTS = 1200
RATE = 40
# Each has more under way than may wait for their turn, two seconds' worth: it is never held back.
SCANNERS = 2
STREAMS = 120
# Clients of ids in use, one request at a time each, and how many in one go.
CLIENTS, REQUESTS = 4, 2000
MEBIBYTE = 1 << 20


class Names:
    """Ids in use and every other one that is not exist; when each was first asked for."""

    def __init__(self):
        self.first = {}

    def __call__(self, query):
        number = re.fullmatch(r"id-(\d+)\.apps\.test", query.name)
        self.first.setdefault(query.name, query.arrived)
        if not number or int(number[1]) > HOT and int(number[1]) % 2:
            return query.reply(code=NAME_ERROR)
        return query.addresses("127.0.0.1", ttl=600)

    def burst(self):
        """The most names beyond the rate that were asked for within any time."""
        level = most = 0.0
        last = None
        for at in sorted(self.first.values()):
            level = max(0.0, level - (at - last) * RATE if last else 0.0) + 1
            last, most = at, max(most, level)
        return most


def files(folder, edge, name, ids, count):
    """Files of URIs, each with all ids in an order of its own."""
    made = []
    for number in range(count):
        file = folder / f"{name}-{number}"
        random.Random(number).shuffle(ids)
        file.write_text("".join(
            f"https://127.0.0.1:{edge.port}/api/hello?id={one}\n" for one in ids))
        made.append(file)
    return made


def hot_misses(nginx, since):
    """Requests of ids in use since a line of the log, and those that opened a connection."""
    hot = new = 0
    for line in nginx.lines()[since:]:
        found = re.match(r"\d+ (\d+) .*[?&]id=(\d+) ", line)
        if found and int(found[2]) <= HOT:
            hot += 1
            new += found[1] == "1"
    return hot, new


class Samples:
    """Memory and descriptors of a proxy, now and then."""

    def __init__(self, edge):
        self.edge, self.taken, self._end = edge, [], threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join(10)

    def _run(self):
        while not self._end.wait(0.25):
            self.taken.append((self.edge.rss(), len(self.edge.descriptors())))

    def growth(self):
        """From the most of the second quarter to the most of the last, of each."""
        quarter = max(1, len(self.taken) // 4)
        early, late = self.taken[quarter:2 * quarter], self.taken[-quarter:]
        return [max(b[kind] for b in late) - max(a[kind] for a in early) for kind in (0, 1)]


@pytest.mark.timeout(180 + SCANNED // 500)
def test_ids_in_use_do_not_notice_a_scan(edge_for, keep, tmp_path):
    nginx, names = keep(Nginx(tmp_path / "nginx")), Names()
    server = keep(ScriptedDNS(names))
    edge = edge_for(nginx, {
        "workers": 2, "registry": {"max_hosts": HOSTS}, "upstream": {"keepalive": "30m"},
        "access_log": {"path": "off"}, "resolver": {
            "servers": [server.address], "search": False, "first_seen_per_second": RATE,
            "max_ttl": "10m"}})

    # Every id in use is known before the scan, and has a connection.
    ids = list(range(1, HOT + 1))
    for file in files(tmp_path, edge, "warm", ids, 2):
        warm = h2load(None, HOT, 1, 32, file)
        assert warm.by_class[2] == warm.total == HOT, warm
    weights = [1 / rank for rank in range(1, HOT + 1)]
    zipf = files(tmp_path, edge, "zipf", random.Random(7).choices(ids, weights, k=20_000), CLIENTS)

    def hot_load(file):
        load = h2load(None, REQUESTS, 1, 1, file, arguments=["--rps", "250"])
        assert load.by_class[2] == load.total == REQUESTS, f"an id in use was refused: {load}"

    def hot_loads():
        since = len(nginx.lines())
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(hot_load, zipf))
        # A line is written once its answer has been sent.
        return until(lambda: (seen := hot_misses(nginx, since))[0] == CLIENTS * REQUESTS and seen,
                     every=0.1)

    quiet = hot_loads()

    scanned = random.Random(3).sample(range(10**6, 10**12), SCANNED)
    parts = [files(tmp_path, edge, f"scan{part}", scanned[part::SCANNERS], 1)[0]
             for part in range(SCANNERS)]
    began = time.monotonic()
    with Samples(edge) as samples, ThreadPoolExecutor(SCANNERS) as pool:
        # One client each, for every client begins the file again.
        scans = [pool.submit(
            h2load, None, SCANNED // SCANNERS, 1, STREAMS, part, seconds=120 + SCANNED // 500)
            for part in parts]
        hot, new = 0, 0
        while not all(scan.done() for scan in scans):
            more = hot_loads()
            hot, new = hot + more[0], new + more[1]
    took = time.monotonic() - began
    scans = [scan.result() for scan in scans]

    before, during = (1 - misses / requests for requests, misses in (quiet, (hot, new)))
    served = sum(scan.by_class[2] for scan in scans)
    refused = sum(scan.by_class[5] for scan in scans)
    memory, descriptors = samples.growth()
    totals = edge.settled()["totals"]
    print(f"{SCANNED} ids scanned in {took:.0f} s: {served} served, {refused} refused; "
          f"{len(names.first) - HOT} names asked for; of {hot} requests of ids in use "
          f"{during:.4%} over a kept connection, {before:.4%} of {quiet[0]} without the scan; "
          f"memory {memory / MEBIBYTE:+.1f} MiB, descriptors {descriptors:+d}, "
          f"{totals['evictions']} evictions, {totals['unpooled']} unpooled")
    # Which worker a client comes to is chance, and an id that is asked for in both needs another
    # connection there: nearly a hundredth, or nothing. Ids that were forgotten would be most.
    assert quiet[0] == CLIENTS * REQUESTS and before - during < 0.03
    assert sum(scan.by_class[4] for scan in scans) + served + refused == SCANNED
    assert served > 0 and totals["unpooled"] > 0, "hosts outside the table are served"
    assert totals["hosts"] <= HOSTS
    assert names.burst() <= RATE * 5 * 1.05 + 1, "five seconds' worth at once, then the rate"
    assert len(names.first) <= RATE * (took + 5) * 1.05 + HOT
    # Besides what is under way at the moment of a sample.
    assert memory < 8 * MEBIBYTE and descriptors < SCANNERS * STREAMS, (memory, descriptors)
