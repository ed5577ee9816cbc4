"""A holder of one content by the peer API, with faults that tests switch on and off."""

import collections
import contextlib
import random
import threading
import time

import requests

from apis import Clock, Identity, Tracker, host_port
from contents import BLOCK_SIZE
from holder_http import Handler, Server, Server6

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


class FakeHolder:
    """A holder of one content, registered at the tracker, that may misbehave.

        with FakeHolder(content, tracker=address) as holder:
            holder.fail("wrong_bytes", every=3)          # one data request in three
            holder.fail("silent", on=("layer", "data"))  # kinds of request that the fault is for
            holder.fail("status_500", after=5, times=2)  # from the sixth such request on, two times
            holder.behave()

    `held` limits what it has: a set of chunk numbers of `have_chunk_size` bytes.  `claimed` is what its have map says
    where that is not the truth ("complete": everything); what is not held is 404.  A fault on "data" is one on "any".

    Further attributes, to be set at any time:

    pace_s         an honest holder's slowness: a pause before each chunk (of `have_chunk_size`) that it sends
    rate_bytes_s   the same as a steady rate of all its answers with data together; 0: as fast as it can
    freezes_at     as many bytes of data together, after which it freezes by itself; None: never
    waits_for      a function: until it says so, no data is sent
    wrong_chunks   chunks (of `have_chunk_size`) of which no block is sent rightly, whatever range they are asked in
    closes         after each answer, "said" by Connection: close or "unsaid"
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
        self.freezes_at = None
        self.waits_for = lambda: True
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
        self._server = (Server6 if ":" in host else Server)((host, 0), Handler)
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
        """Also where it froze by itself, which it then does no more."""
        self.freezes_at = None
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
            ends = {index: min((index + 1) * chunk_size, self.content.size) - 1 for index in wanted}
            held = [index for index, last in ends.items() if self._holds(index * chunk_size, last)]
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
        while not self.waits_for() and not self._stopping.wait(0.01):
            pass
        self._await_thaw()

    def _count(self, answer, length):
        """Bytes of an answer that were sent."""
        with self._changed:
            answer[2] += length
            if self.freezes_at is not None and sum(sent for _, _, sent in self._answers) >= self.freezes_at:
                self._thawed.clear()

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
