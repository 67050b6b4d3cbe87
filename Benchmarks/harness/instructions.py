"""User-space instructions per request, counted by callgrind."""

import glob
import os
import re

from .load import load
from .processes import BenchError, Processes
from .proxies import start_proxy, start_upstream
from .works import WORKS


def instructions_per_request(setting, name, work, requests, linearity=True):
    """Instructions of one request in steady state: the slope between run lengths.

    Runs of N and 3N requests give the figure; a run of 2N tells how straight the line is.
    Returns a dict: `per_request`, and `bend`, the relative difference of the two halves' slopes."""
    short = total_instructions(setting, name, work, requests)
    long = total_instructions(setting, name, work, 3 * requests)
    result = dict(per_request=(long - short) / (2 * requests), requests=requests, bend=None)
    if linearity:
        middle = total_instructions(setting, name, work, 2 * requests)
        result["bend"] = ((long - middle) - (middle - short)) / (long - short) * 2
    return result


def callgrind(out, extra=()):
    """The command prefix that runs a proxy under callgrind with its output in folder `out`."""
    return ["valgrind", "--tool=callgrind", "--quiet", f"--callgrind-out-file={out}/callgrind.%p",
            *extra]


def total_instructions(setting, name, work, requests):
    """Instructions of a whole process life that serves `requests` requests."""
    out = os.path.join(setting.folder, f"callgrind-{name}-{work}-{requests}")
    os.makedirs(out)
    connections, streams = WORKS[work].small_load
    with Processes(setting.folder) as processes:
        upstream = start_upstream(processes, setting, WORKS[work])
        proxy = start_proxy(processes, setting, name, WORKS[work].task(upstream, single=True),
                            prefix=callgrind(out))
        load(WORKS[work], proxy.port, requests, connections, streams, seconds=300)
        # nghttpx alone ignores signals in single-process mode; valgrind still writes its totals
        # when the signal's default action ends it.
        processes.stop(proxy.child)
    total = 0
    for path in glob.glob(out + "/callgrind.*"):
        with open(path) as file:
            total += sum(int(match) for match in re.findall(r"^totals: (\d+)", file.read(), re.M))
    if total == 0:
        raise BenchError(f"void: callgrind wrote no totals for {name}")
    return total
