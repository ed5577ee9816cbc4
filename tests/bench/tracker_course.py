"""What all stations of `scripts/bench tracker` are given.  A station prepare()s itself once; a call of it is one run, and
gives the figures of its rows: {row: {figure: number}}.

What is sent lies in memory, the database on a disk: what a tracker acknowledges is to survive the loss of power.
"""

import os
import pathlib
import shutil

import catalogue
import load
import machine
from fill import fill
from process import Failed
from tracker_kinds import Enxame

MEMORY_KINDS = ("tmpfs", "ramfs")
CONNECTIONS = 64
OTHERS_MAX = 0.15  # of the machine; interrupts and the kernel's own threads are among them
EACH = 10  # files of a peer in the small database, and holders of a file in all
# Nothing lapses meanwhile.
PATIENT = ["--heartbeat", "3600", "--expire", "86400"]


def file_system(folder):
    """The kind of what the folder is on."""
    device = os.stat(folder).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields, _, kind = line.partition(" - ")
        if fields.split()[2] == wanted:
            return kind.split()[0]
    return "unknown"


def check_disk(folder):
    if file_system(folder) in MEMORY_KINDS:
        raise Failed(f"{folder} is in memory, where nothing survives and a commit costs nothing: "
                     "--work DIR chooses a place on a disk")  # fmt: skip


def expect(what, found, low, high):
    if not low <= found <= high:
        raise Failed(f"{found} {what}, where there should be {low} to {high}")


class Course:
    def __init__(self, options, memory, disk, stack):
        """Both are Workplaces; the ExitStack `stack` ends what lives as long as this."""
        self.stack = stack
        self.options = options
        self.memory = memory
        self.disk = disk
        self.kept = disk.work.parent / "bench-databases"  # what takes long to make
        self.say = memory.say
        self.names = catalogue.Names()
        self.cluster = None  # of PostgreSQL
        self.small = None  # the database of options.peers peers with EACH files, as many files as peers
        self.items = self.new_items(0, options.peers)

    def new_items(self, first, count):
        return [catalogue.item(file, self.names.of(file)) for file in range(first, first + count)]

    def held(self, peer):
        """What a peer registers in the small database."""
        return [self.items[file] for file in catalogue.held(peer, EACH, self.options.peers)]

    def written(self, name):
        return (self.memory.work / name).exists()

    def write(self, name, lines):
        """A file of requests."""
        with open(self.memory.work / name, "w", encoding="utf-8") as file:
            file.writelines(lines)

    def enxame(self, folder, database, words=PATIENT, count=1):
        """So many trackers on one database."""
        return Enxame(self.options.bin, folder, database, [*words, *self.options.tracker_args], count)

    def small_copy(self):
        """A copy of the small database, in a folder of its own."""
        if not self.small:
            self.small = self.disk.fresh("small") / "tracker.db"
            with self.enxame(self.small.parent, self.small) as server:
                self.fill_small(server)
        return self.copy(self.small)

    def fill_small(self, server):
        peers = range(self.options.peers)
        bodies = (("/v1/peers", catalogue.secret(one), catalogue.registration(one, self.held(one))) for one in peers)
        fill(server.address, bodies, EACH)

    def copy(self, database):
        return pathlib.Path(shutil.copy(database, self.disk.fresh("run")))

    def begin(self, server, name, *, seconds=None, connections=CONNECTIONS, **more):
        """wrk, which sends the requests of that file."""
        return load.Load(self.memory.work, server.addresses, self.memory.work / name, seconds=seconds or self.options.seconds,
                         connections=connections, threads=self.options.threads, **more)  # fmt: skip

    def load(self, server, name, **more):
        """Loads the server; the figures, and what that cost it."""
        before, read, shares = server.cpu_s(), server.read_bytes(), machine.Shares()
        one = self.begin(server, name, **more)
        try:
            figures = one.figures(server.closes)
        finally:
            usage = one.process.stop()
        cpu_s, read, stolen = server.cpu_s() - before, server.read_bytes() - read, shares.stolen()
        others = max(0.0, 1 - shares.idle() - stolen - shares.of(cpu_s + usage.cpu_s))
        if others > OTHERS_MAX:
            self.say(f"  other programs took {others:.0%} of the machine meanwhile: the next figures say little")
        return {**figures, "cpu_s": cpu_s, "others": others, "stolen": stolen, "read_bytes": read, **server.memory()}
