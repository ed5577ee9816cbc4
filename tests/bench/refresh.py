"""`scripts/bench refresh`: renews the tables of docs/BENCHMARKS.md.

A table stands between two comments, `<!-- table NAME: ARGUMENTS -->` and `<!-- end -->`: the command that made it, then
what it printed.  The table `machine` has no arguments: it tells what all were measured on.
"""

import pathlib
import re
import subprocess
import sys

import machine
import report
from process import Failed

MARK = re.compile(r"^<!-- table (?P<name>[\w-]+):(?P<arguments>[^\n]*)-->\n(?P<body>.*?)^<!-- end -->$", re.M | re.S)
SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "bench"


def machine_table(options):
    return report.table(["", "what all was measured on"], machine.rows(machine.describe(options.bin)), True)


def made(arguments, options):
    """The table's new text."""
    if not arguments:
        return machine_table(options) + "\n"
    words = arguments.split()
    more = ["--bin", str(options.bin.resolve())] if options.bin else []
    command = [sys.executable, str(SCRIPT), *words, *more, "--markdown"]
    # Where what the arguments name is, as for whoever reads the document.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=SCRIPT.parents[1]) as running:
        try:
            shown, _ = running.communicate()
        except BaseException:
            running.terminate()  # it has to clean up, too
            raise
    if running.returncode != 0:
        raise Failed(f"scripts/bench {arguments} failed; its table stays as it was")
    return f"```sh\nscripts/bench {arguments}\n```\n\n{shown.strip()}\n"


def find(text, name):
    return next((mark for mark in MARK.finditer(text) if mark["name"] == name), None)


def run(options):
    text = options.file.read_text(encoding="utf-8")
    names = [mark["name"] for mark in MARK.finditer(text)]
    for name in options.tables:
        if name not in names:
            raise Failed(f"{options.file} has no table '{name}', only {', '.join(names)}")
    for name in options.tables or names:
        arguments = find(text, name)["arguments"].strip()
        print(f"{name}: {arguments}", file=sys.stderr, flush=True)
        body = f"\n{made(arguments, options)}\n"
        # It took a while: what was written there meanwhile stays.
        now = options.file.read_text(encoding="utf-8")
        mark = find(now, name)
        if mark is None:
            raise Failed(f"{options.file} has lost its table '{name}'")
        options.file.write_text(now[: mark.start("body")] + body + now[mark.end("body") :], encoding="utf-8")
    return 0
