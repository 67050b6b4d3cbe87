"""Proxies that send `/api/x?id=N` to the host `id-N.apps.test`, and the DNS server they ask.

Each peer's configuration is that of all other works, with the upstream replaced by the way to id
hosts that docs/comparison shows. h2o and nghttpx have none."""

import ipaddress
import os
import textwrap

from . import edge
from .envoy import TYPE
from .peers import PEERS
from .processes import BenchError, accepts, free_port, need, wait_for, write
from .proxies import Running, fresh_folder, started_peer
from .works import Task

HOST = "id-{id}.apps.test"


def start_dns(processes, setting, ids, core=None):
    """Starts dnsmasq, which knows an address for each of the hosts 1 to `ids`; its port."""
    hosts, port = os.path.join(setting.folder, "hosts"), free_port()
    first = ipaddress.ip_address("127.1.0.1")
    write(hosts, "".join(f"{first + number} {HOST.format(id=number)}\n"
                         for number in range(1, ids + 1)))
    child = processes.start("dnsmasq", [
        need("dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv",
        "--no-hosts", f"--addn-hosts={hosts}", "--local=/test/", "--local-ttl=3600",
        "--neg-ttl=3600", f"--port={port}", "--listen-address=127.0.0.1", "--bind-interfaces",
        "--pid-file=", *(["--user=root"] if os.geteuid() == 0 else [])], core)
    wait_for(lambda: accepts(port), child, "dnsmasq", 10)
    return port


def start_id_proxy(processes, setting, name, port, dns, core=None):
    """Starts a proxy for hosts that all listen on `port` and are named at the DNS port `dns`."""
    folder, task = fresh_folder(setting, name), Task("1.1", port)
    if name not in PEERS:
        return Running(*edge.start(processes, setting, name, task, folder, core, (), None,
                                   routes=edge_routes(port, dns)))
    front = free_port()
    command = PEERS[name].command(setting, folder, task, front)
    file, changes = CHANGES[name]
    edit(os.path.join(folder, file), changes(port, dns))
    return started_peer(processes, setting, name, command, front, core)


def edge_routes(port, dns):
    return f"""  - path: /api
    id: {{query: id}}
    upstream: "http://{HOST}:{port}"
resolver:
  servers: ["127.0.0.1:{dns}"]
  search: false
  first_seen_per_second: 0
"""


def edit(path, changes):
    """Replaces parts of a file; each must be there once."""
    with open(path) as file:
        text = file.read()
    for old, new in changes.items():
        if text.count(old) != 1:
            raise BenchError(f"{os.path.basename(path)} has {text.count(old)} of {old!r}")
        text = text.replace(old, new)
    write(path, text)


def nginx(port, dns):
    return {"worker_connections 8192": "worker_connections 16384",
            "proxy_pass http://service;":
            f"resolver 127.0.0.1:{dns} ipv6=off;\n"
            f"      proxy_pass http://id-$arg_id.apps.test:{port};"}


def haproxy(port, dns):
    return {"tune.h2.max": "tune.pool-high-fd-ratio 95\n  tune.pool-low-fd-ratio 90\n  tune.h2.max",
            "frontend front\n": f"""resolvers dns
  nameserver one 127.0.0.1:{dns}
  accepted_payload_size 4096
  hold valid 300s
frontend front
  http-request set-var-fmt(txn.host) "id-%[url_param(id)].apps.test"
  http-request do-resolve(txn.address,dns,ipv4) var(txn.host)
  http-request deny deny_status 404 unless {{ var(txn.address) -m found }}
  http-request set-dst var(txn.address)
  http-request set-dst-port int({port})
""", f"server one 127.0.0.1:{port}": "server one 0.0.0.0:0"}


def caddy(port, dns):
    return {f"reverse_proxy 127.0.0.1:{port}": f"reverse_proxy id-{{query.id}}.apps.test:{port}",
            "keepalive_idle_conns 1024": f"keepalive_idle_conns 16384\n"
            f"\t\t\tresolvers 127.0.0.1:{dns}"}


def envoy(port, dns):
    names = f"""dns_cache_config:
  name: names
  dns_lookup_family: V4_ONLY
  max_hosts: 20000
  dns_refresh_rate: 3600s
  host_ttl: 3600s
  typed_dns_resolver_config:
    name: envoy.network.dns_resolver.cares
    typed_config:
      "@type": {TYPE}.network.dns_resolver.cares.v3.CaresDnsResolverConfig
      resolvers: [{{socket_address: {{address: 127.0.0.1, port_value: {dns}}}}}]
      dns_resolver_options: {{no_default_search_domain: true}}
"""
    filters = f"""                http_filters:
                  - name: lua
                    typed_config:
                      "@type": {TYPE}.filters.http.lua.v3.Lua
                      default_source_code:
                        inline_string: |
                          function envoy_on_request(request)
                            local fields = request:headers()
                            local id = fields:get(":path"):match("[?&]id=([^&]*)") or ""
                            fields:replace(":authority", "id-" .. id .. ".apps.test:{port}")
                          end
                  - name: dynamic
                    typed_config:
                      "@type": {TYPE}.filters.http.dynamic_forward_proxy.v3.FilterConfig
{textwrap.indent(names, 22 * " ")}"""
    cluster = f"""      lb_policy: CLUSTER_PROVIDED
      cluster_type:
        name: dynamic
        typed_config:
          "@type": {TYPE}.clusters.dynamic_forward_proxy.v3.ClusterConfig
{textwrap.indent(names, 10 * " ")}"""
    sni = "upstream_http_protocol_options: {auto_sni: true, auto_san_validation: true}"
    return {"          explicit_http_config": f"          {sni}\n          explicit_http_config",
            "                http_filters:\n": filters, f"""      load_assignment:
        cluster_name: service
        endpoints:
          - lb_endpoints:
              - endpoint: {{address: {{socket_address: {{address: 127.0.0.1,
                                                       port_value: {port}}}}}}}
""": cluster}


CHANGES = {"nginx": ("nginx.conf", nginx), "haproxy": ("haproxy.cfg", haproxy),
           "caddy": ("Caddyfile", caddy), "envoy": ("envoy.yaml", envoy)}


def supports_ids(name):
    return name not in PEERS or name in CHANGES
