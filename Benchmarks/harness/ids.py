"""Requests to many upstream hosts, each named by an id, beside the same load for one host."""

import os
import random
import re
import statistics
import subprocess

from .cpu import ratios, rotated, summarise
from .id_routes import start_dns, start_id_proxy, supports_ids
from .origin import Origin
from .processes import BenchError, Processes, cores, cpu_seconds, need, prepared

WORKS = {"h1-h1": "id-routed h1 → h1", "h2-h1": "id-routed h2 → h1"}
IDS, EXPONENT, SEED, PICKS = 10_000, 1.0, 5, 200_000
# Connections of wrk; h2load processes, streams of the one connection of each.
H1_CONNECTIONS, H2_PROCESSES, H2_STREAMS = 64, 16, 32
LUA = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "zipf.lua")


class Lists:
    """Files of ids to ask for: `all` once each, `many` as they are drawn, `one` only."""

    def __init__(self, folder, ids):
        weights = [1 / rank ** EXPONENT for rank in range(1, ids + 1)]
        self.ids = ids
        self.drawn = {"all": list(range(1, ids + 1)), "one": [1] * 1000, "many": random.Random(
            SEED).choices(range(1, ids + 1), weights, k=PICKS)}
        self.folder = folder
        for kind, drawn in self.drawn.items():
            self.write(kind, (str(pick) for pick in drawn))

    def write(self, name, lines):
        with open(self.path(name), "w") as file:
            file.write("\n".join(lines) + "\n")

    def path(self, name):
        return os.path.join(self.folder, f"ids-{name}")

    def uris(self, kind, part, parts, count):
        """A file with the first `count` paths of part `part` of `parts` of a list, for h2load."""
        name = f"{kind}-{part}-{parts}-{count}"
        if not os.path.exists(self.path(name)):
            drawn = self.drawn[kind]
            share = drawn if kind == "one" else drawn[part::parts]
            self.write(name, (f"https://localhost/api/x?id={pick}" for pick in share[:count]))
        return self.path(name)


def compare(setting, names, rounds, seconds, ids=IDS, say=lambda text: None):
    """Measures all proxies that can, in rounds with a rotating order, each sample in `seconds`.

    Returns results[work][name]: a dict of `many` and `one`, each with `samples` (requests per CPU
    second), their `median` and `quartiles` and `accepted` (connections that the upstream accepted
    for 10 000 requests, each round), `many` of ours also with `ratio` to the best peer; `ratio`,
    the median of many by one of each round; `void`."""
    names = [name for name in names if supports_ids(name)]
    proxy_core, other_core = cores()
    results = {work: {name: dict(void=None, many=dict(samples=[], accepted=[]),
                                 one=dict(samples=[], accepted=[]))
                      for name in names} for work in WORKS}
    with Processes(setting.folder) as processes:
        lists = Lists(setting.folder, ids)
        dns = start_dns(processes, setting, ids, other_core)
        subjects = {}
        for name in names:
            try:
                subjects[name] = Subject(processes, setting, name, dns, lists,
                                         (proxy_core, other_core))
            except BenchError as error:
                for work in WORKS:
                    results[work][name]["void"] = str(error)
        for work in WORKS:
            for number in range(-1, rounds):
                for name in rotated(names, number):
                    if not results[work][name]["void"]:
                        one_round(subjects[name], work, results[work][name], seconds, number < 0)
                say(f"{WORKS[work]}: " + ("warm" if number < 0 else f"{number + 1} of {rounds}"))
            for entry in results[work].values():
                conclude(entry)
            ratios({name: entry["many"] for name, entry in results[work].items()})
    return results


class Subject:
    """A proxy that has met every id, with an upstream of its own."""

    def __init__(self, processes, setting, name, dns, lists, two_cores):
        proxy_core, self.core = two_cores
        self.lists, self.folder = lists, setting.folder
        self.origin = Origin(processes, setting, 128, "-a", core=self.core)
        self.proxy = start_id_proxy(processes, setting, name, self.origin.port, dns, proxy_core)
        h2load(self, "all", 1, lists.ids)

    def sample(self, work, kind, seconds):
        """Requests of one load, CPU seconds they took, and connections the upstream accepted."""
        cpu, accepted = cpu_seconds(self.proxy.child.pid), self.origin.counts()[0]
        if work == "h1-h1":
            done = wrk(self, kind, seconds)
        else:
            done = h2load(self, kind, H2_PROCESSES, round(20_000 * seconds))
        spent = cpu_seconds(self.proxy.child.pid) - cpu
        self.proxy.forget_log()
        return done, spent, self.origin.counts()[0] - accepted


def one_round(subject, work, entry, seconds, warming):
    """One sample with one host and one with many."""
    try:
        for kind in ("one", "many"):
            done, spent, accepted = subject.sample(work, kind, seconds)
            if not warming:
                entry[kind]["samples"].append(done / spent)
                entry[kind]["accepted"].append(10_000 * accepted / done)
    except BenchError as error:
        entry["void"] = str(error)


def conclude(entry):
    """Adds medians, quartiles and the ratio of many hosts to one."""
    for kind in ("one", "many"):
        entry[kind]["void"] = entry["void"]
        summarise(entry[kind])
    entry["ratio"] = None
    if not entry["void"]:
        entry["ratio"] = statistics.median(
            many / one for many, one in zip(entry["many"]["samples"], entry["one"]["samples"]))


def wrk(subject, kind, seconds):
    """Loads with HTTP/1.1 for so many seconds; the number of requests, all answered with 2xx."""
    done = subprocess.run(
        [need("wrk"), "-t1", f"-c{H1_CONNECTIONS}", f"-d{max(round(seconds), 1)}s",
         "--timeout=10s", "-s", LUA, f"https://127.0.0.1:{subject.proxy.port}", "--",
         subject.lists.path(kind)],
        capture_output=True, text=True, timeout=120, preexec_fn=prepared(subject.core))
    found = re.search(r"RESULT (\d+) (\d+) (\d+)", done.stdout)
    if not found or found.group(2, 3) != ("0", "0") or found.group(1) == "0":
        raise BenchError(f"void: wrk: {found.groups() if found else done.stderr[-300:]}")
    return int(found.group(1))


def h2load(subject, kind, number, requests):
    """Loads with HTTP/2 from `number` processes with one connection each, so that they do not go
    through one list in step; the number of requests, all answered with 2xx."""
    each = requests // number
    children = [subprocess.Popen(
        [need("h2load"), "-n", str(each), "-c", "1", "-m", str(H2_STREAMS),
         f"--base-uri=https://127.0.0.1:{subject.proxy.port}", "-i",
         subject.lists.uris(kind, part, number, each)],
        stdout=subprocess.PIPE, text=True, preexec_fn=prepared(subject.core))
        for part in range(number)]
    said = [child.communicate(timeout=120)[0] for child in children]
    for text in said:
        if not re.search(rf"status codes: {each} 2xx, 0 3xx", text):
            raise BenchError("void: " + "".join(re.findall(r"requests: .*|status codes: .*", text)))
    return each * number
