"""A holder of many small contents, registered at the tracker, that tests make misbehave in its batches."""

import collections
import contextlib
import http.server
import json
import threading
import urllib.parse

import requests

import client


class ManyHolder:
    """Serves `contents` (each under its own name) by have and batch alone.

    To be set at any time:

    lacks          names that it says it does not hold
    wrong          names of which it sends wrong bytes
    other_root     names for which it sends another root
    cut_after      contents of each batch after which it hangs up; None: none
    cuts           how many batches it still cuts
    silent         takes batches and never answers
    refuses        a status for each batch instead of an answer
    rate_files_s   how many files it sends in a second; 0: as fast as it can
    """

    def __init__(self, contents, tracker, host="127.0.0.1"):
        self.contents = {(content.root, content.size): content for content in contents}
        self.names = contents
        self.lacks, self.wrong, self.other_root = set(), set(), set()
        self.cut_after, self.cuts = None, 1 << 30
        self.silent = False
        self.refuses = None
        self.rate_files_s = 0
        self.batches = []  # how many contents each asked for
        self.sent = collections.Counter()  # whole contents, by name
        self.asked_first = None  # the path of the first request
        self.identity = client.Identity()
        self.id = self.identity.id
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.server = http.server.ThreadingHTTPServer((host, 0), self._handler())
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.port = self.server.server_port
        self.address = f"{host}:{self.port}"
        self.tracker = client.Tracker(tracker, self.identity)
        self.threads = [threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)]

    def __enter__(self):
        rows = [content.record() for content in self.names]
        answer = self.tracker.register(self.port, rows[:1000], "127.0.0.1")
        for at in range(1000, len(rows), 1000):
            self.tracker.change(add=rows[at : at + 1000])
        beat_s = answer.get("heartbeat_s", 10) / 2
        self.threads.append(threading.Thread(target=self._beat, args=(beat_s,), daemon=True))
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()
        for thread in self.threads:
            thread.join(10)
        with contextlib.suppress(requests.RequestException):
            self.tracker.try_unregister()
        self.tracker.close()

    def _beat(self, interval_s):
        while not self.stopping.wait(interval_s):
            with contextlib.suppress(requests.RequestException):
                self.tracker.try_heartbeat()

    def _stream(self, asked, send):
        """Sends the answer to a batch, until it is to be cut: then False."""
        cuts = self.cut_after is not None and self.cuts > 0
        with self.lock:
            self.cuts -= cuts
        for number, (root, size) in enumerate(asked):
            if cuts and number >= self.cut_after:
                return False
            if self.rate_files_s and self.stopping.wait(1 / self.rate_files_s):
                return False
            content = self.contents.get((root, size))
            if content is None or content.name in self.lacks:
                send(bytes.fromhex(root) + b"\xff" * 8)
                continue
            data = content.data
            if content.name in self.wrong:
                data = data[:-1] + bytes([data[-1] ^ 1])
            head = bytes(32) if content.name in self.other_root else content.root_bytes
            send(head + size.to_bytes(8, "big") + data)
            with self.lock:
                self.sent[content.name] += 1
        return True

    def _length(self, asked):
        held = [(root, size) for root, size in asked if (root, size) in self.contents]
        lacking = {(one.root, one.size) for one in self.names if one.name in self.lacks}
        return 40 * len(asked) + sum(size for root, size in held if (root, size) not in lacking)

    def _handler(holder):  # noqa: N805
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def _reply(self, status, kind, body):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _problem(self, status, word):
                problem = {"type": "urn:enxame:problem:" + word, "title": word, "status": status, "detail": word}
                self._reply(status, "application/problem+json", json.dumps(problem).encode())

            def do_GET(self):
                url = urllib.parse.urlsplit(self.path)
                holder.asked_first = holder.asked_first or url.path.split("/")[-1]
                root = url.path.split("/")[3] if url.path.endswith("/have") else ""
                size = urllib.parse.parse_qs(url.query).get("size", ["-1"])[0]
                if (root, int(size)) in holder.contents:
                    self._reply(200, "application/json", b'{"version":7,"complete":true}')
                else:
                    self._problem(404, "unknown-content")

            def do_POST(self):
                holder.asked_first = holder.asked_first or self.path.split("/")[-1]
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
                if self.path != "/v1/batch":
                    self._problem(404, "no-such-path")
                    return
                asked = [(one["root"], one["size"]) for one in body["contents"]]
                with holder.lock:
                    holder.batches.append(len(asked))
                if holder.refuses:
                    self._problem(holder.refuses, "internal")
                    return
                if holder.silent:
                    self.close_connection = True
                    holder.stopping.wait(60)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "application/octet-stream")
                self.send_header("Content-Length", str(holder._length(asked)))
                self.end_headers()
                if not holder._stream(asked, self.wfile.write):
                    self.close_connection = True

            def handle(self):
                with contextlib.suppress(OSError):
                    super().handle()

        return Handler
