"""Allocations per request, by the object that asked for them."""

import bisect
import collections
import os
import re
import struct
import subprocess

from .load import load
from .processes import BenchError, Processes, compile_c, executable
from .proxies import start_proxy, start_upstream
from .works import WORKS

SLOTS = 1 << 14


def build_counter(folder):
    """Compiles the preloaded counter; its path."""
    return compile_c("malloc_counter.c", os.path.join(folder, "malloc_counter.so"),
                     ["-fPIC", "-shared", "-fno-builtin"])


def allocations_per_request(setting, counter, name, work, requests):
    """Allocations of one request in steady state, in one process that is warm.

    Loads of N, N and 3N requests; the last two differ by 2N requests and no connection.
    Returns a dict: `total`, `own` (the proxy's binary and Swift's libraries), `objects` (by
    object's file name) and `sites` (the most frequent callers, with symbols)."""
    table = os.path.join(setting.folder, f"allocations-{name}-{work}")
    connections, streams = WORKS[work].small_load
    with Processes(setting.folder) as processes:
        upstream = start_upstream(processes, setting, WORKS[work])
        proxy = start_proxy(processes, setting, name, WORKS[work].task(upstream, single=True),
                            environment={"LD_PRELOAD": counter, "MALLOC_COUNTER": table})
        snapshots = []
        for count in (requests, requests, 3 * requests):
            load(WORKS[work], proxy.port, count, connections, streams)
            snapshots.append(read_table(table))
        objects = Objects(proxy.child.pid)
    warm, short, long = snapshots
    per_site = {
        address: ((count - short[address]) - (short[address] - warm[address])) / (2 * requests)
        for address, count in long.items()}
    return summarise(per_site, objects)


def summarise(per_site, objects):
    """Adds the figures of the call sites up by object."""
    by_object, by_site = collections.Counter(), collections.Counter()
    for address, figure in per_site.items():
        where = objects.name(address)
        by_object[where] += figure
        if abs(figure) >= 0.005:
            by_site[f"{where}: {objects.symbol(address)}"] += figure
    own = sum(figure for where, figure in by_object.items()
              if where == objects.main or where.startswith("libswift"))
    return dict(total=sum(by_object.values()), own=own,
                objects={key: value for key, value in by_object.most_common()
                         if abs(value) >= 0.005},
                sites=[dict(site=key, per_request=value)
                       for key, value in by_site.most_common(20)])


def read_table(path):
    """Counts by return address, as the counter left them."""
    with open(path, "rb") as file:
        words = struct.unpack(f"={2 * SLOTS + 2}Q", file.read(16 * (SLOTS + 1)))
    if words[-1]:
        raise BenchError("void: the allocation counter's table is full")
    counts = collections.Counter()
    for at in range(0, 2 * SLOTS, 2):
        if words[at]:
            counts[words[at]] += words[at + 1]
    return counts


class Objects:
    """Which object and symbol an address of a living process belongs to."""

    def __init__(self, pid):
        self.main = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
        self.maps = []
        self.symbols = {}
        with open(f"/proc/{pid}/maps") as file:
            for line in file:
                match = re.match(r"(\w+)-(\w+) \S+ (\w+) \S+ \d+\s+(/.*)", line)
                if match:
                    low, high, offset = (int(match.group(at), 16) for at in (1, 2, 3))
                    self.maps.append((low, high, offset, match.group(4).strip()))

    def find(self, address):
        """Path and file offset of an address."""
        for low, high, offset, path in self.maps:
            if low <= address < high:
                return path, address - low + offset
        return None, 0

    def name(self, address):
        """File name of the object without the version, `libcrypto.so` for `libcrypto.so.3`."""
        path, _ = self.find(address)
        return re.sub(r"\.so[.\d]*$", ".so", os.path.basename(path)) if path else "unknown"

    def symbol(self, address):
        """The function around an address, demangled; the offset if there is no symbol."""
        path, offset = self.find(address)
        if not path:
            return hex(address)
        if path not in self.symbols:
            self.symbols[path] = (load_segments(path), load_symbols(path))
        segments, symbols = self.symbols[path]
        for file_offset, virtual, length in segments:
            if file_offset <= offset < file_offset + length:
                offset = offset - file_offset + virtual
                break
        at = bisect.bisect_right(symbols, (offset, float("inf"))) - 1
        # A stripped object names its exported functions only; beyond one's end is another's code.
        if at >= 0 and offset <= symbols[at][0] + symbols[at][1]:
            return demangle(symbols[at][2])
        return f"+{offset:#x}"


def load_segments(path):
    """File offset, virtual address and size of an ELF file's loaded segments."""
    with open(path, "rb") as file:
        header = file.read(64)
        table, = struct.unpack_from("<Q", header, 32)
        size, number = struct.unpack_from("<HH", header, 54)
        file.seek(table)
        entries = [file.read(size) for _ in range(number)]
    segments = []
    for entry in entries:
        kind, _, offset, virtual, _, length = struct.unpack_from("<IIQQQQ", entry)
        if kind == 1:
            segments.append((offset, virtual, length))
    return segments


def load_symbols(path):
    """Sorted (address, size, name) of an object's functions."""
    if not executable("nm"):
        return []
    symbols = []
    for option in ([], ["-D"]):
        done = subprocess.run(["nm", *option, "-S", "--defined-only", path], capture_output=True,
                              text=True)
        for line in done.stdout.splitlines():
            fields = line.split(" ", 3)
            if len(fields) == 4 and fields[2] in "tTwWi":
                symbols.append((int(fields[0], 16), int(fields[1], 16), fields[3]))
    return sorted(symbols)


def demangle(label):
    """A Swift symbol in Swift's words; any other as it is."""
    if label.startswith("$s") and executable("swift-demangle"):
        done = subprocess.run(["swift-demangle", "--compact", "--simplified", label],
                              capture_output=True, text=True)
        return done.stdout.strip() or label
    return label
