"""The HTTP side of the fake holder: the peer API, and the faults of its answers."""

import contextlib
import http.server
import json
import random
import re
import socket
import struct
import threading
import time
import urllib.parse

from contents import BLOCK_SIZE, CHUNK_SIZES, LAYER_HASHES_MAX, bitmap, bitmap_indexes

ITEMS_MAX = 1000
BATCH_CONTENT_MAX = 256 * 1024
PIECE = 64 * 1024  # bytes written at a time


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a thread that commits "silent" ends by itself, soon after stop()
    request_queue_size = 128

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.open = set()
        self.lock = threading.Lock()

    def process_request(self, request, client_address):
        with self.lock:
            self.open.add(request)
            self.holder.connections += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        with self.lock:
            self.open.discard(request)
        super().shutdown_request(request)

    def break_connections(self):
        with self.lock:
            for connection in self.open:
                with contextlib.suppress(OSError):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request, client_address):
        """A client that goes away in mid-answer is nothing to tell of."""


class Server6(Server):
    address_family = socket.AF_INET6


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    # The peer API.

    def do_HEAD(self):
        self.do_GET()

    def do_POST(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        kind, content = self._kind(urllib.parse.urlsplit(self.path).path), self.server.holder.content
        known = {"batch": self._batch}
        if self.server.holder.serves_any:
            known["any"] = self._any
        if kind in known:
            self._answer_with_faults(kind, lambda fault: self._posted(known[kind], content, fault))
        else:
            self._answer_with_faults("other", lambda fault: self._problem(404, "no-such-path"))

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = {key: values[0] for key, values in urllib.parse.parse_qs(url.query).items()}
        kind = self._kind(url.path)
        known = {"data": self._data, "layer": self._layer, "have": self._have}
        if kind in known:
            if query.get("size") != str(self.server.holder.content.size):
                self._answer_with_faults(kind, lambda fault: self._problem(404, "unknown-content"))
            else:
                self._answer_with_faults(kind, lambda fault: known[kind](fault, query))
        elif kind in ("files", "status"):
            self._answer_with_faults(kind, lambda fault: self._listing(kind))
        else:
            self._answer_with_faults("other", lambda fault: self._problem(404, "no-such-path"))

    def _posted(self, answer, content, fault):
        if self.headers.get("Content-Type") != "application/json":
            self._problem(415, "not-json")
            return
        try:
            body = json.loads(self.body)
            members = self._any_members(body, content) if answer == self._any else self._batch_members(body)
        except (ValueError, TypeError, KeyError, AssertionError):
            self._problem(400, "invalid-body")
            return
        answer(content, fault, *members)

    def _any_members(self, body, content):
        assert body["chunk_size"] in CHUNK_SIZES
        same, chunk_size = body["size"] == content.size, body["chunk_size"]
        return same, chunk_size, same and bitmap_indexes(body["wanted"], content.chunk_count(chunk_size))

    def _batch_members(self, body):
        assert 0 < len(body["contents"]) <= ITEMS_MAX
        return ([(bytes.fromhex(one["root"]), int(one["size"])) for one in body["contents"]],)

    def _kind(self, path):
        """The last word of a path of this holder's content, or what stands behind /v1/."""
        base = f"/v1/files/{self.server.holder.content.root}/"
        return path[len(base) :] if path.startswith(base) else path.removeprefix("/v1/")

    def _answer_with_faults(self, kind, answer):
        holder = self.server.holder
        holder._await_thaw()
        if holder._stopping.is_set():  # a connection that was kept alive
            self.close_connection = True
            return
        holder.clock.receive(self.headers.get("Lamport-Clock"))
        fault = holder._next_fault(kind)
        name = fault["name"] if fault else None
        if name == "silent":
            self.close_connection = True
            self._hang()
        elif name == "garbage":
            self.close_connection = True
            self.wfile.write(random.Random(5).randbytes(4096))
        elif name == "status_500":
            self._problem(500, "internal")
        elif name == "status_404":
            self._problem(404, "not-held")
        elif name == "busy":
            self._problem(503, "busy", {"Retry-After": str(fault["retry_after_s"])})
        else:
            answer(name)

    def _listing(self, kind):
        holder = self.server.holder
        if kind == "files":
            self._json({"files": [holder.content.record(complete=holder.claimed is None)]})
        else:
            self._json({"id": holder.id, "clock": holder.clock.value, "files": 1, "downloads": []})

    def _range(self, size):
        """(first, last) of one Range that can be satisfied, "unsatisfiable", or None: everything."""
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not asked or not asked[1] + asked[2]:
            return None
        if not asked[1]:
            length = min(int(asked[2]), size)
            return (size - length, size - 1) if length else "unsatisfiable"
        first, last = int(asked[1]), min(int(asked[2] or size), size - 1)
        if asked[2] and int(asked[2]) < first:
            return None
        return (first, last) if first < size else "unsatisfiable"

    def _unsatisfiable(self, size):
        self._problem(416, "range-not-satisfiable", {"Content-Range": f"bytes */{size}"})

    def _data(self, fault, _query):
        holder, size = self.server.holder, self.server.holder.content.size
        asked = self._range(size)
        if asked == "unsatisfiable":
            self._unsatisfiable(size)
            return
        first, last = asked or (0, size - 1)
        if not holder._holds(first, last):
            self._problem(404, "not-held")
            return
        if fault == "wrong_range":
            first, last = (0, last - first) if first > 0 else (first + 1, min(last + 1, size - 1))
        self._bytes(206 if asked else 200, first, last, fault)

    def _any(self, content, fault, same, chunk_size, wanted):
        if not same:
            self._problem(404, "unknown-content")
            return
        if fault == "wrong_range":
            wanted = set(range(content.chunk_count(chunk_size))) - wanted or wanted
        index = self.server.holder._choose(chunk_size, wanted)
        if index is None:
            self._problem(404, "not-held")
            return
        first = index * chunk_size
        self._bytes(206, first, min(first + chunk_size, content.size) - 1, fault)

    def _bytes(self, status, first, last, fault):
        """Bytes of the content, with what a fault makes of them; they are counted as they go out."""
        holder, content = self.server.holder, self.server.holder.content
        if fault == "status_200":
            status, first, last = 200, 0, content.size - 1
        elif fault == "plain_200":
            status = 200
        body = content.data[first : last + 1]
        headers = {"ETag": f'"{content.root}-{content.size}"'}
        if status == 206:
            headers["Content-Range"] = f"bytes {first}-{last}/{content.size}"
        if holder.wrong_chunks:
            body = holder._spoil(body, first)
        if fault == "wrong_bytes":
            spoilt = bytearray(body)
            for position in range(0, len(spoilt), BLOCK_SIZE):
                spoilt[position] ^= 1
            body = bytes(spoilt)
        elif fault == "too_few":
            body = body[: min(len(body), BLOCK_SIZE) // 2]
        elif fault == "too_many":
            body += bytes(1000)
        if self.command == "HEAD":
            self._send(status, body, headers, fault, "application/octet-stream")
            return
        answer = [first, last, 0]
        with holder._changed:
            holder._answers.append(answer)
        if holder.pace_s:
            holder._stopping.wait(holder.pace_s)
        self._send(status, body, headers, fault, "application/octet-stream", answer)

    def _batch(self, content, fault, asked):
        holder, stream = self.server.holder, b""
        for root, size in asked:
            held = (root, size) == (content.root_bytes, content.size) and holder.held is None
            if held and size <= BATCH_CONTENT_MAX:
                stream += root + size.to_bytes(8, "big") + holder._spoil(content.data, 0)
            else:
                stream += root + b"\xff" * 8
        if fault == "wrong_bytes":
            stream = stream[:-1] + bytes([stream[-1] ^ 1])
        elif fault == "too_few":
            stream = stream[: len(stream) // 2]
        elif fault == "too_many":
            stream += bytes(1000)
        self._send(200, stream, {}, fault, "application/octet-stream")

    def _layer(self, fault, query):
        content = self.server.holder.content
        chunk_size = int(query.get("chunk_size", "0"))
        if chunk_size not in CHUNK_SIZES:
            self._problem(400, "invalid-query")
            return
        if content.chunk_count(chunk_size) > LAYER_HASHES_MAX:
            self._problem(400, "layer-too-large")
            return
        if chunk_size < self.server.holder.finest_layer:
            self._problem(404, "layer-too-fine")
            return
        layer = content.layer(chunk_size)
        if fault == "wrong_layer":
            layer = bytes([layer[0] ^ 1]) + layer[1:]
        elif fault == "long_layer":
            layer += bytes(32)
        elif fault == "short_layer":
            layer = layer[:-32]
        asked = self._range(len(layer))
        if asked == "unsatisfiable":
            self._unsatisfiable(len(layer))
        elif asked:
            headers = {"Content-Range": f"bytes {asked[0]}-{asked[1]}/{len(layer)}"}
            self._send(206, layer[asked[0] : asked[1] + 1], headers, fault, "application/octet-stream")
        else:
            self._send(200, layer, {}, fault, "application/octet-stream")

    def _have(self, fault, query):
        holder = self.server.holder
        deadline = time.monotonic() + min(int(query.get("wait_ms", "0")), 30000) / 1000
        with holder._changed:
            while (holder.claimed is not None and query.get("since") == str(holder.version)
                   and not holder._stopping.is_set()):  # fmt: skip
                remaining = deadline - time.monotonic()
                if remaining <= 0 or not holder._changed.wait(remaining):
                    break
            answer = {"version": holder.version, "complete": holder.claimed is None}
            if holder.claimed is not None:
                answer.update(self._map(query))
        holder._await_thaw()
        if holder._stopping.is_set():
            self.close_connection = True
            return
        self._json(holder.have_says(answer), fault=fault)

    def _map(self, query):
        """The have map's members; the holder's lock is held."""
        holder = self.server.holder
        count = holder.content.chunk_count(holder.have_chunk_size)
        members = {"chunk_size": holder.have_chunk_size}
        since = int(query.get("since", "-1"))
        added = set().union(*(chunks for version, chunks in holder._added if version > since))
        known = since in (holder.version, *(version - 1 for version, _ in holder._added))
        if query.get("delta") == "1" and holder.deltas and known and len(added) <= ITEMS_MAX:
            members["added"] = sorted(added)
        else:
            members["bitmap"] = bitmap(holder.claimed, count)
        if holder.pending:
            members["pending"] = bitmap(holder.pending, count)
        return members

    # Sending.

    def _json(self, value, status=200, headers=None, kind="application/json", fault=None):
        self._send(status, json.dumps(value).encode(), headers or {}, fault, kind)

    def _problem(self, status, problem, headers=None):
        value = {"type": "urn:enxame:problem:" + problem, "title": problem, "status": status, "detail": problem}
        self._json(value, status, headers, "application/problem+json")

    def _send(self, status, body, headers, fault=None, kind=None, answer=None):
        """`answer`: a request for data, in which the bytes are counted."""
        self.send_response(status)
        self.send_header("Lamport-Clock", str(self.server.holder.clock.tick()))
        self.send_header("Content-Length", str(len(body)))
        if kind:
            self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name, value)
        if fault == "huge_headers":
            for number in range(200):
                self.send_header(f"X-Huge-{number}", "x" * 1000)
        if self.server.holder.closes == "said":
            self.send_header("Connection", "close")
        self.close_connection = self.close_connection or self.server.holder.closes is not None
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault in ("cut", "trickle"):
            self.close_connection = True
        if fault == "cut":
            body = body[: min(len(body), BLOCK_SIZE) // 2]
        if fault == "trickle":
            self._write_slowly(body, answer)
        elif answer is None:
            self.wfile.write(body)
        else:
            self._write(body, answer)

    def _write(self, body, answer):
        holder = self.server.holder
        rate = holder.rate_bytes_s
        piece = min(PIECE, max(1, rate // 20)) if rate else PIECE
        start = 0
        while start < len(body) and not holder._stopping.is_set():
            in_chunk = (answer[0] + start) % holder.have_chunk_size
            length = min(piece, holder.have_chunk_size - in_chunk, len(body) - start)
            if holder.pace_s and in_chunk == 0 and start > 0:
                holder._stopping.wait(holder.pace_s)
            holder._await_turn(length)
            self.wfile.write(body[start : start + length])
            start += length
            holder._count(answer, length)
        self.close_connection = self.close_connection or start < len(body)

    def _write_slowly(self, body, answer):
        for octet in body:
            self.wfile.write(bytes([octet]))
            if answer is not None:
                self.server.holder._count(answer, 1)
            if self.server.holder._stopping.wait(1):
                return

    def _hang(self):
        """Until the client gives up or the holder stops."""
        self.connection.settimeout(0.2)
        while not self.server.holder._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                if not self.connection.recv(1024):
                    return
