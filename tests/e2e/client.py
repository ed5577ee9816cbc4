"""An independent client of Enxame, written from BEP 52 and the protocol alone: it shares no code with the programs.

Content      bytes with their Merkle root and layers (BEP 52), by hashlib
Tracker      the tracker API
Peer         the peer API
FakeHolder   serves a content by the peer API, with faults that tests switch on and off
"""

import base64
import collections
import contextlib
import hashlib
import http.server
import json
import random
import re
import secrets
import socket
import struct
import threading
import time
import urllib.parse

import requests

BLOCK_SIZE = 16 * 1024
CHUNK_SIZES = [BLOCK_SIZE << shift for shift in range(11)]  # 16 KiB to 16 MiB
CLOCK_MAX = 2**53 - 1
ITEMS_MAX = 1000
LAYER_HASHES_MAX = 65536


# ---- contents ----


def sha256(data):
    return hashlib.sha256(data).digest()


def _levels_above(hashes, padding):
    """The levels of a tree over `hashes`, padded to a power of two; `padding` is the hash of an absent one."""
    levels = [list(hashes)]
    while len(levels[-1]) > 1:
        level = levels[-1]
        if len(level) % 2:
            level = level + [padding]
        levels.append([sha256(level[i] + level[i + 1]) for i in range(0, len(level), 2)])
        padding = sha256(padding + padding)
    return levels


class Content:
    """Bytes, and what names them: the pair (root, size)."""

    def __init__(self, data, name="content.bin"):
        self.data = bytes(data)
        self.name = name
        self.size = len(self.data)
        leaves = [sha256(self.data[i : i + BLOCK_SIZE]) for i in range(0, self.size, BLOCK_SIZE)]
        self._levels = _levels_above(leaves, bytes(32)) if leaves else [[sha256(b"")]]
        self.root_bytes = self._levels[-1][0]
        self.root = self.root_bytes.hex()

    @classmethod
    def random(cls, size, seed=1, name="content.bin"):
        return cls(random.Random(seed).randbytes(size), name)

    @classmethod
    def of_file(cls, path, name=None):
        return cls(path.read_bytes(), name or path.name)

    def chunk_count(self, chunk_size):
        return -(-self.size // chunk_size)

    def chunk(self, index, chunk_size):
        return self.data[index * chunk_size : (index + 1) * chunk_size]

    def layer(self, chunk_size):
        """One hash for each chunk; the root alone where one chunk holds everything, nothing for an empty content."""
        assert chunk_size in CHUNK_SIZES
        if self.size == 0:
            return b""
        height = (chunk_size // BLOCK_SIZE).bit_length() - 1
        return b"".join(self._levels[min(height, len(self._levels) - 1)])

    def record(self, name=None, complete=True):
        """The content as a row of a registration."""
        return {"name": name or self.name, "size": self.size, "root": self.root, "complete": complete}


def root_of_layer(layer, chunk_size):
    """The root that a layer of at least one hash leads to."""
    hashes = [layer[i : i + 32] for i in range(0, len(layer), 32)]
    padding = bytes(32)
    while chunk_size > BLOCK_SIZE:
        padding = sha256(padding + padding)
        chunk_size //= 2
    return _levels_above(hashes, padding)[-1][0]


def chunk_hash(chunk, chunk_size, size):
    """The hash that the layer of a content of `size` bytes must have for this chunk."""
    if size <= chunk_size:
        return Content(chunk).root_bytes
    leaves = [sha256(chunk[i : i + BLOCK_SIZE]) for i in range(0, len(chunk), BLOCK_SIZE)]
    leaves += [bytes(32)] * (chunk_size // BLOCK_SIZE - len(leaves))
    return _levels_above(leaves, bytes(32))[-1][0]


def bitmap(indexes, count):
    """Chunk numbers as on the wire: most significant bit first, in base64."""
    octets = bytearray(-(-count // 8))
    for index in indexes:
        octets[index // 8] |= 0x80 >> index % 8
    return base64.b64encode(bytes(octets)).decode()


def bitmap_indexes(text, count):
    octets = base64.b64decode(text, validate=True)
    assert len(octets) == -(-count // 8)
    return {index for index in range(count) if octets[index // 8] & 0x80 >> index % 8}


# ---- who we are ----


class Identity:
    def __init__(self, secret=None):
        self.secret = secret or secrets.token_bytes(32)
        self.id = sha256(self.secret).hex()

    @property
    def bearer(self):
        return {"Authorization": "Bearer " + self.secret.hex()}


class Clock:
    """A Lamport clock."""

    def __init__(self):
        self.value = 0
        self._lock = threading.Lock()

    def tick(self):
        with self._lock:
            self.value = min(self.value + 1, CLOCK_MAX)
            return self.value

    def receive(self, header):
        with self._lock:
            if header is not None and re.fullmatch("[0-9]{1,16}", header):
                self.value = min(max(self.value, int(header)) + 1, CLOCK_MAX)


def host_port(host, port):
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Api:
    """HTTP calls to one address; answers are requests.Response objects, whatever their status."""

    def __init__(self, address, timeout=30):
        self.url = address if address.startswith("http") else "http://" + address
        self.timeout = timeout
        self.clock = Clock()
        self.session = requests.Session()
        self.session.trust_env = False  # no proxies from the environment

    def call(self, method, path, body=None, headers=None, **options):
        """`body`: a value to be sent as JSON, or bytes or text to be sent as they are, said to be JSON.

        A header that `headers` gives as None is left out.
        """
        sent = {"Lamport-Clock": str(self.clock.tick())}
        if body is not None:
            sent["Content-Type"] = "application/json"
            if not isinstance(body, (bytes, str)):
                body = json.dumps(body)
            if isinstance(body, str):
                body = body.encode()
        sent.update(headers or {})
        options.setdefault("timeout", self.timeout)
        answer = self.session.request(
            method, self.url + path, data=body, headers=sent, allow_redirects=False, **options
        )
        self.clock.receive(answer.headers.get("Lamport-Clock"))
        length = answer.headers.get("Content-Length")
        if length and method != "HEAD" and not options.get("stream") and len(answer.content) != int(length):
            raise requests.ConnectionError(f"{len(answer.content)} bytes of {length}")  # requests takes it as whole
        return answer

    def get(self, path, **options):
        return self.call("GET", path, **options)

    def get_json(self, path):
        return expect(self.get(path), 200).json()

    def pages(self, path, member, limit=None):
        """All items of a paged list."""
        items, after = [], None
        while True:
            arguments = {key: value for key, value in (("limit", limit), ("after", after)) if value is not None}
            separator = "&" if "?" in path else "?"
            page = self.get_json(path + (separator + urllib.parse.urlencode(arguments) if arguments else ""))
            items += page[member]
            after = page.get("next")
            if after is None:
                return items

    def close(self):
        self.session.close()


def expect(answer, status):
    """Fails with the problem's own words where the status is another; returns the answer."""
    assert answer.status_code == status, f"{answer.status_code} instead of {status}: {answer.text[:500]}"
    return answer


def expect_problem(answer, status, member=None):
    """An RFC 9457 document of this status, whose detail names `member`; returns its type."""
    expect(answer, status)
    assert answer.headers["Content-Type"].split(";")[0] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status and problem["title"] and problem["detail"]
    if member is not None:
        assert member in problem["detail"], problem["detail"]
    return problem["type"]


def raw(address, data, timeout_s=10):
    """Sends bytes as they are and returns all that comes back until the other side closes or is silent for so long."""
    host, port = address.removeprefix("http://").rsplit(":", 1)
    answer = b""
    with socket.create_connection((host.strip("[]"), int(port)), timeout_s) as connection:
        with contextlib.suppress(TimeoutError, ConnectionError):
            connection.sendall(data)
            while received := connection.recv(65536):
                answer += received
    return answer


class Tracker(_Api):
    """The tracker API, as one peer with its own identity."""

    def __init__(self, address, identity=None, **options):
        super().__init__(address, **options)
        self.identity = identity or Identity()

    def as_other(self, identity=None):
        """The same tracker, as somebody else."""
        return Tracker(self.url, identity)

    def try_register(self, port, files=(), host=None, instance=None, **members):
        body = {"id": self.identity.id, "port": port, "files": list(files), **members}
        if host is not None:
            body["host"] = host
        if instance is not None:
            body["instance"] = instance
        return self.call("POST", "/v1/peers", body, self.identity.bearer)

    def register(self, port, files=(), host=None, instance=None, **members):
        return expect(self.try_register(port, files, host, instance, **members), 200).json()

    def try_heartbeat(self):
        return self.call("POST", f"/v1/peers/{self.identity.id}/heartbeat", {}, self.identity.bearer)

    def heartbeat(self):
        return expect(self.try_heartbeat(), 200).json()

    def try_change(self, add=(), remove=()):
        body = {"add": list(add), "remove": list(remove)}
        return self.call("POST", f"/v1/peers/{self.identity.id}/files", body, self.identity.bearer)

    def change(self, add=(), remove=()):
        return expect(self.try_change(add, remove), 200).json()["files"]

    def try_unregister(self):
        return self.call("DELETE", f"/v1/peers/{self.identity.id}", headers=self.identity.bearer)

    def unregister(self):
        expect(self.try_unregister(), 204)

    def peers(self, limit=None):
        return self.pages("/v1/peers", "peers", limit)

    def peer_ids(self):
        return {peer["id"] for peer in self.peers()}

    def files(self, q=None, limit=None):
        query = "?" + urllib.parse.urlencode({"q": q}) if q is not None else ""
        return self.pages("/v1/files" + query, "files", limit)

    def owners(self, root, size=None):
        """The answer for one content; None where nobody has it."""
        answer = self.get(f"/v1/files/{root}" + (f"?size={size}" if size is not None else ""))
        return None if answer.status_code == 404 else expect(answer, 200).json()

    def holder_ids(self, content):
        found = self.owners(content.root, content.size)
        return {holder["id"] for holder in found["holders"]} if found else set()

    def holders(self, contents):
        body = {"contents": [{"root": content.root, "size": content.size} for content in contents]}
        return expect(self.call("POST", "/v1/holders", body), 200).json()["contents"]


class Peer(_Api):
    """The peer API."""

    def files(self, limit=None):
        return self.pages("/v1/files", "files", limit)

    def status(self):
        return self.get_json("/v1/status")

    def data(self, content, first=None, last=None, method="GET", **options):
        """The answer to a request for bytes; `first` and `last` as in a Range header, both included."""
        headers = options.pop("headers", {})
        if first is not None:
            headers = {"Range": f"bytes={first}-{'' if last is None else last}", **headers}
        return self.call(method, f"/v1/files/{content.root}/data?size={content.size}", headers=headers, **options)

    def layer(self, content, chunk_size, **options):
        return self.get(f"/v1/files/{content.root}/layer?size={content.size}&chunk_size={chunk_size}", **options)

    def have(self, content, since=None, wait_ms=None):
        query = f"size={content.size}"
        query += f"&since={since}" if since is not None else ""
        query += f"&wait_ms={wait_ms}" if wait_ms is not None else ""
        return self.get_json(f"/v1/files/{content.root}/have?{query}")

    def fetch(self, content, chunk_size=256 * 1024):
        """The whole content by layer and ranges, each chunk verified; of `content` only root and size are used."""
        layer = expect(self.layer(content, chunk_size), 200).content if content.size else b""
        count = -(-content.size // chunk_size)
        assert len(layer) == 32 * count
        if count == 0:
            return expect(self.data(content), 200).content
        assert root_of_layer(layer, chunk_size).hex() == content.root
        data = bytearray()
        for index in range(count):
            first = index * chunk_size
            last = min(first + chunk_size, content.size) - 1
            answer = expect(self.data(content, first, last), 206)
            assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{content.size}"
            assert len(answer.content) == last - first + 1
            assert chunk_hash(answer.content, chunk_size, content.size) == layer[32 * index : 32 * index + 32]
            data += answer.content
        return bytes(data)


# ---- a holder that may lie ----

FAULTS = {
    "wrong_bytes": "the right length, one byte of each block flipped",
    "too_few": "Content-Length and body are shorter than the range",
    "too_many": "Content-Length and body are longer than the range",
    "wrong_range": "another range than asked, honestly named in Content-Range",
    "status_200": "200 with the whole content where a range was asked",
    "plain_200": "200 with the range that was asked, which Content-Range would have named",
    "status_500": "500",
    "status_404": "404: not held",
    "silent": "takes the request and never answers",
    "trickle": "one byte a second",
    "cut": "closes the connection in mid-body",
    "busy": "503 with Retry-After",
    "huge_headers": "200 KiB of headers before the answer",
    "garbage": "bytes that are not HTTP",
    "wrong_layer": "one hash of the layer flipped",
    "long_layer": "one hash more than the content has chunks",
    "short_layer": "one hash less",
}
_LAYER_FAULTS = {"wrong_layer", "long_layer", "short_layer"}
_PIECE = 64 * 1024  # bytes written at a time
_BATCH_CONTENT_MAX = 256 * 1024


class FakeHolder:
    """A holder of one content, registered at the tracker, that may misbehave.

        with FakeHolder(content, tracker=address) as holder:
            holder.fail("wrong_bytes", every=3)          # one data request in three
            holder.fail("silent", on=("layer", "data"))  # kinds of request that the fault is for
            holder.fail("status_500", after=5, times=2)  # from the sixth such request on, two times
            holder.behave()

    `held` limits what it has: a set of chunk numbers of `have_chunk_size` bytes.  `claimed` is what its have map says
    where that is not the truth ("complete": everything); what is not held is 404.  A fault on "data" is one on "any", too.

    Further attributes, to be set at any time:

    pace_s         an honest holder's slowness: a pause before each chunk (of `have_chunk_size`) that it sends
    rate_bytes_s   the same as a steady rate of all its answers with data together; 0: as fast as it can
    wrong_chunks   chunks (of `have_chunk_size`) of which no block is sent rightly, whatever range they are asked in
    closes         "said": each answer bears Connection: close; "unsaid": the connection is closed after it without a word
    serves_any     False: POST .../any is 404 no-such-path
    deltas         False: a have map is always a whole one, also where delta=1 was asked for
    pending        chunks that the have map says are being fetched
    have_says      a function that turns the have map's true answer into what is said
    finest_layer   layers of smaller chunks are 404 layer-too-fine
    """

    def __init__(self, content, tracker=None, held=None, claimed=None, have_chunk_size=64 * 1024, host="127.0.0.1"):
        self.content = content
        self.identity = Identity()
        self.id = self.identity.id
        self.have_chunk_size = have_chunk_size
        self.held = held
        self.claimed = held if claimed is None else None if claimed == "complete" else claimed
        self.pace_s = 0
        self.rate_bytes_s = 0
        self.wrong_chunks = set()
        self.closes = None
        self.serves_any = True
        self.deltas = True
        self.pending = set()
        self.have_says = lambda answer: answer
        self.finest_layer = BLOCK_SIZE
        self.version = random.getrandbits(40)
        self.clock = Clock()
        self.requests = collections.Counter()  # by kind: files, data, any, layer, have, batch, status, other
        self.connections = 0
        self._answers = []  # [first, last, body bytes sent so far] of each request for data that is answered with bytes
        self._sent_any = collections.Counter()  # (chunk size, index): how often it was this holder's choice
        self._added = []  # (version, chunks that were new with it)
        self._tracker_address = tracker
        self._changed = threading.Condition()  # guards what follows, the lists above and the counters
        self._fault = None
        self._next_turn = 0
        self._stopping = threading.Event()
        self._thawed = threading.Event()
        self._thawed.set()
        self._server = (_Server6 if ":" in host else _Server)((host, 0), _Handler)
        self._server.holder = self
        self.host = host
        self.port = self._server.server_address[1]
        self.address = host_port(host, self.port)
        self._threads = [threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)]

    # ---- life ----

    def start(self):
        self._threads[0].start()
        if self._tracker_address is not None:
            self.tracker = Tracker(self._tracker_address, self.identity)
            answer = self.register()
            beats = threading.Thread(target=self._beat, args=(answer.get("heartbeat_s", 10) / 2,), daemon=True)
            self._threads.append(beats)
            beats.start()
        return self

    def register(self):
        complete = self.claimed is None
        return self.tracker.register(self.port, [self.content.record(complete=complete)], self.host)

    def _beat(self, interval_s):
        while not self._stopping.wait(interval_s):
            with contextlib.suppress(requests.RequestException, AssertionError):
                if self.tracker.try_heartbeat().status_code == 404:
                    self.register()

    def stop(self, unregister=True):
        """Not unregistered: as one that died; its connections break, and the tracker names it until it lapses."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        if not unregister:
            self._server.break_connections()
        for thread in self._threads:
            thread.join(10)
        if self._tracker_address is not None:
            if unregister:
                with contextlib.suppress(requests.RequestException):
                    self.tracker.try_unregister()
            self.tracker.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def freeze(self):
        """Connections stay, and new ones are taken, but no byte is sent until thaw()."""
        self._thawed.clear()

    def thaw(self):
        self._thawed.set()

    # ---- faults ----

    def fail(self, fault, on=None, every=1, after=0, times=None, retry_after_s=1):
        assert fault in FAULTS, fault
        on = set(on or (("layer",) if fault in _LAYER_FAULTS else ("data",)))
        with self._changed:
            self._fault = {
                "name": fault, "on": on | ({"any"} if "data" in on else set()), "every": every, "after": after,
                "times": times, "seen": 0, "done": 0, "retry_after_s": retry_after_s,
            }  # fmt: skip

    def behave(self):
        with self._changed:
            self._fault = None

    @property
    def faults_done(self):
        """How often the fault that is now switched on was committed."""
        with self._changed:
            return self._fault["done"] if self._fault else 0

    def _next_fault(self, kind):
        """Counts a request; the fault to commit in its answer, or None."""
        with self._changed:
            self.requests[kind] += 1
            fault = self._fault
            if fault is None or kind not in fault["on"]:
                return None
            fault["seen"] += 1
            turn = fault["seen"] - fault["after"]
            if turn <= 0 or turn % fault["every"] or (fault["times"] is not None and fault["done"] >= fault["times"]):
                return None
            fault["done"] += 1
            return fault

    # ---- what it has, and how soon it sends it ----

    def add_held(self, indexes):
        """More chunks are held (and claimed) from now on; pollers of the have map hear of it."""
        with self._changed:
            self._added.append((self.version + 1, set(indexes) - self.claimed))
            self.held = self.held | set(indexes)
            self.claimed = self.claimed | set(indexes)
            self.version += 1
            self._changed.notify_all()

    def set_held(self, indexes):
        """Holds (and claims) these chunks and no others from now on."""
        with self._changed:
            self._added.clear()
            self.held = self.claimed = set(indexes)
            self.version += 1
            self._changed.notify_all()

    def _holds(self, first, last):
        chunks = range(first // self.have_chunk_size, last // self.have_chunk_size + 1)
        return self.held is None or self.held.issuperset(chunks)

    def _choose(self, chunk_size, wanted):
        """What was least often its choice of the wanted chunks that it holds, ties at random; None: it holds none."""
        with self._changed:
            held = [index for index in wanted
                    if self._holds(index * chunk_size, min((index + 1) * chunk_size, self.content.size) - 1)]  # fmt: skip
            if not held:
                return None
            index = min(held, key=lambda index: (self._sent_any[chunk_size, index], random.random()))
            self._sent_any[chunk_size, index] += 1
            return index

    def _spoil(self, body, first):
        """`body`, which begins at `first`, with its bytes of the wrong chunks made wrong."""
        body = bytearray(body)
        for chunk in self.wrong_chunks:
            begin, end = max(first, chunk * self.have_chunk_size), (chunk + 1) * self.have_chunk_size
            for position in range(begin - first, min(end - first, len(body)), BLOCK_SIZE):
                body[position] ^= 1
        return bytes(body)

    def _await_thaw(self):
        while not self._thawed.is_set() and not self._stopping.is_set():
            self._thawed.wait(0.05)

    def _await_turn(self, length):
        """Until so many bytes more may be sent by `rate_bytes_s`."""
        if self.rate_bytes_s:
            with self._changed:
                now = time.monotonic()
                self._next_turn = turn = max(self._next_turn, now) + length / self.rate_bytes_s
            self._stopping.wait(turn - now)
        self._await_thaw()

    # ---- what was asked ----

    @property
    def ranges(self):
        """(first, last, body bytes sent so far) of each request for data, ranges and any, that was not refused."""
        with self._changed:
            return [tuple(answer) for answer in self._answers]

    def _per_chunk(self, chunk_size, amount):
        counter = collections.Counter()
        for first, last, sent in self.ranges:
            for index in range(first // chunk_size, last // chunk_size + 1):
                begin, end = max(first, index * chunk_size), min(first + sent, (index + 1) * chunk_size)
                counter[index] += amount(begin, end)
        return counter

    def chunk_requests(self, chunk_size):
        """How often each chunk was asked for, in part or as a whole."""
        return self._per_chunk(chunk_size, lambda begin, end: 1)

    def chunk_bytes(self, chunk_size):
        """How many bytes of each chunk were sent."""
        return self._per_chunk(chunk_size, lambda begin, end: max(0, end - begin))

    @property
    def sent_bytes(self):
        return sum(sent for _, _, sent in self.ranges)


class _Server(http.server.ThreadingHTTPServer):
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


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(http.server.BaseHTTPRequestHandler):
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
        same = body["size"] == content.size
        return same, body["chunk_size"], same and bitmap_indexes(body["wanted"], content.chunk_count(body["chunk_size"]))

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
            if held and size <= _BATCH_CONTENT_MAX:
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
        piece = min(_PIECE, max(1, rate // 20)) if rate else _PIECE
        start = 0
        while start < len(body) and not holder._stopping.is_set():
            in_chunk = (answer[0] + start) % holder.have_chunk_size
            length = min(piece, holder.have_chunk_size - in_chunk, len(body) - start)
            if holder.pace_s and in_chunk == 0 and start > 0:
                holder._stopping.wait(holder.pace_s)
            holder._await_turn(length)
            self.wfile.write(body[start : start + length])
            start += length
            with holder._changed:
                answer[2] += length
        self.close_connection = self.close_connection or start < len(body)

    def _write_slowly(self, body, answer):
        for octet in body:
            self.wfile.write(bytes([octet]))
            if answer is not None:
                with self.server.holder._changed:
                    answer[2] += 1
            if self.server.holder._stopping.wait(1):
                return

    def _hang(self):
        """Until the client gives up or the holder stops."""
        self.connection.settimeout(0.2)
        while not self.server.holder._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                if not self.connection.recv(1024):
                    return
