"""Loads a server with wrk and load.lua: requests from a file, over many connections, and what came of them."""

import json
import pathlib
import re

from process import Failed, Process

SCRIPT = pathlib.Path(__file__).resolve().parent / "load.lua"
# More than it can take.
END_S = 60
TIMEOUT_S = 20


def line(method, path, secret="", body=""):
    """One request in the file."""
    return f"{method}\t{path}\t{secret}\t{body}\n"


class Load:
    """wrk at work.  `threads` are wrk's own; they share the addresses among them."""

    def __init__(self, folder, addresses, requests, *, seconds, connections, threads, once=False, rate=0):
        words = ["wrk", "-t", threads, "-c", connections, "-d", f"{seconds}s", "--timeout", f"{TIMEOUT_S}s", "-s", SCRIPT]
        words += [f"http://{addresses[0]}/", "--", requests, threads, "once" if once else "cycle", rate]
        if threads < len(addresses):
            raise Failed(f"{len(addresses)} trackers need as many threads of wrk: --threads")
        self.seconds = seconds
        self.rate = rate
        self.process = Process(words, folder, "wrk", extra={"BENCH_ADDRESSES": " ".join(addresses)})

    def enough(self):
        """It ends now, with the figures so far."""
        self.process.interrupt()

    def figures(self, closes=False):
        """Those of the whole run, where each request had its answer.  `closes`: the server closes after each answer, which
        wrk counts among the errors in reading."""
        self.process.wait(self.seconds + END_S)
        found = re.search(r"^figures (\{.*\})$", self.process.log(), re.MULTILINE)
        if self.process.status != 0 or not found:
            raise Failed(self.process.explain("failed"))
        figures = json.loads(found[1])
        if figures.pop("short"):
            raise Failed("wrk has sent all that was prepared before the time was over: fewer --seconds, please")
        wrong = {name: count for name, count in figures.items() if name.endswith("_errors") and count}
        if closes:
            wrong.pop("read_errors", None)
        if wrong or not figures["requests"]:
            raise Failed(f"not all were answered as they should be: {figures}")
        figures["rate"] = figures["requests"] / figures["seconds"]
        return figures
