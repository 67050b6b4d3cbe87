"""The load generator: h2load, and what its report says."""

import re
import socket
import ssl
import subprocess

from .processes import BenchError, need, prepared

APPLICATION = {"h1": "http/1.1", "h2": "h2"}


def load(work, port, requests, connections, streams, core=None, seconds=120, payload=None):
    """Sends `requests` requests of a `Work` and returns requests per second of wall time;
    `payload` is the path of the body of each, for a work that uploads.

    Raises BenchError unless every single one was answered with 2xx and as many bytes as it should,
    over the protocol, TLS version, group and cipher that were asked for."""
    command = [need("h2load"), "-n", str(requests), "-c", str(min(connections, requests)),
               "-t", "1", "--tls13-ciphers=TLS_AES_128_GCM_SHA256"]
    command += ["--h1"] if work.front == "h1" else ["-m", str(streams)]
    if work.upload:
        command += ["-d", payload]
    if work.close:
        # h2load then opens a connection per request, and resumes the session of the last one.
        command += ["-H", "connection: close"]

    try:
        done = subprocess.run([*command, f"https://127.0.0.1:{port}/bench"], capture_output=True,
                              text=True, timeout=seconds, preexec_fn=prepared(core))
    except subprocess.TimeoutExpired:
        raise BenchError(f"void: {requests} requests took more than {seconds} s") from None
    return speed(done.stdout, done.stderr, work, requests)


def speed(report, errors, work, requests):
    """Requests per second of wall time that h2load reports, once all else in it is as it must
    be."""
    def said(pattern):
        match = re.search(pattern, report)
        return match.group(1) if match else None

    statuses = said(r"status codes: (.*)")
    # h2load sees no status in a line without a reason phrase. That is how HAProxy writes answers
    # that came over HTTP/2; those of its own have one.
    unseen = work.front == "h1" and work.upstream != "1.1" and statuses == seen(0) and (
        said(r"requests: .* (\d+) done,") == str(requests))
    if statuses != seen(requests) and not unseen:
        outcome = said(r"(requests: .*)") or (report + errors)[-300:]
        raise BenchError(f"void: of {requests} there were {statuses}; {outcome}")
    for what, pattern, expected in (
            ("protocol", r"Application protocol: (\S+)", APPLICATION[work.front]),
            ("TLS version", r"TLS Protocol: (\S+)", "TLSv1.3"),
            ("group", r"Server Temp Key: (\S+)", "X25519"),
            ("cipher", r"Cipher: (\S+)", "TLS_AES_128_GCM_SHA256"),
            ("bytes of bodies", r"\((\d+)\) data", str(requests * work.size))):
        if said(pattern) != expected:
            raise BenchError(f"void: {what} {said(pattern)}, not {expected}")
    length, unit = re.match(r"([\d.]+)(\w+)", said(r"finished in ([^,]+),")).groups()
    return requests / (float(length) * {"us": 1e-6, "ms": 1e-3, "s": 1}[unit])


def seen(number):
    """h2load's line of statuses when `number` were 2xx and none anything else."""
    return f"{number} 2xx, 0 3xx, 0 4xx, 0 5xx"


def check_resumption(port):
    """Raises BenchError unless the server resumes a session that it gave out."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    session = None
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", port), 10) as plain, context.wrap_socket(
                plain, server_hostname="localhost", session=session) as secure:
            secure.sendall(b"GET /bench HTTP/1.1\r\nHost: localhost\r\n"
                           b"Connection: close\r\n\r\n")
            # Tickets come after the handshake, so with what is read.
            while secure.recv(65536):
                pass
            session, resumed = secure.session, secure.session_reused
    if not resumed:
        raise BenchError("void: does not resume sessions")
