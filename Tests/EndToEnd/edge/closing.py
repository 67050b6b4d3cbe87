"""What every client over one socket has in common."""


class Closing:
    """Ends with its `with` block, and its `socket` with it."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()
