"""The load generator: h2load, and what its report says."""

import os
import re
import signal
import subprocess

from .processes import BenchError, LIBC, PR_SET_PDEATHSIG, need


def load(work, port, requests, connections, streams, core=None, seconds=120):
    """Sends `requests` requests of a `Work` and returns requests per second of wall time.

    Raises BenchError unless every single one was answered with 2xx."""
    command = [need("h2load"), "-n", str(requests), "-c", str(min(connections, requests)),
               "-t", "1"]
    command += ["--h1"] if work.front == "h1" else ["-m", str(streams)]

    if work.close:
        # h2load then opens a connection per request, and resumes the session of the last one.
        command += ["-H", "connection: close"]

    def prepare():
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if core is not None:
            os.sched_setaffinity(0, {core})

    try:
        done = subprocess.run([*command, f"https://127.0.0.1:{port}/bench"], capture_output=True,
                              text=True, timeout=seconds, preexec_fn=prepare)
    except subprocess.TimeoutExpired:
        raise BenchError(f"void: {requests} requests took more than {seconds} s") from None
    good = re.search(r"status codes: (\d+) 2xx", done.stdout)
    outcome = re.search(r"requests: .*", done.stdout)
    speed = re.search(r"finished in [^,]+, ([\d.]+) req/s", done.stdout)
    if not good or not speed or int(good.group(1)) != requests:
        said = outcome.group(0) if outcome else (done.stdout + done.stderr)[-300:]
        raise BenchError(f"void: {good.group(1) if good else 0} of {requests} were 2xx; {said}")
    protocol = re.search(r"Application protocol: (\S+)", done.stdout)
    expected = {"h1": "http/1.1", "h2": "h2"}[work.front]
    if not protocol or protocol.group(1) != expected:
        raise BenchError(f"void: spoke {protocol and protocol.group(1)}, not {expected}")
    return float(speed.group(1))
