"""System calls per request, counted by strace."""

import collections
import os
import signal

from .load import load
from .processes import BenchError, Processes, descendants
from .proxies import start_proxy, start_upstream
from .works import WORKS

# Connections and streams of each by front and upstream protocol. With more, how many requests meet
# in one read depends on who is faster; so many always meet where all are sent over one connection.
STEADY = {("h1", "1.1"): (1, 1), ("h1", "h2c"): (1, 1), ("h2", "1.1"): (1, 1),
          ("h2", "h2c"): (1, 32)}


def syscalls_per_request(setting, name, work, requests):
    """System calls of one request in steady state: the slope between N and 3N requests.

    Returns a dict: `total`, and `calls` by name for those seen at least every hundredth request."""
    short = count_syscalls(setting, name, work, requests)
    long = count_syscalls(setting, name, work, 3 * requests)
    each = {call: (long[call] - short[call]) / (2 * requests) for call in long}
    return dict(total=sum(each.values()),
                calls={call: figure for call, figure in
                       sorted(each.items(), key=lambda pair: -pair[1]) if abs(figure) >= 0.01})


def count_syscalls(setting, name, work, requests):
    """Calls by name in a process life that serves `requests` requests."""
    out = os.path.join(setting.folder, f"strace-{name}-{work}-{requests}")
    connections, streams = STEADY[WORKS[work].front, WORKS[work].upstream]
    with Processes(setting.folder) as processes:
        upstream = start_upstream(processes, setting, WORKS[work])
        proxy = start_proxy(processes, setting, name, WORKS[work].task(upstream),
                            prefix=["strace", "-f", "-c", "-qq", "-o", out])
        load(WORKS[work], proxy.port, requests, connections, streams)
        # strace writes its table when what it follows ends, so that is what gets the signal.
        for pid in descendants(proxy.child.pid)[1:2]:
            os.kill(pid, signal.SIGTERM)
        proxy.child.wait(30)
    counts = collections.Counter()
    with open(out) as file:
        for line in file:
            fields = line.split()
            if len(fields) >= 5 and fields[3].isdigit() and fields[-1] != "total":
                counts[fields[-1]] += int(fields[3])
    if not counts:
        raise BenchError(f"void: strace counted nothing for {name}")
    return counts
