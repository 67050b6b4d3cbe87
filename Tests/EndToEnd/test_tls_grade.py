"""What two graders say of the default configuration: sslyze and testssl.sh.

The grade is that of the SSL Server Rating Guide (2009r): three scores, weighted; A from 80 on;
A+ needs HSTS for half a year, TLS 1.3, protection against downgrades, and not a single warning.
"""

import json
import shutil
import subprocess

import pytest
from sslyze import (CertificateInfoExtraArgument, ScanCommand, ScanCommandsExtraArguments, Scanner,
                    ServerNetworkConfiguration, ServerNetworkLocation, ServerScanRequest,
                    ServerScanStatusEnum)
from sslyze.mozilla_tls_profile.tls_config_checker import (
    SCAN_COMMANDS_NEEDED_BY_MOZILLA_CHECKER, MozillaTlsConfiguration, TlsConfigurationEnum,
    check_server_against_tls_configuration)

from edge.upstream import Upstream

HALF_A_YEAR = 15_552_000
KEYS = ["ecdsa", "rsa", "both"]


@pytest.fixture(scope="module")
def upstream(module_keep):
    return module_keep(Upstream(["127.0.0.1"]))


@pytest.fixture(scope="module")
def edge_with(module_edges, configuration, certificates, upstream):
    """A proxy with the certificates of that name, and nothing else but defaults."""
    made = {}

    def make(keys):
        if keys not in made:
            held = [certificates.ecdsa, certificates.rsa] if keys == "both" else [
                getattr(certificates, keys)]
            made[keys] = module_edges(configuration(None, {
                "listeners": [{"address": "127.0.0.1:0", "tls": {
                    "certificates": [certificate.options for certificate in held]}}],
                "routes": [{"path": "/", "upstream": f"http://127.0.0.1:{upstream.port}"}]}))
        return made[keys]
    return make


@pytest.fixture(scope="module")
def scan(edge_with, certificates):
    """sslyze's result for a proxy, made once for each."""
    made = {}

    def make(keys):
        if keys not in made:
            made[keys] = scanned(edge_with(keys).port, certificates.authority.certificate)
        return made[keys]
    return make


def scanned(port, authority):
    scanner = Scanner()
    scanner.queue_scans([ServerScanRequest(
        server_location=ServerNetworkLocation("localhost", port, ip_address="127.0.0.1"),
        network_configuration=ServerNetworkConfiguration("localhost", network_timeout=20),
        scan_commands=SCAN_COMMANDS_NEEDED_BY_MOZILLA_CHECKER | {
            ScanCommand.TLS_1_3_EARLY_DATA, ScanCommand.SESSION_RESUMPTION,
            ScanCommand.HTTP_HEADERS},
        scan_commands_extra_arguments=ScanCommandsExtraArguments(
            certificate_info=CertificateInfoExtraArgument(custom_ca_file=authority)))])
    [result] = scanner.get_results()
    assert result.scan_status == ServerScanStatusEnum.COMPLETED, result.connectivity_error_trace
    return result


@pytest.mark.parametrize("keys", KEYS)
def test_the_default_complies_with_mozillas_intermediate_profile(scan, keys):
    profile = MozillaTlsConfiguration.get(TlsConfigurationEnum.MOZILLA_INTERMEDIATE)
    check_server_against_tls_configuration(scan(keys), profile)
    assert hsts(scan(keys)) >= profile.hsts_min_age


def hsts(result):
    field = result.scan_result.http_headers.result.strict_transport_security_header
    return field.max_age if field else 0


def weaknesses(result):
    """What sslyze looks for, by name: whether it is there."""
    found = result.scan_result
    renegotiation = found.session_renegotiation.result
    resumption = found.session_resumption.result
    return {
        "Heartbleed": found.heartbleed.result.is_vulnerable_to_heartbleed,
        "CCS injection": found.openssl_ccs_injection.result.is_vulnerable_to_ccs_injection,
        "ROBOT": not found.robot.result.robot_result.name.startswith("NOT_VULNERABLE"),
        "renegotiation by clients": renegotiation.is_vulnerable_to_client_renegotiation_dos,
        "insecure renegotiation": not renegotiation.supports_secure_renegotiation,
        "compression": found.tls_compression.result.supports_compression,
        "early data": found.tls_1_3_early_data.result.supports_early_data,
        "downgrade": not found.tls_fallback_scsv.result.supports_fallback_scsv,
        "no extended master secret":
            not found.tls_extended_master_secret.result.supports_ems_extension,
        "no resumption by tickets": resumption.tls_ticket_resumption_result.name
            != "FULLY_SUPPORTED",
    }


@pytest.mark.parametrize("keys", KEYS)
def test_no_known_weakness_is_found(scan, keys):
    assert {name for name, there in weaknesses(scan(keys)).items() if there} == set()


def grade(result):
    """The grade by the guide, from what sslyze found."""
    found = result.scan_result
    by_version = {"2.0": 0, "3.0": 80, "1.0": 90, "1.1": 95, "1.2": 100, "1.3": 100}
    spoken = {
        "2.0": found.ssl_2_0_cipher_suites.result, "3.0": found.ssl_3_0_cipher_suites.result,
        "1.0": found.tls_1_0_cipher_suites.result, "1.1": found.tls_1_1_cipher_suites.result,
        "1.2": found.tls_1_2_cipher_suites.result, "1.3": found.tls_1_3_cipher_suites.result}
    spoken = {name: its for name, its in spoken.items() if its.accepted_cipher_suites}
    suites = [accepted for its in spoken.values() for accepted in its.accepted_cipher_suites]
    scores = [by_version[name] for name in spoken]
    protocol = (max(scores) + min(scores)) / 2
    # A curve of 256 bits is worth RSA of 3072, which is below 4096.
    weakest_curve = min(suite.ephemeral_key.size + 3 if suite.ephemeral_key else 0
                        for suite in suites)
    exchange = 90 if weakest_curve >= 253 else 80 if weakest_curve >= 224 else 40
    bits = [suite.cipher_suite.key_size for suite in suites]
    strength = (cipher_score(max(bits)) + cipher_score(min(bits))) / 2
    score = 0.3 * protocol + 0.3 * exchange + 0.4 * strength
    if score < 80 or {"2.0", "3.0"} & set(spoken):
        return "B or worse"
    if {"1.0", "1.1"} & set(spoken) or "1.3" not in spoken or any(weaknesses(result).values()):
        return "A or worse"
    return "A+" if hsts(result) >= HALF_A_YEAR else "A"


def cipher_score(bits):
    return 100 if bits >= 256 else 80 if bits >= 128 else 20 if bits else 0


@pytest.mark.parametrize("keys", KEYS)
def test_the_default_is_worth_an_a_plus(scan, keys):
    assert grade(scan(keys)) == "A+"


# testssl.sh

# Findings that are not about the proxy: what they begin with, and why.
EXCEPTIONS = {
    "cert_": "the test's certificate: short-lived, and its authority offers neither CRL nor OCSP",
    "OCSP": "the same", "DNS_CAArecord": "localhost has no zone",
    "security_headers": "fields of pages are the service's to choose",
    "engine_problem": "of the tool's own openssl",
    "sessionresumption": "the tool may leave before a ticket has come; sslyze waits for it",
    "scanTime": "of the tool itself",
    "overall_grade": "looked at by itself",
}


# Suites and curves are left to sslyze, which is faster at them.
@pytest.mark.timeout(420)
def test_testssl_finds_nothing_to_complain_of(edge_with, certificates, tmp_path):
    tool = shutil.which("testssl") or shutil.which("testssl.sh")
    assert tool, "testssl.sh is missing: make install"
    report = tmp_path / "report.json"
    done = subprocess.run(
        [tool, "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none",
         "--ip", "127.0.0.1", "--add-ca", str(certificates.authority.certificate),
         "--jsonfile", str(report), "--protocols", "--server-defaults", "--headers", "--vulnerable",
         f"localhost:{edge_with('both').port}"],
        capture_output=True, text=True, timeout=400, cwd=tmp_path, stdin=subprocess.DEVNULL)
    findings = json.loads(report.read_text())
    named = {finding["id"]: finding for finding in findings}
    problems = [finding for finding in findings
                if finding["severity"] not in ("OK", "INFO", "LOW")
                and not finding["id"].startswith(tuple(EXCEPTIONS))]
    assert not problems, f"{problems}\n{done.stdout[-3000:]}"
    for name in ("TLS1_2", "TLS1_3", "HSTS_time", "heartbleed", "CCS", "ROBOT", "secure_renego",
                 "secure_client_renego", "CRIME_TLS", "SWEET32", "LOGJAM", "BEAST", "RC4"):
        assert named[name]["severity"] in ("OK", "INFO"), named[name]
    # Releases from 3.2 on give a grade; Debian 12 has 3.0.
    if "overall_grade" in named:
        assert named["overall_grade"]["finding"] == "A+"
