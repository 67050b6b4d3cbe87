"""Certificates made with the openssl command line, once per test run."""

import ssl
import subprocess
from pathlib import Path


class Certificate:
    """A PEM chain and its key."""

    def __init__(self, certificate, key):
        self.certificate = Path(certificate)
        self.key = Path(key)

    @property
    def options(self):
        """The mapping that a listener's `certificates` takes."""
        return {"certificate": str(self.certificate), "key": str(self.key)}

    @property
    def serial(self):
        return _openssl("x509", "-in", self.certificate, "-noout", "-serial").strip().split("=")[1]

    def server_context(self, alpn=("h2", "http/1.1")):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


class Authority:
    """A certificate authority that issues into one folder."""

    def __init__(self, folder, name="Edge test CA"):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.certificate = self.folder / "ca.pem"
        self.key = self.folder / "ca.key"
        self._key(self.key, "ecdsa")
        _openssl(
            "req", "-x509", "-new", "-key", self.key, "-out", self.certificate, "-days", "30",
            "-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:true",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def issue(self, stem, names, kind="ecdsa", expired=False):
        """Issues a leaf for DNS names and IP addresses; `expired` ended in 2021."""
        key, request = self.folder / f"{stem}.key", self.folder / f"{stem}.csr"
        leaf, extensions = self.folder / f"{stem}.leaf.pem", self.folder / f"{stem}.ext"
        chain = self.folder / f"{stem}.pem"
        self._key(key, kind)
        _openssl("req", "-new", "-key", key, "-out", request, "-subj", f"/CN={names[0]}")
        alternatives = ",".join(
            ("IP:" if name.replace(".", "").isdigit() or ":" in name else "DNS:") + name
            for name in names)
        extensions.write_text(
            f"subjectAltName={alternatives}\nbasicConstraints=CA:false\n"
            "keyUsage=critical,digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth\n")
        if expired:
            self._issue_expired(request, leaf, extensions)
        else:
            _openssl(
                "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key,
                "-CAcreateserial", "-days", "29", "-extfile", extensions, "-out", leaf)
        chain.write_text(leaf.read_text() + self.certificate.read_text())
        return Certificate(chain, key)

    def client_context(self, alpn=("h2", "http/1.1")):
        context = ssl.create_default_context(cafile=str(self.certificate))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def _issue_expired(self, request, leaf, extensions):
        database = self.folder / "index.txt"
        database.write_text("")
        settings = self.folder / "ca.cnf"
        settings.write_text(
            f"[ca]\ndefault_ca=d\n[d]\ndatabase={database}\nnew_certs_dir={self.folder}\n"
            f"rand_serial=yes\ndefault_md=sha256\npolicy=p\nunique_subject=no\n[p]\nCN=supplied\n")
        _openssl(
            "ca", "-batch", "-config", settings, "-cert", self.certificate, "-keyfile", self.key,
            "-in", request, "-out", leaf, "-notext", "-extfile", extensions,
            "-startdate", "20200101000000Z", "-enddate", "20210101000000Z")

    def _key(self, path, kind):
        if kind == "rsa":
            _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048",
                     "-out", path)
        else:
            _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256",
                     "-out", path)


def _openssl(*arguments):
    done = subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=60,
        stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"openssl {arguments[0]}: {done.stderr}"
    return done.stdout
