"""The configuration's errors name file, line and column; the command line and its exit codes."""

import re

import pytest

from edge.configuration import merged, yaml
from edge.process import run


@pytest.fixture
def check(tmp_path):
    """Runs `check` on a text; the completed process."""
    def do(text):
        (tmp_path / "edge.yaml").write_text(text)
        return run("check", "--config", "edge.yaml", cwd=tmp_path)
    return do


GOOD = """\
listeners:
  - address: "127.0.0.1:0"
routes:
  - path: /api
    id:
      query: id
    upstream: "http://id-{id}.apps.test:8080"
"""


def test_a_good_file_passes_with_a_summary(check):
    done = check(GOOD)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_every_option_is_known(check, configuration, upstream, tmp_path, certificates):
    tickets = tmp_path / "tickets.bin"
    tickets.write_bytes(bytes(80))
    full = merged(configuration(upstream), {
        "listeners": [
            {"address": "127.0.0.1:0", "tls": {
                "certificates": [{**certificates.ecdsa.options, "default": True}],
                "min_version": "1.3", "alpn": ["h2"], "ticket_keys": str(tickets),
                "ticket_rotation": "12h", "key_log": str(tmp_path / "keys")}},
            {"address": "127.0.0.1:0", "redirect_to_https": True, "redirect_port": 8443}],
        "upstream": {
            "dial_timeout": "3s", "handshake_timeout": "5s", "response_timeout": "60s",
            "idle_timeout": "60s", "keepalive": "60s", "max_age": "10m", "ping_after": "0s",
            "ping_timeout": "5s", "max_connections_per_host": 256,
            "max_in_flight_per_host": 1024, "max_queue_per_host": 1024, "queue_timeout": "10s",
            "health": {"enabled": True, "consecutive_failures": 5, "failure_percent": 50,
                       "min_requests": 20, "window": "10s", "failure_statuses": "all",
                       "open": "1s", "max_open": "30s"},
            "retries": {"percent": 20, "per_second": 10}},
        "registry": {"max_hosts": 10, "max_connections": 20, "max_share": 100,
                     "host_idle": "10m"},
        "resolver": {"timeout": "2s", "attempts": 2, "min_ttl": "1s", "max_ttl": "5m",
                     "negative_ttl": "5s", "stale": "30s"},
        "timeouts": {"handshake": "10s", "head": "10s", "body": "60s", "write": "60s",
                     "idle": "75s"},
        "limits": {"max_connections": 100, "max_streams": 128, "underscore_fields": "drop"},
        "trusted_proxies": ["10.0.0.0/8", "2001:db8::/32"], "log_level": "info"})
    full["routes"].append({"path": "/s", "id": {"segment": 2, "pattern": "[a-z0-9]{1,20}"},
                           "upstream": "https://id-{id}.apps.test", "versions": ["2"],
                           "host": "upstream", "timeouts": {"dial_timeout": "1s"},
                           "tls": {"server_name": "x.test", "verify": False}})
    done = check(yaml(full))
    assert done.returncode == 0, done.stderr


WRONG = {
    "an unknown key": (GOOD + "listner: 1\n", 8, 1, "did you mean 'listeners'"),
    "an unknown nested key": (GOOD.replace("upstream:", "upstrem:"), 7, 5, "upstream"),
    "a wrong type": (GOOD + "workers: many\n", 8, 10, "workers|number|integer"),
    "out of range": (GOOD + "workers: 0\n", 8, 10, "1"),
    "a spread that is no time": (GOOD + "shutdown:\n  spread: 5\n", 9, 11, "duration|5s|unit"),
    "a spread beyond the grace": (
        GOOD + "shutdown:\n  grace: 10s\n  spread: 6s\n", 10, 11, "half of 'grace'"),
    "a bad duration": (GOOD + "timeouts:\n  head: 10\n", 9, 9, "duration|10s|unit"),
    "no time for a PING's answer": (
        GOOD + "upstream:\n  ping_timeout: 0s\n", 9, 17, "ping_timeout.*1ms"),
    "an age without a unit": (GOOD + "upstream:\n  max_age: 600\n", 9, 12, "max_age.*duration"),
    "a negative duration": (GOOD + "timeouts:\n  head: -1s\n", 9, 9, "duration|negative|head"),
    "a bad address": (GOOD.replace("127.0.0.1:0", "127.0.0.1:99999"), 2, 14, "address|port"),
    "a bad scheme": (GOOD.replace("http://", "ftp://"), 7, 15, "http"),
    "id without a placeholder": (GOOD.replace("id-{id}", "fixed"), 7, 15, r"\{id\}"),
    "a placeholder without id": (GOOD.replace("    id:\n      query: id\n", ""), 5, 15, r"\{id\}"),
    "two places for the id": (GOOD.replace("query: id", "query: id\n      segment: 2"), None, None,
                              "one"),
    "a pattern that admits too much": (
        GOOD.replace("query: id", "query: id\n      pattern: '[a-z.]+'"), 7, 16, r"pattern|\."),
    "a relative path": (GOOD.replace("/api", "api"), 4, 11, "/"),
    "an unknown version": (GOOD + '    versions: ["3"]\n', 8, 16, "h2c"),
    "the same path twice": (GOOD + GOOD[GOOD.index("  - path"):], 8, 11, "/api"),
    "an admin listener for everybody": (GOOD + 'admin:\n  address: "0.0.0.0:9090"\n', 9, 12,
                                        "loopback"),
    "a bad network": (GOOD + 'trusted_proxies: ["10.0.0.0/40"]\n', 8, 19, "10.0.0.0/40"),
    "a key twice": (GOOD + "workers: 1\nworkers: 2\n", 8, 1, "workers.*twice"),
    "no routes": ("listeners:\n  - address: \":0\"\n", None, None, "routes"),
    "no listeners": (GOOD[GOOD.index("routes"):], None, None, "listeners"),
    "broken YAML": ("listeners: [\n", None, None, ""),
    "an empty file": ("", None, None, ""),
    "not a mapping": ("- 1\n", 1, 1, ""),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors_name_the_place(check, name):
    text, line, column, words = WRONG[name]
    done = check(text)
    assert done.returncode == 1, done.stdout
    first = re.match(r"edge\.yaml:(\d+):(\d+): (?:error: )?(.+)", done.stderr)
    assert first, done.stderr
    if line:
        assert (int(first[1]), int(first[2])) == (line, column), done.stderr
    assert re.search(words, done.stderr), done.stderr


def test_all_errors_are_told_at_once(check):
    done = check(GOOD + "listner: 1\nworkers: many\n")
    assert len(re.findall(r"^edge\.yaml:\d+:\d+: ", done.stderr, re.M)) >= 2


@pytest.mark.parametrize("flaw, words", [
    ("mismatch", "match"), ("expired", "expired"), ("missing", "ecdsa|No such|not|missing")])
def test_certificates_are_checked(check, configuration, upstream, certificates, flaw, words,
                                  tmp_path):
    pair = {
        "mismatch": {"certificate": str(certificates.ecdsa.certificate),
                     "key": str(certificates.other.key)},
        "expired": certificates.expired.options,
        "missing": {"certificate": str(tmp_path / "missing.pem"),
                    "key": str(certificates.ecdsa.key)}}[flaw]
    text = yaml(configuration(upstream, {"listeners": [
        {"address": "127.0.0.1:0", "tls": {"certificates": [pair]}}]}))
    done = check(text)
    assert done.returncode == 1 and re.search(words, done.stderr), done.stderr
    file = pair["key" if flaw == "mismatch" else "certificate"]
    assert done.stderr.startswith(f"{place(text, file)}: {file}: "), done.stderr


def place(text, value):
    """Where a value stands in `edge.yaml`, as errors name it."""
    before = text[:text.index(value)].rstrip("\"'")
    return f"edge.yaml:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def test_other_files_are_checked_too(check, configuration, upstream, certificates, tmp_path):
    gone = str(tmp_path / "gone")
    tls = {"certificates": [certificates.ecdsa.options], "ticket_keys": gone}
    text = yaml(configuration(upstream, {"listeners": [{"address": "127.0.0.1:0", "tls": tls}]}))
    done = check(text)
    assert done.returncode == 1 and done.stderr.startswith(place(text, gone)), done.stderr
    whole = configuration(upstream)
    whole["routes"][0].update({"upstream": "https://id-{id}.apps.test", "tls": {"ca": gone}})
    text = yaml(whole)
    done = check(text)
    assert done.returncode == 1 and done.stderr.startswith(place(text, gone)), done.stderr


def test_files_of_the_command_line_are_named_by_their_option(certificates, tmp_path):
    gone = str(tmp_path / "gone.pem")
    done = run("run", "--listen", "127.0.0.1:0", "--certificate", gone,
               "--key", str(certificates.ecdsa.key), "--id-path", "/api",
               "--upstream", "http://id-{id}.apps.test")
    assert done.returncode == 1
    assert done.stderr.startswith(f"--certificate: {gone}: "), done.stderr


def test_run_refuses_a_wrong_file(tmp_path):
    (tmp_path / "edge.yaml").write_text(GOOD + "listner: 1\n")
    done = run("run", "--config", "edge.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert "edge.yaml:8:1: " in done.stderr


def test_run_refuses_a_port_that_is_taken(tmp_path, upstream):
    (tmp_path / "edge.yaml").write_text(
        GOOD.replace("127.0.0.1:0", f"127.0.0.2:{upstream.port}"))
    done = run("run", "--config", "edge.yaml", cwd=tmp_path)
    assert done.returncode == 1 and str(upstream.port) in done.stderr


def test_options_are_printed_with_type_default_and_meaning():
    done = run("check", "--options")
    assert done.returncode == 0
    for key in ("listeners", "max_connections_per_host", "host_idle", "underscore_fields",
                "trusted_proxies", "negative_ttl", "grace", "ticket_rotation"):
        assert key in done.stdout, key
    assert "10000" in done.stdout


def test_version_and_help():
    assert re.search(r"\d+\.\d+", run("version").stdout)
    helped = run("--help")
    assert helped.returncode == 0
    for word in ("run", "check", "demo", "version"):
        assert word in helped.stdout


def test_wrong_usage_is_64():
    assert run("run", "--nonsense").returncode == 64
    assert run("fly").returncode == 64
