"""`scripts/bench swarm`: how soon many hosts with limited links have one host's file."""

import os
import shutil
import statistics
import time

import machine
import network
import report
import swarms
from contest import digest as digest_of
from process import Failed

TIMEOUT_FACTOR = 30  # times the bound: nobody is that slow


def links(options):
    """Each leecher's upload in bits a second: with --slow-half every second one is slow."""
    slow = options.slow_half or options.rate
    return [slow if number % 2 else options.rate for number in range(options.leechers)]


def bound_s(size, rate, uploads):
    """Nothing can be faster (Mundinger, Weber, Weiss): the seeder sends all once, each receives all, and all uploads
    together send a copy to each."""
    total = (rate + sum(uploads)) / 8
    return max(size * 8 / rate, size * len(uploads) / total)


def run_once(kind, options, path, digest, folder):
    """One program's run, in an empty folder; its figures as a dict."""
    size = path.stat().st_size
    with network.Network(options.congestion) as net:
        uploads = links(options)
        course = swarms.Course(
            path=path, folder=folder, bin=options.bin,
            tracker=net.add("tracker"),
            seeder=net.add("seeder", options.rate, options.rate),
            leechers=[net.add(f"leecher{number}", up, options.rate) for number, up in enumerate(uploads)],
            timeout_s=TIMEOUT_FACTOR * (1 + bound_s(size, options.rate, uploads)),
            peer_args=options.peer_args, changes=[value for program, value in options.set if program == kind],
            piece_bytes=options.piece or swarms.KINDS[kind].PIECE_BYTES,
        )  # fmt: skip
        swarm = swarms.KINDS[kind](course)
        try:
            swarm.prepare()
            linked, idle, began = course.seeder.sent_link_bytes(), machine.idle_s(), time.monotonic()
            seconds = swarm.run()
            busy = 1 - (machine.idle_s() - idle) / (time.monotonic() - began) / os.cpu_count()
            linked = course.seeder.sent_link_bytes() - linked
            sent = swarm.sent()
        finally:
            usage = swarm.stop()
            keep_logs(options, kind, folder)
        for copy in swarm.copies():
            if digest_of(copy) != digest:
                raise Failed(f"{kind}: {copy.name} is not what the seeder has")
    shutil.rmtree(folder)
    best = size * 8 / options.rate
    return {
        "seconds": [round(one, 4) for one in seconds],
        "last_ratio": max(seconds) / best,
        "mean_ratio": statistics.fmean(seconds) / best,
        "first_ratio": min(seconds) / best,
        "seeder_payload_ratio": sent / size,
        "seeder_link_ratio": linked / size,
        "cpu_s": usage.cpu_s,
        "rss_bytes": usage.rss_bytes,
        "busy": busy,
    }


def keep_logs(options, kind, folder):
    if options.keep_logs:
        target = options.keep_logs / f"{kind}-{time.time_ns()}"
        target.mkdir(parents=True)
        for log in [*folder.glob("*.err"), *folder.glob("*.out")]:
            shutil.copy(log, target)


COLUMNS = [
    ("last / (F/u)", "last_ratio", "{:.3f}"),
    ("mean / (F/u)", "mean_ratio", "{:.3f}"),
    ("seeder sent / F", "seeder_payload_ratio", "{:.3f}"),
    ("on its link / F", "seeder_link_ratio", "{:.3f}"),
    ("CPU s", "cpu_s", "{:.1f}"),
    ("machine busy", "busy", "{:.0%}"),
    ("largest RSS", "rss_bytes", report.size_text),
]


def measure(options, bench):
    """All programs in turns, `runs` times; what goes into the JSON."""
    bench.needs_room((options.leechers + 1) * options.size)
    path = bench.random_file("file.bin", options.size)
    digest = digest_of(path)
    bound = bound_s(options.size, options.rate, links(options))
    best = options.size * 8 / options.rate
    bench.say(
        f"{report.size_text(options.size)} to {options.leechers} leechers; links of {options.rate / 1e6:g} Mbit/s"
        + (f", half of the leechers {options.slow_half / 1e6:g} up" if options.slow_half else "")
        + f"; F/u = {best:.2f} s, the bound {bound / best:.2f} F/u"
    )
    rows = {kind: [] for kind in options.programs}
    for number in range(options.runs):
        for kind in options.programs:
            row = bench.attempt(kind, lambda kind=kind: run_once(kind, options, path, digest, bench.fresh("run")))
            if not row:
                continue
            rows[kind].append(row)
            bench.say(f"  run {number + 1}  {kind:<10} " + report.one_line(COLUMNS, row))
    programs = {kind: {"median": report.medians(some), "runs": some} for kind, some in rows.items() if some}
    return {
        "leechers": options.leechers, "size": options.size, "rate_bits_s": options.rate,
        "slow_half_bits_s": options.slow_half, "best_s": best, "bound_ratio": bound / best,
        "congestion": options.congestion, "programs": programs,
    }  # fmt: skip


def run(options, bench):
    result = measure(options, bench)
    lines = [[kind, *report.cells(COLUMNS, one["median"])] for kind, one in result["programs"].items()]
    bench.table(["program", *(title for title, _, _ in COLUMNS)], lines)
    return result
