"""Envoy's configuration: as its page on benchmarking advises."""

import os

from .processes import need, write

TYPE = "type.googleapis.com/envoy.extensions"


def envoy(setting, folder, task, port):
    """Envoy: no request ids, no statistics, circuit breakers out of the way."""
    certificate = setting.certificates[task.certificate]
    protocol = "http" if task.upstream == "1.1" else "http2"
    path = os.path.join(folder, "envoy.yaml")
    write(path, f"""stats_config: {{stats_matcher: {{reject_all: true}}}}
static_resources:
  listeners:
    - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
      filter_chains:
        - transport_socket:
            name: tls
            typed_config:
              "@type": {TYPE}.transport_sockets.tls.v3.DownstreamTlsContext
              common_tls_context:
                alpn_protocols: [h2, http/1.1]
                tls_params:
                  tls_minimum_protocol_version: TLSv1_2
                  tls_maximum_protocol_version: TLSv1_3
                  ecdh_curves: [X25519, P-256]
                tls_certificates:
                  - certificate_chain: {{filename: {certificate.chain}}}
                    private_key: {{filename: {certificate.key}}}
          filters:
            - name: http
              typed_config:
                "@type": {TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: front
                generate_request_id: false
                stream_idle_timeout: 0s
                http2_protocol_options: {{max_concurrent_streams: 128}}
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes:
                        - match: {{prefix: /}}
                          route: {{cluster: service, timeout: 0s}}
                http_filters:
                  - name: router
                    typed_config:
                      "@type": {TYPE}.filters.http.router.v3.Router
                      dynamic_stats: false
  clusters:
    - name: service
      circuit_breakers:
        thresholds:
          - {{max_connections: 1000000, max_pending_requests: 1000000, max_requests: 1000000,
             max_retries: 1000000}}
      load_assignment:
        cluster_name: service
        endpoints:
          - lb_endpoints:
              - endpoint: {{address: {{socket_address: {{address: 127.0.0.1,
                                                       port_value: {task.port}}}}}}}
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": {TYPE}.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {{{protocol}_protocol_options: {{}}}}
{upstream_tls(setting) if task.upstream == "h2" else ""}""")
    return [need("envoy"), "--concurrency", str(task.workers), "--disable-hot-restart",
            "--log-level", "error", "-c", path]


def upstream_tls(setting):
    """The cluster's lines for an upstream over TLS whose certificate is verified."""
    return f"""      transport_socket:
        name: tls
        typed_config:
          "@type": {TYPE}.transport_sockets.tls.v3.UpstreamTlsContext
          sni: localhost
          common_tls_context:
            alpn_protocols: [h2]
            validation_context:
              trusted_ca: {{filename: {setting.certificates["p256"].chain}}}
              match_typed_subject_alt_names:
                - san_type: DNS
                  matcher: {{exact: localhost}}
"""
