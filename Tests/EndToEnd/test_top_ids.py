"""Metrics that name ids: the few with the most of each, exact sums, and a bounded page."""

import random

import pytest

from edge.clients import h2load
from edge.waiting import until

FAMILIES = ("edge_id_requests_total", "edge_id_bytes_total", "edge_id_errors_total",
            "edge_id_request_seconds_total")


@pytest.fixture
def edge_of(edge_for, upstream_with):
    """A proxy of two workers for any id at all."""
    def make(changes=None, **options):
        wild = upstream_with(["127.0.0.1"])
        return edge_for(wild, {"workers": 2, **(changes or {})}, name="id-{id}.wild.test",
                        **options)
    return make


def top(edge, family):
    """{id: value} of a metric."""
    return {dict(labels)["id"]: value for (name, labels), value in edge.metrics().items()
            if name == family}


def load(edge, folder, paths):
    """Asks for all paths over two connections of HTTP/2."""
    file = folder / "uris"
    file.write_text("".join(f"https://127.0.0.1:{edge.port}{path}\n" for path in paths))
    run = h2load(None, 2 * len(paths), 2, 4, file)
    assert run.by_class[2] + run.by_class[4] + run.by_class[5] == 2 * len(paths)
    edge.settled()


def test_the_top_is_right_and_the_sum_exact(edge_of, tmp_path):
    edge = edge_of({"metrics": {"top_ids": 5}})
    asked = [n for n in range(1, 301) for _ in range(30 if n <= 5 else 1)]
    random.Random(1).shuffle(asked)
    load(edge, tmp_path, [f"/api/hello?id={n}" for n in asked])
    assert edge.curl("/nothing").status == 404
    assert edge.curl("/api/hello?id=x").status == 400
    edge.settled()
    requests = top(edge, "edge_id_requests_total")
    assert set(requests) == {"1", "2", "3", "4", "5", "other"}
    over = edge.metric("edge_id_uncertainty", measure="requests")
    exact = {h["host"]: h["requests"] for h in edge.registry()["hosts"]}
    for number in range(1, 6):
        assert exact[f"id-{number}.wild.test"] == 60
        assert 60 <= requests[str(number)] <= 60 + over
    assert sum(requests.values()) == edge.metric("edge_requests_total") == 2 * len(asked) + 2
    # 450 requests or so in each worker, and 128 counters.
    assert over <= 2 * (len(asked) // 128 + 1)
    errors = top(edge, "edge_id_errors_total")
    assert errors == {"other": 2}
    seconds = top(edge, "edge_id_request_seconds_total")
    whole = edge.metric("edge_request_duration_seconds_sum")
    assert sum(seconds.values()) == pytest.approx(whole, abs=1e-6)


def test_each_measure_has_its_own_top(edge_of, tmp_path):
    edge = edge_of({"metrics": {"top_ids": 1}})
    paths = [f"/api/hello?id={n}" for n in range(100, 160)] + ["/api/hello?id=1"] * 40
    load(edge, tmp_path, paths)
    assert edge.curl("/api/large?id=2&size=3000000").status == 200
    # Together more seconds than all the others can have waited.
    with edge.http2() as client:
        slow = [client.start(path="/api/delay?id=3&ms=2000") for _ in range(60)]
        assert {client.finish(stream).status for stream in slow} == {200}
    for _ in range(3):
        assert edge.curl("/api/reset-head?id=4").status == 502
    edge.settled()
    assert set(top(edge, "edge_id_requests_total")) == {"1", "other"}
    sizes = top(edge, "edge_id_bytes_total")
    assert set(sizes) == {"2", "other"} and sizes["2"] >= 3_000_000
    failures = top(edge, "edge_id_errors_total")
    assert failures == {"4": 3, "other": 0}
    assert sum(failures.values()) == edge.metric("edge_errors_total")
    seconds = top(edge, "edge_id_request_seconds_total")
    assert set(seconds) == {"3", "other"} and seconds["3"] >= 120


def test_a_scan_of_ids_neither_grows_the_page_nor_hides_who_is_large(edge_of, tmp_path):
    edge = edge_of({"registry": {"max_hosts": 30}, "metrics": {"top_ids": 3}})
    hot = ["/api/hello?id=1", "/api/hello?id=2", "/api/hello?id=3"]
    paths, last = [], {}
    for number in range(1000, 1600):
        paths += [f"/api/hello?id={number}", *hot]
    for part in range(3):
        load(edge, tmp_path, paths[part * 800:(part + 1) * 800])
        found = {family: top(edge, family) for family in FAMILIES}
        assert all(len(ids) <= 4 for ids in found.values())
        requests = found["edge_id_requests_total"]
        assert {"1", "2", "3"} < set(requests)
        assert sum(requests.values()) == edge.metric("edge_requests_total")
        assert all(requests[name] >= last.get(name, 0) for name in requests), "counters grow"
        last = requests
    assert edge.registry()["totals"]["evictions"] > 300, "their pools have ended"
    over = edge.metric("edge_id_uncertainty", measure="requests")
    for name in "123":
        assert 1200 <= last[name] <= 1200 + over
    assert over <= 2 * (len(paths) // 128 + 1)


def test_without_the_option_no_metric_names_an_id(edge_of):
    edge = edge_of({"metrics": {"top_ids": 0}})
    assert edge.curl("/api/hello?id=1").status == 200
    edge.settled()
    assert not any(name.startswith("edge_id_") for name, _ in edge.metrics())


def test_a_reload_changes_how_many_are_named(edge_of):
    edge = edge_of({"metrics": {"top_ids": 1}})
    for number in (1, 2, 2):
        assert edge.curl(f"/api/hello?id={number}").status == 200
    edge.settled()
    assert top(edge, "edge_id_requests_total") == {"2": 2, "other": 1}
    edge.write({**edge.configuration, "metrics": {"top_ids": 2}})
    edge.reload()
    until(lambda: top(edge, "edge_id_requests_total") == {"2": 2, "1": 1, "other": 0})


def test_ids_of_any_grammar_are_labels(edge_for, upstream_with):
    wild = upstream_with(["127.0.0.1"])
    edge = edge_for(changes={"workers": 2, "listeners": [{"address": "127.0.0.1:0"}], "routes": [
        {"path": "/api", "id": {"host_label": True, "pattern": "[a-z]([a-z0-9-]{0,30}[a-z0-9])?"},
         "upstream": f"http://pre-{{id}}-post.wild.test:{wild.port}"},
        {"path": "/plain", "upstream": f"http://id-2.apps.test:{wild.port}"}]})
    for host in ("Ab-1.example", "ab-1.example", "other.example"):
        assert edge.curl("/api/hello", "-H", f"Host: {host}", version="1.1",
                         scheme="http").status == 200
    edge.settled()
    assert top(edge, "edge_id_requests_total") == {"ab-1": 2, "other": 1}
