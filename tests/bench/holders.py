"""The programs that take part in `transfer` and `small-files`: one holder on loopback, and one that fetches from it.

A Kind's prepare() starts what holds the files; fetch() fetches them once, into an empty folder, and gives the seconds;
`holders` are the processes that send.  `measured` says what the seconds are: a program's whole life, or the time from a
command to its end in a program that is up already, where others must be compared with the same.
"""

import dataclasses
import json
import os
import pathlib
import re
import signal
import socket
import sys
import time

import nginx
import torrent
import web
from process import Process, stop_all, wait_all, wait_for_line, wait_until

HERE = pathlib.Path(__file__).resolve().parent
READY_S = 300
HOST = "127.0.0.1"


@dataclasses.dataclass
class Course:
    """What all are given."""

    source: pathlib.Path  # a file, or a folder of files
    folder: pathlib.Path  # for the holders' own
    bin: pathlib.Path
    peer_args: list
    timeout_s: float = 600.0


def free_port():
    with socket.create_server((HOST, 0)) as server:
        return server.getsockname()[1]


def serves(port):
    try:
        socket.create_connection((HOST, port), timeout=5).close()
    except OSError:
        return False
    return True


class Kind:
    measured = "process"
    needs = []

    def __init__(self, course):
        self.course = course
        self.holders = []  # that others need until their end is the first
        self.usage = None  # of the last fetch
        self.folder = course.folder / type(self).__name__
        self.folder.mkdir(exist_ok=True)

    def start_holder(self, words, name, **options):
        process = Process(words, self.folder, name, **options)
        self.holders.append(process)
        return process

    def time(self, words, target):
        """A program from its start to its end."""
        began = time.monotonic()
        process = Process(words, target.parent, "fetch")
        try:
            (ended,) = wait_all([process], self.course.timeout_s)
        finally:
            self.usage = process.stop()
        return ended - began

    def prepare(self):
        raise NotImplementedError

    def fetch(self, target):
        raise NotImplementedError

    def copy(self, target):
        """Where fetch() puts the file, or the folder."""
        return target / self.course.source.name

    def stop(self):
        stop_all(self.holders[1:])
        stop_all(self.holders[:1])


class Enxame(Kind):
    """`peer -c 'download NAME'`, from start to end."""

    def prepare(self):
        course = self.course
        words = [course.bin / "tracker", "--listen", f"{HOST}:0", "--db", self.folder / "tracker.db", "--no-discover"]
        tracker = self.start_holder(words, "tracker", lines=True)
        ((_, found),) = wait_for_line([tracker], r"^tracker listening on (\S+)", READY_S).values()
        self.peer = [course.bin / "peer", "--tracker", found[1], "--no-discover", *course.peer_args]
        # Commands from a pipe: the answer to `share` tells that all is hashed; then it serves on.
        words = [*self.peer, "--dir", self.folder / "holder", HOST, "0"]
        holder = self.start_holder(words, "holder", lines=True, input=True)
        holder.say(f'share "{course.source}"')
        wait_for_line([holder], r" shared, \d+ of them new", READY_S)
        count = 1 if course.source.is_file() else sum(1 for path in course.source.rglob("*") if path.is_file())
        port = int(found[1].rpartition(":")[2])
        wait_until(lambda: self.known(port) == count, READY_S, "the holder's files at the tracker")

    @staticmethod
    def known(port):
        """How many files the tracker knows of."""
        return sum(peer["files"] for peer in json.loads(web.ask(HOST, port, "/v1/peers"))["peers"])

    def command(self):
        name = self.course.source.name
        return f"download {name}" if self.course.source.is_file() else f"download {name}/"

    def fetch(self, target):
        return self.time([*self.peer, "--dir", target, "-c", self.command(), HOST, "0"], target)


class EnxameRunning(Enxame):
    """`download` in a peer that is up and known to the tracker, from the command to its answer."""

    measured = "command"

    def fetch(self, target):
        words = [*self.peer, "--dir", target, HOST, "0"]
        process = Process(words, target.parent, "fetch", lines=True, input=True)
        try:
            process.say("peers")
            wait_for_line([process], "^[0-9a-f]{8}", READY_S)
            began = time.monotonic()
            process.say(self.command())
            name = re.escape(self.course.source.name)
            found = wait_for_line([process], rf"^{name}.*: .* in ", self.course.timeout_s)
            return found[process][0] - began
        finally:
            self.usage = process.stop()


class Aria2(Kind):
    """aria2c with four connections to nginx; it verifies nothing."""

    needs = ["aria2c", "nginx"]

    def prepare(self):
        self.port = free_port()
        self.holders.append(nginx.start(self.folder, self.course.source.parent, HOST, self.port))
        wait_until(lambda: web.answers(self.holders[0], HOST, self.port, "/"), READY_S, "nginx")

    def url(self):
        return f"http://{HOST}:{self.port}/{self.course.source.name}"

    def fetch(self, target):
        words = ["aria2c", "--no-conf", "--quiet", "--split=4", "--max-connection-per-server=4", "--min-split-size=1M"]
        return self.time([*words, "--file-allocation=none", f"--dir={target}", self.url()], target)


class Curl(Aria2):
    """curl with one connection to nginx; it verifies nothing."""

    needs = ["curl", "nginx"]

    def fetch(self, target):
        return self.time(["curl", "-sS", "--fail", "-o", self.copy(target), self.url()], target)


class Rsync(Kind):
    """rsync from its daemon; it verifies a checksum of its own."""

    needs = ["rsync"]

    CONFIG = """\
use chroot = no
{identity}
[source]
path = {root}
read only = yes
"""

    def prepare(self):
        self.port = free_port()
        identity = "uid = root\ngid = root" if os.geteuid() == 0 else ""
        path = self.folder / "rsyncd.conf"
        path.write_text(self.CONFIG.format(identity=identity, root=self.course.source.parent))
        words = ["rsync", "--daemon", "--no-detach", f"--config={path}", f"--port={self.port}", f"--address={HOST}"]
        self.start_holder(words, "rsyncd", death_signal=signal.SIGTERM)
        wait_until(lambda: serves(self.port), READY_S, "rsync's daemon")

    def fetch(self, target):
        url = f"rsync://{HOST}:{self.port}/source/{self.course.source.name}"
        return self.time(["rsync", "-r", "--whole-file", url, f"{target}/"], target)


class Libtorrent(Kind):
    """A session that is up, from the torrent's addition to its end; all pieces are verified."""

    measured = "command"
    needs = ["import libtorrent"]
    PIECE_BYTES = 1 << 20

    def prepare(self):
        port = free_port()
        self.torrent = self.folder / "file.torrent"
        announce = f"http://{HOST}:{port}/announce"
        self.torrent.write_bytes(torrent.make(self.course.source, announce, self.PIECE_BYTES))
        tracker = self.start_holder([sys.executable, HERE / "bt_tracker.py", HOST, port], "tracker", lines=True)
        wait_for_line([tracker], "^ready", READY_S)
        holder = self.start_holder(self.words(self.course.source.parent), "holder", lines=True, input=True)
        wait_for_line([holder], "^ready", READY_S)
        holder.say("go")
        wait_for_line([holder], "^announced", READY_S)

    def words(self, folder):
        return [sys.executable, HERE / "lt_peer.py", self.torrent, folder, HOST, free_port()]

    def fetch(self, target):
        process = Process(self.words(target), target.parent, "fetch", lines=True, input=True)
        try:
            wait_for_line([process], "^ready", READY_S)
            began = time.monotonic()
            process.say("go")
            found = wait_for_line([process], "^done", self.course.timeout_s)
            return found[process][0] - began
        finally:
            self.usage = process.stop()
