"""`scripts/bench hash`: how fast `share` hashes files that are in memory, against plain SHA-256."""

import os
import re
import subprocess
import time

import needs
import report
from holders import HOST, READY_S
from process import Failed, Process, environment, wait_for_line

SECONDS = 2  # of each run of openssl
BLOCK_BYTES = 16384  # a leaf of the tree
# What is measured, and how it reads in the table.
TITLES = {
    "openssl": "openssl speed, one core",
    "openssl-all": "openssl speed, all cores at once",
    "enxame": "share, whole process",
    "enxame-command": "share, in a running peer",
}


def openssl(cores):
    """Bytes a second of SHA-256 over a buffer of one leaf, in as many processes as that."""
    words = ["openssl", "speed", "-elapsed", "-seconds", str(SECONDS), "-bytes", str(BLOCK_BYTES)]
    words += ["-multi", str(cores)] if cores > 1 else []
    done = subprocess.run([*words, "-evp", "sha256"], capture_output=True, text=True, check=False, env=environment())
    found = re.search(r"^sha256\s+([\d.]+)k", done.stdout, re.MULTILINE | re.IGNORECASE)
    if not found:
        raise Failed(f"openssl speed: {done.stderr.strip() or 'no figure'}")
    return {"rate_bytes_s": float(found[1]) * 1000}


def share(options, bench, paths, running):
    """Of a peer that knows none of the files: the time of `share`, or its whole life."""
    home = bench.fresh("peer")
    listed = " ".join(f'"{path}"' for path in paths)
    words = [options.bin / "peer", "--no-tracker", "--no-discover", *options.peer_args, "--dir", home, HOST, "0"]
    began = time.monotonic()
    process = Process(words, bench.work, "share", lines=True, input=True)
    if running:
        process.say("status")
        wait_for_line([process], "^address ", READY_S)
        began = time.monotonic()
    process.say(f"share {listed}")
    found = wait_for_line([process], rf"^{len(paths)} files? (is|are) shared, {len(paths)} ", READY_S)
    ended = found[process][0]
    usage = process.stop()
    seconds = (ended if running else time.monotonic()) - began
    total = sum(path.stat().st_size for path in paths)
    return {"seconds": seconds, "rate_bytes_s": total / seconds, "cpu_s": usage.cpu_s, "rss_bytes": usage.rss_bytes}


def run(options, bench):
    fault = needs.missing(["openssl"])
    if fault:
        raise Failed(fault)
    cores = os.cpu_count()
    bench.needs_room(options.files * options.size)
    paths = [bench.random_file(f"file{number}", options.size) for number in range(options.files)]
    bench.say(f"{options.files} files of {report.size_text(options.size)}, cached; {cores} cores")
    steps = {
        "openssl": lambda: openssl(1),
        "openssl-all": lambda: openssl(cores),
        "enxame": lambda: share(options, bench, paths, False),
        "enxame-command": lambda: share(options, bench, paths, True),
    }
    rows = {name: [] for name in steps}
    for number in range(options.runs):
        for name, step in steps.items():
            rows[name].append(step())
            bench.say(f"  run {number + 1}  {name:<14} {rows[name][-1]['rate_bytes_s'] / 1e6:.0f} MB/s")
    found = {name: {"median": report.medians(some), "runs": some} for name, some in rows.items()}
    one, every = (found[name]["median"]["rate_bytes_s"] for name in ("openssl", "openssl-all"))
    lines = []
    for name, figures in found.items():
        rate = figures["median"]["rate_bytes_s"]
        figures["of_cores_ratio"], figures["of_all_ratio"] = rate / (cores * one), rate / every
        lines.append([TITLES[name], f"{rate / 1e6:.0f}", f"{rate / (cores * one):.2f}", f"{rate / every:.2f}"])
    bench.table(["", "MB/s", f"of {cores} x one core", "of all cores at once"], lines)
    return {"files": options.files, "size": options.size, "cores": cores, "programs": found}
