"""The command line of scripts/bench."""

import argparse
import contextlib
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import sys
import tempfile

import machine
import network
import process
import report
import swarm

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Bench:
    """What all subcommands use: a place to work in, a file of random bytes, and where words go."""

    def __init__(self, work, markdown):
        self.work = work
        self.markdown = markdown

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    def table(self, head, rows):
        print(report.table(head, rows, self.markdown), flush=True)

    def random_file(self, name, size):
        path = self.work / "source" / name
        path.parent.mkdir(exist_ok=True)
        with open(path, "wb") as file:
            for position in range(0, size, 1 << 24):
                file.write(os.urandom(min(1 << 24, size - position)))
        return path


def size(text):
    found = re.fullmatch(r"([0-9]+)([KMG]?)", text)
    if not found or int(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a size; for instance 64M, 2G or 4096")
    return int(found[1]) * UNITS[found[2]]


def rate(text):
    found = re.fullmatch(r"([0-9]+)([KMG]?)", text)
    bits_s = int(found[1]) * 1000 ** " KMG".index(found[2] or " ") if found else 0
    if not 100_000 <= bits_s <= 100_000_000_000:
        raise argparse.ArgumentTypeError(f"'{text}' is not a rate in bits a second, of 100K to 100G; for instance 100M")
    return bits_s


def count(lowest, highest):
    def parse(text):
        if not text.isdecimal() or not lowest <= int(text) <= highest:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number from {lowest} to {highest}")
        return int(text)

    return parse


def programs(known):
    def parse(text):
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"'{name}' is not one of {', '.join(known)}")
        return list(dict.fromkeys(names))

    return parse


def setting(text):
    name, colon, value = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"'{text}' is not PROGRAM:SETTING")
    return name, value


def parser():
    main = argparse.ArgumentParser(prog="scripts/bench", description="Measures Enxame against other programs.")
    commands = main.add_subparsers(dest="command", required=True, metavar="command")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--bin", type=pathlib.Path, default=ROOT / "build", metavar="DIR", help="Enxame's programs (build)")
    common.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all figures there, too")
    common.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    common.add_argument("--work", type=pathlib.Path, metavar="DIR", help="work below DIR (/dev/shm)")
    common.add_argument("--peer-args", type=shlex.split, default=[], metavar="'WORDS'", help="for all of Enxame's peers")
    common.add_argument("--keep-logs", type=pathlib.Path, metavar="DIR", help="keep the programs' output; peers run with -v")
    one = commands.add_parser("swarm", parents=[common], help="one seeder, many leechers, limited links (as root)")
    kinds = list(swarm.swarms.KINDS)
    one.add_argument("--leechers", type=count(1, 200), default=8, metavar="N", help="(8)")
    one.add_argument("--size", type=size, default=64 << 20, help="of the file (64M)")
    one.add_argument("--rate", type=rate, default=100_000_000, help="of each link and direction, bits a second (100M)")
    one.add_argument("--slow-half", type=rate, metavar="RATE", help="upload of every second leecher")
    one.add_argument("--runs", type=count(1, 1000), default=3, metavar="N", help="of each program (3)")
    one.add_argument("--programs", type=programs(kinds), default=kinds, metavar="LIST", help=f"({','.join(kinds)})")
    one.add_argument("--piece", type=size, default=1 << 18, help="of the torrent (256K)")
    one.add_argument("--congestion", metavar="NAME", help="TCP's congestion control (as the machine has it)")
    one.add_argument("--set", type=setting, action="append", default=[], metavar="PROGRAM:SETTING",
                     help="a setting of another program: libtorrent:unchoke_slots_limit=8, aria2:--bt-max-peers=5")  # fmt: skip
    return main


def check(options):
    for name in ("tracker", "peer"):
        if not os.access(options.bin / name, os.X_OK):
            raise process.Failed(f"there is no {options.bin / name}: run make, or say --bin DIR")
    if options.command == "swarm" and os.geteuid() != 0:
        print("scripts/bench: swarm makes network namespaces: run it as root", file=sys.stderr)
        sys.exit(2)


def main():
    options = parser().parse_args()
    options.bin = options.bin.resolve()
    settings = {}
    for name, value in getattr(options, "set", []):
        settings.setdefault(name, []).append(value)
    options.set = settings
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        check(options)
        base = options.work or (pathlib.Path("/dev/shm") if os.path.isdir("/dev/shm") else None)
        with contextlib.ExitStack() as stack:
            work = pathlib.Path(tempfile.mkdtemp(prefix="enxame-bench-", dir=base))
            stack.callback(shutil.rmtree, work, ignore_errors=True)
            bench = Bench(work, options.markdown)
            result = swarm.run(options, bench)
            if options.json:
                options.json.write_text(json.dumps({"machine": machine.describe(), options.command: result}, indent=1))
    except (process.Failed, network.NetworkError) as fault:
        print(f"scripts/bench: {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
