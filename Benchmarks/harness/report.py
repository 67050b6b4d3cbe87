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
    def show(entry):
        low, high = entry["quartiles"]
        return (f"{whole(entry['median'])} ({whole(low)} … {whole(high)})"
                + (f", {entry['ratio']:.2f}×" if entry["ratio"] else ""))
    return ("## Requests per second of the proxy's own CPU time\n\n"
            + by_work(results, works, show)
            + "\n\nMedian (quartiles), and the median of the ratio to each round's best peer.\n"
            + "How busy each proxy kept its core: " + busy(results, works) + ".\n"
            + voids(results))


def busy(results, works):
    """The median part of the wall time that each proxy computed, work by work."""
    return "; ".join(
        WORKS[work].title + " " + ", ".join(
            f"{TITLES[name]} {statistics.median(entry['busy']):.0%}"
            for name, entry in results[work].items() if entry["median"])
        for work in works if work in results)


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


def breaches(report, thresholds, works):
    """What edge-proxy exceeds or was not measured on: one line each, none if the gate is open."""
    found = []
    checks = [("instructions", "per_request", "instructions_per_request", 0),
              ("allocations", "own", "own_allocations_per_request",
               thresholds["allocation_resolution"])]
    for section, key, budgets, slack in checks:
        if section not in report:
            continue
        for work in [work for work in works if work in thresholds[budgets]]:
            entry = report[section].get(work, {}).get("edge")
            budget = thresholds[budgets][work]
            if entry is None or entry.get("void"):
                found.append(f"{section} {work}: not measured")
            elif entry[key] > budget + slack:
                found.append(f"{section} {work}: {entry[key]:.2f} is above {budget}")
    return found
