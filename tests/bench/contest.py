"""`scripts/bench transfer` and `small-files`: one holder, one that fetches, the programs in turns."""

import hashlib
import shutil

import holders
import report
from process import Failed, cpu_s_so_far

TRANSFER = {
    "enxame": holders.Enxame,
    "aria2": holders.Aria2,
    "curl": holders.Curl,
    "rsync": holders.Rsync,
    "enxame-command": holders.EnxameRunning,
    "libtorrent": holders.Libtorrent,
}
SMALL_FILES = {"enxame": holders.Enxame, "rsync": holders.Rsync, "enxame-command": holders.EnxameRunning}
OWN = {"process": "enxame", "command": "enxame-command"}


def digest(path):
    """SHA-256 of a file, or of all names and files of a folder."""
    if path.is_file():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    whole = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        whole.update(f"{file.relative_to(path)} {digest(file) if file.is_file() else 'folder'}\n".encode())
    return whole.hexdigest()


def fetch_once(kind, expected, target):
    """Into the empty folder; one run's figures."""
    before = sum(cpu_s_so_far(holder.pid) for holder in kind.holders)
    seconds = kind.fetch(target)
    after = sum(cpu_s_so_far(holder.pid) for holder in kind.holders)
    if digest(kind.copy(target)) != expected:
        raise Failed(f"{type(kind).__name__}: what was fetched is not what was there")
    shutil.rmtree(target)
    return {
        "seconds": seconds,
        "client_cpu_s": kind.usage.cpu_s,
        "holder_cpu_s": after - before,
        "rss_bytes": kind.usage.rss_bytes,
    }


def compare(rows, kinds):
    """Medians; and how many times Enxame's rate is that of each, where both were measured in the same way."""
    programs = {}
    for name, runs in rows.items():
        if not runs:
            continue
        programs[name] = {"measured": kinds[name].measured, "median": report.medians(runs), "runs": runs}
    for name, one in programs.items():
        own = programs.get(OWN[one["measured"]])
        if own and not name.startswith("enxame"):
            one["enxame_times"] = one["median"]["seconds"] / own["median"]["seconds"]
    return programs


def run(options, bench, source, kinds):
    """All programs in turns, `runs` times; each one's figures."""
    expected = digest(source)
    prepared = {}
    rows = {name: [] for name in options.programs}
    try:
        for name in options.programs:
            prepared[name] = kinds[name](holders.Course(source, bench.work, options.bin, options.peer_args))
            prepared[name].prepare()
        for number in range(options.runs):
            for name in options.programs:
                kind = prepared[name]
                row = bench.attempt(name, lambda kind=kind: fetch_once(kind, expected, bench.fresh("target")))
                if row:
                    rows[name].append(row)
                    bench.say(f"  run {number + 1}  {name:<14} {row['seconds']:.3f} s")
    finally:
        for kind in prepared.values():
            kind.stop()
        if options.keep_logs:
            for log in bench.work.glob("*/*.err"):
                target = options.keep_logs / log.parent.name
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(log, target)
    return compare(rows, kinds)


def table(bench, programs, rate_title, rate):
    """`rate`: seconds to a cell."""
    head = ["program", "measured", "median s", rate_title, "Enxame's rate", "its CPU s", "holder's CPU s", "its RSS"]
    lines = []
    for name, one in programs.items():
        median = one["median"]
        times = one.get("enxame_times")
        lines.append([
            name, one["measured"], f"{median['seconds']:.3f}", rate(median["seconds"]),
            f"{times:.2f} x" if times else "-", f"{median['client_cpu_s']:.2f}", f"{median['holder_cpu_s']:.2f}",
            report.size_text(median["rss_bytes"]),
        ])  # fmt: skip
    bench.table(head, lines)


def transfer(options, bench):
    size = options.size
    bench.needs_room(2 * size)
    bench.say(f"{report.size_text(size)} from one holder, loopback")
    programs = run(options, bench, bench.random_file("file.bin", size), TRANSFER)
    table(bench, programs, "MiB/s", lambda seconds: report.figure(size / seconds / (1 << 20)))
    return {"size": size, "programs": programs}


def small_files(options, bench):
    bench.needs_room(2 * options.files * max(options.size, 4096))
    folder = bench.work / "source" / "small"
    for number in range(options.files):
        bench.random_file(f"small/{number // 1000:03}/{number:06}", options.size)
    bench.say(f"{options.files} files of {report.size_text(options.size)} from one holder, loopback")
    programs = run(options, bench, folder, SMALL_FILES)
    table(bench, programs, "files/s", lambda seconds: report.figure(options.files / seconds))
    return {"size": options.size, "files": options.files, "programs": programs}
