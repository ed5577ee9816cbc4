"""`scripts/bench tracker`: what trackers answer in a second, how soon, and in how much memory.

Each row of the table is measured by a station, all stations in turns, several times.  What is sent lies in memory, the
database on a disk: what a tracker acknowledges is to survive the loss of power.
"""

import os
import pathlib
import shutil

import catalogue
import load
import report
from fill import fill
from process import Failed
from tracker_kinds import Enxame, Opentracker, announces
from workplace import Workplace

MEMORY_KINDS = ("tmpfs", "ramfs")
CONNECTIONS = 64
EACH = 10  # files of a peer, and holders of a file
# Nothing lapses meanwhile.
PATIENT = ["--heartbeat", "3600", "--expire", "86400"]
# Of what is sent only once so much is prepared, for each second.
KNOWN_S, NEW_S = 30_000, 10_000
# Peers and files that no database has yet.
NEW_PEERS, NEW_FILES = 10_000_000, 100_000_000


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


class Course:
    """What all stations are given: where to work, and what to send."""

    def __init__(self, options, memory, disk):
        self.options = options
        self.memory = memory
        self.disk = disk
        self.names = catalogue.Names()
        self.files = options.peers  # with EACH of a peer, and so many peers, each has EACH holders
        self.database = None
        self.requests = {}

    def items(self, first, count):
        return [catalogue.item(file, self.names.of(file)) for file in range(first, first + count)]

    def prepare(self, rows):
        """The database and the requests of those rows."""
        items = self.items(0, self.files)
        peers = range(self.options.peers)
        held = [[items[file] for file in catalogue.held(peer, EACH, self.files)] for peer in peers]
        bodies = (("/v1/peers", catalogue.secret(peer), catalogue.registration(peer, held[peer])) for peer in peers)
        self.database = self.disk.fresh("base") / "tracker.db"
        with self.enxame(self.database.parent, self.database) as tracker:
            fill(tracker.address, bodies, EACH)
        for row in rows:
            path = self.memory.work / row
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(getattr(self, f"{row}_lines")(items, held))
            self.requests[row] = path

    def enxame(self, folder, database):
        return Enxame(self.options.bin, folder, database, *PATIENT, *self.options.tracker_args)

    def copy(self):
        """A copy of the database in a folder of its own."""
        folder = self.disk.fresh("run")
        shutil.copy(self.database, folder / "tracker.db")
        return folder, folder / "tracker.db"

    # ---- what is sent ----

    def heartbeat_lines(self, _, held):
        for peer in range(len(held)):
            yield load.line("POST", f"/v1/peers/{catalogue.peer_id(peer)}/heartbeat", catalogue.secret(peer), "{}")

    def again_lines(self, _, held):
        for peer, items in enumerate(held):
            yield load.line("POST", "/v1/peers", catalogue.secret(peer), catalogue.registration(peer, items))

    def known_lines(self, items, _):
        for number in range(KNOWN_S * self.options.seconds):
            some = [items[file] for file in catalogue.held(number, EACH, self.files)]
            peer = NEW_PEERS + number
            yield load.line("POST", "/v1/peers", catalogue.secret(peer), catalogue.registration(peer, some))

    def new_lines(self, *_):
        for number in range(NEW_S * self.options.seconds):
            some = self.items(NEW_FILES + number * EACH, EACH)
            peer = NEW_PEERS + number
            yield load.line("POST", "/v1/peers", catalogue.secret(peer), catalogue.registration(peer, some))


def loaded(course, server, requests, *, connections=CONNECTIONS, **more):
    """The figures of one load of a server, and what that cost it."""
    before = server.cpu_s()
    one = load.Load(course.memory.work, server.address, requests, seconds=course.options.seconds, connections=connections,
                    threads=course.options.threads, **more)  # fmt: skip
    try:
        figures = one.figures(server.closes)
    finally:
        one.process.stop()
    return {**figures, "cpu_s": server.cpu_s() - before, **server.memory()}


def expect(what, found, low, high):
    if not low <= found <= high:
        raise Failed(f"{found} {what}, where there should be {low} to {high}")


# ---- stations: each gives the figures of one run ----


def opentracker(course):
    peers = course.options.peers
    if "announce" not in course.requests:
        course.requests["announce"] = course.memory.work / "announce"
        announces(course.requests["announce"], peers)
    with Opentracker(course.memory.fresh("opentracker")) as server:
        figures = loaded(course, server, course.requests["announce"])
        expect("peers in opentracker", server.counted("peers"), min(peers, figures["requests"]), peers)
    return figures


def writes(row):
    """A station that sends what stands under that name."""

    def run(course):
        folder, database = course.copy()
        once = row in ("known", "new")
        with course.enxame(folder, database) as server:
            before = server.metric("enxame_peers")
            figures = loaded(course, server, course.requests[row], once=once)
            new = figures["requests"] if once else 0
            peers = server.metric("enxame_peers")
            expect("peers", peers, before + new, before + new + (CONNECTIONS if once else 0))
            expect("holdings", server.metric("enxame_holdings"), EACH * peers, EACH * peers)
        return figures

    return run


WRITES = {
    "heartbeat": "heartbeats",
    "again": f"registrations again, the same {EACH} files",
    "known": f"new peers, {EACH} known files",
    "new": f"new peers, {EACH} new files",
}
ROWS = {**WRITES}
KINDS = {"enxame": Enxame, "opentracker": Opentracker}
COLUMNS = [
    ("a second", "rate", report.figure),
    ("p50 ms", "p50_ms", "{:.2f}"),
    ("p99 ms", "p99_ms", "{:.2f}"),
    ("p99.9 ms", "p999_ms", "{:.2f}"),
    ("CPU s", "cpu_s", "{:.1f}"),
    ("RSS", "rss_bytes", report.size_text),
]


def stations(options):
    """name: (what the table calls it, station)."""
    found = {}
    if "opentracker" in options.programs and any(row in WRITES for row in options.rows):
        found["opentracker"] = ("opentracker: announces", opentracker)
    for row in options.rows:
        found[row] = (ROWS[row], writes(row))
    return found


def show(course, chosen, found):
    medians = {name: report.medians(runs) for name, runs in found.items() if runs}
    theirs = medians.get("opentracker", {}).get("rate")
    lines = []
    for name, median in medians.items():
        rate, *rest = report.cells(COLUMNS, median)
        ratio = f"{median['rate'] / theirs:.2f} x" if theirs and name in WRITES else "-"
        lines.append([chosen[name][0], rate, ratio, *rest])
    (first, _, _), *others = COLUMNS
    course.memory.table(["", first, "of opentracker's", *(title for title, _, _ in others)], lines)
    return {name: {"median": medians[name], "runs": found[name]} for name in medians}


def run(options, disk):
    check_disk(disk.work)
    with Workplace(None, options.markdown) as memory:
        return measure(options, Course(options, memory, disk))


def measure(options, course):
    memory = course.memory
    chosen = stations(options)
    memory.say(f"{options.peers} peers with {EACH} files each, {CONNECTIONS} connections, {options.seconds} s for each figure")
    course.prepare([row for row in options.rows if row in WRITES])
    found = {name: [] for name in chosen}
    for number in range(options.runs):
        for name, (title, station) in chosen.items():
            program = "opentracker" if name == "opentracker" else "enxame"
            row = memory.attempt(program, lambda station=station: station(course))
            if row:
                found[name].append(row)
                memory.say(f"  run {number + 1}  {title:<42} " + report.one_line(COLUMNS, row))
    rows = show(course, chosen, found)
    return {"peers": options.peers, "files": course.files, "seconds": options.seconds, "connections": CONNECTIONS, "rows": rows}
