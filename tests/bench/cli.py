"""The command line of scripts/bench."""

import argparse
import json
import os
import pathlib
import re
import shlex
import signal
import sys

import contest
import growth
import hashing
import machine
import needs
import network
import process
import refresh
import swarm
import swarms
import syncing
import tracker_growth
import trackers
import workplace

ROOT = pathlib.Path(__file__).resolve().parents[2]
POWERS = " KMG"
DESCRIPTION = """Measures Enxame against other programs.  Each command runs all programs in turns, several times, checks
every byte that was fetched, and prints the medians.  docs/BENCHMARKS.md holds what it found, and how to read it."""


# ---- words of the command line ----


def scaled(text, step, what):
    found = re.fullmatch(r"([0-9]{1,12})([KMG]?)", text)
    if not found or int(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not {what}")
    return int(found[1]) * step ** POWERS.index(found[2] or " ")


def size(text):
    return scaled(text, 1024, "a size; for instance 4096, 64M or 2G")


def rate(text):
    bits_s = scaled(text, 1000, "a rate in bits a second; for instance 100M")
    if not 100_000 <= bits_s <= 100_000_000_000:
        raise argparse.ArgumentTypeError(f"'{text}' is not from 100K to 100G bits a second")
    return bits_s


def count(highest):
    def parse(text):
        if not text.isdecimal() or not 1 <= int(text) <= highest:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1 to {highest}")
        return int(text)

    return parse


def list_of(parse):
    return lambda text: [parse(word) for word in text.split(",")]


def one_of(names):
    def parse(text):
        if text not in names:
            raise argparse.ArgumentTypeError(f"'{text}' is not one of {', '.join(names)}")
        return text

    return parse


def setting(text):
    name, colon, value = text.partition(":")
    if not colon or name not in swarms.KINDS:
        raise argparse.ArgumentTypeError(f"'{text}' is not PROGRAM:SETTING")
    return name, value


# ---- options ----


def common_options():
    common = argparse.ArgumentParser(add_help=False)
    add = common.add_argument
    add("--bin", type=pathlib.Path, default=ROOT / "build", metavar="DIR", help="Enxame's programs (build)")
    add("--runs", type=count(1000), default=5, metavar="N", help="of each program (5)")
    add("--json", type=pathlib.Path, metavar="FILE", help="write all figures of all runs there, too")
    add("--markdown", action="store_true", help="print the table as Markdown")
    add("--work", type=pathlib.Path, metavar="DIR", help="work below DIR (/dev/shm; databases: build)")
    add("--peer-args", type=shlex.split, default=[], metavar="'WORDS'", help="for all of Enxame's peers")
    add("--keep-logs", type=pathlib.Path, metavar="DIR", help="keep what the programs said; peers run with -v")
    return common


def add_programs(command, kinds, chosen=None):
    chosen = chosen or list(kinds)
    default = "all" if chosen == list(kinds) else ",".join(chosen)
    command.add_argument("--programs", type=list_of(one_of(list(kinds))), default=chosen, metavar="LIST",
                         help=f"of {','.join(kinds)} ({default})")  # fmt: skip


def swarm_options():
    options = argparse.ArgumentParser(add_help=False)
    add = options.add_argument
    add("--leechers", type=count(200), default=8, metavar="N", help="(8)")
    add("--size", type=size, default=64 << 20, help="of the file (64M)")
    add("--rate", type=rate, default=100_000_000, help="of each link and direction, bits a second (100M)")
    add("--slow-half", type=rate, metavar="RATE", help="upload of every second leecher")
    add("--piece", type=size, metavar="SIZE", help="of the torrents (what is fastest for each program)")
    add("--congestion", metavar="NAME", help="TCP's congestion control (the machine's own)")
    add("--set", type=setting, action="append", default=[], metavar="PROGRAM:SETTING",
        help="of another program, as libtorrent:unchoke_slots_limit=8 or aria2:--bt-max-peers=5")  # fmt: skip
    return options


def tracker_options():
    options = argparse.ArgumentParser(add_help=False)
    add = options.add_argument
    add("--seconds", type=count(3600), default=5, metavar="N", help="for each figure (5)")
    add("--threads", type=count(64), default=2, metavar="N", help="of wrk (2)")
    add("--tracker-args", type=shlex.split, default=[], metavar="'WORDS'", help="for all of Enxame's trackers")
    return options


def parser():
    main = argparse.ArgumentParser(prog="scripts/bench", description=DESCRIPTION)
    main.set_defaults(place=None)
    commands = main.add_subparsers(dest="command", required=True, metavar="command")
    common, of_swarms, of_trackers = common_options(), swarm_options(), tracker_options()

    one = commands.add_parser("transfer", parents=[common], help="one large file from one holder, on loopback")
    one.add_argument("--size", type=size, default=2 << 30, help="of the file (2G)")
    add_programs(one, contest.TRANSFER)
    one.set_defaults(run=contest.transfer)

    one = commands.add_parser("small-files", parents=[common], help="many small files from one holder, on loopback")
    one.add_argument("--files", type=count(1_000_000), default=10_000, metavar="N", help="(10000)")
    one.add_argument("--size", type=size, default=4096, help="of each (4096)")
    add_programs(one, contest.SMALL_FILES)
    one.set_defaults(run=contest.small_files)

    one = commands.add_parser("hash", parents=[common], help="`share` of cached files against plain SHA-256")
    one.add_argument("--files", type=count(1000), default=8, metavar="N", help="(8)")
    one.add_argument("--size", type=size, default=256 << 20, help="of each (256M)")
    one.set_defaults(run=hashing.run, programs=[])

    one = commands.add_parser("swarm", parents=[common, of_swarms], help="one seeder, many leechers, limited links")
    add_programs(one, swarms.KINDS)
    one.set_defaults(run=swarm.run)

    one = commands.add_parser("growth", parents=[common, of_swarms], help="swarms and files of several sizes",
                              description="Both series, or that of --swarms or --sizes alone.")  # fmt: skip
    one.add_argument("--swarms", type=list_of(count(200)), metavar="LIST",
                     help="numbers of leechers, for a file of --size (2,4,8,16,24)")  # fmt: skip
    one.add_argument("--sizes", type=list_of(size), metavar="LIST",
                     help="of files, for --leechers (16M,32M,64M,128M,256M,512M,1G)")  # fmt: skip
    add_programs(one, swarms.KINDS, ["enxame"])
    one.set_defaults(run=growth.run)

    one = commands.add_parser("sync", parents=[common], help="three hosts that keep a folder the same")
    one.add_argument("--files", type=count(1_000_000), default=1000, metavar="N", help="(1000)")
    one.add_argument("--size", type=size, default=30 << 20, help="of one file beside them (30M)")
    one.add_argument("--edits", type=count(1000), default=6, metavar="N", help="of one file, by one host after the other (6)")
    one.add_argument("--rate", type=rate, help="of each link and direction, bits a second (no limit)")
    add_programs(one, syncing.KINDS)
    one.set_defaults(run=syncing.run)

    one = commands.add_parser("tracker", parents=[common, of_trackers], help="requests a second, latency, memory of trackers",
                              description="The database lies on a disk: below build/, or below --work.")  # fmt: skip
    one.add_argument("--rows", type=list_of(one_of(trackers.ROWS)), default=trackers.ROWS, metavar="LIST",
                     help=f"of {','.join(trackers.ROWS)} (all)")  # fmt: skip
    one.add_argument("--peers", type=count(1_000_000), default=10_000, metavar="N", help="(10000)")
    one.add_argument("--files", type=count(10_000_000), default=1_000_000, metavar="N",
                     help="for lookup and search (1000000)")  # fmt: skip
    one.add_argument("--idle", type=count(11_000), default=10_000, metavar="N", help="connections that ask nothing (10000)")
    add_programs(one, trackers.KINDS)
    one.set_defaults(run=trackers.run, place=ROOT / "build")

    one = commands.add_parser("tracker-growth", parents=[common, of_trackers], help="more and more peers and files",
                              description="Both series, or that of --peers or --files alone.")  # fmt: skip
    one.add_argument("--peers", dest="series_peers", type=list_of(count(1_000_000)), metavar="LIST",
                     help="with as many files, 10 of each peer (1000,3000,10000,30000,100000)")  # fmt: skip
    one.add_argument("--files", dest="series_files", type=list_of(count(10_000_000)), metavar="LIST",
                     help="of 10000 peers (10000,100000,1000000)")  # fmt: skip
    one.add_argument("--picture", type=pathlib.Path, metavar="FILE", help="draw both there (.svg or .png)")
    one.set_defaults(run=tracker_growth.run, place=ROOT / "build", programs=[], peers=10_000)

    one = commands.add_parser("refresh", help="run the commands of a document's tables, and renew the tables")
    one.add_argument("tables", nargs="*", metavar="TABLE", help="by their names; all by default")
    one.add_argument("--file", type=pathlib.Path, default=ROOT / "docs" / "BENCHMARKS.md", help="(docs/BENCHMARKS.md)")
    one.add_argument("--bin", type=pathlib.Path, metavar="DIR", help="Enxame's programs (build)")
    one.set_defaults(run=None)
    return main


# ---- running ----


def usage_fault(options):
    """What is wrong with the options together; None where they will do."""
    if options.command in ("swarm", "growth", "sync"):
        if os.geteuid() != 0:
            return f"{options.command} makes network namespaces: run it as root"
        return needs.missing(["ip", "tc"])
    if options.command in ("tracker", "tracker-growth"):
        return needs.missing(["wrk"])
    return None


def choose_programs(options, bench):
    kinds = {
        "transfer": contest.TRANSFER,
        "small-files": contest.SMALL_FILES,
        "sync": syncing.KINDS,
        "tracker": trackers.KINDS,
    }.get(options.command, swarms.KINDS)
    options.programs = needs.present(list(dict.fromkeys(options.programs)), kinds, bench.say)
    if not options.programs and options.command not in ("hash", "tracker-growth"):
        raise process.Failed("none of the programs is here")


def check_binaries(options):
    options.bin = options.bin.resolve()
    for name in ("tracker", "peer"):
        if not os.access(options.bin / name, os.X_OK):
            raise process.Failed(f"there is no {options.bin / name}: run make, or say --bin DIR")


def measure(options):
    check_binaries(options)
    if options.keep_logs:
        options.peer_args = ["-v", *options.peer_args]
    if options.place:
        options.place.mkdir(exist_ok=True)
    with workplace.Workplace(options.work or options.place, options.markdown) as bench:
        try:
            choose_programs(options, bench)
            result = options.run(options, bench)
        finally:
            process.end_all()
        if options.json:
            whole = {"command": sys.argv[1:], "machine": machine.describe(options.bin), options.command: result}
            options.json.write_text(json.dumps(whole, indent=1) + "\n")


def leave(number, _):
    """Ends with all that is to be cleaned up; further signals do not disturb that."""
    for one in process.SIGNALS:
        signal.signal(one, lambda *_: None)  # not SIG_IGN: Python complains where one that came with this is ignored
    sys.exit(128 + number)


def main():
    options = parser().parse_args()
    fault = usage_fault(options)
    if fault:
        print(f"scripts/bench: {fault}", file=sys.stderr)
        return 2
    os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    for number in process.SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's, for instance
            signal.signal(number, leave)
    try:
        if options.command == "refresh":
            return refresh.run(options)
        measure(options)
    except (process.Failed, network.NetworkError) as problem:
        print(f"scripts/bench: {problem}", file=sys.stderr)
        return 1
    return 0
