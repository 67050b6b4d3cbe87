"""The upstream server in its less common modes, and what it counted."""

import os
import struct

from .processes import accepts, free_port, wait_for


class Origin:
    """An upstream that counts; `port` is where it listens."""

    def __init__(self, processes, setting, size, *options, core=None):
        """Starts it; `options` are those of origin.c, such as `-q`; answers have `size` bytes."""
        self.port = free_port()
        self.counters = os.path.join(setting.folder, f"counters-{self.port}")
        self.child = processes.start("upstream", [setting.origin, *options, "-c", self.counters,
                                                  str(self.port), str(size), "0"], core)
        wait_for(lambda: accepts(self.port), self.child, "upstream", 10)

    def counts(self):
        """Connections accepted and requests received so far."""
        with open(self.counters, "rb") as file:
            return struct.unpack("=QQ", file.read(16))
