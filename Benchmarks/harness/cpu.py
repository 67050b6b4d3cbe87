"""Requests per second of a proxy's own CPU time, all proxies interleaved on one core."""

import statistics

from .load import load
from .processes import BenchError, Processes, cores, cpu_seconds
from .proxies import WORKS, start_proxy, start_upstream, supports


def compare(setting, names, work, rounds, requests, size=128, say=lambda text: None):
    """Measures all proxies that can do a work, in rounds with a rotating order.

    Returns a dict from name to `samples` (requests per CPU second, one per round), `busy` (CPU
    time by wall time of each), `median`, `quartiles`, `ratio` and `void` (why the figure must not
    be used, or None)."""
    names = [name for name in names if supports(name, work)]
    proxy_core, other_core = cores()
    connections, streams = WORKS[work]["load"]
    # Opening the connections is subtracted, so something must be left.
    requests = max(requests, 2 * connections)
    results = {name: dict(samples=[], busy=[], void=None) for name in names}
    with Processes(setting.folder) as processes:
        upstream = start_upstream(processes, setting, size, other_core)
        running = {}
        for name in names:
            try:
                running[name] = start_proxy(processes, setting, name, work, upstream, proxy_core)
                load(work, running[name].port, max(requests // 4, connections), connections,
                     streams, other_core)
            except BenchError as error:
                results[name]["void"] = str(error)
        for number in range(rounds):
            for at in range(len(names)):
                name = names[(at + number) % len(names)]
                if results[name]["void"]:
                    continue
                try:
                    sample, busy = measure(running[name], work, requests, connections, streams,
                                           other_core)
                    results[name]["samples"].append(sample)
                    results[name]["busy"].append(busy)
                except BenchError as error:
                    results[name]["void"] = str(error)
            say(f"{work}: round {number + 1} of {rounds}")
    for result in results.values():
        summarise(result)
    ratios(results)
    return results


def measure(proxy, work, requests, connections, streams, core):
    """One sample: requests per CPU second, without the cost of opening the connections; and how
    busy the proxy was, as a part of one."""
    opening, extra = 0, 0
    if "small_load" in WORKS[work]:
        start = cpu_seconds(proxy.child.pid)
        load(work, proxy.port, connections, connections, streams, core)
        opening, extra = cpu_seconds(proxy.child.pid) - start, connections
    # h2load makes a full handshake only for the first request of each of its clients.
    batch = connections if work == "full" else requests
    opened = cpu_seconds(proxy.child.pid)
    seconds = 0
    for _ in range(max(requests // batch, 1)):
        seconds += batch / load(work, proxy.port, batch, connections, streams, core)
    done = cpu_seconds(proxy.child.pid)
    proxy.forget_log()
    spent = done - opened - opening
    if spent <= 0:
        raise BenchError("void: no CPU time was seen")
    return (max(requests // batch, 1) * batch - extra) / spent, (done - opened) / seconds


def summarise(result):
    """Adds median and quartiles; a void proxy keeps none."""
    samples = result["samples"]
    if result["void"] or not samples:
        result.update(median=None, quartiles=None)
        return
    result["median"] = statistics.median(samples)
    if len(samples) > 1:
        low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    else:
        low = high = samples[0]
    result["quartiles"] = [low, high]


def ratios(results):
    """Adds to each of ours the median of its ratio to the round's best peer."""
    peers = [entry["samples"] for name, entry in results.items()
             if not name.startswith("edge") and entry["median"]]
    for name, entry in results.items():
        entry["ratio"] = None
        if name.startswith("edge") and entry["median"] and peers:
            each = [mine / max(others) for mine, *others in zip(entry["samples"], *peers)]
            entry["ratios"] = each
            entry["ratio"] = statistics.median(each)
