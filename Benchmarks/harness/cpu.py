"""Work per second of a proxy's own CPU time, all proxies interleaved on one core."""

import statistics
import time

from .load import check_resumption, load
from .processes import BenchError, Processes, cores, cpu_seconds
from .proxies import start_proxy, start_upstream, supports
from .works import WORKS


def compare(setting, names, work, rounds, seconds, say=lambda text: None):
    """Measures all proxies that can do a work, in rounds with a rotating order. Each sample is as
    long as the proxy needs to use about `seconds` of CPU time.

    Returns a dict from name to `samples` (units of the work per CPU second, one per round), `busy`
    (CPU time by wall time of each), `median`, `quartiles`, `ratio` and `void` (why the figure must
    not be used, or None)."""
    names = [name for name in names if supports(name, work)]
    work = WORKS[work]
    proxy_core, other_core = cores()
    results = {name: dict(samples=[], busy=[], void=None) for name in names}
    with Processes(setting.folder) as processes:
        upstream = start_upstream(processes, setting, work, other_core)
        payload = setting.payload(work.upload) if work.upload else None
        measures = {name: Measure(work, payload, other_core) for name in names}

        def attempt(name, action):
            """One step of a proxy's measurement; after a failed one its figure is void."""
            try:
                return None if results[name]["void"] else action(measures[name])
            except BenchError as error:
                results[name]["void"] = str(error)

        for name in names:
            attempt(name, lambda measure: measure.warm(
                start_proxy(processes, setting, name, work.task(upstream), proxy_core), seconds))
        for number in range(rounds):
            for name in rotated(names, number):
                sample = attempt(name, lambda measure: measure.sample())
                if sample:
                    results[name]["samples"].append(sample[0])
                    results[name]["busy"].append(sample[1])
            say(f"{work.title}: round {number + 1} of {rounds}")
    for result in results.values():
        summarise(result)
    ratios(results)
    return results


def rotated(names, number):
    """The order of round `number`: each begins with another proxy."""
    start = number % len(names) if names else 0
    return names[start:] + names[:start]


class Measure:
    """One proxy under the load of one work."""

    def __init__(self, work, payload, core):
        self.work, self.payload, self.core = work, payload, core
        self.proxy, self.requests = None, None

    def warm(self, proxy, seconds):
        """Warms the proxy up, and finds how many requests take it `seconds` of CPU time."""
        self.proxy = proxy
        if self.work.close:
            check_resumption(proxy.port)
        spent, _ = self.spend(self.work.first)
        # The second load is warm, and tells what the first one hides.
        spent, _ = self.spend(self.work.first)
        wanted = round(self.work.first * seconds / spent)
        # Opening the connections is subtracted, so something must be left.
        connections, streams = self.work.load
        self.requests = max(wanted, self.work.batch or 2 * connections * streams)

    def spend(self, requests):
        """CPU seconds and wall seconds of a load; one with `batch` rounds it up to whole ones."""
        batch = self.work.batch or requests
        start, wall = settled(self.proxy.child.pid), 0
        for _ in range(-(-requests // batch)):
            wall += batch / load(self.work, self.proxy.port, batch, *self.work.load, self.core,
                                 payload=self.payload)
        return settled(self.proxy.child.pid) - start, wall

    def sample(self):
        """Units of the work per CPU second, without the cost of opening the connections where
        they are kept; and how busy the proxy was, as a part of one."""
        requests, opening, extra = self.requests, 0, 0
        if self.work.batch:
            requests = -(-requests // self.work.batch) * self.work.batch
        elif not self.work.close:
            extra = self.work.load[0]
            opening, _ = self.spend(extra)
        spent, wall = self.spend(requests)
        self.proxy.forget_log()
        if spent <= opening:
            raise BenchError("void: no CPU time was seen")
        _, each = self.work.unit
        return (requests - extra) * each / (spent - opening), spent / wall


def settled(pid):
    """CPU seconds of a process once it has done what a load leaves to it, closing connections;
    after a second in any case."""
    before = cpu_seconds(pid)
    for _ in range(100):
        time.sleep(0.01)
        now = cpu_seconds(pid)
        if now - before < 0.0005:
            break
        before = now
    return now


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
