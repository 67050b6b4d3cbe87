"""Tail latency of proxies at a steady rate: half of what each could do, and one rate for all."""

import dataclasses
import os
import statistics
import subprocess

from .cpu import Measure, rotated, summarise
from .peers import PEERS
from .processes import BenchError, Processes, compile_c, cores, cpu_seconds, prepared
from .proxies import start_proxy, start_upstream
from .works import WORKS

LATENCY_WORKS = ["h1-h1", "h2-h1"]
PERCENTILES = ["p50", "p99", "p99.9"]
# One rate for all is half of what the slowest of these can do; if none is there, of anybody.
REFERENCE = ["nginx", "haproxy", "nghttpx"]
# Connections and streams of the load that shows what a proxy could do: one request at a time on
# each connection, as at the steady rate.
LOAD = (128, 1)
# Seconds at the start of a steady load that do not count.
OPENING = 0.3


def compare(setting, names, work, rounds, seconds, say=lambda text: None):
    """Measures all proxies on one work, in rounds with a rotating order, each in `seconds`.

    Returns results[mode][name], modes `half` and `equal`: a dict of `rate` (requests per second
    that were asked for), `busy` (CPU time by wall time, of each round), a dict for each of
    PERCENTILES with `samples` (seconds, of each round), `median` and `quartiles`, `void`, and for
    ours `ratio`: p99 by that of the best peer."""
    work = dataclasses.replace(WORKS[work], load=LOAD)
    proxy_core, other_core = cores()
    program = compile_c("steady.c", os.path.join(setting.folder, "steady"),
                        ["-Wl,--no-as-needed", "-lssl", "-lcrypto", "-lm"])
    with Processes(setting.folder) as processes:
        upstream = start_upstream(processes, setting, work, other_core)
        measures = {name: Measure(work, None, other_core) for name in names}
        rates, voids = {}, {}
        for name in names:
            try:
                measures[name].warm(start_proxy(processes, setting, name, work.task(upstream),
                                                proxy_core), 0.3)
                rates[name] = half_rate(measures[name])
            except BenchError as error:
                voids[name] = str(error)
        slowest = min((rates[name] for name in REFERENCE if name in rates),
                      default=min(rates.values(), default=None))
        results = {"half": {name: entry(rates.get(name), voids.get(name)) for name in names},
                   "equal": {name: entry(slowest, voids.get(name) or too_slow(
                       rates[name], slowest)) for name in names}}
        for number in range(rounds):
            for name in rotated(names, number):
                for mode in results:
                    one_round(program, measures[name], results[mode][name], seconds)
            say(f"{work.title}: round {number + 1} of {rounds}")
    for mode in results.values():
        for result in mode.values():
            for percentile in PERCENTILES:
                result[percentile]["void"] = result["void"]
                summarise(result[percentile])
        ratios(mode)
    return results


def ratios(entries):
    """Adds to each of ours the median of its p99 by the least p99 of a peer in the same round."""
    good = {name: entry["p99"]["samples"] for name, entry in entries.items() if not entry["void"]}
    peers = [samples for name, samples in good.items() if name in PEERS]
    for name in good if peers else ():
        if name not in PEERS:
            entries[name]["ratio"] = statistics.median(
                mine / min(others) for mine, *others in zip(good[name], *peers))


def too_slow(half, rate):
    """Why a proxy that has half its work at `half` requests per second is spared `rate`."""
    return f"void: could do {2 * half:.0f} requests per second" if rate > 1.5 * half else None


def entry(rate, void):
    return dict(rate=rate, void=void, busy=[],
                **{percentile: dict(samples=[]) for percentile in PERCENTILES})


def half_rate(measure):
    """Half of the requests per second that a proxy's core could do, by the CPU time it needs under
    full load; but no more than 0.6 of what the load generator got through in that load."""
    spent, wall = measure.spend(measure.requests)
    return min(measure.requests / spent / 2, 0.6 * measure.requests / wall)


def one_round(program, measure, result, seconds):
    """One load at the rate of `result`, whose percentiles are added to it."""
    if result["void"]:
        return
    try:
        start = cpu_seconds(measure.proxy.child.pid)
        waits = steady(program, measure, result["rate"], seconds)
        spent = cpu_seconds(measure.proxy.child.pid) - start
        measure.proxy.forget_log()
        result["busy"].append(spent / (seconds + OPENING))
        for percentile, wait in zip(PERCENTILES, waits):
            result[percentile]["samples"].append(wait)
    except BenchError as error:
        result["void"] = str(error)


def steady(program, measure, rate, seconds):
    """Sends `rate` requests per second for `seconds` after the opening, whatever becomes of the
    earlier ones; seconds of the PERCENTILES, from when each request was due to its last byte."""
    done = subprocess.run(
        [program, str(measure.proxy.port), measure.work.front, str(LOAD[0]), f"{rate:.0f}",
         str(OPENING), str(seconds), str(measure.work.size)],
        capture_output=True, text=True, timeout=seconds + 60, preexec_fn=prepared(measure.core))
    if done.returncode != 0:
        raise BenchError(f"void: {rate:.0f} requests per second: {done.stderr.strip()}")
    return [int(microseconds) / 1e6 for microseconds in done.stdout.split()[1:]]
