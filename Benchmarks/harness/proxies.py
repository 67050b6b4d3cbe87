"""Everything that is started for a measurement: proxies and upstreams, by name."""

import os
import subprocess

from . import edge
from .openssl import OpenSSL
from .peers import PEERS
from .processes import (accepts, compile_c, executable, free_port, make_certificate,
                        need, wait_for)
from .works import WORKS

TITLES = {**edge.TITLES, **{name: peer.title for name, peer in PEERS.items()}}


class Setting:
    """What all measurements of one run share: folder, certificates, upstream, our binary, and the
    OpenSSL of the proxies."""

    def __init__(self, folder, binary, openssl="system"):
        self.folder = folder
        self.openssl = OpenSSL(openssl, folder)
        self.certificates = {kind: make_certificate(folder, kind) for kind in ("p256", "rsa")}
        self.origin = compile_c("origin.c", os.path.join(folder, "origin"))
        self.binary = os.path.abspath(binary)
        if os.access(self.binary, os.X_OK) and executable("strip"):
            # Valgrind cannot read the debugging information that the Swift compiler writes.
            stripped = os.path.join(folder, "edge-proxy")
            subprocess.run(["strip", "--strip-debug", "-o", stripped, self.binary], check=True)
            self.binary = stripped

    def payload(self, size):
        """The path of a file of `size` bytes, called `bench` in a folder of its own."""
        folder = os.path.join(self.folder, f"payload-{size}")
        path = os.path.join(folder, "bench")
        if not os.path.exists(path):
            os.mkdir(folder)
            with open(path, "wb") as file:
                file.write(b"x" * size)
        return path


class Running:
    """A proxy that accepts connections: the child that was started and the port."""

    def __init__(self, child, port, access_log=None):
        self.child = child
        self.port = port
        self.access_log = access_log

    def forget_log(self):
        """Empties our access log, so that long runs do not fill the disk."""
        if self.access_log:
            os.truncate(self.access_log, 0)


def supports(name, work):
    """Whether a proxy can do the work at all: not all speak HTTP/2 to upstreams."""
    return name not in PEERS or WORKS[work].upstream in PEERS[name].upstreams


def available(setting, wanted):
    """Those of the wanted proxies that are installed."""
    return [name for name in wanted
            if (executable(PEERS[name].program) if name in PEERS
                else os.access(setting.binary, os.X_OK))]


def start_upstream(processes, setting, work, core=None):
    """Starts the upstream of a `Work`; its port."""
    port = free_port()
    if work.upstream == "h2":
        certificate = setting.certificates["p256"]
        command = [need("nghttpd"), "--address=127.0.0.1", "--workers=1",
                   f"--htdocs={os.path.dirname(setting.payload(work.size))}",
                   "--max-concurrent-streams=512", str(port), certificate.key, certificate.chain]
    else:
        command = [setting.origin, str(port), str(work.size), str(work.upload)]
    child = processes.start("upstream", command, core)
    wait_for(lambda: accepts(port), child, "upstream", 10)
    return port


def start_proxy(processes, setting, name, task, core=None, prefix=(), environment=None):
    """Starts one proxy for a `Task` and waits until it accepts; `prefix` is a tool to run it
    under."""
    folder = fresh_folder(setting, name)
    if name not in PEERS:
        return Running(*edge.start(processes, setting, name, task, folder, core, prefix,
                                   environment))
    port = free_port()
    command = PEERS[name].command(setting, folder, task, port)
    return started_peer(processes, setting, name, [*prefix, *command], port, core, environment)


def started_peer(processes, setting, name, command, port, core=None, environment=None):
    """Starts a peer by its command line and waits until it accepts."""
    return Running(setting.openssl.start(processes, name, command, core, environment,
                                         TITLES[name], lambda: accepts(port)), port)


def fresh_folder(setting, name):
    number = 0
    while os.path.exists(path := os.path.join(setting.folder, f"{name}-{number}")):
        number += 1
    os.mkdir(path)
    return path
