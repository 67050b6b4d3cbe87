"""What a second worker brings: work per CPU second and per second, with one and with two."""

import statistics

from .cpu import Measure, rotated, summarise
from .processes import BenchError, Processes
from .proxies import start_proxy, start_upstream
from .works import WORKS

SCALING_WORKS = ["h1-h1", "h2-h1"]
WORKERS = (1, 2)


def compare(setting, names, work, rounds, seconds, say=lambda text: None):
    """Measures all proxies on one work with one worker and with two, in rounds with a rotating
    order, each sample as long as the proxy needs to use about `seconds` of CPU time. Nothing is
    pinned: proxy, load generator and upstream share all cores, with one worker as with two.

    Returns a dict from name to `cpu` and `wall`, each with `one` and `two` (requests per CPU
    second, per second of wall time: `samples`, `median`, `quartiles`) and `ratio` (the median of
    two by one of each round), and `void`."""
    results = {name: dict(void=None, **{kind: dict(one=dict(samples=[]), two=dict(samples=[]))
                                        for kind in ("cpu", "wall")}) for name in names}
    work = WORKS[work]
    with Processes(setting.folder) as processes:
        upstream = start_upstream(processes, setting, work)
        measures = {}
        for name in names:
            try:
                measures[name] = [started(processes, setting, name, work, upstream, workers,
                                          seconds) for workers in WORKERS]
            except BenchError as error:
                results[name]["void"] = str(error)
        for number in range(rounds):
            for name in rotated(names, number):
                if not results[name]["void"]:
                    one_round(measures[name], results[name])
            say(f"{work.title}: round {number + 1} of {rounds}")
    for result in results.values():
        conclude(result)
    return results


def started(processes, setting, name, work, upstream, workers, seconds):
    """A warm proxy with so many workers."""
    measure = Measure(work, None, None)
    measure.warm(start_proxy(processes, setting, name, work.task(upstream, workers=workers)),
                 seconds)
    return measure


def one_round(measures, result):
    """One load of the proxy with one worker and one of that with two."""
    try:
        for key, measure in zip(("one", "two"), measures):
            spent, wall = measure.spend(measure.requests)
            measure.proxy.forget_log()
            result["cpu"][key]["samples"].append(measure.requests / spent)
            result["wall"][key]["samples"].append(measure.requests / wall)
    except BenchError as error:
        result["void"] = str(error)


def conclude(result):
    """Adds medians, quartiles and ratios."""
    for kind in ("cpu", "wall"):
        entry = result[kind]
        for key in ("one", "two"):
            entry[key]["void"] = result["void"]
            summarise(entry[key])
        entry["ratio"] = None if result["void"] else statistics.median(
            two / one for one, two in zip(entry["one"]["samples"], entry["two"]["samples"]))
