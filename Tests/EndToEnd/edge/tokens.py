"""Load in which every unsafe request has a token of its own, and upstreams that count them."""

import collections
from concurrent.futures import ThreadPoolExecutor

from .clients import h2load

BODY = "paid"


class Deliveries:
    """What upstreams were given, over all of them and all of their lives."""

    def __init__(self):
        self.tokens = collections.Counter()
        self.safe = 0

    def count_in(self, upstream):
        """Has an upstream count what it is about to answer."""
        upstream.script["/api/token"] = self._answer
        return upstream

    async def _answer(self, request, reply):
        if await request.read():
            self.tokens[request.query["token"]] += 1
        else:
            self.safe += 1
        await reply.head(200, [("content-type", "text/plain")], length=2)
        await reply.data(b"ok")

    @property
    def repeated(self):
        return {token: times for token, times in self.tokens.items() if times > 1}


class TokenLoad:
    """GETs and POSTs by several h2load processes, each over one connection of its own."""

    def __init__(self, edge, folder, requests, ids=(1,), processes=4, streams=8, unsafe=False):
        self.edge, self.requests, self.unsafe = edge, requests, unsafe
        self.streams = streams
        self.body = folder / "body"
        self.body.write_text(BODY)
        self.lists = []
        for number in range(processes):
            self.lists.append(folder / f"uris-{unsafe}-{number}")
            self.lists[-1].write_text("".join(
                f"https://127.0.0.1:{edge.port}/api/token?id={ids[n % len(ids)]}"
                f"&token={number}-{n}\n" for n in range(requests)))

    def _one(self, uris):
        return h2load(None, self.requests, 1, self.streams, uris,
                      arguments=["-d", self.body] if self.unsafe else [])

    def run(self):
        """Sends everything; the number of answers by class, and of those that never came."""
        with ThreadPoolExecutor(len(self.lists)) as pool:
            runs = list(pool.map(self._one, self.lists))
        classes = collections.Counter()
        for load in runs:
            classes.update(load.by_class)
        missing = self.requests * len(self.lists) - sum(classes.values())
        return classes, missing
