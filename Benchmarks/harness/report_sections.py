"""Tables of memory, latency, id-routed work and scaling."""

import statistics

from .ids import WORKS as ID_WORKS
from .latency import PERCENTILES
from .memory import HOLDS
from .proxies import TITLES
from .report import cell, table, whole
from .works import WORKS


def spread(entry, scale=1):
    """Median and quartiles of an entry with samples."""
    low, high = (whole(value * scale) for value in entry["quartiles"])
    return f"{whole(entry['median'] * scale)} ({low} … {high})"


def void_lines(entries, what):
    """A line for each of entries[name] that must not be used."""
    return "".join(f"\n- {what}, {TITLES[name]}: {entry['void'].strip()}"
                   for name, entry in entries.items() if entry["void"]) + "\n"


def memory(results, _):
    def show(entry):
        return f"{whole(entry['each'])} ({whole(entry['all'])})" + (
            f", {entry['ratio']:.2f}×" if entry.get("ratio") else "")
    names = [name for name in TITLES if any(name in entries for entries in results.values())]
    rows = [[TITLES[name]] + [cell(results[hold].get(name), show) for hold in results]
            for name in names]
    return ("## Memory in bytes per idle connection and per waiting stream\n\n"
            + table(["proxy"] + [HOLDS[hold]["title"] for hold in results], rows)
            + "\n\nFrom N to 2N of them (in brackets: from none to 2N, pools included), and ours "
            "by the least of a peer.\n"
            + "".join(void_lines(entries, HOLDS[hold]["title"])
                      for hold, entries in results.items()))


def latency(results, _):
    text = ("## Latency in microseconds\n\nMedian of the rounds (quartiles), least p99 first; the "
            "last column: p99 by the least p99 of a peer in the same round.\n")
    for work, modes in results.items():
        for mode, entries in modes.items():
            what = f"{WORKS[work].title}, " + (
                "each at half of what it could do" if mode == "half" else "one rate for all")
            good = sorted((name for name in entries if not entries[name]["void"]),
                          key=lambda name: entries[name]["p99"]["median"])
            rows = [[TITLES[name], whole(entries[name]["rate"]),
                     f"{statistics.median(entries[name]['busy']):.0%}",
                     *(spread(entries[name][part], 1e6) for part in PERCENTILES),
                     f"{ratio:.2f}×" if (ratio := entries[name].get("ratio")) else ""]
                    for name in good]
            text += (f"\n### {what}\n\n" + table(["proxy", "requests per second", "busy",
                                                  *PERCENTILES, "ratio"], rows)
                     + "\n"
                     + void_lines(entries, what))
    return text


def ids(results, _):
    text = ("## Requests to 10 000 hosts by id\n\nRequests per second of the proxy's own CPU "
            "time, median (quartiles): to hosts drawn by Zipf's law, and the same load to one "
            "host.\n")
    for work, entries in results.items():
        rows = [[TITLES[name], spread(entry["many"]) + (
                    f", {ratio:.2f}×" if (ratio := entry["many"].get("ratio")) else ""),
                 spread(entry["one"]), f"{entry['ratio']:.2f}",
                 *(whole(statistics.median(entry[kind]["accepted"])) for kind in ("many", "one"))]
                for name, entry in entries.items() if not entry["void"]]
        text += f"\n### {ID_WORKS[work]}\n\n" + table(
            ["proxy", "many hosts, ratio to best peer", "one host", "many by one",
             "connections opened for 10 000 requests, many", "one"], rows) + "\n"
        text += void_lines(entries, ID_WORKS[work])
    return text


def scaling(results, _):
    text = ("## One worker and two\n\nMedian of the rounds; nothing is pinned, so both cores are "
            "shared with the load generator and the upstream, with one worker as with two.\n")
    for work, entries in results.items():
        rows = [[TITLES[name]] + [text for kind in ("cpu", "wall") for text in (
                    whole(entry[kind]["one"]["median"]), whole(entry[kind]["two"]["median"]),
                    f"{entry[kind]['ratio']:.2f}")]
                for name, entry in entries.items() if not entry["void"]]
        text += f"\n### {WORKS[work].title}\n\n" + table(
            ["proxy", "per CPU second: one", "two", "two by one", "per second: one", "two",
             "two by one"], rows) + "\n" + void_lines(entries, WORKS[work].title)
    return text


SECTIONS = {"memory": memory, "latency": latency, "ids": ids, "scaling": scaling}
