"""The peers against each other, without the proxy: what the other tests lean on."""

import asyncio
import re
import subprocess

import httpx
import pytest

from edge.clients import HTTP1, HTTP2, Curl, Truncated, connect, h2load, s_client
from edge.configuration import merged, yaml
from edge.gate import Gate
from edge.load import SteadyLoad
from edge.servers import BlackHole, Nghttpd, Nginx, SilentResolver, TLSServer, refused_port
from edge.upstream import pattern
from edge.waiting import until


@pytest.fixture
def plain(upstream_with):
    return upstream_with(["127.0.0.1", "127.0.0.2"], record_bytes=True)


@pytest.fixture
def secure(upstream_with, certificates):
    return upstream_with(context=certificates.upstream.server_context())


@pytest.mark.parametrize("version", ["1.0", "1.1", "h2c"])
def test_the_scripted_upstream_answers_curl_in_the_clear(plain, version):
    curl = Curl(plain.port, scheme="http")
    assert curl("/api/hello?id=1", version=version).text.startswith("hello from localhost")
    posted = curl("/api/echo", body=b"x" * 300_000, version=version)
    assert posted.body == b"x" * 300_000
    assert curl("/api/large?size=3000000", version=version).body == pattern(3_000_000)
    assert curl("/204", version=version).status == 204
    assert curl("/304", version=version).status == 304
    assert [s for s, _ in curl("/informational", version=version).informational] == [102, 103]


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_the_scripted_upstream_answers_curl_over_tls(secure, certificates, version):
    curl = Curl(secure.port, certificates.authority)
    assert curl("/hello", version=version).get("x-protocol") == {"1.1": "h1", "2": "h2"}[version]
    answer = curl("/digest", body=pattern(8 << 20), version=version)
    assert answer.text.startswith('{"size": 8388608')


def test_connections_and_requests_are_counted(plain):
    for _ in range(2):
        with HTTP1(connect(("127.0.0.1", plain.port))) as client:
            for _ in range(3):
                assert client.get("/hello").status == 200
    assert [c.requests for c in plain.connections] == [3, 3]
    assert plain.connections[0].received.startswith(b"GET /hello HTTP/1.1\r\n")
    until(lambda: not plain.open_connections)
    with HTTP1(connect(("127.0.0.2", plain.port))) as client:
        client.get("/hello")
    assert plain.connections_by(lambda c: c.local[0]) == {"127.0.0.1": 2, "127.0.0.2": 1}


def test_an_unread_body_does_not_hold_the_connection(plain):
    with HTTP1(connect(("127.0.0.1", plain.port))) as client:
        client.request("POST", "/trailers", body=b"x" * 200_000)
        response = client.read()
        assert response.trailers == [("x-checksum", "abc123"), ("x-second", "2")]
        assert client.get("/hello").status == 200


@pytest.mark.parametrize("path", ["/truncate", "/truncate?framing=chunked", "/reset-body"])
def test_a_cut_body_is_seen_on_http1(plain, path):
    with HTTP1(connect(("127.0.0.1", plain.port))) as client:
        client.request("GET", path)
        with pytest.raises(Truncated) as cut:
            client.read()
        assert cut.value.response.status == 200


def test_resets_windows_trailers_and_streams_on_http2(plain):
    with HTTP2(connect(("127.0.0.1", plain.port)), scheme="http") as client:
        assert client.finish(client.start(path="/reset-body")).error is not None
        response = client.get("/trailers")
        assert dict(response.trailers)["x-checksum"] == "abc123"
        assert client.get("/large?size=1000000").body == pattern(1_000_000)
        assert client.post("/echo", pattern(500_000)).body == pattern(500_000)
        assert [s for s, _ in client.get("/informational").informational] == [102, 103]
        gate = Gate(plain, "/gate")
        slow, fast = client.start(path="/gate"), client.start(path="/hello")
        assert client.finish(fast).complete and not client.streams[slow].complete
        gate.open()
        assert client.finish(slow).body == b"/gate"
    assert len(plain.connections) == 1


def test_a_stalled_stream_on_http2_takes_one_window(plain):
    with HTTP2(connect(("127.0.0.1", plain.port)), window=65_535, scheme="http") as client:
        stalled = client.start(path="/large?size=1000000")
        client.stalled.add(stalled)
        client.until(lambda: len(client.streams[stalled].body) == 65_535)
        client.h2.increment_flow_control_window(1 << 20)
        client.flush()
        fast = client.start(path="/large?size=300000")
        assert client.finish(fast).body == pattern(300_000)
        uploading = client.start("POST", "/never", end=False)
        client.send(uploading, b"x" * 10_000)
        assert client.get("/hello").status == 200


def test_idle_connections_are_closed_by_the_upstream(upstream_with):
    impatient = upstream_with(idle_seconds=lambda: 0.1)
    with HTTP1(connect(("127.0.0.1", impatient.port))) as client:
        client.get("/hello")
        assert client.at_end(20)


def test_a_request_that_is_abandoned_ends_at_the_upstream(plain):
    with HTTP1(connect(("127.0.0.1", plain.port))) as client:
        client.request("GET", "/never")
        until(lambda: plain.requests)
    until(lambda: not plain.open_connections, what="the upstream notices")


def test_the_resolver_answers_and_counts(resolver):
    before = resolver.queries("id-7.apps.test")
    script = ("import socket,struct,sys\n"
              "q=struct.pack('>HHHHHH',7,256,1,0,0,0)+b''.join(bytes([len(p)])+p.encode() "
              "for p in sys.argv[1].split('.'))+b'\\0'+struct.pack('>HH',1,1)\n"
              "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.settimeout(5)\n"
              f"s.sendto(q,('127.0.0.1',{resolver.port}));a=s.recv(512)\n"
              "print(a[3]&15, '.'.join(map(str,a[-4:])))")

    def ask(name):
        return subprocess.run(["python3", "-c", script, name], capture_output=True, text=True,
                              timeout=20).stdout.split()
    assert ask("id-7.apps.test") == ["0", "127.0.0.8"]
    assert ask("id-12345.wild.test") == ["0", "127.0.0.1"]
    assert ask("id-999.apps.test")[0] == "3"
    until(lambda: resolver.queries("id-7.apps.test") == before + 1)


def test_nginx_and_nghttpd_serve(keep, tmp_path, certificates):
    plain = keep(Nginx(tmp_path / "plain"))
    answer = Curl(plain.port, scheme="http")("/api/hello", version="1.1")
    assert answer.body == b"hello from nginx\n"
    until(lambda: len(plain.connections()) == 1)
    secure = keep(Nginx(tmp_path / "secure", certificates.upstream))
    found = Curl(secure.port, certificates.authority)("/api/large")
    assert found.version == "HTTP/2" and len(found.body) == 8 << 20
    h2c = keep(Nghttpd(tmp_path / "h2c"))
    answer = Curl(h2c.port, scheme="http")("/api/hello", version="h2c")
    assert answer.body == b"hello from nghttpd\n"
    h2s = keep(Nghttpd(tmp_path / "h2s", certificates.upstream))
    assert Curl(h2s.port, certificates.authority)("/api/hello").status == 200
    load = h2load(f"http://127.0.0.1:{h2c.port}/api/hello", 200, 2, 8)
    assert load.succeeded == 200 and load.by_class[2] == 200


def test_a_black_hole_does_not_answer_and_a_refused_port_refuses(keep):
    hole = keep(BlackHole())
    with pytest.raises(TimeoutError):
        connect(("127.0.0.1", hole.port), seconds=0.5)
    port, held = refused_port()
    keep(held)
    with pytest.raises(ConnectionRefusedError):
        connect(("127.0.0.1", port))
    keep(SilentResolver())


def test_certificates_are_what_they_say(certificates, tmp_path):
    def verify(certificate, *arguments):
        return subprocess.run(
            ["openssl", "verify", "-CAfile", str(certificates.authority.certificate), *arguments,
             str(certificate.certificate)], capture_output=True, text=True)
    assert verify(certificates.ecdsa).returncode == 0
    assert verify(certificates.rsa).returncode == 0
    assert "expired" in verify(certificates.expired).stderr
    assert verify(certificates.foreign).returncode != 0


def test_yaml_is_written_in_blocks():
    text = yaml({"a": {"b": [{"c": 1, "d": ["x y", "2"]}, {"e": True}]}, "f": "on", "g": []})
    assert text == ('a:\n  b:\n    - c: 1\n      d:\n        - "x y"\n        - "2"\n'
                    '    - e: true\nf: "on"\ng: []\n')
    assert merged({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}) == {"a": {"c": 2}}


def test_httpx_reaches_the_scripted_upstream_in_parallel(secure, certificates):
    async def many():
        context = certificates.authority.client_context(None)
        async with httpx.AsyncClient(http2=True, verify=context, trust_env=False) as client:
            url = f"https://localhost:{secure.port}/hello"
            return await asyncio.gather(*(client.get(url) for _ in range(50)))
    answers = asyncio.run(many())
    assert {a.http_version for a in answers} == {"HTTP/2"} and all(a.text for a in answers)


def test_a_steady_load_accounts_for_every_request(secure, certificates):
    class Direct:
        port, authority = secure.port, certificates.authority
    with SteadyLoad(Direct, ["/hello?id=1", "/hello?id=2"], rate=300) as load:
        until(lambda: load.done >= 60, 30)
    assert load.statuses == {200: load.started} and not load.failures and not load.refused
    assert len(secure.connections) == 1
    secure.close()
    with SteadyLoad(Direct, ["/hello"], rate=100) as load:
        until(lambda: load.done >= 5)
    assert load.refused == load.started and not load.statuses


def test_h2load_takes_uris_in_turn(secure, tmp_path):
    file = tmp_path / "uris"
    file.write_text("".join(f"https://127.0.0.1:{secure.port}/hello?id={n}\n" for n in range(500)))
    load = h2load(None, 500, 1, 16, file)
    assert load.by_class[2] == 500
    assert len({r.target for r in secure.requests}) == 500


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_s_client_shows_key_types_and_resumption(keep, certificates, tmp_path, version):
    server = keep(TLSServer(tmp_path / "server", certificates))
    rsa = s_client(server, version, "-sigalgs", "RSA-PSS+SHA256:RSA+SHA256")
    assert re.search(r"Peer signature type: RSA", rsa), rsa
    ecdsa = s_client(server, version, "-sigalgs", "ECDSA+SHA256:RSA-PSS+SHA256:RSA+SHA256")
    assert re.search(r"Peer signature type: ECDSA", ecdsa), ecdsa
    session = tmp_path / "session.pem"
    request = b"GET / HTTP/1.0\r\n\r\n"
    first = s_client(server, version, "-ign_eof", "-sess_out", session, sent=request)
    assert "New, TLS" in first and "200" in first
    again = s_client(server, version, "-ign_eof", "-sess_in", session, sent=request)
    assert "Reused, TLS" in again, again
