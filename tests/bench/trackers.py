"""`scripts/bench tracker`: what trackers answer in a second, how soon, and in how much memory."""

import contextlib

import report
import tracker_stores
from tracker_course import CONNECTIONS, EACH, Course, check_disk
from tracker_kinds import Enxame, Opentracker
from tracker_reads import LOOKUP_RATE, SEARCH_CONNECTIONS, SEARCH_RATE, SEARCHES, Reads
from tracker_stores import Postgres, Sqlite
from tracker_strain import LARGE_FILES, Expiry, Idle
from tracker_writes import Announces, Writes
from workplace import Workplace


class Postgresql(Enxame):
    needs = ["postgres"]


KINDS = {"enxame": Enxame, "opentracker": Opentracker, "postgresql": Postgresql}
STORES = [Sqlite(), Postgres(1), Postgres(2)]
ROWS = ["heartbeat", "again", "known", "new", "idle", "expiry", "lookup", "search"]
TITLES = {
    "opentracker": "opentracker: announces",
    "heartbeat": "heartbeats",
    "again": f"registrations again, the same {EACH} files",
    "known": f"new peers, {EACH} known files",
    "new": f"new peers, {EACH} new files",
    "idle": "heartbeats beside idle connections",
    "expiry": f"heartbeats while {LARGE_FILES} files lapse",
    "lookup": f"who holds a file, {LOOKUP_RATE} a second",
    "search": f"searches, {SEARCH_CONNECTIONS} connections",
    "search-mixed": f"searches of all kinds, {SEARCH_RATE} a second",
    **{f"search-{kind}": f"- {kind}" for kind in SEARCHES},
}
TITLES.update({row + store.name: store.title + TITLES[row] for store in STORES for row in Writes.LINES})
COLUMNS = [
    ("a second", "rate", report.figure),
    ("p50 ms", "p50_ms", "{:.2f}"),
    ("p99 ms", "p99_ms", "{:.2f}"),
    ("p99.9 ms", "p999_ms", "{:.2f}"),
    ("CPU s", "cpu_s", "{:.1f}"),
    ("stolen", "stolen", "{:.1%}"),
    ("RSS", "rss_bytes", report.size_text),
]
COMPARED = ("heartbeat", "again", "known", "new", "idle")


def stations(options):
    """[(program, station)] of the rows that were asked for."""
    rows = options.rows
    found = []
    if "opentracker" in options.programs and any(row in COMPARED for row in rows):
        found.append(("opentracker", Announces()))
    chosen = [store for store in STORES if ("postgresql" if store.name else "enxame") in options.programs]
    # What is compared comes one right after another: the machine's own speed changes.
    found += [("enxame", Writes(row, store)) for row in rows if row in Writes.LINES for store in chosen]
    if "enxame" not in options.programs:
        return found
    if "idle" in rows:
        found.append(("enxame", Idle()))
    if "expiry" in rows:
        found.append(("enxame", Expiry()))
    if "lookup" in rows or "search" in rows:
        found.append(("enxame", Reads(rows, options.files, min(options.peers, options.files))))
    return found


def show(options, medians, bench):
    theirs = medians.get("opentracker", {}).get("rate")
    columns = [*COLUMNS]
    if theirs:
        columns.insert(1, ("of opentracker's", "ratio", "{:.2f} x"))
    lines = []
    for row, title in TITLES.items():
        if median := medians.get(row):
            ratio = {"ratio": median["rate"] / theirs} if theirs and row.partition("-")[0] in COMPARED else {}
            lines.append([title, *report.cells(columns, {**median, **ratio})])
    bench.table(["", *(title for title, _, _ in columns)], lines)
    stores = list(compare_stores(medians))
    if stores:
        print()
        bench.table(["a second", "SQLite", "PostgreSQL", "of SQLite's", "2 trackers", "of one's"], stores)
    for line in notes(options, medians):
        print(f"\n{line}", flush=True)


def compare_stores(medians):
    for row in Writes.LINES:
        rates = [medians[row + store.name]["rate"] for store in STORES if row + store.name in medians]
        if len(rates) == len(STORES):
            shown = [report.figure(rate) for rate in rates]
            ratios = [f"{rates[1] / rates[0]:.2f} x", f"{rates[2] / rates[1]:.2f} x"]
            yield [TITLES[row], shown[0], shown[1], ratios[0], shown[2], ratios[1]]


def notes(options, medians):
    """Sentences on what is no column."""
    size = report.size_text
    if "idle" in medians:
        one = medians["idle"]
        yield (f"With {options.idle} idle connections there were {one['of_alone']:.2f} times as many heartbeats a second as "
               f"without; memory grew from {size(one['rss_alone_bytes'])} to {size(one['rss_bytes'])}.")  # fmt: skip
    if "expiry" in medians:
        one = medians["expiry"]
        yield (f"The {LARGE_FILES} files of the peer that lapsed were gone after {one['sweep_s']:.1f} s; "
               f"the slowest heartbeat meanwhile took {one['max_ms']:.0f} ms.")  # fmt: skip
    if "memory" in medians:
        one = medians["memory"]
        yield (f"With {options.files} files and {options.files * EACH} holdings {size(one['rss_bytes'])} were resident in "
               f"the end ({size(one['anonymous_bytes'])} of its own, {size(one['file_bytes'])} of files); "
               f"the database took {size(one['database_bytes'])}.")  # fmt: skip


def prepared(course, chosen):
    for _, station in chosen:
        station.prepare(course)
    return chosen


def rounds(options, course, chosen):
    """All stations in turns, each second time from the last to the first, so that no place is better; {row: its runs}."""
    found = {}
    for number in range(options.runs):
        for program, station in chosen if number % 2 == 0 else reversed(chosen):
            rows = course.memory.attempt(program, lambda station=station: station(course)) or {}
            for row, figures in rows.items():
                found.setdefault(row, []).append(figures)
                if row in TITLES:
                    course.say(f"  run {number + 1}  {TITLES[row]:<42} " + report.one_line(COLUMNS, figures))
    return found


def run(options, disk):
    """`disk` is the Workplace for databases."""
    check_disk(disk.work)
    if "postgresql" in options.programs and (fault := tracker_stores.fault(disk.work.parent)):
        disk.say(f"postgresql is left out: {fault}; --work DIR chooses another place")
        options.programs.remove("postgresql")
    with Workplace(None, options.markdown) as memory, contextlib.ExitStack() as stack:
        course = Course(options, memory, disk, stack)
        chosen = prepared(course, stations(options))
        course.say(f"{options.peers} peers, {CONNECTIONS} connections, {options.seconds} s for each figure")
        found = rounds(options, course, chosen)
    medians = {row: report.medians(runs) for row, runs in found.items()}
    show(options, medians, disk)
    rows = {row: {"median": medians[row], "runs": found[row]} for row in found}
    return {"peers": options.peers, "files": options.files, "seconds": options.seconds, "rows": rows}
