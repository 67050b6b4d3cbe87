"""Another OpenSSL than the system's, for all proxies that load one."""

import glob
import os
import re
import subprocess

from .processes import ROOT, BenchError, descendants, wait_for

# A package of PyPI whose wheel brings a current OpenSSL as shared libraries of its own.
PACKAGE = "psycopg_binary"
LIBRARIES = "libcrypto", "libssl"


class OpenSSL:
    """The libraries that proxies load: the system's, those of a folder, or `pypi`'s."""

    def __init__(self, chosen, folder):
        self.environment, self.files = {}, set()
        if chosen == "system":
            return
        chosen = from_pypi(folder) if chosen == "pypi" else os.path.abspath(chosen)
        for name in LIBRARIES:
            path = os.path.join(chosen, f"{name}.so.3")
            if not os.path.exists(path):
                raise BenchError(f"{chosen} has no {name}.so.3")
            self.files.add(os.path.realpath(path))
        self.environment = {"LD_LIBRARY_PATH": chosen}

    @property
    def version(self):
        """What the libraries say of themselves, as `openssl version` prints it."""
        done = subprocess.run(["openssl", "version"], capture_output=True, text=True,
                              env=dict(os.environ, **self.environment))
        return done.stdout.strip() or f"unknown: {done.stderr.strip()}"

    def start(self, processes, name, command, core, environment, title, is_ready):
        """Starts a proxy with these libraries, waits until it is ready, and raises if it has loaded
        others; the child."""
        child = processes.start(name, command, core, {**self.environment, **(environment or {})})
        wait_for(is_ready, child, title, 60)
        for process in descendants(child.pid) if self.files else ():
            others = mapped(process) - self.files
            if others:
                raise BenchError(f"void: loaded {', '.join(sorted(others))}")
        return child


def mapped(process):
    """The paths of the OpenSSL libraries that a process has loaded; none if it has ended."""
    try:
        with open(f"/proc/{process}/maps") as maps:
            paths = {line.rstrip("\n").split(None, 5)[5] for line in maps if "/" in line}
    except OSError:
        return set()
    return {path for path in paths if re.match(r"lib(ssl|crypto)\b.*\.so", os.path.basename(path))}


def from_pypi(folder):
    """A folder whose links lead to the package's libraries, under the names that are looked for."""
    links = os.path.join(folder, "openssl")
    os.mkdir(links)
    for name in LIBRARIES:
        found = glob.glob(f"{ROOT}/.venv/lib/python3*/site-packages/{PACKAGE}.libs/{name}-*.so.3")
        if not found:
            raise BenchError(f"{PACKAGE} is not in .venv: Scripts/install-dependencies --bench")
        os.symlink(found[0], os.path.join(links, f"{name}.so.3"))
    return links
