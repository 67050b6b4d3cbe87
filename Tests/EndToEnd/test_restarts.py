"""Services that close what rests at any moment, and services that are restarted under load.

No client sees an error where the request could be sent again, and nothing that could not be is
delivered twice.
"""

import random
import threading

import pytest

from edge.servers import Resolver, refused_port
from edge.tokens import Deliveries, TokenLoad
from edge.upstream import Upstream
from edge.waiting import until

# Scheme, ALPN of the service, versions of the route.
KINDS = {
    "http/1.1": ("http", None, None),
    "http/1.1 over TLS": ("https", ["http/1.1"], None),
    "h2c": ("http", None, ["h2c"]),
    "h2": ("https", ["h2"], None),
}
# One that the resolver knows nothing else of.
ID = 61
ADDRESSES = ["127.0.0.71", "127.0.0.72", "127.0.0.73"]


@pytest.fixture
def deliveries():
    return Deliveries()


# What is tested is not how soon a service in this process gets the processor.
PATIENT = {"dial_timeout": "60s", "handshake_timeout": "60s"}


def context_of(kind, certificates):
    alpn = KINDS[kind][1]
    return certificates.upstream.server_context(alpn) if alpn else None


def verdicts(edge):
    """Requests sent again, by verdict."""
    return {dict(labels)["verdict"]: int(value) for (name, labels), value in edge.metrics().items()
            if name == "edge_retries_total" and value}


RESTLESS = [(kind, says) for kind in KINDS for says in (False, True) if "h2" in kind or not says]


@pytest.mark.parametrize("kind, says_goaway", RESTLESS)
def test_a_service_that_closes_what_rests_at_any_moment(
        edge_for, upstream_with, certificates, deliveries, tmp_path, kind, says_goaway):
    upstream = deliveries.count_in(upstream_with(
        [f"127.0.0.{n + 1}" for n in range(1, 13)], context_of(kind, certificates),
        idle_seconds=lambda: random.uniform(0, 0.05), says_goaway=says_goaway))
    scheme, _, versions = KINDS[kind]
    edge = edge_for(upstream, {"upstream": PATIENT}, scheme=scheme, versions=versions)
    ids = list(range(1, 13))
    safe = TokenLoad(edge, tmp_path, 1000, ids)
    classes, missing = safe.run()
    assert (classes[2], missing) == (4000, 0), (classes, edge.access_log(
        where=lambda line: line["status"] != 200)[:3])
    assert deliveries.safe >= 4000
    unsafe = TokenLoad(edge, tmp_path, 500, ids, unsafe=True)
    classes, missing = unsafe.run()
    assert not deliveries.repeated, "delivered twice"
    assert classes[2] + classes[5] == 2000 and missing == 0, classes
    assert classes[2] <= len(deliveries.tokens) <= 2000
    # A service that closes although a request is on its way may have begun it, unless it says not.
    assert classes[5] == 0 or not says_goaway
    lines = edge.access_log(6000)
    failed = [line for line in lines if line["status"] != 200]
    assert len(lines) == 6000 and len(failed) == classes[5]
    assert {(line["method"], line["status"]) for line in failed} <= {("POST", 502)}
    sent_again = [line for line in lines if line["attempts"] > 1]
    assert all(line["retry"] for line in sent_again)
    assert len(sent_again) <= sum(verdicts(edge).values()) > 0
    print(f"{classes[5]} POSTs of 2000 failed; {verdicts(edge)}; "
          f"{edge.metric('edge_upstream_stale_total'):.0f} found ended")


def graceful(upstream):
    upstream.drain()


def abrupt(upstream):
    upstream.close(reset=True)


class Fleet:
    """Three instances behind one name, each of which can be restarted."""

    def __init__(self, deliveries, context):
        self.deliveries, self.context = deliveries, context
        self.port = 0
        self.is_over = False
        self.restarts = 0
        self.instances = []
        for address in ADDRESSES:
            self.instances.append(self._start(address))
            self.port = self.instances[0].port

    def _start(self, address):
        return self.deliveries.count_in(Upstream([address], self.context, port=self.port))

    def restart(self, stop):
        """Stops one after the other until the rest have taken its load, and starts it anew."""
        for index, address in enumerate(ADDRESSES):
            stop(self.instances[index])
            others = [one for one in self.instances if one is not self.instances[index]]
            before = sum(len(one.requests) for one in others)
            until(lambda: sum(len(one.requests) for one in others) > before + 50 or self.is_over,
                  20, "the others answer")
            self.instances[index] = self._start(address)
            fresh = self.instances[index]
            until(lambda: fresh.requests or self.is_over, 20, "the new one is used")
            self.restarts += 1

    def close(self):
        for one in self.instances:
            one.close()


@pytest.mark.parametrize("stop", [graceful, abrupt], ids=["graceful", "abrupt"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_rolling_restart_behind_one_name(
        edge_for, keep, certificates, deliveries, tmp_path, kind, stop):
    fleet = keep(Fleet(deliveries, context_of(kind, certificates)))
    resolver = keep(Resolver(tmp_path / "dns", {f"id-{ID}.apps.test": ADDRESSES}))
    scheme, _, versions = KINDS[kind]
    edge = edge_for(fleet, {"resolver": {"servers": [resolver.address]},
                            "upstream": {**PATIENT, "max_age": "300ms"}},
                    scheme=scheme, versions=versions)
    for unsafe in (False, True):
        load = TokenLoad(edge, tmp_path, 1000, [ID], unsafe=unsafe)
        fleet.restarts, fleet.is_over = 0, False
        roll = threading.Thread(target=fleet.restart, args=(stop,))
        roll.start()
        classes, missing = load.run()
        fleet.is_over = True
        roll.join(60)
        assert fleet.restarts == 3, "all were restarted while the load ran"
        if not unsafe:
            assert (classes[2], missing) == (4000, 0), (classes, verdicts(edge), edge.access_log(
                where=lambda line: line["status"] != 200)[:3])
    assert not deliveries.repeated, "delivered twice"
    assert missing == 0
    print(f"{classes[2]} POSTs of 4000 answered; {verdicts(edge)}")


def test_a_service_of_one_instance_is_dialled_again_while_it_restarts(
        edge_for, upstream_with):
    service = upstream_with(["127.0.0.2"])
    edge = edge_for(service, {"workers": 1, "upstream": {"health": {"enabled": False}}})
    redials = lambda: edge.metric("edge_upstream_redials_total")
    for turn in range(20):
        assert edge.curl("/api/hello?id=1").status == 200
        before = redials()
        service.close(reset=True)
        with edge.http2() as client:
            stream = client.start(path="/api/hello?id=1")
            until(lambda: redials() > before, what="it was refused once", every=0)
            with edge.held():
                service = upstream_with(["127.0.0.2"], port=service.port)
            status = client.finish(stream).status
        if status == 200:
            break
        # This test was not run for longer than a restart is waited for.
        assert (status, redials()) == (502, before + 3)
    assert edge.access_log(2 + 2 * turn)[-1]["error"] is None


def test_a_dead_service_is_told_at_once_after_that(edge_for, upstream_with):
    first = upstream_with(["127.0.0.2"])
    edge = edge_for(first, {"workers": 1, "upstream": {"health": {"enabled": False}}})
    assert edge.curl("/api/hello?id=1").status == 200
    first.close()
    for _ in range(3):
        assert edge.curl("/api/hello?id=1").status == 502
    assert edge.metric("edge_upstream_redials_total") == 3, "a restart is waited for once"
    assert edge.access_log(4)[3]["error"] == "connection_refused"
    # And anew once it has answered again.
    again = upstream_with(["127.0.0.2"], port=first.port)
    assert edge.curl("/api/hello?id=1").status == 200
    again.close()
    assert edge.curl("/api/hello?id=1").status == 502
    assert edge.metric("edge_upstream_redials_total") == 6


def test_a_service_that_never_answered_is_not_dialled_again(edge_for, keep):
    port, socket = refused_port("127.0.0.2")
    keep(socket)
    edge = edge_for(port)
    assert edge.curl("/api/hello?id=1").status == 502
    assert edge.metric("edge_upstream_redials_total") == 0
