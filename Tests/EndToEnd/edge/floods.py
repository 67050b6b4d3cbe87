"""What a flood test needs: a neighbour who must not notice, and a hose for frames."""

import itertools
import threading
import time
from dataclasses import dataclass

from .frames import DATA, ENHANCE_YOUR_CALM, GOAWAY, PROTOCOL_ERROR, RST_STREAM
from .waiting import PATIENCE, until

MEBIBYTE = 1 << 20
# Memory that a flood may cost the proxy, over all its rounds.
MOST_MEMORY = 32 * MEBIBYTE
# A service that reads the request and does not answer while a flood lasts, and a long answer.
NEVER = "/api/never?id=1"
LARGE = "/api/large?id=1&size=1000000"
# Frames after which a flood that has not been ended counts as let through.
CAP = 20_000


class Neighbour:
    """A well-behaved client: HTTP/1.1 and HTTP/2 requests in turn, on connections that it keeps.

    `problem` is the first thing that went wrong: no 200 within 20 seconds, or a lost connection.
    """

    def __init__(self, edge, path="/api/hello?id=12"):
        self.edge, self.path = edge, path
        self.begun = self.answered = 0
        self.problem = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="neighbour")

    def __enter__(self):
        self._thread.start()
        until(lambda: self.answered > 1 or self.problem, 20, "the neighbour's first answers")
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), "the neighbour waits for an answer"

    def _run(self):
        try:
            with self.edge.http1() as first, self.edge.http2() as second:
                asks = (lambda: first.get(self.path),
                        lambda: second.finish(second.start(path=self.path)))
                for ask in itertools.cycle(asks):
                    if self._stop.is_set():
                        return
                    self.begun += 1
                    found = ask()
                    assert found.status == 200 and found.complete, found
                    self.answered += 1
                    # Leaves the processor to the flood; nothing waits for this.
                    self._stop.wait(0.003)
        except BaseException as problem:
            self.problem = repr(problem)

    def served_since(self, mark):
        """Whether a request that began after `begun` was `mark` has been answered."""
        return self.answered > mark or self.problem is not None


@dataclass
class Outcome:
    """How a connection took a flood."""

    frames: int
    goaway: int = None
    ended: bool = False
    resets: int = 0


def pour(client, pieces, cap=CAP, batch=64, reads=True):
    """Writes frames, a batch at a time, until the peer ends the connection or the cap is reached.

    What the peer says meanwhile is read and thrown away; without `reads` that is left to `pieces`.
    Now and then it gets a moment, lest the cap is reached by what waits in the kernel. When there
    is nothing more to write, the connection is left as it is.
    """
    outcome = Outcome(0)
    pieces, chunk = iter(pieces), []
    while outcome.frames < cap and (chunk := list(itertools.islice(pieces, batch))):
        client.socket.settimeout(PATIENCE)
        outcome.frames += len(chunk)
        patience = 0.05 if outcome.frames % 1024 == 0 else 0.0005
        if not client.send(*chunk) or reads and not _skim(client, patience) or _is_over(client):
            break
    if not chunk:
        return _told(client, outcome)
    # All that was sent may still be waiting in the kernel; the end is what counts.
    try:
        client.rest(20)
        outcome.ended = True
    except TimeoutError:
        pass
    return _told(client, outcome)


def _skim(client, patience):
    """Reads what has come already; False once the peer has said goodbye."""
    client.frames = [f for f in client.frames if f.kind in (GOAWAY, RST_STREAM)]
    try:
        while not _is_over(client) and client.read(patience) is not None:
            pass
    except TimeoutError:
        return True
    return False


def _is_over(client):
    """The last that was read is a goodbye; a client that reads on has not seen one before."""
    return bool(client.frames) and client.frames[-1].kind == GOAWAY


def _told(client, outcome):
    for found in client.frames:
        if found.kind == GOAWAY:
            outcome.goaway = found.code
        outcome.resets += found.kind == RST_STREAM
    return outcome


def quiet(edge, seconds=PATIENCE):
    """Waits until nothing of any client is left, and shows that the ledger agrees."""
    kinds = ("front_socket", "front_tls", "front_http2", "exchange", "waiter")

    def registry():
        found = edge.registry()
        ledger = {entry["kind"]: entry for entry in found["ledger"]}
        busy = any(ledger[kind]["live"] for kind in kinds) or any(
            host["in_flight"] or host["waiting"] for host in found["hosts"])
        return not busy and not found["drift"] and found
    until(registry, seconds, lambda: f"nothing left: {edge.registry()['ledger']}")
    assert edge.curl("/api/hello?id=11").status == 200


@dataclass
class Flood:
    """Frames without end, and how they are to be ended."""

    name: str
    pieces: object
    kinds: list
    code: int
    values: tuple
    options: dict


def table():
    """An empty table of floods, and the decorator that puts a generator of frames into it.

    `kinds` are those of metrics, none where a single frame is an error already; `code` is the
    GOAWAY's, None for a client that does not read it.
    """
    floods = []

    def flood(name, kinds="", code=ENHANCE_YOUR_CALM, values=(), **options):
        def add(pieces):
            floods.append(Flood(name, pieces, kinds.split(), code, values, options))
            return pieces
        return add
    return floods, flood


def start(edges, configuration, upstream, changes=None, **options):
    """A proxy with one worker, so that a flood and its neighbour share a thread.

    Its second listener is without TLS, which leaves more of the processor to the flood.
    """
    made = configuration(upstream, {"workers": 1, **(changes or {})}, **options)
    made["listeners"] = made["listeners"] + [{"address": "127.0.0.1:0"}]
    edge = edges(made)
    assert edge.curl("/api/hello?id=1").status == 200
    return edge


def endure(edge, flood, record, plain=True, least=3):
    """Runs a flood on connection after connection beside a neighbour, which must be served."""
    options = dict(flood.options)
    hose = {name: options.pop(name) for name in ("batch", "reads", "cap") if name in options}
    outcomes, memory, cpu = [], edge.rss(), edge.cpu()
    with Neighbour(edge) as neighbour:
        mark, deadline = neighbour.begun, time.monotonic() + 60
        while len(outcomes) < least or not neighbour.served_since(mark):
            assert time.monotonic() < deadline, f"{neighbour.begun} begun, {mark} before"
            with edge.frames(listener=1 if plain else 0, plain=plain, values=flood.values,
                             **options) as client:
                outcomes.append(pour(client, flood.pieces(client), **hose))
        assert neighbour.problem is None, neighbour.problem
    frames = sum(outcome.frames for outcome in outcomes)
    record("frames", max(outcome.frames for outcome in outcomes))
    record("cpu_per_10000_frames", round((edge.cpu() - cpu) / frames * 10_000, 3))
    record("memory", edge.rss() - memory)
    assert edge.rss() - memory < MOST_MEMORY
    return outcomes


def ends(edge, flood, record, **options):
    """Asserts that a flood is ended as its entry in the table says, each time that it comes."""
    outcomes = endure(edge, flood, record, **options)
    assert all(outcome.ended for outcome in outcomes), outcomes
    if flood.code is not None:
        if "provoked_reset" in flood.kinds:
            # A busy proxy may read more streams at once than are allowed: an error by itself.
            outcomes = [outcome for outcome in outcomes if outcome.goaway != PROTOCOL_ERROR]
        assert {outcome.goaway for outcome in outcomes} <= {flood.code}, outcomes
    if flood.kinds:
        assert _counted("edge_floods_total", edge, flood) == len(outcomes)
        assert _counted("edge_oddities_total", edge, flood) > 0
    quiet(edge)


def _counted(name, edge, flood):
    return sum(edge.metric(name, kind=kind) for kind in flood.kinds)


# Pieces of floods.

def streams(first=1):
    """Numbers of the streams that a client may open."""
    return itertools.count(first, 2)


def get(client, stream, path=NEVER, **options):
    return client.headers(stream, client.head(path=path), **options)


def post(client, stream, fields=(), path=NEVER, **options):
    return client.headers(stream, client.head("POST", path, fields), end=False, **options)


def answered(client):
    """Stream 1, opened, answered and closed."""
    client.request(1)
    assert client.response(1)[0] == 200


def gone(client, stream):
    """Waits until the proxy has ended a stream, or the connection."""
    client.until(lambda f: f.kind == GOAWAY or f.stream == stream
                 and (f.kind == RST_STREAM or f.ends_stream))


def next_content(client):
    """The stream of the next DATA frame; 0 when the connection ends instead."""
    found = client.until(lambda f: f.kind in (DATA, GOAWAY))
    return found.stream if found else 0
