"""The proxies edge-proxy is compared with: each as its documentation advises for speed.

One function per peer writes the configuration for a `Task` into a folder and returns the command.
None writes an access log, all keep upstream connections, and all that can verify the upstream's
certificate do so."""

import collections
import os

from .envoy import envoy
from .processes import need, write


def nginx(setting, folder, task, port):
    """nginx: bodies pass through memory only, and requests' bodies as they come."""
    certificate = setting.certificates[task.certificate]
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "\n".join(f"  {kind}_temp_path {folder}/{kind};" for kind in
                          ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    path = os.path.join(folder, "nginx.conf")
    write(path, f"""daemon off;
master_process {"off" if task.single else "on"};
worker_processes {task.workers};
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
  ssl_certificate {certificate.chain};
  ssl_certificate_key {certificate.key};
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_cache shared:tls:10m;
  http2_max_concurrent_streams 128;
  client_max_body_size 0;
  client_body_buffer_size 128k;
  upstream service {{
    server 127.0.0.1:{task.port};
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
      proxy_set_header Host $host;
      proxy_request_buffering off;
      proxy_buffer_size 16k;
      proxy_buffers 8 64k;
      proxy_busy_buffers_size 128k;
      proxy_max_temp_file_size 0;
    }}
  }}
}}
""")
    return [need("nginx"), "-e", "stderr", "-p", folder, "-c", path]


def haproxy(setting, folder, task, port):
    """HAProxy: connections to the upstream are shared by all clients. Buffers hold a body with its
    head where that is possible; small ones are faster where they suffice."""
    path = os.path.join(folder, "haproxy.cfg")
    protocol = {"1.1": "", "h2c": " proto h2", "h2":
                f" ssl verify required ca-file {setting.certificates['p256'].chain}"
                " verifyhost localhost sni str(localhost) alpn h2"}[task.upstream]
    write(path, f"""global
  nbthread {task.workers}
  maxconn 8192
  ssl-default-bind-options ssl-min-ver TLSv1.2
  tune.h2.max-concurrent-streams 128
  tune.bufsize {16384 if task.body <= 8192 else 65536}
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  timeout http-keep-alive 300s
  option http-keep-alive
  http-reuse always
frontend front
  bind 127.0.0.1:{port} ssl crt {setting.certificates[task.certificate].both} alpn h2,http/1.1 \
backlog 2048
  default_backend service
backend service
  server one 127.0.0.1:{task.port}{protocol} pool-max-conn -1 pool-purge-delay 300s
""")
    return [need("haproxy"), "-db", "-f", path]


def nghttpx(setting, folder, task, port):
    """nghttpx: TLS records of full size from the start."""
    certificate = setting.certificates[task.certificate]
    protocol = {"1.1": "", "h2c": ";;proto=h2", "h2": ";;proto=h2;tls;sni=localhost"}[task.upstream]
    return [need("nghttpx"), "--conf=/dev/null", f"--workers={task.workers}",
            *(["--single-process"] if task.single else []),
            f"--frontend=127.0.0.1,{port}", f"--backend=127.0.0.1,{task.port}{protocol}",
            f"--cacert={setting.certificates['p256'].chain}",
            "--accesslog-file=", "--log-level=ERROR",
            "--frontend-http2-max-concurrent-streams=128", "--tls-dyn-rec-warmup-threshold=0",
            "--backlog=2048", "--backend-keep-alive-timeout=300s",
            "--frontend-keep-alive-timeout=300s", "--frontend-http2-read-timeout=300s",
            f"--pid-file={folder}/nghttpx.pid", certificate.key, certificate.chain]


def h2o(setting, folder, task, port):
    """h2o: keys in the process itself, tickets and cache for sessions."""
    certificate = setting.certificates[task.certificate]
    path = os.path.join(folder, "h2o.yaml")
    user = "user: root" if os.geteuid() == 0 else ""
    write(path, f"""{user}
num-threads: {task.workers}
max-connections: 8192
pid-file: {folder}/h2o.pid
error-log: /dev/stderr
http1-request-timeout: 300
http2-idle-timeout: 300
http2-max-concurrent-requests-per-connection: 128
ssl-session-resumption:
  mode: all
listen:
  host: 127.0.0.1
  port: {port}
  ssl:
    certificate-file: {certificate.chain}
    key-file: {certificate.key}
    minimum-version: TLSv1.2
    neverbleed: OFF
hosts:
  default:
    paths:
      /:
        proxy.reverse.url: http://127.0.0.1:{task.port}/
        proxy.preserve-host: ON
        proxy.timeout.keepalive: 300000
""")
    return [need("h2o"), "-m", "worker", "-c", path]


def caddy(setting, folder, task, port):
    """Caddy: Go's runtime on as many cores as there are workers; it has no other knob for that."""
    certificate = setting.certificates[task.certificate]
    versions = {"1.1": "versions 1.1", "h2c": "versions h2c 2", "h2":
                "versions 2\n\t\t\ttls\n\t\t\ttls_server_name localhost\n\t\t\t"
                f"tls_trusted_ca_certs {setting.certificates['p256'].chain}"}[task.upstream]
    path = os.path.join(folder, "Caddyfile")
    write(path, f"""{{
	admin off
	auto_https off
	storage file_system {folder}/caddy
	log {{
		level ERROR
	}}
	servers {{
		protocols h1 h2
	}}
}}
https://127.0.0.1:{port} {{
	bind 127.0.0.1
	tls {certificate.chain} {certificate.key}
	reverse_proxy 127.0.0.1:{task.port} {{
		transport http {{
			{versions}
			keepalive 300s
			keepalive_idle_conns 1024
			keepalive_idle_conns_per_host 1024
			compression off
		}}
	}}
}}
""")
    return ["env", f"GOMAXPROCS={task.workers}", need("caddy"), "run", "--config", path,
            "--adapter", "caddyfile"]


# Title, program and its option for the version, function, protocols it can speak to upstreams, and
# whether valgrind and a preloaded malloc can follow it.
Peer = collections.namedtuple("Peer", "title program version command upstreams inspectable")
ALL = ("1.1", "h2c", "h2")
PEERS = {
    "nginx": Peer("nginx", "nginx", "-v", nginx, ("1.1",), True),
    "haproxy": Peer("HAProxy", "haproxy", "-v", haproxy, ALL, True),
    "nghttpx": Peer("nghttpx", "nghttpx", "-v", nghttpx, ALL, True),
    "h2o": Peer("h2o", "h2o", "-v", h2o, ("1.1",), True),
    "caddy": Peer("Caddy", "caddy", "version", caddy, ALL, False),
    "envoy": Peer("Envoy", "envoy", "--version", envoy, ALL, False),
}
