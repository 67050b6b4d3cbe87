"""Calls of the proxy that fail when told to: faults/faults.c, preloaded, and its control."""

import errno
import functools
import mmap
import os
import struct
import subprocess
import time
from pathlib import Path

from .process import BINARY

SOURCE = Path(__file__).resolve().parents[1] / "faults" / "faults.c"

# The orders and the layout are those of faults.c.
CALLS = [
    "socket", "connect", "accept4", "bind", "listen", "setsockopt", "getsockopt", "getsockname",
    "shutdown", "send", "sendto", "recv", "recvfrom", "read", "write", "writev", "close",
    "epoll_create1", "epoll_ctl", "epoll_wait", "eventfd", "fcntl", "open", "fopen", "rename",
    "pthread_create", "malloc", "http2_malloc"]
CALLERS = ["proxy", "tls", "http2", "dns"]
HEAD = struct.Struct("<IIIIiIqQ")
FIRED = struct.Struct("<Q")
COUNTS = struct.Struct(f"<{len(CALLS) * len(CALLERS)}Q")
SHORT = "short"


def build(folder):
    """Compiles the library into a folder; its path."""
    library = Path(folder) / "faults.so"
    done = subprocess.run(
        ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(library),
         str(SOURCE), "-ldl"], capture_output=True, text=True, timeout=60,
        stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return library


@functools.cache
def http2_allocator():
    """Where in the binary the memory of HTTP/2 sessions is allocated: start and end, in hex."""
    listed = subprocess.run(["nm", "-S", str(BINARY)], capture_output=True, text=True, timeout=60,
                            stdin=subprocess.DEVNULL)
    found = [line.split() for line in listed.stdout.splitlines() if "HTTP2MemoryV4take" in line]
    assert found, f"no HTTP2Memory.take in {BINARY}: {listed.stderr}"
    start, size = (int(part, 16) for part in found[0][:2])
    return f"{start:x}-{start + size:x}"


class Faults:
    """The control of one process's faults; `environment` is what to start it with."""

    def __init__(self, library, file):
        self.library, self.file = library, Path(file)
        self.file.write_bytes(bytes(HEAD.size + COUNTS.size))
        with open(self.file, "r+b") as opened:
            self.memory = mmap.mmap(opened.fileno(), 0)

    @property
    def environment(self):
        return {"LD_PRELOAD": str(self.library), "FAULTS": str(self.file),
                "FAULTS_HTTP2": http2_allocator()}

    def arm(self, call, nth=1, code=errno.EIO, callers=("proxy",), lasts=False):
        """The nth call from now on fails with `code` or is SHORT; `lasts`: those after it, too."""
        self.disarm()
        mask = sum(1 << CALLERS.index(caller) for caller in callers)
        is_short = code == SHORT
        head = HEAD.pack(0, CALLS.index(call), mask, is_short, 0 if is_short else code, lasts, nth,
                         0)
        self.memory[:HEAD.size] = head
        self.memory[:4] = struct.pack("<I", 1)

    def disarm(self):
        """Ends the fault and returns how many calls it has met."""
        self.memory[:4] = bytes(4)
        return self.fired()

    def fired(self):
        return FIRED.unpack_from(self.memory, HEAD.size - FIRED.size)[0]

    def seen(self, call, *callers):
        """How many such calls there have been."""
        counts = COUNTS.unpack_from(self.memory, HEAD.size)
        first = CALLS.index(call) * len(CALLERS)
        return sum(counts[first + CALLERS.index(caller)] for caller in callers or CALLERS)

    def close(self):
        self.memory.close()


def walk(faults, call, code, scenario, check, callers=("proxy",), dense=16, growth=1.3):
    """Lets the first, second, third … call of a scenario fail until there is none left.

    Every one up to `dense`, then in growing steps. Returns how many faults were met.
    """
    number, steps = 1, 0
    while True:
        faults.arm(call, number, code, callers)
        try:
            scenario()
        except Exception as problem:
            raise AssertionError(f"{call} {number} {name(code)}: {problem}") from problem
        finally:
            fired = faults.disarm()
        try:
            check()
        except Exception as problem:
            kind = type(problem).__name__
            raise AssertionError(
                f"after {call} {number} {name(code)}: {kind}: {problem}") from problem
        if not fired:
            return steps
        steps += 1
        number = number + 1 if number < dense else int(number * growth)


def name(code):
    return code if code == SHORT else errno.errorcode[code]


def record(walked, file=os.environ.get("FAULT_STEPS")):
    """Adds to a file what was walked and how many faults were met, when somebody wants to know."""
    if file:
        with open(file, "a") as opened:
            opened.write(f"{time.strftime('%T')} {walked}\n")
