"""Fields: what is removed, what is added, and whom to believe."""

import json

import pytest


@pytest.fixture
def seen(edge_for, upstream):
    """Asks for the fields as the upstream saw them."""
    def start(changes=None, **options):
        edge = edge_for(upstream, changes, **options)

        def ask(*arguments, version="2", **more):
            found = json.loads(edge.curl("/api/fields?id=1", *arguments, version=version,
                                         **more).body)
            return {name.lower(): value for name, value in found}
        ask.edge = edge
        return ask
    return start


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_what_the_proxy_adds(seen, version):
    ask = seen()
    fields = ask(version=version)
    authority = f"localhost:{ask.edge.port}"
    assert fields["host"] == authority
    assert fields["via"] == {"1.1": "1.1", "2": "2.0"}[version] + " edge-proxy"
    assert fields["x-forwarded-for"] == "127.0.0.1"
    assert fields["x-forwarded-proto"] == "https"
    assert fields["x-forwarded-host"] == authority
    forwarded = fields["forwarded"].lower()
    assert "for=127.0.0.1" in forwarded and "proto=https" in forwarded
    assert f'host="{authority}"' in forwarded


def test_the_host_can_be_the_upstreams(seen, upstream):
    ask = seen(route={"host": "upstream"})
    assert ask()["host"] == f"id-1.apps.test:{upstream.port}"
    assert ask()["x-forwarded-host"] == f"localhost:{ask.edge.port}"


SPOOFED = ["-H", "X-Forwarded-For: 6.6.6.6", "-H", "X-Forwarded-Proto: gopher",
           "-H", "X-Forwarded-Host: evil.example", "-H", "Forwarded: for=6.6.6.6"]


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_clients_are_not_believed(seen, version):
    fields = seen()(*SPOOFED, version=version)
    assert fields["x-forwarded-for"] == "127.0.0.1"
    assert fields["x-forwarded-proto"] == "https"
    assert "evil" not in fields["x-forwarded-host"]
    assert "6.6.6.6" not in fields["forwarded"]


def test_trusted_proxies_are_believed(seen):
    fields = seen({"trusted_proxies": ["127.0.0.0/8"]})(
        "-H", "X-Forwarded-For: 203.0.113.7", "-H", "X-Forwarded-Proto: http",
        "-H", "X-Forwarded-Host: shop.example", "-H", "Forwarded: for=203.0.113.7;proto=http")
    assert fields["x-forwarded-for"] == "203.0.113.7, 127.0.0.1"
    assert fields["x-forwarded-proto"] == "http"
    assert fields["x-forwarded-host"] == "shop.example"
    assert fields["forwarded"].startswith("for=203.0.113.7") and "127.0.0.1" in fields["forwarded"]


def test_a_trust_that_does_not_cover_the_peer_changes_nothing(seen):
    fields = seen({"trusted_proxies": ["10.0.0.0/8", "2001:db8::/32"]})(*SPOOFED)
    assert fields["x-forwarded-for"] == "127.0.0.1"


def test_fields_of_one_connection_are_not_passed_on(seen, upstream):
    ask = seen()
    with ask.edge.http1() as client:
        client.request("GET", "/api/fields?id=1", fields=[
            ("Connection", "X-Private, close, TE"), ("X-Private", "secret"),
            ("TE", "trailers, gzip"),
            ("Keep-Alive", "timeout=9"), ("Proxy-Connection", "keep-alive"),
            ("Proxy-Authorization", "Basic eDp5"), ("Upgrade", "h2c"), ("X-Kept", "yes")])
        fields = {name.lower(): value for name, value in json.loads(client.read().body)}
    assert fields["x-kept"] == "yes"
    for name in ("x-private", "keep-alive", "proxy-connection", "upgrade"):
        assert name not in fields, name
    assert fields.get("te") in (None, "trailers")
    assert "secret" not in str(fields)


@pytest.mark.parametrize("nominated", ["Host", "X-Forwarded-For", "Via", "Content-Length"])
def test_connection_cannot_remove_what_matters(seen, nominated):
    ask = seen()
    with ask.edge.http1() as client:
        client.request("POST", "/api/fields?id=1", fields=[("Connection", nominated)], body=b"abc")
        response = client.read()
    if response.status == 200:
        fields = {name.lower(): value for name, value in json.loads(response.body)}
        assert {"host", "x-forwarded-for", "via"} <= set(fields)
        assert fields.get("content-length") == "3" or "transfer-encoding" in fields
    else:
        assert response.status == 400


def test_connection_cannot_remove_what_a_trusted_proxy_says(seen):
    ask = seen({"trusted_proxies": ["127.0.0.0/8"]})
    names = ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded", "Cookie"]
    told = ["203.0.113.7", "http", "shop.example", "for=203.0.113.7", "a=b"]
    with ask.edge.http1() as client:
        client.request("GET", "/api/fields?id=1", fields=[
            ("Connection", ", ".join(names)), *zip(names, told)])
        fields = {name.lower(): value for name, value in json.loads(client.read().body)}
    for name, value in zip(names, told):
        assert fields[name.lower()].startswith(value), fields


def test_te_trailers_survives(seen):
    assert seen()("-H", "TE: trailers", "-H", "Connection: TE", version="1.1")["te"] == "trailers"


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_response_fields_of_one_connection_are_removed(seen, version):
    response = seen().edge.curl("/api/hop-by-hop?id=1", version=version)
    assert response.get("x-kept") == "yes" and response.body == b"ok"
    for name in ("keep-alive", "x-private", "proxy-connection", "upgrade"):
        assert response.get(name) is None, name
    assert "x-private" not in response.get("connection", "")


def test_the_response_says_via(seen):
    response = seen().edge.curl("/api/hello?id=1")
    assert response.get("via") in (None, "1.1 edge-proxy")


def test_underscores_are_dropped_by_default(seen):
    fields = seen()("-H", "x_real: 1", "-H", "x-real: 2")
    assert "x_real" not in fields and fields["x-real"] == "2"


def test_underscores_can_pass_or_be_rejected(seen):
    assert seen({"limits": {"underscore_fields": "pass"}})("-H", "x_real: 1")["x_real"] == "1"
    edge = seen({"limits": {"underscore_fields": "reject"}}).edge
    assert edge.curl("/api/fields?id=1", "-H", "x_real: 1").status == 400
    assert edge.curl("/api/fields?id=1").status == 200


def test_repeated_fields_and_cookies_arrive_whole(seen, upstream):
    ask = seen()
    with ask.edge.http2() as client:
        response = client.get("/api/fields?id=1", fields=[
            ("cookie", "a=1"), ("cookie", "b=2"), ("x-list", "1"), ("x-list", "2"),
            ("x-empty", "")])
    assert response.status == 200
    found = [(name.lower(), value) for name, value in json.loads(response.body)]
    assert ("cookie", "a=1; b=2") in found, "HTTP/1.1 has one cookie field (RFC 9113 8.2.3)"
    assert ", ".join(value for name, value in found if name == "x-list") in ("1, 2", "1,2")
    assert ("x-empty", "") in found


def test_values_pass_byte_for_byte(seen, upstream):
    ask = seen()
    value = "".join(chr(c) for c in range(0x21, 0x7f)) + "\u00e9 \tz"
    with ask.edge.http1() as client:
        client.request("GET", "/api/fields?id=1", fields=[("X-Bytes", value)])
        assert client.read().status == 200
    assert upstream.requests[-1].get("x-bytes") == value


def test_http2_rejects_connection_fields(seen):
    ask = seen()
    for fields in ([("connection", "close")], [("transfer-encoding", "chunked")],
                   [("te", "gzip")], [("Upper", "case")]):
        with ask.edge.http2() as client:
            response = client.finish(client.start(path="/api/fields?id=1", fields=fields))
            assert response.error is not None or response.status == 400, fields
