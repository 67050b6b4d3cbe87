"""Child processes, ports, certificates: started here, ended here, by pid."""

import collections
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


class BenchError(Exception):
    """A measurement that could not be made; the text says why."""


def executable(name):
    """The path of an installed program, sbin and the project's .venv included; or None."""
    folders = os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", f"{ROOT}/.venv/bin"
    return shutil.which(name, path=":".join(folders))


def need(name):
    """The path of an installed program; a BenchError when there is none."""
    path = executable(name)
    if not path:
        raise BenchError(f"{name} is not installed")
    return path


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def prepared(core):
    """What a child does before it becomes its program: pins itself to `core` if that is given, and
    sees to it that a killed harness leaves no children behind."""
    def prepare():
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if core is not None:
            os.sched_setaffinity(0, {core})
    return prepare


class Processes:
    """The children of one measurement. Leaving the `with` block ends every one of them."""

    def __init__(self, folder):
        self.folder = folder
        self.children = []
        self.started = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for child in reversed(self.children):
            self.stop(child)

    def start(self, name, arguments, core=None, environment=None):
        """Starts `arguments`, pinned to `core` if given; output goes to a log of its own."""
        self.started += 1
        log = open(os.path.join(self.folder, f"{name}-{self.started}.log"), "wb")
        child = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            preexec_fn=prepared(core), start_new_session=True,
            env=dict(os.environ, **(environment or {})))
        log.close()
        child.log_path = log.name
        self.children.append(child)
        return child

    def stop(self, child, seconds=30):
        """Ends a child with SIGTERM, its whole session with SIGKILL when that takes too long."""
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        if child in self.children:
            self.children.remove(child)


def tail(path, lines=4):
    """The last lines of a log, for error texts."""
    try:
        with open(path, errors="replace") as file:
            return "".join(file.readlines()[-lines:])
    except OSError:
        return ""


def free_port():
    """A loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, child, what, seconds):
    """Polls until `condition` gives a value; fails when the child dies or time is up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if child.poll() is not None:
            raise BenchError(f"{what} ended with {child.returncode}:\n{tail(child.log_path)}")
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise BenchError(f"{what} was not ready in {seconds} s:\n{tail(child.log_path)}")


def accepts(port):
    """Whether something accepts connections on the loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def descendants(pid):
    """The pid and the pids of all its descendants."""
    found = [pid]
    for task in _list(f"/proc/{pid}/task"):
        for child in _read(f"/proc/{pid}/task/{task}/children").split():
            found += descendants(int(child))
    return found


def cpu_seconds(pid):
    """CPU time used by a process and its descendants, user and system, in seconds."""
    nanoseconds, ticks = 0, 0
    for process in descendants(pid):
        for task in _list(f"/proc/{process}/task"):
            # schedstat counts nanoseconds, stat only hundredths of a second.
            exact = _read(f"/proc/{process}/task/{task}/schedstat").split()
            if exact and int(exact[0]) > 0:
                nanoseconds += int(exact[0])
                continue
            fields = _read(f"/proc/{process}/task/{task}/stat").rpartition(")")[2].split()
            if fields:
                ticks += int(fields[11]) + int(fields[12])
    return nanoseconds / 1e9 + ticks / os.sysconf("SC_CLK_TCK")


def _list(folder):
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


Certificate = collections.namedtuple("Certificate", "chain key both")
KEYS = {"p256": ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"], "rsa": ["rsa:2048"]}


def make_certificate(folder, kind):
    """A self-signed certificate, `p256` or `rsa`: paths of it, its key, and both in one file."""
    paths = Certificate(*(os.path.join(folder, f"{kind}.{end}") for end in ("crt", "key", "pem")))
    done = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", *KEYS[kind], "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout",
         paths.key, "-out", paths.chain], capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError("openssl req failed:\n" + done.stderr)
    with open(paths.chain) as chain, open(paths.key) as key:
        write(paths.both, chain.read() + key.read())
    return paths


def compile_c(source, out, options=()):
    """Compiles one C file of this folder's parent with whatever compiler is there; its path."""
    compiler = next(filter(None, map(shutil.which, ("cc", "clang", "gcc"))), None)
    if not compiler:
        raise BenchError("no C compiler: cc, clang or gcc is needed")
    done = subprocess.run(
        [compiler, "-O2", *options, "-o", out, os.path.join(ROOT, "Benchmarks", source)],
        capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"{source} does not compile:\n{done.stderr}")
    return out


def cores():
    """Core of the proxy and core of everything else; the same one on a single-core machine."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[-1], allowed[0]
