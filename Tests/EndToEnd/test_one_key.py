"""One key: whatever ids, hosts and configurations are mixed, no answer is another host's."""

import hashlib
import itertools
import random
import re
from concurrent.futures import ThreadPoolExecutor

from edge.dns import ScriptedDNS
from edge.upstream import Upstream

SEED = 20
DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")
NAMED = re.compile(r"[a-z][a-z0-9]{0,11}")


def place_of(name):
    """The loopback address that a host name stands for, the same in the DNS and in the judge."""
    digest = hashlib.sha256(name.encode()).digest()
    return f"127.{digest[0]}.{digest[1]}.{digest[2] % 250 + 1}"


async def who(request, reply):
    """Says at which address it was asked, and for what."""
    text = f"{request.connection.local[0]} {request.query['token']}".encode()
    await reply.head(200, [("content-type", "text/plain")], length=len(text))
    await reply.data(text)


def mutated(rng, text):
    """An id's text with a few bytes changed, doubled, removed or put in."""
    alphabet = "0123456789abz+-.%_ "
    for _ in range(rng.choice([0, 0, 1, 1, 2, 3])):
        at = rng.randint(0, len(text))
        text = rng.choice([
            text[:at] + rng.choice(alphabet) + text[at:], text[:at] + text[at + 1:],
            text[:at] + text[at:at + 1] * 2 + text[at + 1:], text[::-1]])
    return text


def in_query(text):
    """As a client would have to write it; `%` stays, to be judged by the grammar."""
    return text.replace(" ", "+")


ROUTES = {
    # path: (scheme, versions, host, what an id may be)
    "/a": ("http", ["1.1"], "id-{id}.apps.test", DECIMAL),
    "/b": ("http", ["h2c"], "id-{id}.apps.test", DECIMAL),
    "/c": ("https", ["1.1", "2"], "id-{id}.apps.test", DECIMAL),
    "/d": ("https", ["1.1"], "id-{id}.apps.test", DECIMAL),
    "/e": ("http", ["1.1"], "x{id}.apps.test", NAMED),
    "/f": ("http", ["1.1", "h2c"], "{id}.wild.test", DECIMAL),
}


def test_no_answer_comes_from_another_host(edges, configuration, certificates, keep):
    rng = random.Random(SEED)
    dns = keep(ScriptedDNS(lambda query: query.addresses(place_of(query.name))))
    plain = keep(Upstream(["0.0.0.0"]))
    secure = keep(Upstream(["0.0.0.0"], certificates.upstream.server_context()))
    paths = list(ROUTES)
    for upstream in (plain, secure):
        upstream.script = {f"{path}/who": who for path in paths}

    def routes(shift):
        """The routes, each with the upstream of the one that is `shift` places further."""
        made = []
        for path, other in zip(paths, paths[shift:] + paths[:shift]):
            scheme, versions, name, grammar = ROUTES[other]
            upstream = secure if scheme == "https" else plain
            route = {"path": path, "id": {"query": "id"}, "versions": versions,
                     "upstream": f"{scheme}://{name}:{upstream.port}"}
            if grammar is NAMED:
                route["id"]["pattern"] = grammar.pattern
            if scheme == "https":
                route["tls"] = {"ca": str(certificates.authority.certificate)}
            made.append(route)
        return made

    def made(shift):
        return configuration(changes={
            "workers": 3, "routes": routes(shift),
            "resolver": {"servers": [dns.address], "search": False},
            "registry": {"max_hosts": 60}})

    edge = edges(made(0))
    tokens = itertools.count()
    seeds = [str(rng.randint(0, 40)) for _ in range(30)] + ["9223372036854775807", "a1", "b", "zz"]
    accepted = 0
    for shift in range(4):
        if shift:
            edge.write(made(shift))
            edge.reload()
        cases = []
        for _ in range(220):
            path, text = rng.choice(paths), mutated(rng, rng.choice(seeds))
            cases.append((path, text, f"t{next(tokens)}", rng.choice(["1.1", "2"])))

        def ask(case):
            path, text, token, version = case
            target = f"{path}/who?id={in_query(text)}&token={token}"
            return edge.curl(target, version=version)
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(ask, cases))
        for (path, text, token, _), answer in zip(cases, answers):
            other = paths[(paths.index(path) + shift) % len(paths)]
            scheme, _, name, grammar = ROUTES[other]
            good = grammar.fullmatch(text) and (
                grammar is NAMED or int(text) <= 9223372036854775807)
            if not good:
                assert answer.status == 400, (path, text, answer.status, answer.text)
                continue
            accepted += 1
            assert answer.status == 200, (path, text, answer.status, answer.text)
            host = name.replace("{id}", text)
            assert answer.text == f"{place_of(host)} {token}", (path, text, answer.text)
    assert accepted >= 200, "enough of them are ids"
    for upstream in (plain, secure):
        by_connection = {}
        for request in upstream.requests:
            by_connection.setdefault(request.connection.number, set()).add(
                (request.connection.local[0], request.query["id"]))
        assert all(len(hosts) == 1 for hosts in by_connection.values()), "one host a connection"
        assert by_connection
    assert edge.metric("edge_key_violations_total") == 0
    assert edge.metric("edge_upstream_reused_total") > 0, "connections were reused"
