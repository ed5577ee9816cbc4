"""`scripts/bench tracker-growth`: what more peers and more files cost a tracker."""

import contextlib
import copy

import needs
import picture
import report
import trackers
from tracker_course import Course, check_disk
from tracker_kinds import Opentracker
from tracker_reads import Reads
from tracker_stores import Sqlite
from tracker_writes import Announces, Writes
from workplace import Workplace

PEERS = [1_000, 3_000, 10_000, 30_000, 100_000]
FILES = [10_000, 100_000, 1_000_000]
MIB = 1 << 20

PEER_COLUMNS = [
    ("heartbeats a second", "heartbeat", "rate", report.figure),
    ("p99 ms", "heartbeat", "p99_ms", "{:.2f}"),
    ("registrations again a second", "again", "rate", report.figure),
    ("RSS", "again", "rss_bytes", report.size_text),
    ("opentracker's announces", "opentracker", "rate", report.figure),
    ("its RSS", "opentracker", "rss_bytes", report.size_text),
]
FILE_COLUMNS = [
    ("holders asked for a second", "lookup", "rate", report.figure),
    ("p99 ms", "lookup", "p99_ms", "{:.2f}"),
    ("searches a second", "search", "rate", report.figure),
    ("p99 ms at 100 a second", "search-mixed", "p99_ms", "{:.2f}"),
    ("RSS", "memory", "rss_bytes", report.size_text),
    ("database", "memory", "database_bytes", report.size_text),
]


def of_peers(options):
    theirs = [("opentracker", Announces())] if not needs.missing(Opentracker.needs) else []
    return [*theirs, ("enxame", Writes("heartbeat", Sqlite())), ("enxame", Writes("again", Sqlite()))]


def of_files(options):
    return [("enxame", Reads(["lookup", "search"], options.files, min(options.peers, options.files), kinds=False))]


def series(options, disk, name, values, stations):
    """The medians of all rows for each value of an option: {value: {row: medians}}."""
    found = {}
    for value in values:
        changed = copy.copy(options)
        setattr(changed, name, value)
        disk.say(f"{value} {name}:")
        with Workplace(None, options.markdown) as memory, contextlib.ExitStack() as stack:
            course = Course(changed, memory, disk, stack)
            runs = trackers.rounds(changed, course, trackers.prepared(course, stations(changed)))
        found[value] = {row: report.medians(some) for row, some in runs.items()}
    return found


def table(bench, title, columns, found):
    lines = []
    for value, rows in found.items():
        cells = (report.cells([(head, figure, form)], rows.get(row, {}))[0] for head, row, figure, form in columns)
        lines.append([str(value), *cells])
    bench.table([title, *(head for head, _, _, _ in columns)], lines)


def line(found, row, figure, scale=1):
    return [(value, rows[row][figure] / scale) for value, rows in found.items() if row in rows]


def draw(path, result):
    panels = []
    if peers := result.get("peers"):
        rates = {"heartbeats": line(peers, "heartbeat", "rate"), "registrations again": line(peers, "again", "rate"),
                 "opentracker: announces": line(peers, "opentracker", "rate")}  # fmt: skip
        panels.append(("Requests a second", "peers", "a second", {name: points for name, points in rates.items() if points}))
    if files := result.get("files"):
        late = {"who holds a file": line(files, "lookup", "p99_ms"), "searches": line(files, "search-mixed", "p99_ms")}
        panels.append(("99 % are answered within", "files", "ms", late))
        panels.append(("Resident memory", "files", "MiB", {"tracker": line(files, "memory", "rss_bytes", MIB)}))
    picture.draw(path, panels)


def run(options, disk):
    """Both series, or the one whose values were given."""
    check_disk(disk.work)
    if options.picture:
        picture.check(options.picture)
    both = not options.series_peers and not options.series_files
    result = {}
    if options.series_peers or both:
        result["peers"] = series(options, disk, "peers", options.series_peers or PEERS, of_peers)
        table(disk, "peers", PEER_COLUMNS, result["peers"])
    if options.series_files or both:
        result["files"] = series(options, disk, "files", options.series_files or FILES, of_files)
        if len(result) > 1:
            print()
        table(disk, "files", FILE_COLUMNS, result["files"])
    if options.picture:
        draw(options.picture, result)
    return result
