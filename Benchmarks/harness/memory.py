"""Memory of a proxy per idle client connection and per stream that waits for its upstream."""

import time

from .clients import Clients
from .load import load
from .origin import Origin
from .processes import BenchError, Processes, descendants
from .proxies import start_proxy, supports
from .works import WORKS

# What is held: the work that tells the protocols, and streams of each connection (0: connections
# are idle, each after one answer).
HOLDS = {
    "idle-h1": dict(title="idle h1 connection", work="h1-h1", streams=0),
    "idle-h2": dict(title="idle h2 connection", work="h2-h1", streams=0),
    "stream-h1": dict(title="stream h2 → h1", work="h2-h1", streams=100),
    "stream-h2c": dict(title="stream h2 → h2c", work="h2-h2c", streams=100),
}
# Memory is at rest when it has not changed by more than this part of it for CALM seconds.
STILL, CALM, PATIENCE = 0.005, 1, 20


def memory_of(setting, name, hold, count, size=128):
    """Bytes per connection or stream, from `count` and twice as many of them.

    Returns a dict: `each`, the slope between the two, in which fixed pools do not count; `all`,
    the growth from none to the larger number by that number; `before`, bytes of the warm proxy
    without connections; `count`."""
    work, streams = WORKS[HOLDS[hold]["work"]], HOLDS[hold]["streams"]
    with Processes(setting.folder) as processes:
        origin = Origin(processes, setting, size, *(["-q"] if streams else []))
        proxy = start_proxy(processes, setting, name, work.task(origin.port))
        with Clients(proxy.port, work.front, size) as clients:
            if not streams:
                load(work, proxy.port, 200, 4, 1)
            figures = [settled(proxy.child.pid)]
            for _ in range(2):
                fill(clients, origin, streams, count)
                figures.append(settled(proxy.child.pid))
                clients.check()
    none, once, twice = figures
    return dict(each=(twice - once) / count, all=(twice - none) / (2 * count), before=none,
                count=count)


def fill(clients, origin, streams, count):
    """Opens connections for `count` holders more and waits until all are where they belong."""
    if not streams:
        clients.open(count)
        return
    wanted = origin.counts()[1] + count
    clients.open_waiting(count // streams, streams)
    end = time.monotonic() + 20
    while (there := origin.counts()[1]) < wanted:
        # What has to be acknowledged is, or the proxy gives the connection up.
        clients.check()
        if time.monotonic() > end:
            raise BenchError(f"void: {there} of {wanted} requests reached the upstream")
        time.sleep(0.05)
    clients.check()


def settled(pid):
    """Bytes of all the proxy's processes once they hardly change any more."""
    end = time.monotonic() + PATIENCE
    last, since = proportional(pid), time.monotonic()
    while time.monotonic() - since < CALM:
        if time.monotonic() > end:
            raise BenchError(f"void: memory still changes after {PATIENCE} s")
        time.sleep(0.1)
        now = proportional(pid)
        if abs(now - last) > STILL * last:
            last, since = now, time.monotonic()
    return proportional(pid)


def proportional(pid):
    """Anonymous and shared memory of a process and its descendants, in bytes.

    A page that several processes share counts as a part in each. Mapped files are left out:
    they are what the number of others who run the same libraries changes."""
    total = 0
    for process in descendants(pid):
        try:
            with open(f"/proc/{process}/smaps_rollup") as file:
                total += sum(int(line.split()[1]) for line in file
                             if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
        except OSError:
            # A helper process that has ended meanwhile; one of the proxy's own would be missed.
            if process == pid:
                raise BenchError("void: the proxy ended") from None
    return total << 10


def compare(setting, names, count, say=lambda text: None):
    """results[hold][name] as `memory_of` returns it, or with `void`; for edge-proxy also `ratio`,
    its `each` by the least of a peer."""
    results = {hold: {} for hold in HOLDS}
    for hold, entries in results.items():
        for name in names:
            if supports(name, HOLDS[hold]["work"]):
                say(f"{HOLDS[hold]['title']}: {name}")
                try:
                    entries[name] = dict(memory_of(setting, name, hold, count), void=None)
                except (BenchError, OSError) as error:
                    entries[name] = dict(void=str(error))
        good = {name: entry["each"] for name, entry in entries.items() if not entry["void"]}
        peers = [each for name, each in good.items() if name != "edge"]
        if "edge" in good and peers:
            entries["edge"]["ratio"] = good["edge"] / min(peers)
    return results
