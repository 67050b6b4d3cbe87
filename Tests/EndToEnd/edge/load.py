"""A steady load in the background that knows what became of every request."""

import asyncio
import collections
import threading

import httpx


# Half a second of the fastest load here.
MOST_UNDER_WAY = 200


class SteadyLoad:
    """Requests paths in turn at a rate, on a thread of its own, until stopped.

    A connection that is refused, or ends before a request was sent on it, is tried again: that is
    what a client does while a listener changes hands; everything else is counted as lost.
    """

    def __init__(self, edge, paths, rate=200.0, http2=True, lost_after=30):
        self.edge, self.paths, self.rate, self.http2 = edge, paths, rate, http2
        self.lost_after = lost_after
        self.statuses = collections.Counter()
        self.failures = []
        self.started = 0
        self.refused = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """No new requests; waits for those under way."""
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "requests are still under way"

    @property
    def done(self):
        return sum(self.statuses.values()) + len(self.failures) + self.refused

    async def _run(self):
        context = self.edge.authority.client_context(None)
        base = f"https://localhost:{self.edge.port}"
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
        async with httpx.AsyncClient(http2=self.http2, verify=context, trust_env=False,
                                     timeout=self.lost_after, limits=limits) as client:
            tasks, loop = set(), asyncio.get_running_loop()
            begin = loop.time()
            while not self._stop.is_set():
                path = self.paths[self.started % len(self.paths)]
                if len(tasks) >= MOST_UNDER_WAY:
                    # A machine that cannot keep up would only pile them up.
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                self.started += 1
                task = asyncio.ensure_future(self._one(client, base + path))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                await asyncio.sleep(max(0, begin + self.started / self.rate - loop.time()))
            if tasks:
                await asyncio.wait(tasks)

    async def _one(self, client, url):
        try:
            response = await client.get(url)
            self.statuses[response.status_code] += 1
        except httpx.ConnectError:
            self.refused += 1
        except httpx.HTTPError as failure:
            self.failures.append(repr(failure))
