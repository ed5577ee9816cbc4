"""A tracker that tests can make to forget, refuse and lie."""

import http.server
import json
import threading


class FakeTracker:
    """Takes registrations, keeps every request, and misbehaves where it is told."""

    def __init__(self, heartbeat_s=1):
        self.heartbeat_s = heartbeat_s
        self.requests = []  # (kind, length, body)
        self.files = set()
        self.count = None  # instead of the true one
        self.refuse = {}  # kind: (status, detail)
        self.listings = {}  # path without query: what a GET answers
        self.lock = threading.Lock()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def kinds(self):
        with self.lock:
            return [kind for kind, _, _ in self.requests]

    def answer(self, kind, length, body):
        with self.lock:
            self.requests.append((kind, length, body))
            if kind in self.refuse:
                status, detail = self.refuse[kind]
                return status, {"type": "urn:enxame:problem:x", "title": "X", "status": status, "detail": detail}
            if kind == "register":
                self.files = {(one["name"], one["root"]) for one in body.get("files", [])}
            if kind == "files":
                self.files |= {(one["name"], one["root"]) for one in body.get("add", [])}
                self.files -= {(one["name"], one["root"]) for one in body.get("remove", [])}
            count = len(self.files) if self.count is None or kind != "heartbeat" else self.count
            return 200, {"heartbeat_s": self.heartbeat_s, "expires_s": 3 * self.heartbeat_s, "files": count}

    def _handler(fake):  # noqa: N805
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def _reply(self, status, value):
                body = json.dumps(value).encode() if value is not None else b""
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                length = int(self.headers.get("Content-Length", 0))
                body = json.loads(self.rfile.read(length) or b"{}")
                kind = self.path.split("?")[0].split("/")[-1]
                self._reply(*fake.answer("register" if kind == "peers" else kind, length, body))

            def do_GET(self):
                path = self.path.split("?")[0]
                known = path in fake.listings
                self._reply(200 if known else 404, fake.listings.get(path, {}))

            def do_DELETE(self):
                fake.answer("unregister", 0, {})
                self._reply(204, None)

        return Handler
