"""Waiting for conditions with deadlines, and ports for servers that cannot bind port 0."""

import os
import random
import socket
import time


#: Seconds for what takes milliseconds: the rest is for a machine busy with other things.
PATIENCE = 20


def until(condition, seconds=PATIENCE, what="the condition", every=0.01):
    """Polls `condition` until it returns something true and returns that; fails at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            description = what() if callable(what) else what
            raise AssertionError(f"not within {seconds} s: {description}")
        time.sleep(every)


def holds(condition, seconds, what="the condition", every=0.02):
    """Fails as soon as `condition` turns false within the time given."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), f"held for less than {seconds} s: {what}"
        time.sleep(every)


def reserve_port(addresses=("127.0.0.1",)):
    """A port that was free on every address, below the ephemeral range, apart per xdist worker."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:] or 0)
    first = 10_000 + (worker % 7) * 3_000
    for _ in range(200):
        port = random.randrange(first, first + 3_000)
        if all(_is_free(address, port) for address in addresses):
            return port
    raise AssertionError(f"no free port from {first}")


def _is_free(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(family, kind) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True
