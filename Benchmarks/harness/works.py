"""The works: what clients ask for, over which protocols, and how much of it at once."""

import dataclasses

MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Work:
    """One kind of traffic.

    `front` is what clients speak over TLS, `h1` or `h2`; `upstream` what the proxy speaks to the
    upstream: `1.1`, `h2c`, or `h2`, the last one over TLS. `load` and `small_load` are connections
    and streams of each: in the runs that count CPU time, and in those that count instructions,
    allocations and system calls; a work without the latter is not part of those. `size` and
    `upload` are bytes of an answer and of a request's body. A work with `batch` is done in runs of
    so many requests with new connections each, because connecting belongs to it. `unit` is what is
    counted: its name and how much of it one request is. `first` is the number of requests of the
    first load, from which the others' lengths follow. `aim` is the ratio to the best peer that
    edge-proxy is to reach."""

    title: str
    family: str
    front: str
    upstream: str
    load: tuple
    first: int
    small_load: tuple = None
    size: int = 128
    upload: int = 0
    certificate: str = "p256"
    batch: int = None
    close: bool = False
    unit: tuple = ("requests", 1)
    aim: float = None

    def task(self, port, **more):
        """What a proxy is set up for so that it does this work with the upstream at `port`."""
        return Task(self.upstream, port, self.certificate, max(self.size, self.upload), **more)


@dataclasses.dataclass(frozen=True)
class Task:
    """What a proxy is set up for: protocol of the upstream as in `Work`, its port on 127.0.0.1,
    kind of the proxy's certificate (`p256` or `rsa`), bytes of the bodies to come, worker threads
    or processes, and whether it must be one process without a master. Every listener offers HTTP/2
    and HTTP/1.1."""

    upstream: str
    port: int
    certificate: str = "p256"
    body: int = 128
    workers: int = 1
    single: bool = False


def pairing(front, upstream, aim, size=128):
    """Small requests over kept connections."""
    title = f"{front} → {'h1' if upstream == '1.1' else upstream}"
    small = size == 128
    return Work(title + ("" if small else ", 16 KiB"),
                "Answers of 128 bytes" if small else "Answers of 16 KiB", front, upstream,
                load=(64, 1) if front == "h1" else (16, 32), first=8000 if small else 4000,
                small_load=((4, 1) if front == "h1" else (2, 32)) if small else None,
                size=size, aim=aim)


def handshakes(title, aim, **more):
    """One connection and one request each, or few."""
    return Work(title, "Connections", "h1", "1.1", aim=aim,
                **dict(dict(load=(250, 1), first=250, batch=250, unit=("connections", 1)), **more))


def bulk(title, front, **more):
    """Bodies of 10 MiB."""
    return Work(title, "Bodies of 10 MiB", front, "1.1", load=(4, 1) if front == "h1" else (4, 4),
                first=32, unit=("MiB", 10), aim=1.0, **more)


WORKS = {
    "h1-h1": pairing("h1", "1.1", 1.25),
    "h2-h1": pairing("h2", "1.1", 1.3),
    "h2-h2c": pairing("h2", "h2c", 1.5),
    "h1-h2c": pairing("h1", "h2c", 1.5),
    "h2-h2": dataclasses.replace(pairing("h2", "h2", None), title="h2 → h2 over TLS",
                                 small_load=None),
    "h1-h1-16k": pairing("h1", "1.1", 1.25, 16384),
    "h2-h1-16k": pairing("h2", "1.1", 1.3, 16384),
    "h2-h2c-16k": pairing("h2", "h2c", 1.5, 16384),
    "h1-h2c-16k": pairing("h1", "h2c", 1.5, 16384),
    "full-p256": handshakes("full handshakes, P-256", 1.0),
    "full-rsa": handshakes("full handshakes, RSA-2048", 1.0, certificate="rsa"),
    "resumed": handshakes("resumed handshakes", 1.1, load=(16, 1), first=500, batch=None,
                          close=True),
    "churn": handshakes("full handshake and 4 requests", None, batch=1000,
                        unit=("connections", 0.25)),
    "h1-down": bulk("h1, down", "h1", size=10 * MIB),
    "h1-up": bulk("h1, up", "h1", upload=10 * MIB),
    "h2-down": bulk("h2, down", "h2", size=10 * MIB),
    "h2-up": bulk("h2, up", "h2", upload=10 * MIB),
}
