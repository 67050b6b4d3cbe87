"""Fixtures: certificates, a resolver, upstreams, and proxies that must drain clean at the end."""

import contextlib
import itertools
import json

import pytest

from edge import process
from edge.certificates import Authority
from edge.clients import HTTP1, HTTP2, Curl, connect
from edge.configuration import merged
from edge.frames import RawHTTP2
from edge.process import Edge
from edge.servers import Resolver
from edge.upstream import Upstream


class Certificates:
    """One authority that clients trust, another they do not, and leaves of both."""

    def __init__(self, folder):
        self.authority = Authority(folder / "trusted")
        self.stranger = Authority(folder / "stranger", "Unknown CA")
        issue = self.authority.issue
        self.ecdsa = issue("ecdsa", ["localhost", "edge.test", "127.0.0.1", "::1"])
        self.rsa = issue("rsa", ["localhost", "edge.test", "127.0.0.1"], kind="rsa")
        self.wildcard = issue("wildcard", ["*.apps.example"])
        self.other = issue("other", ["other.example"])
        self.renewed = issue("renewed", ["localhost", "edge.test", "127.0.0.1"])
        self.expired = issue("expired", ["localhost", "*.apps.test"], expired=True)
        self.upstream = issue("upstream", ["*.apps.test", "*.wild.test", "localhost"])
        self.foreign = self.stranger.issue("foreign", ["*.apps.test", "localhost"])


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def resolver(tmp_path_factory):
    server = Resolver(tmp_path_factory.mktemp("resolver"))
    yield server
    server.close()


@contextlib.contextmanager
def keeper():
    """Closes what it is given at the end, last first."""
    kept = []

    def add(thing):
        kept.append(thing)
        return thing
    yield add
    for thing in reversed(kept):
        thing.close()


@pytest.fixture
def keep():
    """Closes what it is given at the end of the test."""
    with keeper() as add:
        yield add


@pytest.fixture(scope="module")
def module_keep():
    """Closes what it is given at the end of the file."""
    with keeper() as add:
        yield add


@pytest.fixture
def upstream_with(keep):
    """Makes upstreams."""
    return lambda *arguments, **options: keep(Upstream(*arguments, **options))


@pytest.fixture
def upstream(upstream_with):
    """An upstream for ids 1 to 12, each on a loopback address of its own, all on one port."""
    return upstream_with([f"127.0.0.{n + 1}" for n in range(1, 13)])


class Fronted(Edge):
    """A proxy with clients that know its certificates."""

    authority = None

    def curl(self, path, *arguments, listener=0, host="localhost", scheme="https", **options):
        client = Curl(self.address(listener)[1], self.authority, host, self.address(listener)[0],
                      scheme)
        return client(path, *arguments, **options)

    def tcp(self, listener=0, **options):
        return connect(self.address(listener), **options)

    def tls(self, alpn, listener=0, server_name="localhost", **options):
        context = self.authority.client_context(alpn)
        return connect(self.address(listener), context, server_name, **options)

    def http1(self, listener=0, plain=False, **options):
        return HTTP1(self.tcp(listener, **options) if plain
                     else self.tls(["http/1.1"], listener, **options))

    def http2(self, listener=0, plain=False, window=None, **options):
        sock = self.tcp(listener, **options) if plain else self.tls(["h2"], listener, **options)
        return HTTP2(sock, window, scheme="http" if plain else "https")

    def frames(self, listener=0, plain=False, handshake=True, values=(), **options):
        """An HTTP/2 connection for frames of any kind."""
        sock = self.tcp(listener, **options) if plain else self.tls(["h2"], listener, **options)
        return RawHTTP2(sock, handshake, values, scheme="http" if plain else "https")


@pytest.fixture(scope="session")
def configuration(certificates, resolver):
    """Makes a configuration: id routes under /api to `upstream`, then `changes` laid over it."""
    def make(upstream=None, changes=None, scheme="http", versions=None, name="id-{id}.apps.test",
             route=None):
        made = {
            "workers": 2,
            "listeners": [{
                "address": "127.0.0.1:0",
                "tls": {"certificates": [certificates.ecdsa.options]}}],
            "routes": [],
            "resolver": {"servers": [resolver.address], "search": False},
            "access_log": {"path": "access.log", "format": "json"},
            "admin": {"address": "127.0.0.1:0"},
            # Services are of this process, and may get the processor late.
            "upstream": {"dial_timeout": "20s", "handshake_timeout": "20s"},
            "shutdown": {"grace": "15s"},
        }
        if upstream is not None:
            port = getattr(upstream, "port", upstream)
            first = {"path": "/api", "id": {"query": "id"}, "upstream": f"{scheme}://{name}:{port}"}
            if scheme == "https":
                first["tls"] = {"ca": str(certificates.authority.certificate)}
            if versions:
                first["versions"] = versions
            made["routes"] = [merged(first, route or {})]
        return merged(made, changes or {})
    return make


@contextlib.contextmanager
def proxies(certificates, folder, failed):
    """Starts proxies; at the end each must drain with the exit code its test expects."""
    if not process.BINARY.exists():
        pytest.fail(f"{process.BINARY} is missing: make build")
    started, numbers = [], itertools.count(1)

    def start(configuration=None, **options):
        Fronted.authority = certificates.authority
        edge = Fronted(folder / f"edge-{next(numbers)}", configuration, **options)
        started.append(edge)
        return edge
    yield start
    problems = []
    for edge in reversed(started):
        if failed():
            edge.look()
            print(f"--- control log\n{edge.control_log()[-4000:]}")
            print(f"--- registry\n{json.dumps(edge.last_registry, indent=1)}")
        try:
            edge.finish()
        except AssertionError as problem:
            problems.append(str(problem))
    assert not problems, "\n".join(problems)


@pytest.fixture
def edges(certificates, tmp_path, request):
    """Starts proxies for one test."""
    failed = lambda: getattr(request.node, "failed_call", False)
    with proxies(certificates, tmp_path, failed) as start:
        yield start


@pytest.fixture(scope="module")
def module_edges(certificates, tmp_path_factory):
    """Starts proxies that all tests of a file share."""
    with proxies(certificates, tmp_path_factory.mktemp("edges"), lambda: False) as start:
        yield start


@pytest.fixture
def edge_for(edges, configuration):
    """Starts a proxy for an upstream: the same arguments as `configuration`."""
    return lambda *arguments, **options: edges(configuration(*arguments, **options))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if outcome.get_result().when == "call":
        item.failed_call = outcome.get_result().failed
