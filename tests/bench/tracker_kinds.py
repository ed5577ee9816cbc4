"""The trackers that are measured, each on a free port of loopback."""

import hashlib
import pathlib
import re

import holders
import web
from process import Failed, Process, cpu_s_so_far, stop_all, wait_for_line, wait_until

READY_S = 300
HOST = "127.0.0.1"
TORRENTS = 1000


def memory(pid):
    """{"rss_bytes", "anonymous_bytes", "file_bytes"} of a live process."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    fields = {"rss_bytes": "VmRSS", "anonymous_bytes": "RssAnon", "file_bytes": "RssFile"}
    return {name: int(re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024 for name, field in fields.items()}


class Server:
    """What runs for one measurement, a context that stops it: one process, or several that do the same."""

    needs = []
    host = HOST
    closes = False  # each connection after one answer

    def __init__(self):
        self.processes = []
        self.others = []  # processes that work for it, but are not its own
        self.ports = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        stop_all(self.processes)

    @property
    def port(self):
        return self.ports[0]

    @property
    def addresses(self):
        return [f"{HOST}:{port}" for port in self.ports]

    @property
    def address(self):
        return self.addresses[0]

    def memory(self):
        """Of its own processes together."""
        whole = [memory(process.pid) for process in self.processes]
        return {name: sum(one[name] for one in whole) for name in whole[0]}

    def read_bytes(self):
        """What its own processes had to wait for a disk for, as far as that is known."""
        return 0

    def cpu_s(self):
        return sum(map(cpu_s_so_far, [*(process.pid for process in self.processes), *self.others]))


class Enxame(Server):
    """So many trackers on one database."""

    def __init__(self, binaries, folder, database, words, count):
        super().__init__()
        command = [binaries / "tracker", "--listen", f"{HOST}:0", "--db", database, "--no-discover", *words]
        try:
            for number in range(count):
                process = Process(command, folder, f"tracker{number}", lines=True)
                self.processes.append(process)
                ((_, found),) = wait_for_line([process], r"^tracker listening on \S+:(\d+) ", READY_S).values()
                self.ports.append(int(found[1]))
        except Failed:
            stop_all(self.processes)
            raise

    def read_bytes(self):
        texts = [pathlib.Path(f"/proc/{process.pid}/io").read_text(encoding="utf-8") for process in self.processes]
        return sum(int(re.search(r"^read_bytes: (\d+)$", text, re.MULTILINE)[1]) for text in texts)

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
        self.ports.append(holders.free_port())
        lines = [f"listen.tcp {self.address}", f"access.stats {HOST}", "access.whitelist list"]
        (folder / "conf").write_text("\n".join(lines) + "\n")
        self.processes.append(Process(["opentracker", "-f", "conf", "-d", "."], folder, "opentracker"))
        wait_until(lambda: web.answers(self.processes[0], HOST, self.port, "/stats?mode=peer"), READY_S, "opentracker")

    def counted(self, name):
        text = web.ask(HOST, self.port, "/stats?mode=everything").decode()
        return int(re.search(rf"<{name}>.*?(\d+)", text, re.DOTALL)[1])
