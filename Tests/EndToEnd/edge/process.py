"""The proxy as a process: started, reloaded, drained, and looked into."""

import contextlib
import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import time
import urllib.parse
from pathlib import Path

from .configuration import yaml
from .waiting import PATIENCE, until

PROJECT = Path(__file__).resolve().parents[3]
BINARY = Path(os.environ.get("EDGE_PROXY") or PROJECT / ".build/release/edge-proxy")
# What a sanitizer, Swift's runtime or the C library begins its report of a crash with.
CRASH = re.compile(r"^.*(ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|Fatal error|"
                   r"\*\*\* Signal|free\(\)|malloc\(\)|double free|corrupt|Assertion .* failed).*$",
                   re.M)
# Characters of a log in the report of a failure.
SHOWN = 4000


def run(*arguments, timeout=40, **options):
    """Runs the binary to its end; returns the completed process with text output."""
    return subprocess.run(
        [str(BINARY), *map(str, arguments)], capture_output=True, text=True, timeout=timeout,
        stdin=subprocess.DEVNULL, **options)


class Edge:
    """One running proxy."""

    def __init__(self, folder, configuration=None, arguments=None, text=None, descriptors=None,
                 start_seconds=40, command="run", environment=None, options=()):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / "edge.yaml"
        self.log_path = self.folder / "access.log"
        self.control_path = self.folder / "control.log"
        self.ready_path = self.folder / "ready.json"
        self.configuration = configuration
        if arguments is None:
            self.write(configuration, text)
            arguments = ["--config", self.file]
        self.expected_exit = 0
        self.last_registry = None
        self.leaving = False
        self._control = open(self.control_path, "ab")

        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
        self.process = subprocess.Popen(
            [str(BINARY), command, *map(str, arguments), *options,
             "--ready-file", str(self.ready_path)],
            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=self._control, stderr=self._control,
            env={**os.environ, **(environment or {})},
            preexec_fn=limit if descriptors else None)
        until(lambda: self.ready_path.exists() or self.process.poll() is not None, start_seconds,
              lambda: f"ready; its log:\n{self.control_log()}")
        self.assert_alive()
        ready = json.loads(self.ready_path.read_text())
        assert ready["pid"] == self.process.pid
        self.pid = ready["pid"]
        self.listeners = ready["listeners"]
        self.admin = ready.get("admin")

    def write(self, configuration=None, text=None):
        """Replaces the configuration file, atomically."""
        if configuration is not None:
            self.configuration = configuration
        content = text if text is not None else yaml(self.configuration)
        new = self.file.with_suffix(".new")
        new.write_text(content)
        new.rename(self.file)

    # Where it listens.

    def address(self, index=0):
        """Host and port of a listener."""
        host, port = self.listeners[index].rsplit(":", 1)
        return host.strip("[]"), int(port)

    @property
    def port(self):
        return self.address()[1]

    # Life.

    def send(self, number):
        self.leaving = self.leaving or number in (signal.SIGTERM, signal.SIGINT)
        self.process.send_signal(number)

    @contextlib.contextmanager
    def held(self):
        """It does not run: what comes for it meanwhile waits in its sockets, oldest first."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            until(lambda: self._stat()[0] == "T")
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def reload(self, seconds=PATIENCE, result="success"):
        """Sends SIGHUP and waits until a reload with this result was counted."""
        def count():
            return self.metric("edge_reload_total", result=result)
        before = count()
        self.send(signal.SIGHUP)
        until(lambda: count() > before, seconds,
              lambda: f"a reload ({result}); its log:\n{self.control_log()[-3000:]}")

    def terminate(self, seconds=40):
        """Sends SIGTERM and returns the exit code."""
        if self.process.poll() is None and not self.leaving:
            self.look()
            self.send(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds=40):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            raise AssertionError(
                f"still running {seconds} s after SIGTERM:\n{self.control_log()[-3000:]}\n"
                f"last registry: {self.last_registry}") from None

    def assert_alive(self, within=0.0):
        """Fails with how it ended and its log if it has, or does so within some seconds."""
        try:
            self.process.wait(within)
        except subprocess.TimeoutExpired:
            return
        raise AssertionError(f"the proxy {self.fate()}\n{self.last_words()}")

    @contextlib.contextmanager
    def blamed(self):
        """If the proxy has died, that is why what is done here fails, and what the failure says."""
        try:
            yield
        except Exception:
            # A process that crashes closes its connections before its parent can know.
            if not self.leaving:
                self.assert_alive(within=5)
            raise

    def fate(self):
        """Its exit code, or the signal that ended it, in words."""
        code = self.process.returncode
        return f"exited with {code}" if code >= 0 else f"died of {signal.Signals(-code).name}"

    def last_words(self):
        """Where and how a crash or a sanitizer began to speak, and the end of its log."""
        log = self.control_log()
        begun = CRASH.search(log)
        if not begun or len(log) - begun.start() <= SHOWN:
            return log[-SHOWN:]
        return f"{log[begun.start():][:SHOWN]}\n…\n{log[-SHOWN // 4:]}"

    def finish(self):
        """The end of a test: at rest, drained in time, and the exit code the test expects."""
        if not self.leaving:
            until(lambda: self.process.poll() is not None or all(
                self.sleeps() for _ in range(20)), 30,
                lambda: f"threads that sleep: {self.registry()}")
        code = self.terminate()
        self._control.close()
        assert code == self.expected_exit, (
            f"the proxy {self.fate()}, not with {self.expected_exit}:\n{self.last_words()}\n"
            f"last registry: {json.dumps(self.last_registry, indent=1)}")

    def look(self):
        """Keeps the registry as it is now for the report of a failure."""
        try:
            self.last_registry = self.registry()
        except (OSError, AssertionError, ValueError, http.client.HTTPException):
            pass

    # What it says of itself.

    def ask(self, path, method="GET"):
        """Status and body from the admin listener; tells of the end of a proxy that has died."""
        assert self.admin, "this proxy has no admin listener"
        if self.admin.startswith("unix:"):
            connection = http.client.HTTPConnection("localhost", timeout=PATIENCE)
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(PATIENCE)
            connection.sock.connect(self.admin[5:])
        else:
            host, port = self.admin.rsplit(":", 1)
            connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=PATIENCE)
        try:
            with self.blamed():
                connection.request(method, path)
                response = connection.getresponse()
            self.admin_fields = {n.lower(): v for n, v in response.getheaders()}
            return response.status, response.read().decode()
        finally:
            connection.close()

    def registry(self):
        """The registry with all its hosts: every page of it."""
        whole, page = None, "/registry?limit=1000"
        while page:
            status, body = self.ask(page)
            assert status == 200, body
            found = json.loads(body)
            if whole is None:
                whole = found
            else:
                whole["hosts"] += found["hosts"]
            page = found["next"]
        return whole

    def explain(self, url, *parameters):
        """What `/explain` says of a request, as JSON."""
        query = [("url", url), ("format", "json"), *parameters]
        status, body = self.ask(
            "/explain?" + urllib.parse.urlencode(query, quote_via=urllib.parse.quote))
        assert status == 200, body
        return json.loads(body)

    def host(self, name):
        """One host client of the registry, or None."""
        return next((h for h in self.registry()["hosts"] if h["host"] == name), None)

    def ledger(self):
        return {entry["kind"]: entry for entry in self.registry()["ledger"]}

    def metrics(self):
        """All samples: {(name, frozenset(labels)): value}."""
        status, body = self.ask("/metrics")
        assert status == 200, body
        samples = {}
        for line in body.splitlines():
            if line and not line.startswith("#"):
                match = re.fullmatch(r'([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: \d+)?', line)
                assert match, f"not a sample: {line!r}"
                labels = frozenset(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
                samples[(match[1], labels)] = float(match[3])
        return samples

    def metric(self, name, **labels):
        """The sum of the samples of this name that have these labels."""
        wanted = set(labels.items())
        return sum(value for (sample, its), value in self.metrics().items()
                   if sample == name and wanted <= its)

    def access_log(self, count=1, seconds=PATIENCE, where=None):
        """The parsed lines that `where` admits, once at least `count` of them are there.

        In the order in which the requests came: the log gathers from one worker after the other.
        """
        def lines():
            found = [line for line in self._log_lines() if where is None or where(line)]
            return sorted(found, key=lambda line: line["time"]) if len(found) >= count else None
        return until(lines, seconds, lambda: f"{count} lines in the access log; its end:\n"
                     f"{self.log_path.read_text()[-2000:] if self.log_path.exists() else 'none'}")

    def _log_lines(self):
        if not self.log_path.exists():
            return []
        text = self.log_path.read_text()
        return [json.loads(line) for line in text[:text.rfind("\n") + 1].splitlines()]

    def control_log(self):
        return self.control_path.read_text(errors="replace")

    # What the kernel says of it.

    def descriptors(self):
        """The open descriptors: number → what it is."""
        found = {}
        for entry in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                found[int(entry.name)] = os.readlink(entry)
            except OSError:
                continue
        return found

    def sockets(self):
        return sum(1 for kind in self.descriptors().values() if kind.startswith("socket:"))

    def rss(self):
        """Resident memory in bytes; 0 under a sanitizer, whose own memory would drown it."""
        if os.environ.get("EDGE_SANITIZER"):
            return 0
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def cpu(self):
        """CPU seconds used so far, user and system."""
        fields = self._stat()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def sleeps(self):
        """Whether each of its threads waits for something at this moment."""
        threads = Path(f"/proc/{self.pid}/task").iterdir()
        try:
            return all(self._stat(f"task/{thread.name}/stat")[0] == "S" for thread in threads)
        except (FileNotFoundError, ProcessLookupError):
            return False  # One of them has ended since it was listed.

    def _stat(self, file="stat"):
        """What the kernel says of the process, or of a thread, from its state on (proc(5))."""
        return Path(f"/proc/{self.pid}/{file}").read_text().rsplit(")", 1)[1].split()

    def settled(self, seconds=PATIENCE):
        """Waits until nothing is under way, and returns the registry."""
        def quiet():
            registry = self.registry()
            ledger = {entry["kind"]: entry for entry in registry["ledger"]}
            return ledger["exchange"]["live"] == 0 and registry
        return until(quiet, seconds, "no exchange live")


def steady(read, seconds=5.0, window=0.3):
    """Waits until a reading has not changed for a while, and returns it."""
    deadline, last, since = time.monotonic() + seconds, read(), time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - since < window:
        time.sleep(0.02)
        now = read()
        if now != last:
            last, since = now, time.monotonic()
    return last
