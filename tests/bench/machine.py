"""What the figures were measured on."""

import os
import platform
import re
import subprocess
import sys

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


def idle_s():
    """Seconds of all processors together that were spent on nothing, or on waiting for a disk."""
    with open("/proc/stat", encoding="ascii") as file:
        return sum(map(int, file.readline().split()[4:6])) / os.sysconf("SC_CLK_TCK")


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
