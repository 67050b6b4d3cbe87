"""Routes: longest prefix, segment bounds, dot segments, plain routes, redirects."""

import pytest

from edge.upstream import Upstream

MARKS = ["root", "api", "deep", "exact"]


@pytest.fixture(scope="module")
def upstreams(module_keep):
    return {mark: module_keep(Upstream()) for mark in MARKS}


@pytest.fixture(scope="module")
def edge(module_edges, configuration, upstreams, certificates):
    def plain(path, mark):
        return {"path": path, "upstream": f"http://127.0.0.1:{upstreams[mark].port}"}
    return module_edges(configuration(changes={
        "listeners": [
            {"address": "127.0.0.1:0",
             "tls": {"certificates": [certificates.ecdsa.options]}},
            {"address": "127.0.0.1:0"},
            {"address": "127.0.0.1:0", "redirect_to_https": True, "redirect_port": 8443}],
        "routes": [plain("/", "root"), plain("/api", "api"), plain("/api/v2/deep", "deep"),
                   plain("/exact", "exact")]}))


def reached(upstreams, edge, target, **options):
    """Which upstream a raw target reaches, and with which target; or the local status."""
    before = {mark: len(u.requests) for mark, u in upstreams.items()}
    with edge.http1(1, plain=True) as client:
        status = client.get(target, **options).status
    for mark, upstream in upstreams.items():
        if len(upstream.requests) > before[mark]:
            return mark, upstream.requests[-1].target
    return status, None


@pytest.mark.parametrize("target, mark", [
    ("/", "root"), ("/x", "root"), ("/api", "api"), ("/api/", "api"), ("/api?x=1", "api"),
    ("/api/v2", "api"), ("/api/v2/deep", "deep"), ("/api/v2/deep/x", "deep"),
    ("/apiary", "root"), ("/api-v2", "root"), ("/api.json", "root"), ("/API", "root"),
    ("/api/v2/deeper", "api"), ("/x?y=/api", "root")])
def test_the_longest_prefix_on_segment_bounds_wins(upstreams, edge, target, mark):
    assert reached(upstreams, edge, target) == (mark, target)


@pytest.mark.parametrize("target, mark", [
    ("/x/../api/y", "api"), ("/api/../x", "root"), ("/api/./v2/deep", "deep"),
    ("/%61pi/x", "api"), ("/api/v2/../../x", "root"), ("/api/%2e%2e/x", "root"),
    ("/x/%2E%2e/api", "api")])
def test_matching_is_after_normalisation(upstreams, edge, target, mark):
    assert reached(upstreams, edge, target)[0] == mark


@pytest.mark.parametrize("target", [
    "/../etc/passwd", "/api/../../x", "/%2e%2e/x", "/a%00b", "/%zz"])
def test_paths_that_leave_the_root_or_make_no_sense(upstreams, edge, target):
    mark, _ = reached(upstreams, edge, target)
    assert mark in (400, "root"), "never another route"


def test_an_encoded_slash_does_not_make_a_segment(upstreams, edge):
    assert reached(upstreams, edge, "/api%2fv2")[0] in ("root", 400)


def test_the_target_arrives_as_sent(upstreams, edge):
    target = "/x/%41b%20c?q=%7e&r=a+b&&=;"
    assert reached(upstreams, edge, target)[1] == target


def test_options_star(edge):
    with edge.http1(1, plain=True) as client:
        client.request("OPTIONS", "*")
        assert client.read().status in (200, 204, 400, 404, 501)


def test_no_route_is_404(edge_for, upstream):
    edge = edge_for(upstream)
    for path in ("/", "/apiary?id=1", "/x/api?id=1"):
        response = edge.curl(path)
        assert response.status == 404 and response.get("proxy-status").startswith("edge-proxy")
    assert not upstream.requests


def test_a_plain_route_reuses_its_connection(edge_for, upstream):
    edge = edge_for(changes={"workers": 1, "routes": [
        {"path": "/", "upstream": f"http://id-3.apps.test:{upstream.port}"}]})
    for _ in range(4):
        assert edge.curl("/hello").status == 200
    assert [c.local[0] for c in upstream.connections] == ["127.0.0.4"]


@pytest.mark.parametrize("version", ["1.0", "1.1", "h2c"])
def test_a_plain_listener_proxies(edge, upstreams, version):
    response = edge.curl("/api/fields", listener=1, scheme="http", version=version)
    assert response.status == 200
    assert upstreams["api"].requests[-1].get("x-forwarded-proto") == "http"


@pytest.mark.parametrize("version", ["1.1", "h2c"])
def test_a_listener_redirects_to_https(edge, version):
    response = edge.curl("/api/x?id=1&y=%20", listener=2, scheme="http", version=version,
                         host="edge.test")
    assert response.status == 308
    assert response.get("location") == "https://edge.test:8443/api/x?id=1&y=%20"
    posted = edge.curl("/api/x", listener=2, scheme="http", version=version, body=b"x" * 100_000)
    assert posted.status == 308


def test_a_redirect_to_the_standard_port_names_none(edge_for, upstream):
    edge = edge_for(upstream, {"listeners": [
        {"address": "127.0.0.1:0", "redirect_to_https": True}]})
    response = edge.curl("/p?q", scheme="http", version="1.1")
    assert response.get("location") == "https://localhost/p?q"


def test_an_authority_the_certificate_does_not_cover_is_421(edge):
    with edge.http2() as client:
        assert client.get("/", authority="unknown.example").status == 421
        assert client.get("/", authority="edge.test").status == 200
