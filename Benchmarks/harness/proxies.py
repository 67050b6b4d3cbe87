"""The proxies that are compared and the upstream server: configuration and start."""

import json
import os
import subprocess
import shutil

from .processes import (BenchError, accepts, compile_c, free_port, make_certificate,
                        wait_for)

# Front and upstream protocol; connections and streams of the CPU run, requests of one of its
# rounds; connections and streams of the instruction run, which a work without `small_load` is
# not part of.
WORKS = {
    "h1-h1": dict(title="h1 → h1", front="h1", upstream="1.1", load=(64, 1), requests=60_000,
                  small_load=(4, 1), close=False),
    "h2-h1": dict(title="h2 → h1", front="h2", upstream="1.1", load=(16, 32), requests=80_000,
                  small_load=(2, 32), close=False),
    "h2-h2c": dict(title="h2 → h2c", front="h2", upstream="h2c", load=(16, 32), requests=160_000,
                   small_load=(2, 32), close=False),
    "full": dict(title="full handshakes", front="h1", upstream="1.1", load=(250, 1),
                 requests=1000, close=False),
    "resumed": dict(title="resumed handshakes", front="h1", upstream="1.1", load=(16, 1),
                    requests=2000, close=True),
}
TITLES = {"edge": "edge-proxy", "edge-quiet": "edge-proxy, no access log", "nginx": "nginx",
          "haproxy": "HAProxy", "nghttpx": "nghttpx"}
PEERS = ["nginx", "haproxy", "nghttpx"]


class Setting:
    """What all measurements of one run share: folder, certificate, upstream, our binary."""

    def __init__(self, folder, binary):
        self.folder = folder
        self.certificate, self.key, self.both = make_certificate(folder)
        self.origin = compile_c("origin.c", os.path.join(folder, "origin"))
        self.binary = os.path.abspath(binary)
        if os.access(self.binary, os.X_OK) and executable("strip"):
            # Valgrind cannot read the debugging information that the Swift compiler writes.
            stripped = os.path.join(folder, "edge-proxy")
            subprocess.run(["strip", "--strip-debug", "-o", stripped, self.binary], check=True)
            self.binary = stripped


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
    """Whether a proxy can do the work at all: nginx has no HTTP/2 towards upstreams."""
    return not (name == "nginx" and WORKS[work]["upstream"] == "h2c")


def available(setting, wanted):
    """Those of the wanted proxies that are installed."""
    return [name for name in wanted
            if (os.access(setting.binary, os.X_OK) if name.startswith("edge")
                else executable(name))]


def executable(name):
    """The path of an installed program, sbin included; None if there is none."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def start_upstream(processes, setting, size, core=None):
    """Starts the upstream server, which answers `size` bytes over HTTP/1.1 and h2c; its port."""
    port = free_port()
    child = processes.start("upstream", [setting.origin, str(port), str(size)], core)
    wait_for(lambda: accepts(port), child, "upstream", 10)
    return port


def start_proxy(processes, setting, name, work, upstream_port, core=None, prefix=(),
                environment=None, single=False):
    """Starts one proxy for a work and waits until it accepts.

    `prefix` is a tool to run it under; `single` asks for one process without a master."""
    folder = fresh_folder(setting, name)
    kind = WORKS[work]
    if name.startswith("edge"):
        return start_edge(processes, setting, name, kind, upstream_port, core, prefix,
                          environment, folder)
    port = free_port()
    make = {"nginx": nginx, "haproxy": haproxy, "nghttpx": nghttpx}[name]
    command = make(setting, folder, kind, port, upstream_port, single)
    child = processes.start(name, [*prefix, *command], core, environment)
    wait_for(lambda: accepts(port), child, TITLES[name], 60)
    return Running(child, port)


def start_edge(processes, setting, name, kind, upstream_port, core, prefix, environment, folder):
    """Starts edge-proxy with one worker, its access log in a file or off."""
    log = os.path.join(folder, "access.log") if name == "edge" else None
    if log:
        open(log, "w").close()
    configuration = os.path.join(folder, "edge.yaml")
    ready = os.path.join(folder, "ready.json")
    write(configuration, f"""workers: 1
listeners:
  - address: "127.0.0.1:0"
    tls:
      certificates:
        - certificate: "{setting.certificate}"
          key: "{setting.key}"
routes:
  - path: /
    upstream: "http://127.0.0.1:{upstream_port}"
    versions: ["{kind["upstream"]}"]
upstream:
  max_connections_per_host: 1024
limits:
  # All load comes from one address.
  max_connections_per_address: 1000000
  handshakes_per_second_per_address: 0
access_log:
  path: "{log or "off"}"
shutdown:
  grace: 5s
""")
    child = processes.start(
        name, [*prefix, setting.binary, "run", "--config", configuration, "--ready-file", ready],
        core, environment)
    wait_for(lambda: os.path.exists(ready), child, TITLES[name], 60)
    with open(ready) as file:
        address = json.load(file)["listeners"][0]
    return Running(child, int(address.rpartition(":")[2]), log)


def nginx(setting, folder, kind, port, upstream_port, single):
    """nginx: upstream keep-alive, HTTP/1.1 to the upstream, reuseport, no access log."""
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "\n".join(f"  {kind}_temp_path {folder}/{kind};" for kind in
                          ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    path = os.path.join(folder, "nginx.conf")
    write(path, f"""daemon off;
master_process {"off" if single else "on"};
worker_processes 1;
{user}
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 8192; use epoll; }}
http {{
{temporary}
  access_log off;
  server_tokens off;
  tcp_nodelay on;
  keepalive_timeout 300s;
  keepalive_requests 1000000000;
  ssl_certificate {setting.certificate};
  ssl_certificate_key {setting.key};
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_cache shared:tls:10m;
  http2_max_concurrent_streams 128;
  upstream service {{
    server 127.0.0.1:{upstream_port};
    keepalive 1024;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
  }}
  server {{
    listen 127.0.0.1:{port} ssl http2 reuseport backlog=2048;
    location / {{
      proxy_pass http://service;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
}}
""")
    return [need("nginx"), "-e", "stderr", "-p", folder, "-c", path]


def haproxy(setting, folder, kind, port, upstream_port, single):
    """HAProxy: one thread, http-reuse always, no log."""
    path = os.path.join(folder, "haproxy.cfg")
    protocol = " proto h2" if kind["upstream"] == "h2c" else ""
    write(path, f"""global
  nbthread 1
  maxconn 8192
  ssl-default-bind-options ssl-min-ver TLSv1.2
  tune.h2.max-concurrent-streams 128
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  timeout http-keep-alive 300s
  option http-keep-alive
  http-reuse always
frontend front
  bind 127.0.0.1:{port} ssl crt {setting.both} alpn h2,http/1.1 backlog 2048
  default_backend service
backend service
  server one 127.0.0.1:{upstream_port}{protocol} pool-max-conn -1 pool-purge-delay 300s
""")
    return [need("haproxy"), "-db", "-f", path]


def nghttpx(setting, folder, kind, port, upstream_port, single):
    """nghttpx: one worker, no access log."""
    protocol = ";;proto=h2" if kind["upstream"] == "h2c" else ""
    return [need("nghttpx"), "--conf=/dev/null", "--workers=1",
            *(["--single-process"] if single else []),
            f"--frontend=127.0.0.1,{port}", f"--backend=127.0.0.1,{upstream_port}{protocol}",
            "--accesslog-file=", "--log-level=ERROR", "--frontend-http2-max-concurrent-streams=128",
            "--backlog=2048", "--backend-keep-alive-timeout=300s",
            f"--pid-file={folder}/nghttpx.pid", setting.key, setting.certificate]


def need(name):
    path = executable(name)
    if not path:
        raise BenchError(f"{name} is not installed")
    return path


def fresh_folder(setting, name):
    number = 0
    while os.path.exists(path := os.path.join(setting.folder, f"{name}-{number}")):
        number += 1
    os.mkdir(path)
    return path


def write(path, text):
    with open(path, "w") as file:
        file.write(text)
