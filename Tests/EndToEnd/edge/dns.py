"""A DNS server of a script: what it says is made of bytes, so that it can also lie."""

import socket
import struct
import threading
import time

A, NS, CNAME, AAAA, SRV = 1, 2, 5, 28, 33
TYPES = {A: "A", AAAA: "AAAA", SRV: "SRV"}
NO_ERROR, FORMAT_ERROR, SERVER_FAILURE, NAME_ERROR, REFUSED = 0, 1, 2, 3, 5


def encoded(name):
    """A name in labels, uncompressed."""
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def address(text, ttl=60, name=b"\xc0\x0c"):
    """An A or AAAA record; `name` stands before it, by default a pointer to the question's."""
    raw = socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    return record(AAAA if ":" in text else A, raw, ttl, name)


def service(target, port, priority=0, weight=0, ttl=60):
    """An SRV record (RFC 2782) of the name that was asked for; `.` is no target."""
    name = b"\0" if target == "." else encoded(target)
    return record(SRV, struct.pack(">HHH", priority, weight, port) + name, ttl)


def record(kind, data, ttl=60, name=b"\xc0\x0c"):
    return name + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data


# What Linux calls the option and the message with the time at which a datagram was received.
TIMESTAMPS = 35


class Query:
    """One question, and what can be said to it; `arrived` in seconds of `time.time()`."""

    def __init__(self, data, arrived=None):
        self.data = data
        self.arrived = time.time() if arrived is None else arrived
        self.number = int.from_bytes(data[:2], "big")
        end = data.index(0, 12) + 5
        self.question = data[12:end]
        self.kind = int.from_bytes(data[end - 4:end - 2], "big")
        self.name = self._name(data)

    @staticmethod
    def _name(data):
        labels, at = [], 12
        while data[at]:
            labels.append(data[at + 1:at + 1 + data[at]].decode())
            at += 1 + data[at]
        return ".".join(labels).lower()

    def reply(self, *records, code=NO_ERROR, number=None, question=None, flags=0):
        """A message that answers, with whatever is to be wrong in it."""
        question = self.question if question is None else question
        return struct.pack(
            ">HHHHHH", self.number if number is None else number, 0x8180 | flags | code,
            1 if question else 0, len(records), 0, 0) + question + b"".join(records)

    def addresses(self, *texts, ttl=60):
        """The addresses of the kind that was asked for; none: no data."""
        return self.reply(*[address(text, ttl) for text in texts
                            if (":" in text) == (self.kind == AAAA)])


class Zone:
    """A script: names with their addresses or services; no others exist.

    A value is an address, a list of them, a list of (target, port, priority, weight), or a
    function of the query. `failing` makes every answer a server's failure.
    """

    def __init__(self, names, ttl=60):
        self.names, self.ttl, self.failing = dict(names), ttl, False

    def __call__(self, query):
        if self.failing:
            return query.reply(code=SERVER_FAILURE)
        found = self.names.get(query.name)
        if found is None:
            return query.reply(code=NAME_ERROR)
        if callable(found):
            return found(query)
        found = [found] if isinstance(found, str) else found
        if found and isinstance(found[0], tuple):
            return query.reply(*[service(*one, ttl=self.ttl) for one in found]
                               if query.kind == SRV else [])
        return query.addresses(*found, ttl=self.ttl)


class ScriptedDNS:
    """Answers over UDP, and over TCP on the same port, with what `script` makes of a `Query`.

    A script returns a message, a list of them, or None for silence.
    """

    def __init__(self, script=lambda query: query.addresses("127.0.0.1")):
        self.script, self.queries = script, []
        while True:
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.udp.setsockopt(socket.SOL_SOCKET, TIMESTAMPS, 1)
            self.udp.bind(("127.0.0.1", 0))
            self.port = self.udp.getsockname()[1]
            self.tcp = socket.socket()
            self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                self.tcp.bind(("127.0.0.1", self.port))
            except OSError:
                self.udp.close()
                self.tcp.close()
                continue
            break
        self.tcp.listen(16)
        self.address = f"127.0.0.1:{self.port}"
        self.over_tcp = 0
        self._threads = [threading.Thread(target=run, daemon=True)
                         for run in (self._run_udp, self._run_tcp)]
        for thread in self._threads:
            thread.start()

    def asked(self, name=None, kind=None):
        """How many queries came, for a name and of a kind."""
        return sum(1 for its_name, its_kind in list(self.queries)
                   if name in (None, its_name) and kind in (None, its_kind))

    def _messages(self, data, over_tcp=False, arrived=None):
        query = Query(data, arrived)
        query.over_tcp = over_tcp
        self.queries.append((query.name, TYPES.get(query.kind)))
        made = self.script(query)
        return [] if made is None else made if isinstance(made, list) else [made]

    def _run_udp(self):
        while True:
            try:
                # The kernel's time: this thread may have to wait for its turn.
                data, extra, _, peer = self.udp.recvmsg(4096, socket.CMSG_SPACE(16))
            except OSError:
                return
            if data == b"end":
                return
            # A fault may have cut the question itself.
            if len(data) < 17:
                continue
            arrived = next((struct.unpack("qq", stamp) for level, kind, stamp in extra
                            if (level, kind) == (socket.SOL_SOCKET, TIMESTAMPS)), None)
            arrived = arrived and arrived[0] + arrived[1] / 1e9
            for message in self._messages(data, arrived=arrived):
                self.udp.sendto(message, peer)

    def _run_tcp(self):
        while True:
            try:
                sock, _ = self.tcp.accept()
            except OSError:
                return
            with sock:
                sock.settimeout(2)
                try:
                    size = sock.recv(2, socket.MSG_WAITALL)
                    if len(size) < 2:
                        continue
                    self.over_tcp += 1
                    data = sock.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL)
                    for message in self._messages(data, over_tcp=True):
                        sock.sendall(len(message).to_bytes(2, "big") + message)
                    sock.recv(1)
                except OSError:
                    continue

    def close(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"end", ("127.0.0.1", self.port))
        self.tcp.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self.udp.close()
        self.tcp.close()
