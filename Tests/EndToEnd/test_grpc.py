"""gRPC through the proxy: h2 from the client, h2c to the server."""

import threading
import time
from concurrent import futures

import grpc
import pytest


def _bytes(value):
    return value


class Service(grpc.GenericRpcHandler):
    """Methods of every kind, on bytes."""

    def __init__(self):
        self.entered = threading.Event()
        self.cancelled = threading.Event()

    def service(self, call):
        kinds = {
            "/s/Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "/s/Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "/s/Slow": grpc.unary_unary_rpc_method_handler(self.slow),
            "/s/Server": grpc.unary_stream_rpc_method_handler(self.server_stream),
            "/s/Client": grpc.stream_unary_rpc_method_handler(self.client_stream),
            "/s/Both": grpc.stream_stream_rpc_method_handler(self.both),
        }
        return kinds.get(call.method)

    def unary(self, request, context):
        context.send_initial_metadata((("x-initial", "one"),))
        context.set_trailing_metadata((("x-trailing", "two"), ("x-bin-bin", b"\x00\xff")))
        return request[::-1]

    def fail(self, request, context):
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: \u00e9")

    def slow(self, request, context):
        # A call that has ended already takes no callback.
        if not context.add_callback(self.cancelled.set):
            self.cancelled.set()
        self.entered.set()
        self.cancelled.wait(30)
        return b""

    def server_stream(self, request, context):
        for number in range(int(request)):
            yield str(number).encode()

    def client_stream(self, requests, context):
        return str(sum(len(r) for r in requests)).encode()

    def both(self, requests, context):
        for request in requests:
            yield request.upper()


@pytest.fixture
def service(keep):
    server = grpc.server(futures.ThreadPoolExecutor(8), options=[
        ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)])
    service = Service()
    server.add_generic_rpc_handlers((service,))
    service.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield service
    service.cancelled.set()
    server.stop(0).wait(10)


@pytest.fixture(params=["direct", "tls"])
def channel(request, service, edges, configuration, certificates):
    """To the server itself, which proves the test, and through the proxy."""
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
                 ("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    if request.param == "direct":
        channel = grpc.insecure_channel(f"127.0.0.1:{service.port}", options=unlimited)
    else:
        route = {"path": "/", "upstream": f"http://id-1.wild.test:{service.port}",
                 "versions": ["h2c"]}
        edge = edges(configuration(changes={"routes": [route]}))
        credentials = grpc.ssl_channel_credentials(certificates.authority.certificate.read_bytes())
        channel = grpc.secure_channel(f"127.0.0.1:{edge.port}", credentials, options=unlimited + [
            ("grpc.ssl_target_name_override", "localhost")])
    with channel:
        yield channel


def test_unary(channel):
    call = channel.unary_unary("/s/Unary", _bytes, _bytes)
    answer, context = call.with_call(b"abc", timeout=20, metadata=(("x-m", "1"),))
    assert answer == b"cba"
    assert ("x-initial", "one") in [tuple(m) for m in context.initial_metadata()]
    trailing = [tuple(m) for m in context.trailing_metadata()]
    assert ("x-trailing", "two") in trailing and ("x-bin-bin", b"\x00\xff") in trailing


def test_a_large_message(channel):
    call = channel.unary_unary("/s/Unary", _bytes, _bytes)
    message = bytes(range(256)) * 16_384
    assert call(message, timeout=30) == message[::-1]


def test_server_streaming(channel):
    call = channel.unary_stream("/s/Server", _bytes, _bytes)
    assert [int(m) for m in call(b"2000", timeout=30)] == list(range(2000))


def test_client_streaming(channel):
    call = channel.stream_unary("/s/Client", _bytes, _bytes)
    assert call(iter([b"x" * 1000] * 500), timeout=30) == b"500000"


def test_bidirectional_streaming_is_interleaved(channel):
    call = channel.stream_stream("/s/Both", _bytes, _bytes)
    turn, answers = threading.Semaphore(1), []

    def requests():
        for number in range(50):
            assert turn.acquire(timeout=20)
            yield b"m%d" % number
    for answer in call(requests(), timeout=30):
        answers.append(answer)
        turn.release()
    assert answers == [b"M%d" % number for number in range(50)]


def test_an_error_in_trailers_only(channel):
    call = channel.unary_unary("/s/Fail", _bytes, _bytes)
    with pytest.raises(grpc.RpcError) as failure:
        call(b"", timeout=20)
    assert failure.value.code() == grpc.StatusCode.NOT_FOUND
    assert failure.value.details() == "no such thing: \u00e9"


def test_an_unknown_method(channel):
    with pytest.raises(grpc.RpcError) as failure:
        channel.unary_unary("/s/Nothing", _bytes, _bytes)(b"", timeout=20)
    assert failure.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_deadline_reaches_the_server(channel, service):
    # With the connections there already, the call is at the server long before its deadline.
    assert channel.unary_unary("/s/Unary", _bytes, _bytes)(b"ab", timeout=20) == b"ba"
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as failure:
        channel.unary_unary("/s/Slow", _bytes, _bytes)(b"", timeout=2)
    assert failure.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 20, "the server alone would take 30 s"
    assert service.cancelled.wait(20), "the server's call ends too"


def test_a_cancel_reaches_the_server(channel, service):
    call = channel.unary_unary("/s/Slow", _bytes, _bytes).future(b"", timeout=20)
    assert service.entered.wait(20)
    call.cancel()
    assert service.cancelled.wait(20)


def test_many_calls_share_connections(channel):
    call = channel.unary_unary("/s/Unary", _bytes, _bytes)
    pending = [call.future(b"%d" % number, timeout=20) for number in range(300)]
    assert [p.result() for p in pending] == [(b"%d" % n)[::-1] for n in range(300)]
