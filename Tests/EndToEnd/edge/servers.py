"""Real servers as processes: dnsmasq, nginx, nghttpd; and silent or dead addresses."""

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

from .waiting import reserve_port, until

os.environ["PATH"] += ":/usr/sbin:/sbin"


def beyond_sockets():
    """More bytes than the sockets between a service and a client can hold, so that an answer of
    this length is under way for as long as its client does not read."""
    most = [int(Path(f"/proc/sys/net/ipv4/{name}").read_text().split()[2])
            for name in ("tcp_wmem", "tcp_rmem", "tcp_wmem")]
    return sum(most) + (8 << 20)


def documents(root, greeting):
    """`/api/hello`, `/api/large` of 8 MiB, and `/api/endless`: zeroes, more than sockets hold."""
    (root / "api").mkdir(parents=True, exist_ok=True)
    (root / "api" / "hello").write_bytes(greeting)
    (root / "api" / "large").write_bytes(bytes(range(256)) * 32_768)
    with open(root / "api" / "endless", "wb") as file:
        file.truncate(beyond_sockets())


class Server:
    """A process that listens on a reserved port; started again elsewhere if the port was taken."""

    program = ""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        assert shutil.which(self.program), (
            f"{self.program} is missing: Scripts/install-dependencies")
        for _ in range(5):
            self.port = reserve_port()
            self.log_path = self.folder / f"{self.program}.{self.port}.log"
            if self._start():
                return
        raise AssertionError(f"{self.program} did not start: {self.log()[-2000:]}")

    def _start(self):
        self._log = open(self.log_path, "ab")
        self.process = subprocess.Popen(
            self.command(), stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
            cwd=self.folder)
        until(lambda: self.process.poll() is not None or self.answers(),
              what=lambda: f"{self.program} answers: {self.log()[-2000:]}")
        return self.process.poll() is None

    def command(self):
        raise NotImplementedError

    def answers(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def log(self):
        return self.log_path.read_text(errors="replace")

    def stop(self):
        """Ends the process; the port stays known."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        self._log.close()

    def close(self):
        self.stop()

    def restart(self):
        """Stops and starts on the same port, with the configuration as it is now."""
        self.stop()
        assert self._start(), self.log()[-2000:]


class Origin(Server):
    """The upstream of the benchmarks, in C: HTTP/1.1 and h2c, one fixed answer."""

    def __init__(self, folder):
        folder.mkdir()
        compiler = next(filter(None, map(shutil.which, ("cc", "clang", "gcc"))), None)
        assert compiler, "no C compiler: cc, clang or gcc is needed"
        self.program = str(folder / "origin")
        source = Path(__file__).resolve().parents[3] / "Benchmarks" / "origin.c"
        subprocess.run([compiler, "-O2", "-o", self.program, str(source)], check=True)
        super().__init__(folder)

    def command(self):
        return [self.program, str(self.port), "512", "0"]


class Resolver(Server):
    """dnsmasq: `id-N.apps.test` is 127.0.0.(N+1) for N up to 60, `*.wild.test` is 127.0.0.1.

    Every other name under `.test` does not exist.
    """

    program = "dnsmasq"
    ids = 60

    def __init__(self, folder, names=None, ttl=60):
        self.names = dict(names or {})
        self.ttl = ttl
        super().__init__(folder)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def command(self):
        lines = [
            "no-resolv", "no-hosts", "no-daemon", "bind-interfaces", "listen-address=127.0.0.1",
            f"port={self.port}", "log-queries", "log-facility=-", "local=/test/", "cache-size=0",
            f"local-ttl={self.ttl}", "neg-ttl=60", "address=/wild.test/127.0.0.1"]
        lines += [f"address=/id-{n}.apps.test/127.0.0.{n + 1}" for n in range(1, self.ids + 1)]
        lines += [f"address=/{name}/{address}" for name, addresses in self.names.items()
                  for address in ([addresses] if isinstance(addresses, str) else addresses)]
        file = self.folder / "dnsmasq.conf"
        user = pwd.getpwuid(os.getuid()).pw_name
        file.write_text("\n".join(lines + [f"user={user}"]) + "\n")
        return ["dnsmasq", "--keep-in-foreground", f"--conf-file={file}",
                f"--pid-file={self.folder / 'dnsmasq.pid'}"]

    def queries(self, name=None, kind=None):
        """How many queries were logged, for a name and of a kind (A, AAAA)."""
        found = re.findall(r"query\[(\w+)\] (\S+) from", self.log())
        return sum(1 for its_kind, its_name in found
                   if name in (None, its_name) and kind in (None, its_kind))


class Nginx(Server):
    """nginx as an upstream: h1 with keep-alive, or TLS with h2 and h1."""

    program = "nginx"

    def __init__(self, folder, certificate=None):
        self.certificate = certificate
        super().__init__(folder)

    def command(self):
        root = self.folder / "root"
        documents(root, b"hello from nginx\n")
        (root / "temp").mkdir(exist_ok=True)
        listen = f"listen 127.0.0.1:{self.port}"
        if self.certificate:
            listen += (f" ssl http2; ssl_certificate {self.certificate.certificate}; "
                       f"ssl_certificate_key {self.certificate.key}")
        temporary = "\n".join(
            f"{kind}_temp_path {root / 'temp' / kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        file = self.folder / "nginx.conf"
        file.write_text(f"""
daemon off; master_process off; worker_processes 1; pid {self.folder / 'nginx.pid'};
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  log_format c '$connection $connection_requests $server_protocol $status "$request" $http_host';
  access_log {self.folder / 'access.log'} c;
  {temporary}
  keepalive_requests 1000000; keepalive_timeout 60s; client_max_body_size 0;
  server {{
    {listen};
    root {root};
    location /api/upload {{ client_body_buffer_size 16m; return 200 "taken $content_length\\n"; }}
    location /api/status {{ return 503 "from nginx\\n"; }}
  }}
}}
""")
        return ["nginx", "-p", str(self.folder), "-c", str(file), "-e", "stderr"]

    def lines(self):
        path = self.folder / "access.log"
        return path.read_text().splitlines() if path.exists() else []

    def connections(self):
        """The connection numbers that served at least one request."""
        return {line.split()[0] for line in self.lines()}


class Nghttpd(Server):
    """nghttpd as an upstream: h2c, or h2 over TLS when it has a certificate."""

    program = "nghttpd"

    def __init__(self, folder, certificate=None):
        self.certificate = certificate
        super().__init__(folder)

    def command(self):
        root = self.folder / "root"
        documents(root, b"hello from nghttpd\n")
        command = ["nghttpd", "--address=127.0.0.1", f"--htdocs={root}", "--echo-upload"]
        if self.certificate:
            return command + [str(self.port), str(self.certificate.key),
                              str(self.certificate.certificate)]
        return command + ["--no-tls", str(self.port)]


class TLSServer(Server):
    """`openssl s_server` with an ECDSA and an RSA certificate, which answers a status page."""

    program = "openssl"

    def __init__(self, folder, certificates):
        self.certificates = certificates
        super().__init__(folder)

    def command(self):
        first, second = self.certificates.ecdsa, self.certificates.rsa
        return ["openssl", "s_server", "-accept", f"127.0.0.1:{self.port}", "-www", "-quiet",
                "-cert", str(first.certificate), "-key", str(first.key),
                "-dcert", str(second.certificate), "-dkey", str(second.key)]


class BlackHole:
    """A listening socket that takes no connection: its queue is full, further SYNs are dropped."""

    def __init__(self, address="127.0.0.1"):
        self.listener = socket.socket()
        self.listener.bind((address, 0))
        self.listener.listen(0)
        self.port = self.listener.getsockname()[1]
        self.fill = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((address, self.port))
            self.fill.append(filler)

    def close(self):
        for filler in self.fill:
            filler.close()
        self.listener.close()


class SilentResolver:
    """A DNS server that counts queries and answers none."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.count = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while True:
            try:
                data, _ = self.socket.recvfrom(4096)
            except OSError:
                return
            if not data:
                return
            self.count += 1

    def close(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(5)
        self.socket.close()


def refused_port(address="127.0.0.1"):
    """A port that refuses connections, and stays so while the socket returned is kept."""
    held = socket.socket()
    held.bind((address, 0))
    return held.getsockname()[1], held
