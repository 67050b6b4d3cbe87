"""Raw TLS records (RFC 8446, RFC 5246), right and wrong: a client that writes what it is told.

It speaks one suite per version (AES-128-GCM with SHA-256 over X25519) and verifies nothing.
"""

import hashlib
import hmac
import os
import re
import socket
import struct

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edge.closing import Closing

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, DATA, HEARTBEAT = 20, 21, 22, 23, 24

HELLO_REQUEST, CLIENT_HELLO, SERVER_HELLO, NEW_SESSION_TICKET = 0, 1, 2, 4
CERTIFICATE, SERVER_KEY_EXCHANGE, SERVER_HELLO_DONE, CERTIFICATE_VERIFY = 11, 12, 14, 15
CLIENT_KEY_EXCHANGE, FINISHED, KEY_UPDATE = 16, 20, 24

# Extensions (RFC 8446 §4.2).
SERVER_NAME, GROUPS, FORMATS, SIGNATURES, HEART, ALPN, TICKET, PSK, EARLY_DATA, VERSIONS, MODES, \
    KEY_SHARE = 0, 10, 11, 13, 15, 16, 35, 41, 42, 43, 45, 51

SUITES_13 = (0x1301,)
SUITES_12 = (0xC02B, 0xC02F)
RETRY = bytes.fromhex("cf21ad74e59a6111")


# What one record may hold (RFC 8446 §5.1), and how much longer it may be when it is sealed.
MOST_PLAINTEXT, MOST_SEALED = 16_384, 16_384 + 256


class Ended(Exception):
    """The peer has closed, or sent an alert: its two bytes are the argument, or nothing."""


def record(kind, body, version=0x0303, length=None):
    """One record; `length` replaces the true one."""
    return struct.pack(">BHH", kind, version, len(body) if length is None else length) + body


def records(kind, body, size):
    """A body in records of so many bytes."""
    return b"".join(record(kind, body[at:at + size]) for at in range(0, len(body), size))


def message(kind, body, length=None):
    """One handshake message; `length` replaces the true one."""
    return bytes([kind]) + struct.pack(
        ">I", len(body) if length is None else length)[1:] + body


def vector(body, width=2):
    """Bytes behind their length."""
    return len(body).to_bytes(width, "big") + body


def extensions(public, name="localhost", version=0x0304, alpn=(b"http/1.1",)):
    """What a ClientHello usually carries: pairs of number and body."""
    listed = [
        (SERVER_NAME, vector(b"\0" + vector(name.encode()))),
        (GROUPS, vector(bytes.fromhex("001d00170018"))),
        (FORMATS, b"\x01\x00"),
        (SIGNATURES, vector(bytes.fromhex("04030804040108050501"))),
        (ALPN, vector(b"".join(vector(protocol, 1) for protocol in alpn))),
        (TICKET, b""),
    ]
    if version == 0x0304:
        listed += [
            (VERSIONS, b"\x02\x03\x04"),
            (MODES, b"\x01\x01"),
            (KEY_SHARE, vector(b"\x00\x1d" + vector(public))),
        ]
    return listed


def client_hello(listed, suites=SUITES_13 + SUITES_12, random=None, session=None):
    """A ClientHello message with these extensions."""
    return message(CLIENT_HELLO, b"\x03\x03" + (random or os.urandom(32))
                   + vector(os.urandom(32) if session is None else session, 1)
                   + vector(b"".join(struct.pack(">H", suite) for suite in suites))
                   + b"\x01\x00"
                   + vector(b"".join(struct.pack(">H", number) + vector(body)
                                     for number, body in listed)))


class Raw(Closing):
    """A connection of records in plaintext."""

    def __init__(self, address, seconds=10):
        self.socket = socket.create_connection(address, seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.messages = bytearray()
        self.writing = self.reading = None

    def send(self, *pieces):
        """Writes bytes as they are; True unless the peer has ended the connection already."""
        try:
            self.socket.sendall(b"".join(pieces))
            return True
        except ConnectionError:
            return False

    def finish_sending(self):
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def drain(self):
        """Reads to the end of the connection; what came."""
        came = bytes(self.buffer)
        try:
            while data := self.socket.recv(65536):
                came += data
        except ConnectionError:
            pass
        return came

    def _exactly(self, count):
        while len(self.buffer) < count:
            try:
                data = self.socket.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                raise Ended()
            self.buffer += data
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    def read(self):
        """The next record: its kind and its content, decrypted. Raises Ended after an alert."""
        while True:
            head = self._exactly(5)
            body = self._exactly(int.from_bytes(head[3:5], "big"))
            kind = head[0]
            if kind == CHANGE_CIPHER_SPEC:
                self.changed()
                continue
            if self.reading and kind != CHANGE_CIPHER_SPEC:
                kind, body = self.reading.open(head, body)
            if kind == ALERT:
                raise Ended(body)
            return kind, body

    def changed(self):
        """A ChangeCipherSpec came."""

    def next_message(self):
        """The next handshake message: its kind, its body, and all of it."""
        while len(self.messages) < 4 or \
                len(self.messages) < 4 + int.from_bytes(self.messages[1:4], "big"):
            kind, body = self.read()
            if kind == HANDSHAKE:
                self.messages += body
        end = 4 + int.from_bytes(self.messages[1:4], "big")
        whole = bytes(self.messages[:end])
        del self.messages[:end]
        return whole[0], whole[4:], whole

    def seal(self, kind, body, padding=0):
        """A record in the protection that holds now."""
        return self.writing.seal(kind, body, padding) if self.writing else record(kind, body)

    def send_sealed(self, kind, body, padding=0):
        return self.send(self.seal(kind, body, padding))

    def get(self, target):
        """Asks for a target over HTTP/1.1; the answer."""
        self.send_sealed(DATA, f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return self.answer()

    def answer(self):
        """The bytes of an HTTP/1.1 answer with Content-Length."""
        data = b""
        while True:
            kind, body = self.read()
            data += body if kind == DATA else b""
            head, end, rest = data.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            if end and len(rest) == int(length[1]):
                return data


def expand(secret, label, context, size):
    """HKDF-Expand-Label (RFC 8446 §7.1) with SHA-256."""
    info = struct.pack(">H", size) + vector(b"tls13 " + label, 1) + vector(context, 1)
    out, block, number = b"", b"", 1
    while len(out) < size:
        block = hmac.digest(secret, block + info + bytes([number]), "sha256")
        out, number = out + block, number + 1
    return out[:size]


def prf(secret, label, seed, size):
    """TLS 1.2's function of secrets (RFC 5246 §5)."""
    out, a = b"", label + seed
    while len(out) < size:
        a = hmac.digest(secret, a, "sha256")
        out += hmac.digest(secret, a + label + seed, "sha256")
    return out[:size]


class Protection13:
    """One direction's keys of TLS 1.3."""

    def __init__(self, secret):
        self.secret = secret
        self.key = AESGCM(expand(secret, b"key", b"", 16))
        self.iv = int.from_bytes(expand(secret, b"iv", b"", 12), "big")
        self.sequence = 0

    def update(self):
        """The keys after a KeyUpdate."""
        return Protection13(expand(self.secret, b"traffic upd", b"", 32))

    def _nonce(self):
        nonce = (self.iv ^ self.sequence).to_bytes(12, "big")
        self.sequence += 1
        return nonce

    def seal(self, kind, body, padding=0):
        inner = body + bytes([kind]) + bytes(padding)
        head = struct.pack(">BHH", DATA, 0x0303, len(inner) + 16)
        return head + self.key.encrypt(self._nonce(), inner, head)

    def open(self, head, body):
        inner = self.key.decrypt(self._nonce(), body, head).rstrip(b"\0")
        return inner[-1], inner[:-1]


class Protection12:
    """One direction's keys of TLS 1.2."""

    def __init__(self, key, salt):
        self.key = AESGCM(key)
        self.salt = salt
        self.sequence = 0

    def _additional(self, kind, size):
        bytes_ = struct.pack(">QBHH", self.sequence, kind, 0x0303, size)
        self.sequence += 1
        return bytes_

    def seal(self, kind, body, _=0):
        explicit = struct.pack(">Q", self.sequence)
        sealed = self.key.encrypt(
            self.salt + explicit, body, self._additional(kind, len(body)))
        return record(kind, explicit + sealed)

    def open(self, head, body):
        kind = head[0]
        return kind, self.key.decrypt(
            self.salt + body[:8], body[8:], self._additional(kind, len(body) - 24))


class TLS13(Raw):
    """A client of TLS 1.3; `finish` false leaves out its Finished."""

    def __init__(self, address, finish=True, listed=None, seconds=10):
        super().__init__(address, seconds)
        own = X25519PrivateKey.generate()
        self.listed = extensions(own.public_key().public_bytes_raw()) if listed is None else listed
        hello = client_hello(self.listed, SUITES_13)
        self.transcript = hashlib.sha256(hello)
        self.send(record(HANDSHAKE, hello, 0x0301))
        self._server_hello(own)
        while True:
            kind, _, whole = self.next_message()
            self.transcript.update(whole)
            if kind == FINISHED:
                break
        self._application_keys()
        if finish:
            self.finish()

    def _server_hello(self, own):
        kind, body, whole = self.next_message()
        assert kind == SERVER_HELLO, kind
        self.transcript.update(whole)
        share, at = None, 35 + body[34] + 5
        while at < len(body):
            number, size = struct.unpack_from(">HH", body, at)
            if number == KEY_SHARE:
                share = body[at + 8:at + 4 + size]
            at += 4 + size
        shared = own.exchange(X25519PublicKey.from_public_bytes(share))
        nothing = hashlib.sha256().digest()
        early = hmac.digest(bytes(32), bytes(32), "sha256")
        self.handshake_secret = hmac.digest(
            expand(early, b"derived", nothing, 32), shared, "sha256")
        so_far = self.transcript.digest()
        self.client_secret = expand(self.handshake_secret, b"c hs traffic", so_far, 32)
        self.writing = Protection13(self.client_secret)
        self.reading = Protection13(expand(self.handshake_secret, b"s hs traffic", so_far, 32))

    def _application_keys(self):
        nothing = hashlib.sha256().digest()
        master = hmac.digest(
            expand(self.handshake_secret, b"derived", nothing, 32), bytes(32), "sha256")
        so_far = self.transcript.digest()
        self.reading = Protection13(expand(master, b"s ap traffic", so_far, 32))
        self.next_writing = Protection13(expand(master, b"c ap traffic", so_far, 32))

    def finished(self):
        """This side's Finished message."""
        key = expand(self.client_secret, b"finished", b"", 32)
        return message(FINISHED, hmac.digest(key, self.transcript.digest(), "sha256"))

    def finish(self):
        self.send_sealed(HANDSHAKE, self.finished())
        self.writing = self.next_writing

    def key_update(self, requested=True):
        """A KeyUpdate record; what is sealed afterwards has new keys."""
        sealed = self.seal(HANDSHAKE, message(KEY_UPDATE, bytes([requested])))
        self.writing = self.writing.update()
        return sealed

    def read(self):
        kind, body = super().read()
        if kind == HANDSHAKE and body[:1] == bytes([KEY_UPDATE]):
            self.reading = self.reading.update()
        return kind, body


class TLS12(Raw):
    """A client of TLS 1.2; `finish` false leaves out all that follows ServerHelloDone."""

    def __init__(self, address, finish=True, seconds=10):
        super().__init__(address, seconds)
        self.own = X25519PrivateKey.generate()
        self.random = os.urandom(32)
        hello = client_hello(extensions(b"", version=0x0303), SUITES_12 + (0x00FF,), self.random)
        self.transcript = hashlib.sha256(hello)
        self.send(record(HANDSHAKE, hello, 0x0301))
        self.keys = None
        while True:
            kind, body, whole = self.next_message()
            self.transcript.update(whole)
            if kind == SERVER_HELLO:
                self.server_random = body[2:34]
            elif kind == SERVER_KEY_EXCHANGE:
                self.peer = X25519PublicKey.from_public_bytes(body[4:4 + body[3]])
            elif kind == SERVER_HELLO_DONE:
                break
        if finish:
            self.finish()

    def key_exchange(self):
        """The ClientKeyExchange message; the keys are known from here on."""
        made = message(CLIENT_KEY_EXCHANGE, vector(self.own.public_key().public_bytes_raw(), 1))
        self.transcript.update(made)
        self.master = prf(self.own.exchange(self.peer), b"master secret",
                          self.random + self.server_random, 48)
        block = prf(self.master, b"key expansion", self.server_random + self.random, 40)
        self.keys = block
        return made

    def finished(self):
        return message(FINISHED, prf(
            self.master, b"client finished", self.transcript.digest(), 12))

    def finish(self):
        self.send(record(HANDSHAKE, self.key_exchange()), record(CHANGE_CIPHER_SPEC, b"\x01"))
        self.writing = Protection12(self.keys[:16], self.keys[32:36])
        self.send_sealed(HANDSHAKE, self.finished())
        while self.next_message()[0] != FINISHED:
            pass

    def changed(self):
        self.reading = Protection12(self.keys[16:32], self.keys[36:40])
