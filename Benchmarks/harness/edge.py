"""edge-proxy: its configuration and start."""

import json
import os

from .processes import write

TITLES = {"edge": "edge-proxy", "edge-quiet": "edge-proxy, no access log"}


def start(processes, setting, name, task, folder, core, prefix, environment, routes=None):
    """Starts edge-proxy, its access log in a file or off; child, port and path of the log."""
    log = os.path.join(folder, "access.log") if name == "edge" else None
    if log:
        write(log, "")
    file, ready = (os.path.join(folder, end) for end in ("edge.yaml", "ready.json"))
    write(file, configuration(setting, task, log, routes))
    child = setting.openssl.start(
        processes, name,
        [*prefix, setting.binary, "run", "--config", file, "--ready-file", ready], core,
        environment, TITLES[name], lambda: os.path.exists(ready))
    with open(ready) as text:
        address = json.load(text)["listeners"][0]
    return child, int(address.rpartition(":")[2]), log


def configuration(setting, task, log, routes=None):
    """The configuration file's text; `routes` takes the place of the one to the task's upstream."""
    certificate = setting.certificates[task.certificate]
    return f"""workers: {task.workers}
listeners:
  - address: "127.0.0.1:0"
    tls:
      certificates:
        - certificate: "{certificate.chain}"
          key: "{certificate.key}"
routes:
{routes or route(setting, task)}upstream:
  max_connections_per_host: 2048
  max_in_flight_per_host: 16384
  max_queue_per_host: 16384
  keepalive: 300s
registry:
  max_hosts: 20000
  max_connections: 16384
  max_share: 100
timeouts:
  idle: 300s
limits:
  # All load comes from one address.
  max_connections_per_address: 1000000
  handshakes_per_second_per_address: 0
ledger:
  # What it does then belongs to no request; on a slow machine a run may last as long as a minute.
  interval: 1h
access_log:
  path: "{log or "off"}"
shutdown:
  grace: 5s
"""


def route(setting, task):
    """The one route, to the task's upstream; over TLS that is verified."""
    if task.upstream != "h2":
        return f"""  - path: /
    upstream: "http://127.0.0.1:{task.port}"
    versions: ["{task.upstream}"]
"""
    return f"""  - path: /
    upstream: "https://127.0.0.1:{task.port}"
    versions: ["2"]
    tls:
      ca: "{setting.certificates["p256"].chain}"
      server_name: localhost
"""
