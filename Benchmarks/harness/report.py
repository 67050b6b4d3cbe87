"""Tables in Markdown, and the comparison with the thresholds."""

import statistics

from .proxies import TITLES
from .works import WORKS


def table(head, rows):
    """A Markdown table; the first column is left-aligned, the others right-aligned."""
    lines = ["| " + " | ".join(head) + " |",
             "| " + " | ".join(["---"] + ["---:"] * (len(head) - 1)) + " |"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def whole(value):
    return f"{value:,.0f}".replace(",", " ")


def cell(entry, show):
    """A figure, `–` when it was not measured, `void` when the run broke a rule."""
    if entry is None:
        return "–"
    return "void" if entry.get("void") else show(entry)


def by_work(results, works, show):
    """One row per proxy, one column per work, of results[work][name]."""
    works = [work for work in works if work in results]
    names = [name for name in TITLES if any(name in results.get(work, {}) for work in works)]
    rows = [[TITLES[name]] + [cell(results.get(work, {}).get(name), show) for work in works]
            for name in names]
    return table(["proxy"] + [WORKS[work].title for work in works], rows)


def voids(results):
    """A line for each figure that must not be used."""
    return "".join(f"\n- {WORKS[work].title}, {TITLES[name]}: {entry['void'].strip()}"
                   for work, entries in results.items() for name, entry in entries.items()
                   if entry.get("void"))


def instructions(results, works):
    def show(entry):
        bend = entry["bend"]
        return whole(entry["per_request"]) + (f" (±{abs(bend):.1%})" if bend is not None else "")
    return ("## User-space instructions per request\n\n" + by_work(results, works, show)
            + "\n\nIn brackets: how much the slope changes between the halves of the run.\n"
            + voids(results))


def allocations(results, works):
    def show(entry):
        others = ", ".join(f"{name} {figure:.2f}" for name, figure in entry["objects"].items())
        return f"{entry['own']:.2f} own, {entry['total']:.2f} in all" + (
            f" ({others})" if others else "")
    text = "## Allocations per request\n\n" + by_work(results, works, show) + "\n"
    for work, entries in results.items():
        entry = entries.get("edge")
        if entry and not entry.get("void") and entry["sites"]:
            text += f"\n{WORKS[work].title}, edge-proxy, by caller:\n\n"
            text += "".join(f"- {site['per_request']:.2f} {site['site']}\n"
                            for site in entry["sites"])
    return text + voids(results)


def cpu(results, works):
    """One table for each family of works, and what came of the aims."""
    def show(entry):
        low, high = entry["quartiles"]
        return (f"{whole(entry['median'])} ({whole(low)} … {whole(high)})"
                + (f", {entry['ratio']:.2f}×" if entry["ratio"] else ""))
    text = ("## Work per second of the proxy's own CPU time\n\n"
            "Median (quartiles), and the median of the ratio to each round's best peer.\n")
    works = [work for work in works if work in results]
    for family in dict.fromkeys(WORKS[work].family for work in works):
        members = [work for work in works if WORKS[work].family == family]
        text += (f"\n### {family}: {WORKS[members[0]].unit[0]} per CPU second\n\n"
                 + by_work(results, members, show)
                 + "\n\nHow busy each kept its core:\n\n" + by_work(
                     results, members, lambda entry: f"{statistics.median(entry['busy']):.0%}")
                 + "\n")
    return text + aims(results, works) + voids(results)


def aims(results, works):
    """The ratio to the best peer that is aimed at, and those that were measured."""
    def outcome(entry, aim):
        if not entry or not entry.get("ratio"):
            return "–"
        return f"{entry['ratio']:.2f}, {'met' if entry['ratio'] >= aim else 'missed'}"
    rows = [[WORKS[work].title, f"{WORKS[work].aim:.2f}",
             *(outcome(results[work].get(name), WORKS[work].aim) for name in
               ("edge-quiet", "edge"))]
            for work in works if WORKS[work].aim]
    head = ["work", "aim", "no access log, as the peers", "with access log"]
    return "\n### Aims: ratio to the best peer\n\n" + table(head, rows) + "\n" if rows else ""


def syscalls(results, works):
    text = "## System calls per request\n\n"
    text += by_work(results, works, lambda entry: f"{entry['total']:.2f}") + "\n"
    for work, entries in results.items():
        for name, entry in entries.items():
            if not entry.get("void"):
                calls = ", ".join(f"{call} {figure:.2f}" for call, figure in
                                  entry["calls"].items())
                text += f"\n- {WORKS[work].title}, {TITLES[name]}: {calls}"
    return text + voids(results)


SECTIONS = {"instructions": instructions, "allocations": allocations, "cpu": cpu,
            "syscalls": syscalls}


# Section and the figure of it that is watched.
GATES = {"instructions": "per_request", "allocations": "own", "syscalls": "total"}


def breaches(report, section, threshold, works):
    """Where edge-proxy's figures of a section leave what a threshold allows, to either side: a
    figure that fell asks for a new threshold. One line each, none if the gate is open.

    A threshold is a dict: `figures` by work, and how far one may be off, `relative` to the figure
    and `absolute`, whichever is more."""
    found = []
    for work in [work for work in works if work in threshold["figures"]]:
        entry = report[section].get(work, {}).get("edge")
        expected = threshold["figures"][work]
        slack = max(threshold["relative"] * expected, threshold["absolute"])
        if entry is None or entry.get("void"):
            found.append(f"{section} {work}: not measured: {entry and entry['void']}")
            continue
        figure = entry[GATES[section]]
        if abs(figure - expected) > slack:
            found.append(f"{section} {work}: {figure:.2f} is not {expected} ± {slack:.4g}")
    return found
