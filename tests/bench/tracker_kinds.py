"""The trackers that are measured, each on a free port of loopback."""

import hashlib
import pathlib
import re

import holders
import web
from process import Process, cpu_s_so_far, wait_for_line, wait_until

READY_S = 300
HOST = "127.0.0.1"
TORRENTS = 1000


def memory(pid):
    """{"rss_bytes", "anonymous_bytes", "file_bytes"} of a live process."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    fields = {"rss_bytes": "VmRSS", "anonymous_bytes": "RssAnon", "file_bytes": "RssFile"}
    return {name: int(re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024 for name, field in fields.items()}


class Server:
    """One that runs; a context that stops it."""

    needs = []
    host = HOST
    closes = False  # each connection after one answer

    def __init__(self):
        self.processes = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.stop()

    def memory(self):
        whole = [memory(process.pid) for process in self.processes]
        return {name: sum(one[name] for one in whole) for name in whole[0]}

    def cpu_s(self):
        return sum(cpu_s_so_far(process.pid) for process in self.processes)


class Enxame(Server):
    def __init__(self, binaries, folder, database, *words):
        super().__init__()
        command = [binaries / "tracker", "--listen", f"{HOST}:0", "--db", database, "--no-discover", *words]
        self.processes.append(Process(command, folder, "tracker", lines=True))
        ((_, found),) = wait_for_line(self.processes, r"^tracker listening on (\S+)", READY_S).values()
        self.address = found[1]
        self.port = int(self.address.rpartition(":")[2])

    def metric(self, name):
        text = web.ask(HOST, self.port, "/metrics").decode()
        return int(float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE)[1]))


class Opentracker(Server):
    """It keeps all in memory.  Debian's build knows those torrents only that a list names."""

    needs = ["opentracker"]
    closes = True

    def __init__(self, folder):
        super().__init__()
        folder.chmod(0o755)  # as root it makes this its root, and becomes nobody
        (folder / "list").write_text("".join(f"{hashlib.sha1(b'%d' % number).hexdigest()}\n" for number in range(TORRENTS)))
        self.port = holders.free_port()
        self.address = f"{HOST}:{self.port}"
        lines = [f"listen.tcp {self.address}", f"access.stats {HOST}", "access.whitelist list"]
        (folder / "conf").write_text("\n".join(lines) + "\n")
        self.processes.append(Process(["opentracker", "-f", "conf", "-d", "."], folder, "opentracker"))
        wait_until(lambda: web.answers(self.processes[0], HOST, self.port, "/stats?mode=peer"), READY_S, "opentracker")

    def counted(self, name):
        text = web.ask(HOST, self.port, "/stats?mode=everything").decode()
        return int(re.search(rf"<{name}>.*?(\d+)", text, re.DOTALL)[1])
