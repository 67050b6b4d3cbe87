"""The demonstration: services, their names and the proxy in one process, to be tried out."""

import re
import shutil
import subprocess

import pytest

from conftest import Fronted
from edge.process import BINARY, run
from edge.waiting import until


@pytest.fixture
def demo(certificates, edges):
    """A running demonstration."""
    Fronted.authority = certificates.authority
    pair = certificates.ecdsa
    return edges(command="demo", arguments=[
        "--listen", "127.0.0.1:0", "--certificate", pair.certificate, "--key", pair.key,
        "--no-live"])


def facts(response):
    """Who answered, over which protocol, as which request on which connection."""
    assert response.status == 200, response.text
    match = re.fullmatch(
        r"hello from (\S+):\d+\nrequest  GET (\S+)\nprotocol (\S+)\n"
        r"this is request (\d+) on the connection from (\S+)\n", response.text)
    assert match, response.text
    return match[1], match[2], match[3], int(match[4]), match[5]


def test_one_connection_serves_both_protocols(demo):
    first = facts(demo.curl("/api/hello?id=42", version="1.1"))
    assert first[:4] == ("id-42.demo", "/api/hello?id=42", "HTTP/1.1", 1)
    for number, version in enumerate(["1.1", "2", "2"], start=2):
        answer = facts(demo.curl("/api/hello?id=42", version=version))
        assert answer == (*first[:3], number, first[4])
    assert facts(demo.curl("/api/hello?id=43"))[::3] == ("id-43.demo", 1)
    host = demo.host("id-42.demo")
    assert (host["connections"], host["dials"], host["requests"], host["reused"]) == (1, 1, 4, 3)
    assert len(demo.registry()["hosts"]) == 2


def test_the_same_host_over_h2c(demo):
    first = facts(demo.curl("/h2/hello?id=42"))
    assert first[:4] == ("id-42.demo", "/h2/hello?id=42", "HTTP/2.0", 1)
    assert facts(demo.curl("/h2/hello?id=42", version="1.1"))[3:] == (2, first[4])


def test_bad_ids_unknown_ids_and_slow_ids(demo):
    assert demo.curl("/api/hello?id=042").status == 400
    assert demo.curl("/api/hello").status == 400
    assert demo.curl("/api/hello?id=1000").status == 404
    assert demo.curl("/elsewhere?id=1").status == 404
    assert facts(demo.curl("/api/hello?id=17"))[0] == "id-17.demo"


def test_the_guide_names_the_addresses(demo):
    for command in (f"--http2 'https://localhost:{demo.port}/h2/hello?id=42'",
                    f"curl http://{demo.admin}/registry"):
        # It is written once the demonstration is ready.
        until(lambda: command in demo.control_log(), what=command)


def test_missing_certificates_are_explained(tmp_path):
    done = run("demo", "--listen", "127.0.0.1:0", cwd=tmp_path)
    assert done.returncode == 1
    assert "certs/server-ecdsa.crt" in done.stderr and "make certs" in done.stderr


def test_a_second_demonstration_does_not_share_the_port(demo, certificates):
    pair = certificates.ecdsa
    done = run("demo", "--listen", f"127.0.0.1:{demo.port}", "--certificate", pair.certificate,
               "--key", pair.key)
    assert done.returncode == 1
    assert "in use" in done.stderr


def test_development_certificates_and_the_live_view(certificates, tmp_path):
    folder = tmp_path / "certs"
    folder.mkdir()
    for name, pair in (("server-ecdsa", certificates.ecdsa), ("server-rsa", certificates.rsa)):
        shutil.copy(pair.certificate, folder / f"{name}.crt")
        shutil.copy(pair.key, folder / f"{name}.key")
    shutil.copy(certificates.authority.certificate, folder / "ca.crt")
    output = tmp_path / "output"
    with open(output, "wb") as out:
        process = subprocess.Popen(
            [str(BINARY), "demo", "--listen", "127.0.0.1:0"], cwd=tmp_path,
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.DEVNULL)
    try:
        command = until(lambda: re.search(r"curl --cacert .*--http2 '.*/h2/.*'",
                                          output.read_text()), what="the guide")[0]
        answer = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, timeout=20)
        assert answer.stdout.startswith(b"hello from id-42.demo"), answer
        until(lambda: re.search(r"^id-42\.demo h2c: connections 1, dials 1, requests 1, reused 0$",
                                output.read_text(), re.M), what="the host's line")
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
