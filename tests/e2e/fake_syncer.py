"""A peer that syncs a folder as the protocol says, but whose index and contents are whatever a test wants."""

import hashlib
import http.server
import json
import random
import struct
import threading
import time
import urllib.parse


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client that goes away in mid-answer is nothing to tell of."""


class FakeSyncer:
    """`entries` is its index, in order; `contents` what it sends for a root (of at most 16 KiB: its SHA-256)."""

    def __init__(self, network):
        self.network = sha256(network.encode())
        self.id = random.randbytes(32).hex()
        self.instance = random.randbytes(16).hex()
        self.epoch = random.randrange(1, 2**52)
        self.entries, self.contents = [], {}
        self.mangle = None  # of an index's text
        self.asked = []  # (path, query)
        self.clock = 1000
        self.lock = threading.Lock()
        self.server = Server(("127.0.0.1", 0), self._handler())
        self.address = f"127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.stopping = False

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    # ---- its index ----

    def add(self, name, data=b"", *, held=True, size=None, **members):
        """A file; with `held` its bytes can be had.  Members replace those of the entry."""
        root = sha256(data)
        if held:
            self.contents[root] = data
        entry = {"name": name, "kind": "file", "root": root, "size": len(data) if size is None else size,
                 "mtime_s": 1_700_000_000, "mtime_ns": 0, **self.version()}  # fmt: skip
        self.append({**entry, **members})
        return root

    def version(self):
        self.clock += 1
        return {"counters": {self.id: self.clock}, "author": self.id, "time": self.clock}

    def append(self, entry):
        with self.lock:
            self.entries.append(entry)

    def page(self, since, limit):
        with self.lock:
            rows, total = self.entries[since : since + limit], len(self.entries)
        sequence = since + len(rows)
        return {"epoch": self.epoch, "sequence": sequence, "more": sequence < total, "entries": rows}

    # ---- its answers ----

    def hello(self):
        return {"id": self.id, "instance": self.instance, "host": "127.0.0.1", "port": self.server.server_port,
                "network": self.network, "features": ["sync"], "files": 0}  # fmt: skip

    def batch(self, wanted):
        out = b""
        for one in wanted:
            data = self.contents.get(one["root"])
            out += bytes.fromhex(one["root"])
            out += struct.pack(">Q", 2**64 - 1) if data is None else struct.pack(">Q", one["size"]) + data
        return out

    def index(self, query):
        since, limit = int(query.get("since", ["0"])[0]), int(query.get("limit", ["100"])[0])
        deadline = time.monotonic() + int(query.get("wait_ms", ["0"])[0]) / 1000
        epoch = self.epoch
        while (epoch, since) == (self.epoch, len(self.entries)) and time.monotonic() < deadline and not self.stopping:
            time.sleep(0.02)
        text = json.dumps(self.page(since, limit))
        return self.mangle(text) if self.mangle else text

    def _handler(fake):  # noqa: N805
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def _reply(self, status, body, kind="application/json"):
                body = body if isinstance(body, bytes) else body.encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Lamport-Clock", self.headers.get("Lamport-Clock", "1"))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))) or b"{}")
                if self.path == "/v1/hello":
                    self._reply(200, json.dumps(fake.hello()))
                elif self.path == "/v1/batch":
                    self._reply(200, fake.batch(body["contents"]), "application/octet-stream")
                else:
                    self._reply(404, "{}")

            def do_GET(self):
                split = urllib.parse.urlsplit(self.path)
                query = urllib.parse.parse_qs(split.query)
                with fake.lock:
                    fake.asked.append((split.path, query))
                if split.path == "/v1/peers":
                    self._reply(200, json.dumps({"peers": []}))
                elif split.path == "/v1/sync/index":
                    self._reply(200, fake.index(query))
                else:
                    problem = {"type": "urn:enxame:problem:unknown-content", "title": "x", "status": 404, "detail": "x"}
                    self._reply(404, json.dumps(problem), "application/problem+json")

        return Handler
