"""SIGHUP: everything is built and checked first, then swapped; on any error nothing changes."""

import signal
import ssl

import pytest

from edge.configuration import merged, yaml
from edge.load import SteadyLoad
from edge.waiting import until


def peer(edge):
    """The certificate that a new handshake gets, as PEM."""
    with edge.tls(["http/1.1"]) as secure:
        return ssl.DER_cert_to_PEM_cert(secure.getpeercert(True))


def leaf(certificate):
    return certificate.certificate.read_text().split("-----END")[0] + "-----END CERTIFICATE-----\n"


def listener(certificate):
    return [{"address": "127.0.0.1:0", "tls": {"certificates": [certificate.options]}}]


@pytest.fixture
def files(tmp_path, certificates):
    """A certificate and key that a test replaces in place."""
    class Files:
        certificate, key = tmp_path / "live.pem", tmp_path / "live.key"
        options = {"certificate": str(certificate), "key": str(key)}

        def put(self, source, key=None):
            for target, content in ((self.certificate, source.certificate),
                                    (self.key, (key or source).key)):
                new = target.with_suffix(".new")
                new.write_bytes(content.read_bytes())
                new.rename(target)
    live = Files()
    live.put(certificates.ecdsa)
    return live


def test_new_handshakes_get_the_new_certificate_and_old_connections_live(
        edge_for, upstream, certificates, files):
    edge = edge_for(upstream, {"listeners": listener(files)})
    assert peer(edge) == leaf(certificates.ecdsa)
    with edge.http1() as old, edge.http2() as old2:
        assert old.get("/api/hello?id=1").status == 200
        assert old2.get("/api/hello?id=1").status == 200
        files.put(certificates.renewed)
        edge.reload()
        for _ in range(8):
            assert peer(edge) == leaf(certificates.renewed)
        assert old.get("/api/hello?id=1").status == 200
        assert old2.get("/api/hello?id=1").status == 200
    assert sum(c.requests for c in upstream.connections) == 4


def test_a_symlink_swap_is_followed(edge_for, upstream, certificates, tmp_path):
    for name, source in (("one", certificates.ecdsa), ("two", certificates.renewed)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "tls.crt").write_bytes(source.certificate.read_bytes())
        (folder / "tls.key").write_bytes(source.key.read_bytes())
    data = tmp_path / "..data"
    data.symlink_to(tmp_path / "one")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(data / name)
    edge = edge_for(upstream, {"listeners": [{"address": "127.0.0.1:0", "tls": {"certificates": [
        {"certificate": str(tmp_path / "tls.crt"), "key": str(tmp_path / "tls.key")}]}}]})
    new = tmp_path / "..new"
    new.symlink_to(tmp_path / "two")
    new.rename(data)
    edge.reload()
    assert peer(edge) == leaf(certificates.renewed)


def unchanged(edge, certificates, *words):
    """Asserts a failed reload: counted, said, and without any effect."""
    with edge.http2() as old:
        assert old.get("/api/hello?id=1").status == 200
        edge.reload(result="failure")
        assert old.get("/api/hello?id=1").status == 200
    assert peer(edge) == leaf(certificates.ecdsa)
    assert edge.curl("/api/hello?id=1").status == 200
    log = edge.control_log()
    for word in words:
        assert word in log, f"{word!r} is not in:\n{log}"


def test_a_broken_certificate_changes_nothing(edge_for, upstream, certificates, files):
    edge = edge_for(upstream, {"listeners": listener(files)})
    files.certificate.write_text(
        "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    unchanged(edge, certificates, "edge.yaml:", "live.pem")
    files.put(certificates.renewed)
    edge.reload()
    assert peer(edge) == leaf(certificates.renewed)


def test_a_missing_certificate_changes_nothing(edge_for, upstream, certificates, files):
    edge = edge_for(upstream, {"listeners": listener(files)})
    files.certificate.unlink()
    unchanged(edge, certificates, "edge.yaml:", "live.pem")


def test_a_key_that_does_not_match_changes_nothing(edge_for, upstream, certificates, files):
    edge = edge_for(upstream, {"listeners": listener(files)})
    files.put(certificates.renewed, key=certificates.other)
    unchanged(edge, certificates, "edge.yaml:", "live.key")


def test_an_expired_certificate_changes_nothing(edge_for, upstream, certificates, files):
    edge = edge_for(upstream, {"listeners": listener(files)})
    files.put(certificates.expired)
    unchanged(edge, certificates, "edge.yaml:", "expired")


def test_a_wrong_line_changes_nothing_and_is_named(edge_for, upstream, certificates, files):
    edge = edge_for(upstream, {"listeners": listener(files)})
    text = yaml(edge.configuration)
    edge.write(text=text + "nonsense: 1\n")
    unchanged(edge, certificates, f"edge.yaml:{text.count(chr(10)) + 1}:1", "nonsense")
    edge.write(text="a: [")
    unchanged(edge, certificates, "edge.yaml:1")
    edge.file.unlink()
    unchanged(edge, certificates)


def test_routes_are_replaced(edge_for, upstream):
    edge = edge_for(upstream)
    assert edge.curl("/new/hello?id=2").status == 404
    route = {**edge.configuration["routes"][0], "path": "/new"}
    edge.write(merged(edge.configuration, {"routes": [route]}))
    with edge.http2() as old:
        assert old.get("/api/hello?id=1").status == 200
        edge.reload()
        assert old.get("/new/hello?id=1").status == 200
        assert old.get("/api/hello?id=1").status == 404


def test_upstream_connections_outlive_a_reload(edge_for, upstream):
    edge = edge_for(upstream, {"workers": 1})
    assert edge.curl("/api/hello?id=1").status == 200
    for _ in range(5):
        edge.reload()
        assert edge.curl("/api/hello?id=1").status == 200
    assert [c.requests for c in upstream.connections] == [6]


def test_more_idle_time_is_for_connections_at_rest_too(edge_for, upstream):
    # More than a reload takes where there is much else to do.
    edge = edge_for(upstream, {"workers": 1, "timeouts": {"idle": "4s"}})
    with edge.http1() as client:
        assert client.get("/api/hello?id=1").status == 200
        edge.write(merged(edge.configuration, {"timeouts": {"idle": "60s"}}))
        edge.reload()
        client.socket.settimeout(6)
        with pytest.raises(TimeoutError):
            client.socket.recv(1)
        client.socket.settimeout(10)
        assert client.get("/api/hello?id=1").status == 200


def test_an_exchange_under_way_is_not_disturbed(edge_for, upstream):
    edge = edge_for(upstream)
    with edge.http2() as client:
        stream = client.start(path="/api/drip?id=1&count=40&ms=20")
        client.until(lambda: client.streams[stream].body)
        edge.reload()
        assert client.finish(stream).body == b"." * 40


def test_the_access_log_is_opened_anew(edge_for, upstream):
    edge = edge_for(upstream)
    edge.curl("/api/hello?id=1")
    edge.access_log(1)
    edge.log_path.rename(edge.log_path.with_suffix(".1"))
    edge.reload()
    edge.curl("/api/hello?id=2")
    assert [line["id"] for line in edge.access_log(1)] == ["2"]


@pytest.mark.parametrize("http2", [True, False], ids=["h2", "h1"])
def test_no_request_is_lost_over_many_reloads(edge_for, upstream, certificates, files, http2):
    edge = edge_for(upstream, {"listeners": listener(files)})
    paths = [f"/api/hello?id={n}" for n in range(1, 13)]
    with SteadyLoad(edge, paths, http2=http2) as load:
        until(lambda: load.done > 20, 30)
        for turn in range(20):
            files.put([certificates.renewed, certificates.ecdsa][turn % 2])
            edge.reload()
        seen = load.done
        until(lambda: load.done > seen + 20, 30)
    assert not load.failures and not load.refused
    assert set(load.statuses) == {200}
    before = len(edge.descriptors())
    for _ in range(10):
        edge.reload()
    until(lambda: len(edge.descriptors()) <= before + 2, what="reloads leak no descriptor")


def test_many_hangups_at_once_end_in_one_state(edge_for, upstream, files, certificates):
    edge = edge_for(upstream, {"listeners": listener(files)})
    files.put(certificates.renewed)
    for _ in range(50):
        edge.send(signal.SIGHUP)
    until(lambda: peer(edge) == leaf(certificates.renewed))
    assert edge.curl("/api/hello?id=1").status == 200
