"""TLS over a socket that tells a farewell from a cut, and can send more with its Finished."""

import contextlib
import ssl

from edge.closing import Closing


class Cut(Exception):
    """The connection ended without TLS's farewell (close_notify)."""


class Flight(Closing):
    """A TLS client's socket, as far as the clients here use one.

    `first` is sent in one segment with the client's Finished, so that the proxy reads both at once.
    Every read takes at most `step` bytes from the kernel.
    """

    def __init__(self, sock, context, first=b"", session=None, step=262_144):
        self.socket, self.step = sock, step
        self.said_farewell = False
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname="localhost", session=session)
        while not self._tried(self.tls.do_handshake):
            self._flush()
            self._receive()
        if first:
            self.tls.write(first)
        self._flush()

    def settimeout(self, seconds):
        self.socket.settimeout(seconds)

    @staticmethod
    def _tried(step):
        try:
            step()
        except ssl.SSLWantReadError:
            return False
        return True

    def _flush(self):
        if data := self._outgoing.read():
            self.socket.sendall(data)

    def _receive(self):
        """Reads once from the kernel; False at the end."""
        data = self.socket.recv(self.step)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        return bool(data)

    def sendall(self, data):
        self.tls.write(data)
        self._flush()

    def record(self, data):
        """What `data` is on the wire, to be sent by hand."""
        self.tls.write(data)
        return self._outgoing.read()

    def recv(self, most):
        """Plaintext; nothing after the peer's farewell; raises `Cut` when there was none."""
        while True:
            try:
                data = self.tls.read(most)
                if data:
                    return data
            except ssl.SSLWantReadError:
                self._receive()
                continue
            except ssl.SSLZeroReturnError:
                pass
            except ssl.SSLEOFError:
                raise Cut from None
            self.said_farewell = True
            return b""

    def take_ticket(self):
        """Reads until a ticket has come, before any data; the session."""
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                assert not self.tls.read(1), "data came before the ticket"
            if self.tls.session.has_ticket:
                return self.tls.session
            assert self._receive(), "the connection ended before a ticket came"

    def answer_farewell(self):
        """Says this side's farewell too, and finds the end of the connection behind the peer's."""
        assert self.said_farewell
        assert self.socket.recv(1) == b"", "bytes behind the farewell"
        self.say_farewell()

    def say_farewell(self):
        """Says that this side sends nothing more; the peer's bytes can still be read."""
        self._tried(self.tls.unwrap)
        self._flush()
