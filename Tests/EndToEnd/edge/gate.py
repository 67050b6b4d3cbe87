"""Answers that a test holds back for as long as it wants."""

import asyncio


class Gate:
    """Paths of an upstream whose answers, the target as text, wait until the gate is opened."""

    def __init__(self, upstream, *paths):
        self.upstream, self.paths = upstream, paths or ("/api/gate",)
        self._event = asyncio.Event()
        for path in self.paths:
            upstream.script[path] = self._answer

    async def _answer(self, request, reply):
        await request.read()
        await self._event.wait()
        body = request.target.encode()
        await reply.head(200, length=len(body))
        await reply.data(body)

    @property
    def waiting(self):
        """Requests that have arrived here."""
        return sum(1 for request in list(self.upstream.requests) if request.path in self.paths)

    def open(self):
        self.upstream._loop.call_soon_threadsafe(self._event.set)
