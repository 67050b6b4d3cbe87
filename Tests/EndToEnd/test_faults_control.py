"""System calls that fail in a start, which says why, and in a reload, which changes nothing."""

import errno
import os
import signal
import ssl
import subprocess
import tempfile

import pytest

from edge import faults as faulty
from edge import process
from edge.clients import connect
from edge.configuration import merged, yaml
from edge.dns import ScriptedDNS
from edge.faults import SHORT, Faults
from edge.ground import Ground
from edge.upstream import Upstream
from edge.waiting import until

E = errno
BINDING = {
    "socket": [E.EMFILE, E.ENOBUFS], "bind": [E.EADDRINUSE, E.ENOMEM], "listen": [E.EADDRINUSE],
    "setsockopt": [E.ENOBUFS], "getsockname": [E.ENOBUFS], "fcntl": [E.EMFILE],
    "epoll_ctl": [E.ENOMEM, E.ENOSPC]}
READING = {
    "open": [E.EMFILE, E.ENFILE, E.EACCES, E.EINTR], "fopen": [E.EMFILE, E.ENFILE, E.EACCES],
    "read": [E.EIO, E.EINTR, SHORT], "close": [E.EIO, E.EINTR]}
STARTING = {
    "epoll_create1": [E.EMFILE, E.ENOMEM], "eventfd": [E.EMFILE, E.ENFILE],
    "pthread_create": [E.EAGAIN], "write": [E.EINTR, E.ENOSPC, SHORT], "rename": [E.EACCES]}


def steps_of(*tables):
    return [pytest.param(call, codes, id=call) for table in tables for call, codes in table.items()]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return faulty.build(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def folder():
    """A short path: a unix socket's name has room for 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="edge") as made:
        yield made


@pytest.fixture(scope="module")
def settings(configuration, module_keep, certificates, folder):
    """Two workers, ticket keys in a file, an https upstream with an authority of its own."""
    plain, dns = module_keep(Upstream()), module_keep(ScriptedDNS())
    keys = os.path.join(folder, "keys")
    with open(keys, "wb") as opened:
        opened.write(bytes(range(80)))

    def route(path, scheme, **more):
        return {"path": path, "id": {"query": "id"},
                "upstream": f"{scheme}://id-{{id}}.wild.test:{plain.port}", **more}
    made = configuration(None, {
        "workers": 2, "resolver": {"servers": [dns.address]},
        "routes": [route("/h1", "http", versions=["1.1"]),
                   route("/tls", "https", tls={"ca": str(certificates.authority.certificate)})]})
    made["listeners"][0]["tls"]["ticket_keys"] = keys
    return made


# Reload.

@pytest.fixture
def changed(settings, certificates, folder):
    """Another certificate, another log, and three more listeners."""
    listeners = [merged(settings["listeners"][0], {"tls": merged(
        settings["listeners"][0]["tls"], {"certificates": [certificates.renewed.options]})})]
    listeners += [{"address": "127.0.0.1:0"}, {"address": "[::1]:0"},
                  {"address": f"unix:{folder}/socket"}]
    return merged(settings, {"listeners": listeners, "access_log": {"path": "other.log"}})


@pytest.fixture(scope="module")
def ground(module_edges, settings, library, tmp_path_factory):
    return Ground(module_edges, settings, library, tmp_path_factory.mktemp("ground"))


class Reloading:
    """Reloads of one proxy, told apart by what the control log says: asking would meet faults."""

    def __init__(self, ground, settings, changed, certificates, folder):
        self.ground, self.edge, self.folder = ground, ground.edge, folder
        self.settings, self.changed = settings, changed
        self.before, self.after = (
            ssl.PEM_cert_to_DER_cert(it.certificate.read_text().split("-----END")[0]
                                     + "-----END CERTIFICATE-----")
            for it in (certificates.ecdsa, certificates.renewed))

    def reload(self, configuration):
        """True when it was put into force."""
        self.edge.write(configuration)
        end = len(self.edge.control_log())
        self.edge.send(signal.SIGHUP)
        said = until(lambda: [line for line in self.edge.control_log()[end:].splitlines()
                              if "reloaded" in line or "reload refused" in line], what="a reload")
        return "reloaded" in said[-1]

    def certificate(self):
        with self.edge.tls(["http/1.1"]) as sock:
            return sock.getpeercert(binary_form=True)

    def path(self):
        return os.path.join(self.folder, "socket")

    def check_refused(self):
        assert self.certificate() == self.before
        assert not os.path.exists(self.path())
        # The log's thread changes files in its next turn.
        until(lambda: "/other.log" not in " ".join(self.edge.descriptors().values()),
              what="the old log alone is open")
        self.ground.check()

    def check_listeners(self):
        """Every new listener is listened on, by every worker; a fault may still cut a client."""
        names = [line.rsplit(" ", 1)[1] for line in self.edge.control_log().splitlines()
                 if "listening on" in line]
        for name in names[-3:]:
            for _ in range(4):
                until(lambda: self.is_answered(name), what=f"an answer from {name}")

    def is_answered(self, name):
        host, _, port = name.rpartition(":")
        address = name[5:] if host == "unix" else (host.strip("[]"), int(port))
        try:
            with connect(address, seconds=10) as sock:
                sock.sendall(b"GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return sock.recv(100).startswith(b"HTTP/1.1 404")
        except ConnectionError:
            return False

    def walk(self, call, code, callers, dense=40, growth=1.2):
        number, steps = 1, 0
        while True:
            self.ground.faults.arm(call, number, code, callers)
            try:
                accepted = self.reload(self.changed)
                if accepted:
                    self.check_listeners()
            finally:
                fired = self.ground.faults.disarm()
            if accepted:
                assert self.certificate() == self.after
                assert self.reload(self.settings)
            self.check_refused()
            if not fired:
                assert accepted, "nothing failed"
                break
            steps += 1
            number = number + 1 if number < dense else int(number * growth)
        faulty.record(f"reload {call} {faulty.name(code)} {steps}")
        return steps


@pytest.fixture
def reloading(ground, settings, changed, certificates, folder):
    reloading = Reloading(ground, settings, changed, certificates, folder)
    assert reloading.reload(settings)
    return reloading


@pytest.mark.parametrize("call, codes", steps_of(BINDING, READING))
def test_a_reload_changes_all_or_nothing(reloading, call, codes):
    for code in codes:
        caller = "tls" if call == "fopen" else "proxy"
        assert reloading.walk(call, code, (caller,)), f"{call} is not called"


def test_a_reload_without_memory_changes_nothing(reloading):
    assert reloading.walk("malloc", E.ENOMEM, ("tls",), dense=8, growth=1.4)


def test_a_reload_wakes_its_workers_though_interrupted(reloading):
    assert reloading.walk("write", E.EINTR, ("proxy",))


def test_ticket_keys_of_a_refused_reload_are_not_used(reloading, settings, certificates, folder):
    edge, keys = reloading.edge, os.path.join(folder, "keys")
    context = edge.authority.client_context(["http/1.1"])
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def resumes(session=None):
        with context.wrap_socket(edge.tcp(), server_hostname="localhost", session=session) as sock:
            return sock.session_reused, sock.session
    _, session = resumes()
    assert resumes(session)[0]
    with open(keys, "rb") as opened:
        old = opened.read()
    with open(keys, "wb") as opened:
        opened.write(bytes(reversed(range(80))))
    broken = merged(settings, {"listeners": [
        settings["listeners"][0],
        {"address": "127.0.0.1:0", "tls": {"certificates": [certificates.expired.options]}}]})
    assert not reloading.reload(broken)
    assert resumes(session)[0], "the keys in force stay"
    assert reloading.reload(settings)
    assert not resumes(session)[0], "the new keys are in force"
    with open(keys, "wb") as opened:
        opened.write(old)
    assert reloading.reload(settings)


# Start.

class Started:
    """Starts of the proxy with a fault armed from the beginning."""

    def __init__(self, library, settings, folder):
        self.faults = Faults(library, folder / "faults")
        self.folder = folder
        (folder / "edge.yaml").write_text(yaml(settings))

    def start(self):
        """The exit code of a start that is ended as soon as it is ready, and what it said."""
        ready, log = self.folder / "ready.json", self.folder / "control.log"
        ready.unlink(missing_ok=True)
        with open(log, "wb") as control:
            started = subprocess.Popen(
                [str(process.BINARY), "run", "--config", str(self.folder / "edge.yaml"),
                 "--ready-file", str(ready)], cwd=self.folder, stdin=subprocess.DEVNULL,
                stdout=control, stderr=control, env={**os.environ, **self.faults.environment})
            try:
                until(lambda: ready.exists() or started.poll() is not None, what="ready or refused")
                if started.poll() is None:
                    started.send_signal(signal.SIGTERM)
                return started.wait(15), log.read_text()
            finally:
                if started.poll() is None:
                    started.kill()
                    started.wait()

    def walk(self, call, code, callers, dense, growth):
        number, steps = 1, 0
        while True:
            self.faults.arm(call, number, code, callers)
            status, said = self.start()
            fired = self.faults.disarm()
            assert status in (0, 1), f"{call} {number} {faulty.name(code)}: {status} {said[-2000:]}"
            assert status == 0 or said.strip(), "refused without a word"
            assert not (self.folder / "ready.json.new").exists()
            if not fired:
                assert status == 0, said
                break
            steps += 1
            number = number + 1 if number < dense else int(number * growth)
        faulty.record(f"start {call} {faulty.name(code)} {steps}")
        return steps


@pytest.fixture
def started(library, settings, certificates, tmp_path):
    more = [settings["listeners"][0], {"address": "127.0.0.1:0"}, {"address": f"unix:{tmp_path}/s"}]
    return Started(library, merged(settings, {"listeners": more}), tmp_path)


@pytest.mark.parametrize("call, codes", steps_of(BINDING, READING, STARTING))
def test_a_start_succeeds_or_says_why_not(started, call, codes):
    for code in codes:
        caller = "tls" if call == "fopen" else "proxy"
        assert started.walk(call, code, (caller,), dense=6, growth=1.5), f"{call} is not called"
