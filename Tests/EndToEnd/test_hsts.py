"""Strict-Transport-Security (RFC 6797): on every final answer of a TLS listener, once."""

import pytest

from edge.waiting import until

NAME = "strict-transport-security"
TWO_YEARS = "max-age=63072000"
OF_UPSTREAM = "max-age=31536000; includeSubDomains"


async def stating(request, reply):
    """Answers with the field as the query asks: once, twice, or named by Connection."""
    lines = [("Strict-Transport-Security", OF_UPSTREAM)]
    if "twice" in request.query:
        lines.append((NAME, "max-age=1"))
    if "named" in request.query:
        lines.append(("connection", NAME))
    await reply.head(200, lines, length=2)
    await reply.data(b"ok")


@pytest.fixture
def listener(certificates):
    """Makes a list of one TLS listener, with `hsts` if it is given."""
    def make(hsts=None):
        tls = {"certificates": [certificates.ecdsa.options]}
        return [{"address": "127.0.0.1:0", "tls": tls if hsts is None else {**tls, "hsts": hsts}}]
    return make


def stated(response):
    return [value for name, value in response.fields if name.lower() == NAME]


@pytest.fixture
def edge(edge_for, upstream):
    upstream.script["/api/stating"] = stating
    return edge_for(upstream)


@pytest.mark.parametrize("version", ["1.0", "1.1", "2"])
@pytest.mark.parametrize("path, status", [
    ("/api/hello?id=1", 200), ("/api/hello?id=1&status=404", 404), ("/api/204?id=1", 204),
    ("/api/304?id=1", 304), ("/api/hello?id=042", 400), ("/nowhere", 404)])
def test_every_answer_states_two_years_by_default(edge, version, path, status):
    response = edge.curl(path, "--no-alpn" if version == "1.0" else "--alpn", version=version)
    assert response.status == status
    assert stated(response) == [TWO_YEARS]


@pytest.mark.parametrize("version", ["1.1", "2"])
@pytest.mark.parametrize("query", ["id=1", "id=1&twice"])
def test_the_upstreams_own_word_wins(edge, version, query):
    response = edge.curl(f"/api/stating?{query}", version=version)
    assert stated(response) == [OF_UPSTREAM]


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_connection_cannot_take_it_away(edge, version):
    """A field that is meant for the client stays, whatever Connection names."""
    assert stated(edge.curl("/api/stating?id=1&named", version=version)) == [OF_UPSTREAM]


def test_h2_upstreams_are_no_different(edge_for, upstream):
    upstream.script["/api/stating"] = stating
    edge = edge_for(upstream, versions=["h2c"])
    assert stated(edge.curl("/api/hello?id=1")) == [TWO_YEARS]
    assert stated(edge.curl("/api/stating?id=1&twice", version="1.1")) == [OF_UPSTREAM]


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_informational_answers_do_not_state_it(edge, version):
    response = edge.curl("/api/informational?id=1", version=version)
    assert response.informational
    for _, fields in response.informational:
        assert NAME not in [name.lower() for name, _ in fields]
    assert stated(response) == [TWO_YEARS]


@pytest.mark.parametrize("hsts, expected", [
    ("0s", []), ("999ms", []), ("1s", ["max-age=1"]), ("1h30m", ["max-age=5400"]),
    ("30d", ["max-age=2592000"]), ("3650d", ["max-age=315360000"])])
def test_the_time_is_the_listeners(edge_for, upstream, listener, hsts, expected):
    edge = edge_for(upstream, {"listeners": listener(hsts)})
    for version in ("1.1", "2"):
        assert stated(edge.curl("/api/hello?id=1", version=version)) == expected


def test_cleartext_never_states_it(edge_for, upstream):
    """On an insecure connection clients must ignore it (RFC 6797 §7.2)."""
    edge = edge_for(upstream, {"listeners": [
        {"address": "127.0.0.1:0"}, {"address": "127.0.0.1:0", "redirect_to_https": True}]})
    for listener in (0, 1):
        response = edge.curl("/api/hello?id=1", version="1.1", scheme="http", listener=listener)
        assert response.status == (200, 308)[listener]
        assert stated(response) == []


def test_a_reload_changes_it_for_new_connections(edge_for, upstream, listener):
    changes = {"listeners": listener("1h")}
    edge = edge_for(upstream, changes)
    with edge.http1() as kept:
        assert stated(kept.get("/api/hello?id=1")) == ["max-age=3600"]
        edge.write({**edge.configuration, "listeners": listener("2h")})
        edge.reload()
        until(lambda: stated(edge.curl("/api/hello?id=1")) == ["max-age=7200"])
        assert stated(kept.get("/api/hello?id=1")) == ["max-age=3600"]
