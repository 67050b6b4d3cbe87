"""HTTP/2 flow control, both ways, to the octet (RFC 9113 §5.2, §6.9)."""

import pytest

from edge import conformance
from edge.conformance import CUT, IGNORED, Case, answer, cases, connection_error, stream_error
from edge.frames import DATA, END_STREAM, FLOW_CONTROL_ERROR, GOAWAY, HEADERS, \
    INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, PADDED, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, \
    goaway, rst_stream, settings, window_update
from edge.upstream import pattern

LARGEST_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65_535


@pytest.fixture(scope="module")
def bench(module_edges, module_keep, configuration):
    yield from conformance.bench(module_edges, module_keep, configuration)


@pytest.fixture
def talk(bench, request):
    """A conversation for a transfer."""
    talk = bench.converse(request.node.name)
    with talk.raw:
        yield talk


def window(size):
    return settings([(INITIAL_WINDOW_SIZE, size)])


def large(talk, size, stream=1):
    return talk.get(stream, path=f"/api/large?id=1&size={size}")


def received(talk, stream=1):
    return bytes(talk.bodies.get(stream, b""))


def settled(talk):
    """Waits until the proxy has applied the settings and windows sent, and sent what they allow."""
    talk.until(lambda f: f.kind == SETTINGS and f.flags & 1)
    talk.pinged()


def filled(talk, size, stream=1):
    """Reads until so much has come, and makes sure that nothing comes beyond it."""
    while len(received(talk, stream)) < size:
        assert talk.read(), "the connection ended early"
    # A round trip over the same connection and through the upstream: enough time for more.
    talk.others = getattr(talk, "others", 99) + 2
    talk.send(talk.get(talk.others, path="/api/204?id=2"))
    talk.finish(talk.others)
    assert len(received(talk, stream)) == size


OVERFLOWS = [
    Case("9113-6.9.1-window-of-the-connection-too-large",
         lambda c: window_update(0, LARGEST_WINDOW), connection_error(FLOW_CONTROL_ERROR)),
    Case("9113-6.9.1-window-of-the-connection-too-large-in-two",
         lambda c: window_update(0, LARGEST_WINDOW - DEFAULT_WINDOW) + window_update(0, 1),
         connection_error(FLOW_CONTROL_ERROR)),
    Case("9113-6.9.1-largest-window-of-the-connection",
         lambda c: window_update(0, LARGEST_WINDOW - DEFAULT_WINDOW), IGNORED),
    Case("9113-6.9.1-window-of-a-stream-too-large",
         lambda c: c.post() + window_update(1, LARGEST_WINDOW),
         stream_error(FLOW_CONTROL_ERROR), seen=CUT),
    Case("9113-6.9.1-window-of-a-stream-too-large-in-two",
         lambda c: c.post() + window_update(1, LARGEST_WINDOW - DEFAULT_WINDOW)
         + window_update(1, 1), stream_error(FLOW_CONTROL_ERROR), seen=CUT),
    Case("9113-6.9.1-largest-window-of-a-stream",
         lambda c: c.post() + window_update(1, LARGEST_WINDOW - DEFAULT_WINDOW)
         + frame(DATA, END_STREAM, 1, b"x"), answer(200)),
    Case("9113-6.9.2-settings-that-make-a-window-too-large",
         lambda c: c.post() + window_update(1, LARGEST_WINDOW - DEFAULT_WINDOW)
         + window(DEFAULT_WINDOW + 1), connection_error(FLOW_CONTROL_ERROR), seen=CUT),
    Case("9113-6.9.2-settings-that-make-the-largest-window",
         lambda c: c.post() + window_update(1, 1) + window(LARGEST_WINDOW - 1)
         + frame(DATA, END_STREAM, 1, b"x"), answer(200)),
    Case("9113-6.5.3-the-last-value-counts",
         lambda c: frame(SETTINGS, 0, 0, window(0)[9:] + window(DEFAULT_WINDOW)[9:]) + c.get(),
         answer(200)),
    Case("9113-6.9-a-window-of-a-stream-that-ended",
         lambda c: (c.send(c.get()), c.finish()) and window_update(1, LARGEST_WINDOW), IGNORED),
    # As much as the proxy takes for an upstream that is not there, and the whole window beyond it.
    Case("9113-6.9.1-content-beyond-the-window-of-a-stream",
         lambda c: c.post(1, path="/hole?id=1") + frame(DATA, 0, 1, bytes(16_384)) * 32,
         stream_error(FLOW_CONTROL_ERROR)),
]


@cases(OVERFLOWS)
def test_a_window_has_the_outcome_that_the_rfc_allows(bench, case):
    bench.play(case)


def test_a_window_of_one_octet_brings_one_octet(talk):
    """9113-6.9.1: and each octet more brings one more."""
    talk.send(window(1), talk.get())
    for size in (1, 2, 3):
        filled(talk, size)
        talk.send(window_update(1, 1))
    talk.send(window_update(1, 1000))
    assert talk.finish() == 200
    assert received(talk).startswith(b"hello from")


def test_a_window_of_zero_brings_the_head_only(talk):
    """9113-6.9.2: HEADERS are not subject to flow control; content waits for the settings."""
    talk.send(window(0), talk.get())
    talk.until(lambda f: f.kind == HEADERS and f.stream == 1)
    filled(talk, 0)
    talk.send(window(DEFAULT_WINDOW))
    assert talk.finish() == 200
    assert received(talk).startswith(b"hello from")


def test_a_response_without_content_needs_no_window(talk):
    """9113-6.9.1: an empty DATA frame may be sent when there is no window."""
    talk.send(window(0), talk.get(1, path="/api/204?id=1"), talk.get(3, method="HEAD"))
    # They go to different connections of the upstream, and end in any order.
    for _ in range(2):
        talk.until(lambda f: f.ends_stream)
    assert talk.status == {1: 204, 3: 200}


def test_a_larger_initial_window_lets_streams_go_on(talk):
    """9113-6.9.2: a change of the setting changes the windows of streams by the difference."""
    talk.send(window(3), large(talk, 10))
    filled(talk, 3)
    talk.send(window(5))
    filled(talk, 5)
    talk.send(window_update(1, 100))
    talk.finish()
    assert received(talk) == pattern(10)


def test_a_window_may_become_negative(talk):
    """9113-6.9.2: then it takes more than it lacks before content flows again."""
    talk.send(window(1000), large(talk, 2000))
    filled(talk, 1000)
    talk.send(window(100))
    settled(talk)
    talk.send(window_update(1, 900))
    filled(talk, 1000)
    talk.send(window_update(1, 1))
    filled(talk, 1001)
    talk.send(window_update(1, 5000))
    talk.finish()
    assert received(talk) == pattern(2000)


def test_the_connections_window_holds_all_streams(talk):
    """9113-6.9.1: streams stop at the window of the connection, and share what is added to it."""
    talk.send(window(LARGEST_WINDOW), large(talk, 300_000, 1), large(talk, 300_000, 3))

    def sum_received():
        return len(received(talk, 1)) + len(received(talk, 3))
    while sum_received() < DEFAULT_WINDOW:
        assert talk.read()
    talk.send(talk.get(101, path="/api/204?id=2"))
    talk.until(lambda f: f.stream == 101 and f.ends_stream)
    assert sum_received() == DEFAULT_WINDOW
    talk.send(window_update(0, 1 << 20))
    ended = set()
    while ended != {1, 3}:
        found = talk.read()
        if found.ends_stream:
            ended.add(found.stream)
    assert received(talk, 1) == received(talk, 3) == pattern(300_000)


def test_the_setting_does_not_change_the_connections_window(talk):
    """9113-6.9.2: only WINDOW_UPDATE does."""
    talk.send(window(LARGEST_WINDOW), large(talk, 200_000))
    filled(talk, DEFAULT_WINDOW)
    talk.send(window(0), window(LARGEST_WINDOW))
    filled(talk, DEFAULT_WINDOW)
    talk.send(window_update(0, 200_000))
    talk.finish()
    assert received(talk) == pattern(200_000)


@pytest.mark.parametrize("size", [None, 16_384, 20_000, 2**24 - 1])
def test_no_frame_is_larger_than_the_client_allows(talk, size):
    """9113-4.2, 6.5.2: 16384 octets unless SETTINGS_MAX_FRAME_SIZE allows more."""
    values = [(INITIAL_WINDOW_SIZE, LARGEST_WINDOW)] + ([(MAX_FRAME_SIZE, size)] if size else [])
    talk.send(settings(values), window_update(0, 1 << 24))
    settled(talk)
    talk.send(large(talk, 1 << 20))
    talk.finish()
    assert received(talk) == pattern(1 << 20)
    assert max(len(f.payload) for f in talk.raw.frames) <= (size or 16_384)


def test_a_transfer_goes_on_after_goaway_of_the_client(talk):
    """9113-6.8: GOAWAY lets streams that were opened before it end."""
    size = 400_000
    talk.send(window(LARGEST_WINDOW), large(talk, size))
    filled(talk, DEFAULT_WINDOW)
    talk.send(goaway(), window_update(0, 100_000))
    while len(received(talk)) < DEFAULT_WINDOW + 100_000:
        assert talk.read()
    talk.send(window_update(0, 1 << 20))
    assert talk.finish() == 200
    assert received(talk) == pattern(size)
    # Without further requests the connection may end, but not with an error.
    talk.send(rst_stream(1))
    assert all(f.code == 0 for f in talk.raw.frames if f.kind == GOAWAY)


class Upload:
    """Sends content on many streams, strictly within the windows that the proxy grants."""

    def __init__(self, talk):
        self.talk = talk
        talk.pinged()
        self.initial = talk.raw.peer_settings.get(INITIAL_WINDOW_SIZE, DEFAULT_WINDOW)
        self.rooms = {0: DEFAULT_WINDOW}
        self.frames = 0

    def _account(self):
        for found in self.talk.raw.frames[self.frames:]:
            if found.kind == WINDOW_UPDATE:
                increment = int.from_bytes(found.payload, "big")
                assert increment > 0, "an increment of 0"
                self.rooms[found.stream] = self._room(found.stream) + increment
                assert self.rooms[found.stream] <= LARGEST_WINDOW
        self.frames = len(self.talk.raw.frames)

    def _room(self, stream):
        return self.rooms.get(stream, self.initial)

    def send(self, stream, payload, flags=0, mind_stream=True):
        """One DATA frame, once there is room for it."""
        self._account()
        while min(self.rooms[0], self._room(stream) if mind_stream else 1 << 31) < len(payload):
            assert self.talk.read(), "the connection ended early"
            self._account()
        self.talk.send(frame(DATA, flags, stream, payload))
        self.rooms[0] -= len(payload)
        self.rooms[stream] = self._room(stream) - len(payload)


def test_content_that_is_taken_opens_both_windows(talk, bench):
    """9113-5.2.2: an upload of many times the windows gets through."""
    talk.send(talk.post(1, path="/api/digest?id=1"))
    upload = Upload(talk)
    for _ in range(256):
        upload.send(1, bytes(16_384))
    upload.send(1, b"", END_STREAM)
    assert talk.finish() == 200
    assert f'"size": {256 * 16_384}'.encode() in received(talk)


def test_padding_is_given_back_to_both_windows(talk):
    """9113-6.1: the whole payload counts, 200 octets of content, as much padding, its length."""
    talk.send(talk.post(1, path="/api/digest?id=1"))
    upload = Upload(talk)
    for _ in range(3000):
        upload.send(1, b"\xc8" + bytes(400), PADDED)
    upload.send(1, b"", END_STREAM)
    assert talk.finish() == 200
    assert f'"size": {3000 * 200}'.encode() in received(talk)


@pytest.mark.parametrize("flags", [0, PADDED])
def test_content_of_refused_streams_is_given_back_to_the_connection(talk, flags):
    """9113-5.1, 6.9: what is thrown away still counts for the window of the connection."""
    talk.send(talk.headers(1, talk.fields(("Upper", "case"), method="POST"), end=False))
    talk.until(lambda f: f.stream == 1 and f.kind in (RST_STREAM, HEADERS))
    upload = Upload(talk)
    for _ in range(200):
        upload.send(1, b"\x09" + bytes(16_000), flags, mind_stream=False)
    assert talk.goes_on()


def test_content_after_an_early_answer_is_given_back_to_the_connection(talk):
    """9113-6.9: the same for a request that was answered before it was complete."""
    upload = Upload(talk)
    for stream in range(1, 41, 2):
        talk.send(talk.post(stream, path="/nowhere"))
        for _ in range(4):
            upload.send(stream, bytes(16_000))
        upload.send(stream, b"", END_STREAM)
    assert talk.goes_on()


def test_a_stalled_stream_leaves_the_others_their_window(talk):
    """9113-5.2.1: an upload that is not taken costs its own stream only."""
    upload = Upload(talk)
    talk.send(talk.post(1, path="/hole?id=1"))
    for _ in range(16):
        upload.send(1, bytes(16_000))
    talk.send(talk.post(3, path="/api/digest?id=2"))
    for _ in range(160):
        upload.send(3, bytes(16_000))
    upload.send(3, b"", END_STREAM)
    talk.finish(3)
    assert f'"size": {160 * 16_000}'.encode() in received(talk, 3)
    talk.send(rst_stream(1))
