"""The programs that take part in `swarm`: one seeder and many leechers each, on the hosts of a Course.

Each goes through the same steps: prepare() until all that comes before the download is done (programs started, the file
hashed, everybody known to the tracker); run() gives each leecher's seconds from the common start to its whole file;
sent() is what the seeder has sent of the file, in bytes; stop() ends all and tells what they cost.  copies() are the
files that must now equal the original.
"""

import base64
import dataclasses
import json
import os
import pathlib
import re
import selectors
import sys
import time

import network
import nginx
import torrent
from process import Failed, Process, stop_all, wait_all, wait_for_line, wait_until
from web import answers, ask

HERE = pathlib.Path(__file__).resolve().parent
READY_S = 120
BT_PORT, RPC_PORT, HTTP_PORT, TRACKER_PORT = 6881, 6800, 8000, 5000


@dataclasses.dataclass
class Course:
    """What all programs are given: the hosts, the file, and how."""

    path: pathlib.Path  # the file
    folder: pathlib.Path  # empty; for what the programs write
    tracker: network.Host
    seeder: network.Host
    leechers: list
    timeout_s: float
    bin: pathlib.Path  # of Enxame's programs
    peer_args: list = dataclasses.field(default_factory=list)
    changes: list = dataclasses.field(default_factory=list)  # of the other program's settings
    piece_bytes: int = 0  # of a torrent

    def home(self, number):
        """Leecher `number`'s folder."""
        home = self.folder / f"leecher{number}"
        home.mkdir(exist_ok=True)
        return home


class Swarm:
    """What they have in common."""

    needs = []
    PIECE_BYTES = 0  # of its torrents: what is fastest here

    def __init__(self, course):
        self.course = course
        self.processes = []  # all; what the others need until their end is the first
        self.leechers = []

    def start(self, words, name, host, **options):
        process = Process(words, self.course.folder, name, host=host, **options)
        self.processes.append(process)
        return process

    def copies(self):
        return [self.course.home(number) / self.course.path.name for number in range(len(self.course.leechers))]

    def stop(self):
        return stop_all(self.processes[1:]) + stop_all(self.processes[:1])

    def _seconds(self, began, found):
        return [found[leecher][0] - began for leecher in self.leechers]


class Enxame(Swarm):
    """Leechers that are told `download` through a pipe, and serve until the pipe is closed."""

    def prepare(self):
        course = self.course
        where = f"{course.tracker.address}:{TRACKER_PORT}"
        words = [course.bin / "tracker", "--listen", where, "--db", course.folder / "tracker.db", "--no-discover"]
        tracker = self.start(words, "tracker", course.tracker, lines=True)
        wait_for_line([tracker], r"^tracker listening", READY_S)
        common = [course.bin / "peer", "--tracker", where, "--no-discover", *course.peer_args]
        seeder = [*common, "--dir", course.folder / "seeder", "--daemon", course.seeder.address, "0", course.path]
        self.start(seeder, "seeder", course.seeder)
        wait_until(lambda: any(peer["files"] for peer in self._peers()), READY_S, "the seeder's file at the tracker")
        for number, host in enumerate(course.leechers):
            words = [*common, "--dir", course.home(number), host.address, "0"]
            self.leechers.append(self.start(words, f"leecher{number}", host, lines=True, input=True))
        wait_until(lambda: len(self._peers()) == len(self.leechers) + 1, READY_S, "all at the tracker")

    def _peers(self):
        """As the tracker knows them; all must be alive."""
        for process in self.processes:
            if process.ended():
                raise Failed(process.explain("ended too soon"))
        host = self.course.tracker
        return json.loads(ask(host.address, TRACKER_PORT, "/v1/peers?limit=1000", host=host))["peers"]

    def run(self):
        name = self.course.path.name
        began = time.monotonic()
        for leecher in self.leechers:
            leecher.say(f"download {name}")
        found = wait_for_line(self.leechers, rf"^{re.escape(name)}: .* in ", self.course.timeout_s)
        return self._seconds(began, found)

    def sent(self):
        host = self.course.seeder
        port = next(peer["port"] for peer in self._peers() if peer["host"] == host.address)
        shown = ask(host.address, port, "/metrics", host=host).decode()
        return int(re.search(r"^enxame_peer_sent_bytes_total (\d+)", shown, re.MULTILINE)[1])


class BitTorrent(Swarm):
    """A torrent of the file, and a tracker of our own for it."""

    def make_torrent(self):
        course = self.course
        announce = f"http://{course.tracker.address}:{TRACKER_PORT}/announce"
        path = course.folder / "file.torrent"
        path.write_bytes(torrent.make(course.path, announce, course.piece_bytes))
        words = [sys.executable, HERE / "bt_tracker.py", course.tracker.address, TRACKER_PORT]
        tracker = self.start(words, "tracker", course.tracker, lines=True)
        wait_for_line([tracker], "^ready", READY_S)
        return path


class Libtorrent(BitTorrent):
    """A session on each host, which begins at a word from us."""

    needs = ["import libtorrent"]
    PIECE_BYTES = 1 << 14
    # Deep queues at a slow link only make what is rare arrive late: without this it takes 2.2 F/u instead of 1.8.
    SETTINGS = ["request_queue_time=1"]

    def prepare(self):
        course = self.course
        path = self.make_torrent()
        script = [sys.executable, HERE / "lt_peer.py", path]
        options = {"lines": True, "input": True}
        settings = [*self.SETTINGS, *course.changes]
        words = [*script, course.path.parent, course.seeder.address, BT_PORT, *settings]
        self.seeder = self.start(words, "seeder", course.seeder, **options)
        for number, host in enumerate(course.leechers):
            words = [*script, course.home(number), host.address, BT_PORT, *settings]
            self.leechers.append(self.start(words, f"leecher{number}", host, **options))
        wait_for_line([self.seeder, *self.leechers], "^ready", READY_S)
        self.seeder.say("go")
        wait_for_line([self.seeder], "^announced", READY_S)

    def run(self):
        began = time.monotonic()
        for leecher in self.leechers:
            leecher.say("go")
        return self._seconds(began, wait_for_line(self.leechers, "^done", self.course.timeout_s))

    def sent(self):
        self.seeder.say("sent")
        found = wait_for_line([self.seeder], r"^sent (\d+)", READY_S)
        return int(found[self.seeder][1][1])


class Aria2(BitTorrent):
    """aria2c at rest, driven through its JSON-RPC; a hook tells when the file is whole."""

    needs = ["aria2c"]
    PIECE_BYTES = 1 << 17

    OPTIONS = [
        "--no-conf", "--quiet", "--enable-rpc", f"--rpc-listen-port={RPC_PORT}", f"--listen-port={BT_PORT}",
        "--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false", "--disable-ipv6",
        "--bt-max-peers=0", "--seed-ratio=0.0", "--bt-min-crypto-level=plain", "--file-allocation=none",
        "--bt-detach-seed-only", "--check-certificate=false",
    ]  # fmt: skip

    def prepare(self):
        course = self.course
        self.torrent = base64.b64encode(self.make_torrent().read_bytes()).decode()
        hook = course.folder / "done.sh"
        hook.write_text('#!/bin/sh\necho done >"$DONE"\n')
        hook.chmod(0o755)
        self.fifos = []
        words = ["aria2c", *self.OPTIONS, *course.changes]
        self.start([*words, "--check-integrity", "--bt-seed-unverified", f"--dir={course.path.parent}"], "seeder",
                   course.seeder)  # fmt: skip
        for number, host in enumerate(course.leechers):
            fifo = course.folder / f"done{number}"
            os.mkfifo(fifo)
            self.fifos.append(os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
            more = [f"--dir={course.home(number)}", f"--on-bt-download-complete={hook}"]
            self.leechers.append(self.start([*words, *more], f"leecher{number}", host, extra={"DONE": str(fifo)}))
        for host, process in zip([course.seeder, *course.leechers], self.processes[1:]):
            wait_until(lambda host=host, process=process: self._up(host, process), READY_S, "aria2's RPC")
        self.gid = self._call(course.seeder, "addTorrent", self.torrent)
        wait_until(self._seeds, READY_S, "the seeder to seed")

    def _up(self, host, process):
        if process.ended():
            raise Failed(process.explain("ended too soon"))
        try:
            return self._call(host, "getVersion")
        except Failed:
            return None

    def _call(self, host, method, *parameters):
        body = json.dumps({"jsonrpc": "2.0", "id": "1", "method": f"aria2.{method}", "params": parameters})
        answer = json.loads(ask("127.0.0.1", RPC_PORT, "/jsonrpc", body, host))
        if "error" in answer:
            raise Failed(f"aria2 {method}: {answer['error']}")
        return answer["result"]

    def _seeds(self):
        status = self._call(self.course.seeder, "tellStatus", self.gid)
        return status["totalLength"] != "0" and status["completedLength"] == status["totalLength"]

    def run(self):
        began = time.monotonic()
        for host in self.course.leechers:
            self._call(host, "addTorrent", self.torrent)
        ended = {}
        deadline = began + self.course.timeout_s
        with selectors.DefaultSelector() as selector:
            for number, fifo in enumerate(self.fifos):
                selector.register(fifo, selectors.EVENT_READ, number)
            while len(ended) < len(self.fifos):
                events = selector.select(max(0.0, deadline - time.monotonic()))
                now = time.monotonic()
                if not events:
                    raise Failed(f"aria2: {len(ended)} leechers had the file after {self.course.timeout_s:.0f} s")
                for key, _ in events:
                    ended[key.data] = now
                    selector.unregister(key.fd)
        return [ended[number] - began for number in range(len(self.fifos))]

    def sent(self):
        return int(self._call(self.course.seeder, "tellStatus", self.gid)["uploadLength"])

    def stop(self):
        while self.fifos:
            os.close(self.fifos.pop())
        return super().stop()


class Http(Swarm):
    """nginx on the seeder, curl on each leecher: what there is without a swarm."""

    needs = ["nginx", "curl"]

    def prepare(self):
        course = self.course
        self.server = nginx.start(course.folder, course.path.parent, course.seeder.address, HTTP_PORT, course.seeder)
        self.processes.append(self.server)
        wait_until(lambda: answers(self.server, course.seeder.address, HTTP_PORT, "/", course.seeder), READY_S, "nginx")

    def run(self):
        course = self.course
        url = f"http://{course.seeder.address}:{HTTP_PORT}/{course.path.name}"
        copies = self.copies()
        began = time.monotonic()
        for number, host in enumerate(course.leechers):
            words = ["curl", "-sS", "--fail", "-o", copies[number], url]
            self.leechers.append(self.start(words, f"leecher{number}", host))
        return [at - began for at in wait_all(self.leechers, course.timeout_s)]

    def sent(self):
        return self.course.path.stat().st_size * len(self.leechers)


KINDS = {"enxame": Enxame, "aria2": Aria2, "libtorrent": Libtorrent, "http": Http}
