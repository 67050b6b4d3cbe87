"""Another OpenSSL than the system's, for all proxies that load one."""

import glob
import os
import re
import subprocess

from .processes import ROOT, BenchError, descendants

# A package of PyPI whose wheel brings a current OpenSSL as shared libraries of its own.
PACKAGE = "psycopg_binary"
LIBRARIES = "libcrypto", "libssl"


class OpenSSL:
    """The libraries that proxies load: the system's, those of a folder, or `pypi`'s."""

    def __init__(self, chosen, folder):
        self.environment = {}
        if chosen == "system":
            return
        chosen = from_pypi(folder) if chosen == "pypi" else os.path.abspath(chosen)
        for name in LIBRARIES:
            if not os.path.exists(os.path.join(chosen, f"{name}.so.3")):
                raise BenchError(f"{chosen} has no {name}.so.3")
        self.environment = {"LD_LIBRARY_PATH": chosen}

    @property
    def version(self):
        """What the libraries say of themselves, as `openssl version` prints it."""
        done = subprocess.run(["openssl", "version"], capture_output=True, text=True,
                              env=dict(os.environ, **self.environment))
        return done.stdout.strip() or f"unknown: {done.stderr.strip()}"

    def verify(self, pid):
        """Raises unless each OpenSSL that a proxy has loaded is the chosen one."""
        chosen = self.environment.get("LD_LIBRARY_PATH")
        if not chosen:
            return
        wanted = {os.path.realpath(os.path.join(chosen, f"{name}.so.3")) for name in LIBRARIES}
        for process in descendants(pid):
            others = mapped(process) - wanted
            if others:
                raise BenchError(f"void: loaded {', '.join(sorted(others))}")


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
    os.makedirs(links, exist_ok=True)
    for name in LIBRARIES:
        found = glob.glob(f"{ROOT}/.venv/lib/python3*/site-packages/{PACKAGE}.libs/{name}-*.so.3")
        if not found:
            raise BenchError(f"{PACKAGE} is not in .venv: Scripts/install-dependencies --bench")
        link = os.path.join(links, f"{name}.so.3")
        if not os.path.lexists(link):
            os.symlink(found[0], link)
    return links
