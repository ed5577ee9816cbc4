"""HTTP as bytes: requests that no library would send, and what comes back for them."""

import contextlib
import re
import selectors
import socket
import struct


class RawClient:
    """One connection, kept alive and made anew where the other side closes it."""

    CLOSED = 0  # as a status: closed without an answer

    def __init__(self, address, timeout_s=60):
        self.address = address
        self.timeout_s = timeout_s
        self.connection = None
        self.received = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection, self.received = None, b""

    def ask(self, data, head=False):
        """Sends one request; (status, headers, body) of its answer."""
        fresh = self.connection is None
        try:
            self.send(data)
            answer = self.answer(head)
        except ConnectionError:
            answer = (self.CLOSED, {}, b"")
        if answer[0] == self.CLOSED and not fresh:  # perhaps only because the last answer was its last
            self.close()
            return self.ask(data, head)
        if answer[0] == self.CLOSED or answer[1].get(b"connection", b"").lower() == b"close":
            self.close()
        return answer

    def send(self, data):
        if self.connection is None:
            self.connection = socket.create_connection(self.address, self.timeout_s)
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.sendall(data)

    def answer(self, head=False):
        """The next answer on the connection."""
        while b"\r\n\r\n" not in self.received:
            if not self._receive():
                assert not self.received, self.received
                return self.CLOSED, {}, b""
        start, self.received = self.received.split(b"\r\n\r\n", 1)
        lines = start.split(b"\r\n")
        status = int(re.fullmatch(rb"HTTP/1\.[01] ([1-5]\d\d) .*", lines[0])[1])
        headers = {name.lower(): value.strip() for name, value in (line.split(b":", 1) for line in lines[1:])}
        if status == 100:
            return self.answer(head)
        length = 0 if head or status in (204, 304) else int(headers[b"content-length"])
        while len(self.received) < length:
            assert self._receive(), f"{len(self.received)} bytes of {length}"
        body, self.received = self.received[:length], self.received[length:]
        return status, headers, body

    def _receive(self):
        data = self.connection.recv(65536)
        self.received += data
        return bool(data)


def exchange_all(address, sendings, quiet_s=0.5):
    """Each on a connection of its own, which then says no more; what came back when all have been silent for so long.

    Where nobody closes, nobody need wait: an end that comes together with bytes may be seen late.
    """
    connections, received = {}, {}
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for number, data in enumerate(sendings):
            connection = stack.enter_context(socket.create_connection(address, 60))
            # Closed by a reset, which the other side cannot miss.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connections[connection], received[number] = number, b""
            with contextlib.suppress(OSError):  # refused before all was said
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
            selector.register(connection, selectors.EVENT_READ)
        while selector.get_map() and (ready := selector.select(quiet_s)):
            for key, _ in ready:
                try:
                    data = key.fileobj.recv(65536)
                except ConnectionError:
                    data = b""
                received[connections[key.fileobj]] += data
                if not data:
                    selector.unregister(key.fileobj)
    return [received[number] for number in range(len(received))]


def request(method="GET", path="/", headers=(), body=None, host=b"127.0.0.1", version=b"HTTP/1.1"):
    """A request of these parts, texts or bytes; a Content-Length comes with a body unless `headers` has one."""

    def raw(text):
        return text if isinstance(text, bytes) else text.encode()

    lines = [raw(method) + b" " + raw(path) + b" " + version]
    given = [(raw(name), raw(value)) for name, value in headers]
    names = {name.lower() for name, _ in given}
    if host is not None and b"host" not in names:
        given.insert(0, (b"Host", host))
    if body is not None and not names & {b"content-length", b"transfer-encoding"}:
        given.append((b"Content-Length", str(len(body)).encode()))
    if body is not None and b"content-type" not in names:
        given.append((b"Content-Type", b"application/json"))
    lines += [name + b": " + value for name, value in given]
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def chunked(body, size):
    """The body in chunks of `size` bytes."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
