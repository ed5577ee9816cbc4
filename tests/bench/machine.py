"""What the figures were measured on."""

import os
import platform
import re
import subprocess
import sys
import time

import report

VERSIONS = {
    "aria2": ["aria2c", "--version"],
    "libtorrent": [sys.executable, "-c", "import libtorrent; print(libtorrent.__version__)"],
    "nginx": ["nginx", "-v"],
    "curl": ["curl", "--version"],
    "rsync": ["rsync", "--version"],
    "openssl": ["openssl", "version"],
    "syncthing": ["syncthing", "--version"],
    "postgresql": ["psql", "--version"],
    **{name: ["dpkg-query", "-W", "-f", "${Version}", name] for name in ("wrk", "opentracker")},
}


def cpu():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        found = re.search(r"^model name\s*:\s*(.+)$", file.read(), re.MULTILINE)
    return found[1] if found else platform.machine()


def memory_bytes():
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _spent_s():
    """Seconds of all processors together since the start, by what they were spent on: the columns of /proc/stat."""
    with open("/proc/stat", encoding="ascii") as file:
        return [int(ticks) / os.sysconf("SC_CLK_TCK") for ticks in file.readline().split()[1:]]


def idle_s():
    """Spent on nothing, or on waiting for a disk."""
    return sum(_spent_s()[3:5])


def stolen_s():
    """A virtual machine's processors would have worked, but its host had none for them."""
    return _spent_s()[7]


class Shares:
    """Of all processors' time since this was made."""

    def __init__(self):
        self.began, self.idle_s, self.stolen_s = time.monotonic(), idle_s(), stolen_s()

    def of(self, seconds):
        return seconds / ((time.monotonic() - self.began) * os.cpu_count())

    def idle(self):
        return self.of(idle_s() - self.idle_s)

    def stolen(self):
        return self.of(stolen_s() - self.stolen_s)


def congestion():
    with open("/proc/sys/net/ipv4/tcp_congestion_control", encoding="ascii") as file:
        return file.read().strip()


def version(words):
    """The first thing that looks like one; None where there is no such program."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return None
    found = re.search(r"\d+\.\d+[\w.~]*", done.stdout + done.stderr) if done.returncode == 0 else None
    return found[0] if found else None


def describe(binaries=None):
    found = {name: version(words) for name, words in VERSIONS.items()}
    if binaries:
        found = {"enxame": version([str(binaries / "peer"), "--version"]), **found}
    return {
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "memory_bytes": memory_bytes(),
        "kernel": platform.release(),
        "congestion": congestion(),
        "programs": {name: one for name, one in found.items() if one},
    }


def rows(described):
    """As a table."""
    programs = ", ".join(f"{name} {version}" for name, version in described["programs"].items())
    return [
        ["processor", f"{described['cpu']}, {described['cores']} cores"],
        ["memory", report.size_text(described["memory_bytes"])],
        ["kernel", f"{described['kernel']}, TCP congestion control {described['congestion']}"],
        ["programs", programs],
    ]
