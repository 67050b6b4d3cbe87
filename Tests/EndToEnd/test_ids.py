"""The id: where it stands, what it may be, and the 400 that says what is wrong."""

import pytest

from edge.upstream import Upstream


@pytest.fixture(scope="module")
def upstream(module_keep):
    return module_keep(Upstream(["127.0.0.1", "127.0.0.8"]))


@pytest.fixture(scope="module")
def edge(module_edges, configuration, upstream):
    """One proxy with a route for every place and grammar."""
    def route(path, source, name="id-{id}.wild.test", **more):
        return {"path": path, "id": {**source, **more},
                "upstream": f"http://{name}:{upstream.port}",
                "host": "upstream"}
    return module_edges(configuration(changes={
        "listeners": [{"address": "127.0.0.1:0"}],
        "routes": [
            route("/query", {"query": "id"}), route("/other", {"query": "tenant"}),
            route("/segment", {"segment": 2}), route("/field", {"field": "X-Id"}),
            route("/caret", {"field": "x-tenant^"}), route("/tilde", {"field": "x~id"}),
            route("/label", {"host_label": True}),
            route("/named", {"query": "id"}, pattern="[a-z0-9]{1,20}"),
            route("/dashed", {"segment": 2}, pattern="[a-z]+(-[a-z0-9]+)*")]}))


@pytest.fixture
def ask(edge, upstream):
    """Status, text, and the host that was reached."""
    def get(target, host="localhost", fields=()):
        before = len(upstream.requests)
        with edge.http1(plain=True) as client:
            client.request("GET", target, host=host, fields=fields)
            response = client.read()
        reached = [r.host.split(":")[0] for r in upstream.requests[before:]]
        return response.status, response.text, reached
    return get


@pytest.mark.parametrize("number", ["0", "1", "42", "9007199254740993", "9223372036854775807"])
def test_decimal_ids(ask, number):
    assert ask(f"/query/x?id={number}")[::2] == (200, [f"id-{number}.wild.test"])


@pytest.mark.parametrize("target", [
    "/query/x?a=1&id=42&b=2", "/query/x?id=42&ident=7", "/query/x?xid=1&id=42", "/query?id=42",
    "/query/x?ID=1&id=42"])
def test_the_parameter_is_found_among_others(ask, target):
    assert ask(target)[::2] == (200, ["id-42.wild.test"])


BAD = {
    "": "missing", "id": "malformed", "id=": "malformed", "a=1": "missing", "ID=42": "missing",
    "id=1&id=1": "duplicate", "id=1&id=2": "duplicate", "id=-1": "malformed", "id=+1": "malformed",
    "id=042": "malformed", "id=00": "malformed", "id=1.0": "malformed", "id=1e3": "malformed",
    "id=0x1": "malformed", "id=9223372036854775808": "malformed", "id=--5": "malformed",
    "id=99999999999999999999999": "malformed", "id=%34%32": "malformed", "id=4%32": "malformed",
    "id=42%00": "malformed", "id=42+": "malformed", "id=abc": "malformed", "id=1/../2": "malformed",
    "id=1.evil.com": "malformed", "id=1%2f": "malformed", "id=42;id=43": "malformed",
    "id=1:80": "malformed",
    "id=1@evil.example": "malformed", "%69d=42": None, "id=42&%69d=43": None,
}


@pytest.mark.parametrize("query", BAD)
def test_bad_ids_are_400_and_say_why(ask, query):
    status, text, reached = ask(f"/query/x?{query}" if query else "/query/x")
    assert status == 400 and reached == []
    assert text.startswith("400 Bad Request: ") and "id" in text
    if BAD[query] == "missing":
        assert "missing" in text
    if BAD[query] == "duplicate":
        assert "duplicate" in text or "more than once" in text


def test_another_parameter_name(ask):
    assert ask("/other/x?tenant=5&id=6")[::2] == (200, ["id-5.wild.test"])
    assert ask("/other/x?id=6")[0] == 400


def test_a_path_segment(ask):
    assert ask("/segment/42/rest?id=7")[::2] == (200, ["id-42.wild.test"])
    assert ask("/segment/42")[::2] == (200, ["id-42.wild.test"])
    for target in ("/segment", "/segment/", "/segment//42", "/segment/x", "/segment/%34%32",
                   "/segment/042/a"):
        assert ask(target)[0] == 400, target


def test_a_field(ask):
    assert ask("/field", fields=[("x-iD", "42")])[::2] == (200, ["id-42.wild.test"])
    assert ask("/field")[0] == 400
    assert ask("/field", fields=[("X-Id", "1"), ("X-Id", "1")])[0] == 400
    assert ask("/field", fields=[("X-Id", "1, 2")])[0] == 400
    assert ask("/field", fields=[("X-Id", "")])[0] == 400


def test_only_letters_of_a_fields_name_have_a_case(ask):
    """`^` and `~` are a bit apart, as `A` and `a` are."""
    for path, name, other in (("/caret", "X-Tenant^", "x-tenant~"), ("/tilde", "X~Id", "x^id")):
        assert ask(path, fields=[(name, "42")])[::2] == (200, ["id-42.wild.test"])
        assert ask(path, fields=[(other, "42")])[0] == 400
        assert ask(path, fields=[(other, "7"), (name, "42")])[::2] == (200, ["id-42.wild.test"])


def test_the_hosts_first_label(ask):
    assert ask("/label", host="42.apps.example")[::2] == (200, ["id-42.wild.test"])
    assert ask("/label", host="42.apps.example:8443")[::2] == (200, ["id-42.wild.test"])
    for host in ("www.apps.example", "042.apps.example", "apps.example"):
        assert ask("/label", host=host)[0] == 400, host


def test_a_pattern(ask):
    for name in ("a", "shop7", "a" * 20, "042"):
        assert ask(f"/named?id={name}")[::2] == (200, [f"id-{name}.wild.test"])
    for name in ("", "A", "a" * 21, "a-b", "a.b", "a%62", "caf\u00e9", "a_b"):
        assert ask(f"/named?id={name}".encode().decode("latin-1"))[0] == 400, name


def test_a_pattern_with_alternatives_and_groups(ask):
    assert ask("/dashed/shop-eu-1/x")[::2] == (200, ["id-shop-eu-1.wild.test"])
    for name in ("-a", "a-", "a--b", "1a"):
        assert ask(f"/dashed/{name}/x")[0] == 400, name


def test_ids_on_http2(edge):
    with edge.http2(plain=True) as client:
        assert client.get("/query?id=42").status == 200
        assert client.get("/query?id=042").status == 400
        assert client.get("/label", authority="7.apps.example").status == 200
        assert client.get("/field", fields=[("x-id", "9")]).status == 200


def test_a_dead_id_is_not_a_substitute_for_another(edge_for, upstream):
    edge = edge_for(upstream)
    assert edge.curl("/api/x?id=999").status == 404
    assert edge.curl("/api/x?id=7").status == 200
