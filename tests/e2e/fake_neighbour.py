"""A peer that says hello as tests want it to: an independent server for hello, bye and the list of peers."""

import contextlib
import hashlib
import http.server
import json
import secrets
import threading

from apis import Clock, Identity

NETWORK = hashlib.sha256(b"enxame").hexdigest()


class FakeNeighbour:
    """Answers on loopback.  `peers`: the rows of its list; `hang`: takes connections and never answers."""

    def __init__(self, network=NETWORK, peers=(), hang=False, identity=None):
        self.identity = identity or Identity()
        self.id = self.identity.id
        self.instance = secrets.token_hex(16)
        self.network = network
        self.peers = list(peers)
        self.hang = hang
        self.clock = Clock()
        self.requests = []  # (method, path, the clock that came, the clock that went, body)
        self._end = threading.Event()
        self._lock = threading.Lock()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.port = self.server.server_port
        self.address = f"127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if not self._end.is_set():
            self._end.set()
            self.server.shutdown()
            self.server.server_close()
            self.thread.join()

    def hello(self, **members):
        own = {"id": self.id, "instance": self.instance, "host": "127.0.0.1", "port": self.port,
               "network": self.network, "features": []}  # fmt: skip
        return {**own, **members}

    def row(self, **members):
        return {"id": self.id, "host": "127.0.0.1", "port": self.port, "status": "ONLINE", "clock": 1, **members}

    def asked(self, path):
        with self._lock:
            return [one for one in self.requests if one[1] == path]

    def _answer(self, method, path):
        if (method, path) == ("POST", "/v1/hello"):
            return 200, self.hello()
        if (method, path) == ("GET", "/v1/peers"):
            return 200, {"peers": self.peers}
        if (method, path) == ("POST", "/v1/holders"):
            return 200, {"contents": []}
        if (method, path) == ("GET", "/v1/files"):
            return 200, {"files": []}
        if (method, path) == ("POST", "/v1/bye"):
            return 204, None
        return 404, {"type": "urn:enxame:problem:no-such-path", "title": "x", "status": 404, "detail": "nothing here"}

    def _handler(fake):  # noqa: N805
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def _serve(self):
                length = int(self.headers.get("Content-Length", 0))
                body = json.loads(self.rfile.read(length) or b"null")
                if fake.hang:
                    fake._end.wait()
                    return
                path = self.path.split("?")[0]
                came = self.headers.get("Lamport-Clock")
                fake.clock.receive(came)
                went = fake.clock.tick()
                with fake._lock:
                    fake.requests.append((self.command, path, int(came or 0), went, body))
                status, value = fake._answer(self.command, path)
                text = b"" if value is None else json.dumps(value).encode()
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    if value is not None:
                        self.send_header("Content-Type", "application/json")
                        self.send_header("Content-Length", str(len(text)))
                    self.send_header("Lamport-Clock", str(went))
                    self.end_headers()
                    self.wfile.write(text)

            do_GET = do_POST = _serve  # noqa: N815

        return Handler
