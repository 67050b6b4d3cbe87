"""TLS: versions, ALPN, names, two kinds of key, resumption; and upstream verification."""

import re
import socket
import ssl

import pytest

from edge.clients import HTTP1, connect, s_client
from edge.flight import Flight
from edge.waiting import until


@pytest.fixture
def edge(edge_for, upstream, certificates):
    """A proxy with ECDSA and RSA for localhost, a wildcard, and another name."""
    return edge_for(upstream, {"listeners": [{"address": "127.0.0.1:0", "tls": {"certificates": [
        {**certificates.ecdsa.options, "default": True}, certificates.rsa.options,
        certificates.wildcard.options, certificates.other.options]}}]})


def handshake(edge, authority, minimum=None, maximum=None, alpn=("h2", "http/1.1"),
              name="localhost", verify=True):
    """One handshake; the SSLSocket, closed after the peer's certificate was read."""
    context = authority.client_context(alpn)
    if not verify:
        context.check_hostname = False
    if minimum:
        context.minimum_version = minimum
    if maximum:
        context.maximum_version = maximum
    with socket.create_connection(edge.address(), 10) as raw:
        with context.wrap_socket(raw, server_hostname=name) as secure:
            return {"version": secure.version(), "alpn": secure.selected_alpn_protocol(),
                    "cipher": secure.cipher()[0], "peer": secure.getpeercert(True),
                    "compression": secure.compression()}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions(edge, certificates, version):
    found = handshake(edge, certificates.authority, version, version)
    assert found["version"] == {ssl.TLSVersion.TLSv1_2: "TLSv1.2",
                                ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[version]
    assert found["compression"] is None


def test_older_versions_are_refused(edge):
    for flag in ("-tls1", "-tls1_1"):
        output = s_client(edge, flag, "-cipher", "DEFAULT@SECLEVEL=0")
        assert "Cipher is (NONE)" in output or "alert" in output


def test_the_least_version_can_be_raised(edge_for, upstream, certificates):
    edge = edge_for(upstream, {"listeners": [{"address": "127.0.0.1:0", "tls": {
        "certificates": [certificates.ecdsa.options], "min_version": "1.3"}}]})
    assert handshake(edge, certificates.authority)["version"] == "TLSv1.3"
    with pytest.raises(ssl.SSLError):
        handshake(edge, certificates.authority, maximum=ssl.TLSVersion.TLSv1_2)


@pytest.mark.parametrize("offered, chosen", [
    (("h2", "http/1.1"), "h2"), (("http/1.1", "h2"), "h2"), (("http/1.1",), "http/1.1"),
    (("h2",), "h2"), (None, None)])
def test_alpn_prefers_h2(edge, certificates, offered, chosen):
    assert handshake(edge, certificates.authority, alpn=offered)["alpn"] == chosen


def test_alpn_without_a_common_protocol_is_refused(edge, certificates):
    with pytest.raises(ssl.SSLError):
        handshake(edge, certificates.authority, alpn=("spdy/3",))


def test_without_alpn_http11_is_spoken(edge, certificates):
    context = certificates.authority.client_context(None)
    with HTTP1(connect(edge.address(), context)) as client:
        assert client.get("/api/hello?id=1").status == 200


def test_alpn_can_be_limited(edge_for, upstream, certificates):
    edge = edge_for(upstream, {"listeners": [{"address": "127.0.0.1:0", "tls": {
        "certificates": [certificates.ecdsa.options], "alpn": ["http/1.1"]}}]})
    assert handshake(edge, certificates.authority)["alpn"] == "http/1.1"
    assert edge.curl("/api/hello?id=1").version == "HTTP/1.1"


@pytest.mark.parametrize("name, holder", [
    ("localhost", "ecdsa"), ("edge.test", "ecdsa"), ("EDGE.test", "ecdsa"),
    ("id-4.apps.example", "wildcard"), ("other.example", "other"),
    ("deep.id-4.apps.example", "ecdsa"), ("apps.example", "ecdsa"), ("unknown.example", "ecdsa")])
def test_the_name_chooses_the_certificate(edge, certificates, name, holder):
    wanted = ssl.PEM_cert_to_DER_cert(
        getattr(certificates, holder).certificate.read_text().split("-----END")[0]
        + "-----END CERTIFICATE-----\n")
    found = handshake(edge, certificates.authority, name=name, verify=False)
    assert found["peer"] == wanted


def test_without_a_name_the_default_is_given(edge, certificates):
    assert "CN = localhost" in s_client(edge, name=None)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_the_clients_signature_algorithms_choose_the_key(edge, version):
    rsa = s_client(edge, version, "-sigalgs", "RSA-PSS+SHA256:RSA+SHA256")
    assert re.search(r"Peer signature type: RSA", rsa), rsa
    ecdsa = s_client(edge, version, "-sigalgs", "ECDSA+SHA256:RSA-PSS+SHA256:RSA+SHA256")
    assert re.search(r"Peer signature type: ECDSA", ecdsa), ecdsa


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_sessions_are_resumed_across_workers(edge, tmp_path, version):
    session = tmp_path / "session.pem"
    request = b"GET /api/hello?id=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    first = s_client(edge, version, "-ign_eof", "-sess_out", session, sent=request)
    assert "New, TLS" in first and "200" in first
    until(session.exists)
    for _ in range(12):
        again = s_client(edge, version, "-ign_eof", "-sess_in", session, sent=request)
        assert "Reused, TLS" in again, again
    assert edge.metric("edge_handshakes_total", result="success", resumed="true") >= 12


def test_sessions_survive_a_reload(edge, tmp_path):
    session = tmp_path / "session.pem"
    request = b"GET /api/hello?id=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    s_client(edge, "-ign_eof", "-sess_out", session, sent=request)
    edge.reload()
    assert "Reused, TLS" in s_client(edge, "-ign_eof", "-sess_in", session, sent=request)


def test_ticket_keys_from_a_file_are_shared_by_processes(
        edge_for, upstream, tmp_path, certificates):
    keys = tmp_path / "tickets.bin"
    keys.write_bytes(bytes(range(80)) + bytes(range(80, 160)))
    listeners = [{"address": "127.0.0.1:0", "tls": {
        "certificates": [certificates.ecdsa.options], "ticket_keys": str(keys)}}]
    one, two = (edge_for(upstream, {"listeners": listeners}) for _ in range(2))
    session = tmp_path / "session.pem"
    request = b"GET /api/hello?id=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    s_client(one, "-ign_eof", "-sess_out", session, sent=request)
    assert "Reused, TLS" in s_client(two, "-ign_eof", "-sess_in", session, sent=request)


def test_renegotiation_is_refused(edge):
    output = s_client(edge, "-tls1_2", sent=b"R\nQ\n")
    assert "DONE" not in output or "no renegotiation" in output.lower() or "alert" in output.lower()
    assert edge.curl("/api/hello?id=1").status == 200


def test_the_handshake_has_a_deadline(edge_for, upstream):
    edge = edge_for(upstream, {"timeouts": {"handshake": "300ms"}})
    with edge.tcp() as silent:
        silent.settimeout(5)
        assert silent.recv(1) == b""
    until(lambda: edge.ledger()["front_socket"]["live"] == 0)


def test_what_is_not_tls_is_closed_and_harms_nobody(edge):
    for junk in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 100, b"\0" * 1000):
        with edge.tcp() as raw:
            raw.sendall(junk)
            raw.settimeout(5)
            try:
                while raw.recv(4096):
                    pass
            except ConnectionResetError:
                pass
    assert edge.curl("/api/hello?id=1").status == 200
    assert edge.metric("edge_handshakes_total", result="failure") >= 2


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_record_in_pieces_waits_beside_those_of_others(
        edge_for, upstream, certificates, keep, version):
    """TLS's buffers are given back at the first rest, but not while a piece is in them."""
    edge = edge_for(upstream, {"workers": 1, "timeouts": {"head": "80s"}})
    context = certificates.authority.client_context(["http/1.1"])
    context.minimum_version = context.maximum_version = version
    waiting = []
    for number in range(40):
        body = f"<{number:08}>".encode() * 1200
        client = Flight(keep(edge.tcp()), context)
        wire = client.record(
            b"POST /api/echo?id=1&length=1 HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body)
        client.socket.sendall(wire[:(number + 1) * len(wire) // 41])
        waiting.append((client, wire[(number + 1) * len(wire) // 41:], body))
    for client, rest, body in waiting:
        assert edge.curl("/api/hello?id=1").status == 200
        client.socket.sendall(rest)
        response = HTTP1(client).read()
        assert response.status == 200 and response.body == body


@pytest.mark.parametrize("left", [1, 30])
def test_a_part_of_a_record_costs_nothing_until_the_rest_comes(
        edge_for, upstream, certificates, keep, left):
    edge = edge_for(upstream, {"timeouts": {"head": "80s"}})
    context = certificates.authority.client_context(["http/1.1"])
    client = Flight(keep(edge.tcp()), context)
    wire = client.record(b"GET /api/hello?id=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    client.socket.sendall(wire[:-left])
    assert edge.curl("/api/hello?id=1").status == 200
    until(lambda: all(edge.sleeps() for _ in range(100)), what="workers that rest")
    client.socket.sendall(wire[-left:])
    assert HTTP1(client).read().status == 200


def test_keys_are_logged_when_configured(edge_for, upstream, certificates, tmp_path):
    log = tmp_path / "keys.log"
    edge = edge_for(upstream, {"listeners": [{"address": "127.0.0.1:0", "tls": {
        "certificates": [certificates.ecdsa.options], "key_log": str(log)}}]})
    edge.curl("/api/hello?id=1")
    until(lambda: log.exists() and "CLIENT_TRAFFIC_SECRET_0" in log.read_text())


# Upstream side.

@pytest.fixture
def secure(upstream_with, certificates):
    def make(certificate="upstream", alpn=("h2", "http/1.1")):
        return upstream_with(["127.0.0.2", "127.0.0.3"],
                             getattr(certificates, certificate).server_context(alpn))
    return make


def test_a_verified_upstream(edge_for, secure):
    upstream = secure()
    edge = edge_for(upstream, scheme="https")
    assert edge.curl("/api/hello?id=1").get("x-protocol") == "h2"
    assert edge.host("id-1.apps.test")["learned"] == "h2"


def test_versions_limit_what_is_offered(edge_for, secure):
    edge = edge_for(secure(), scheme="https", versions=["1.1"])
    assert edge.curl("/api/hello?id=1").get("x-protocol") == "h1"


@pytest.mark.parametrize("certificate", ["foreign", "other", "expired"])
def test_an_upstream_that_cannot_be_verified_is_502(edge_for, secure, certificate):
    edge = edge_for(secure(certificate), scheme="https")
    for version in ("1.1", "2"):
        response = edge.curl("/api/hello?id=1", version=version)
        assert response.status == 502
        assert "tls_certificate_error" in response.get("proxy-status")
    assert edge.access_log(2)[1]["error"] == "tls_certificate_error"


def test_verification_can_be_turned_off(edge_for, secure):
    edge = edge_for(secure("foreign"), scheme="https", route={"tls": {"verify": False}})
    assert edge.curl("/api/hello?id=1").status == 200


def test_another_server_name_can_be_verified(edge_for, secure):
    edge = edge_for(secure("other"), scheme="https",
                    route={"tls": {"server_name": "other.example"}})
    assert edge.curl("/api/hello?id=1").status == 200


def test_without_a_ca_the_systems_is_used(edge_for, secure):
    edge = edge_for(secure(), scheme="https", route={"tls": None})
    assert edge.curl("/api/hello?id=1").status == 502


def test_an_upstream_that_is_silent_in_the_handshake_is_504(edge_for, upstream):
    edge = edge_for(upstream, {"upstream": {"handshake_timeout": "1s"}}, scheme="https")
    assert edge.curl("/api/hello?id=1").status == 504


def test_upstream_sessions_are_used_again(edge_for, secure):
    upstream = secure(alpn=("http/1.1",))
    edge = edge_for(upstream, {"workers": 1}, scheme="https")
    for _ in range(4):
        assert edge.curl("/api/hello?id=1").status == 200
        upstream.close_connections()
        until(lambda: not upstream.open_connections)
    assert len(upstream.connections) == 4
    assert any(connection.resumed for connection in upstream.connections[1:])


def test_connections_at_rest_hold_no_buffers(edge_for, upstream_with, certificates):
    """Those to services, which give TLS's buffers back as soon as they rest."""
    upstream = upstream_with(["127.0.0.1"], certificates.upstream.server_context(("http/1.1",)))
    edge = edge_for(upstream, {"workers": 1}, scheme="https", name="id-{id}.wild.test",
                    route={"tls": {"verify": False}})
    with edge.http1() as client:
        def rest(ids):
            for number in ids:
                assert client.get(f"/api/hello?id={number}").status == 200
            return edge.rss()
        before = rest(range(100))
        each = (rest(range(100, 500)) - before) / 400
    assert edge.ledger()["upstream_tls"]["live"] == 500
    print("bytes per connection at rest, its host included:", round(each))
    # Of which a host and OpenSSL's objects are 29 000; a buffer touches a page more at least.
    assert each < 31_000
