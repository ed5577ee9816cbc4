"""`scripts/bench sync`: three hosts keep a folder the same; how soon is what one of them writes on the others?"""

import filecmp
import os
import statistics
import subprocess
import time

import network
import report
from process import Failed, Process, cpu_s_so_far, environment, memory_now_bytes, stop_all

HOSTS = 3
TIMEOUT_S = 180
POLL_S = 0.002
OWN = {".enxame", ".stfolder"}  # what the programs keep in the folder for themselves


class Kind:
    """Three instances of one program, each on its host, each with its folder."""

    needs = ["ip", "tc"]

    def __init__(self, options, folder, hosts):
        self.options = options
        self.folder = folder
        self.hosts = hosts
        self.folders = [folder / f"synced{number}" for number in range(len(hosts))]
        self.processes = []
        for path in self.folders:
            path.mkdir()

    def prepare(self):
        """What may be done before the clock starts."""

    def words(self, number):
        raise NotImplementedError

    def start(self):
        for number, host in enumerate(self.hosts):
            name = f"{type(self).__name__.lower()}{number}"
            extra = {"HOME": str(self.folder), "STNOUPGRADE": "1"}
            self.processes.append(Process(self.words(number), self.folder, name, host=host, extra=extra))

    def memory_bytes(self):
        """What the one with most has resident, its children included."""
        return max(memory_now_bytes(process.pid) for process in self.processes)

    def cpu_s(self):
        return sum(cpu_s_so_far(process.pid) for process in self.processes)

    def check(self):
        for process in self.processes:
            if process.ended():
                raise Failed(process.explain("ended"))


class Enxame(Kind):
    """Nothing but --sync: they find each other."""

    def words(self, number):
        words = [self.options.bin / "peer", "--daemon", "--dir", self.folder / f"state{number}"]
        return [*words, *self.options.peer_args, "--sync", self.folders[number], "0.0.0.0", "0"]


class Syncthing(Kind):
    """It is told where the others are, looks at what its watcher saw after 1 s (10 s by default, 1 s is the least), and comes
    back to whom it does not reach after 1 s."""

    needs = ["ip", "tc", "syncthing"]
    CONFIG = """<configuration version="35">
<folder id="lab" path="{path}" type="sendreceive" rescanIntervalS="3600" fsWatcherEnabled="true" fsWatcherDelayS="1">
{members}</folder>
{devices}<gui enabled="false"></gui>
<options><listenAddress>tcp://0.0.0.0:22000</listenAddress><globalAnnounceEnabled>false</globalAnnounceEnabled>
<localAnnounceEnabled>true</localAnnounceEnabled><relaysEnabled>false</relaysEnabled><natEnabled>false</natEnabled>
<reconnectionIntervalS>1</reconnectionIntervalS><urAccepted>-1</urAccepted><startBrowser>false</startBrowser>
<crashReportingEnabled>false</crashReportingEnabled><setLowPriority>false</setLowPriority></options>
</configuration>
"""

    def _run(self, *words):
        done = subprocess.run(
            ["syncthing", *map(str, words)], capture_output=True, text=True, timeout=60, check=False,
            env=environment({"HOME": str(self.folder), "STNOUPGRADE": "1"}),
        )  # fmt: skip
        if done.returncode != 0:
            raise Failed(f"syncthing {words[0]}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def prepare(self):
        homes = [self.folder / f"home{number}" for number in range(len(self.hosts))]
        ids = []
        for home in homes:
            self._run("generate", "--no-default-folder", f"--home={home}")
            ids.append(self._run("--device-id", f"--home={home}").strip())
        members = "".join(f'<device id="{one}"></device>\n' for one in ids)
        devices = "".join(
            f'<device id="{one}" name="{host.name}" compression="metadata"><address>tcp://{host.address}:22000</address>'
            "</device>\n"
            for one, host in zip(ids, self.hosts)
        )
        for home, path in zip(homes, self.folders):
            (path / ".stfolder").mkdir()
            text = self.CONFIG.format(path=path, members=members, devices=devices)
            (home / "config.xml").write_text(text, encoding="utf-8")

    def words(self, number):
        return ["syncthing", "serve", "--no-browser", "--no-restart", f"--home={self.folder / f'home{number}'}"]


KINDS = {"enxame": Enxame, "syncthing": Syncthing}


# ---- what is done, and seen ----


def sizes(folder):
    """name -> size of all files."""
    found = {}
    for path, names, files in os.walk(folder):
        names[:] = [name for name in names if name not in OWN]
        for name in files:
            # A file that goes away meanwhile, as those on their way do, is not there.
            try:
                found[os.path.relpath(os.path.join(path, name), folder)] = os.stat(os.path.join(path, name)).st_size
            except FileNotFoundError:
                pass
    return found


def compare(folders):
    """Every byte."""
    names = sorted(sizes(folders[0]))
    for other in folders[1:]:
        if sorted(sizes(other)) != names:
            raise Failed(f"{other.name} has other names than {folders[0].name}")
        _, different, strange = filecmp.cmpfiles(folders[0], other, names, shallow=False)
        if different or strange:
            raise Failed(f"{other.name}: {(different + strange)[0]} is not the same")


def wait_seen(kind, predicate, what):
    """Until that is so; when it was."""
    deadline = time.monotonic() + TIMEOUT_S
    while not predicate():
        if time.monotonic() > deadline:
            kind.check()
            raise Failed(f"not within {TIMEOUT_S} s: {what}")
        time.sleep(POLL_S)
    return time.monotonic()


def is_read(path, data):
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False


def first_contact(kind):
    """From the start of all until a file that one of them had is on all."""
    data = os.urandom(100)
    (kind.folders[0] / "hello").write_bytes(data)
    began = time.monotonic()
    kind.start()
    others = [folder / "hello" for folder in kind.folders[1:]]
    return wait_seen(kind, lambda: all(is_read(path, data) for path in others), "a first file on all hosts") - began


def make_files(folder, options):
    """Of mixed sizes: most of a few KiB, some of 100 KiB, one large."""
    for number in range(options.files):
        path = folder / f"folder{number % 20}" / f"file{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(100 * 1024 if number % 50 == 0 else 500 + number * 37 % 12000))
    with open(folder / "large", "wb") as file:
        for _ in range(0, options.size, 1 << 20):
            file.write(os.urandom(min(1 << 20, options.size)))


def many_files(kind, options):
    """From the last write until all hosts have all."""
    make_files(kind.folders[0], options)
    began = time.monotonic()
    wanted = sizes(kind.folders[0])
    ended = wait_seen(kind, lambda: all(sizes(one) == wanted for one in kind.folders[1:]), "all files on all hosts")
    compare(kind.folders)
    return ended - began


def edits(kind, count):
    """One small file, changed on one host after the other: from the write until all have it, each time."""
    seconds = []
    for number in range(count):
        time.sleep(2)  # what a user does between two edits, and more than any program waits for quiet
        source = kind.folders[number % HOSTS] / "folder1" / "file1"
        data = os.urandom(5000)
        began = time.monotonic()
        source.write_bytes(data)
        others = [one / "folder1" / "file1" for one in kind.folders]
        ended = wait_seen(kind, lambda: all(is_read(path, data) for path in others), "an edit on all hosts")
        seconds.append(ended - began)
    return seconds


def run_once(name, options, folder):
    with network.Network() as net:
        hosts = [net.add(f"host{number}", options.rate, options.rate) for number in range(HOSTS)]
        kind = KINDS[name](options, folder, hosts)
        try:
            kind.prepare()
            contact_s = first_contact(kind)
            files_s = many_files(kind, options)
            seconds = edits(kind, options.edits)
            row = {
                "contact_s": contact_s,
                "files_s": files_s,
                "edit_s": statistics.median(seconds),
                "slowest_edit_s": max(seconds),
                "rss_bytes": kind.memory_bytes(),
                "cpu_s": kind.cpu_s(),
            }
            compare(kind.folders)
        finally:
            stop_all(kind.processes)
    return row


COLUMNS = [
    ("found, s", "contact_s", "{:.2f}"),
    ("files, s", "files_s", "{:.2f}"),
    ("edit, s", "edit_s", "{:.2f}"),
    ("slowest edit, s", "slowest_edit_s", "{:.2f}"),
    ("largest RSS", "rss_bytes", report.size_text),
    ("CPU s of all", "cpu_s", "{:.1f}"),
]


def run(options, bench):
    bench.needs_room(2 * HOSTS * (options.size + options.files * 10_000))
    bench.say(f"{HOSTS} hosts, {options.files} files and one of {report.size_text(options.size)}, then {options.edits} edits")
    rows = {name: [] for name in options.programs}
    for number in range(options.runs):
        for name in options.programs:
            row = bench.attempt(name, lambda name=name: run_once(name, options, bench.fresh("run")))
            if row:
                rows[name].append(row)
                bench.say(f"  run {number + 1}  {name:<10} " + report.one_line(COLUMNS, row))
    programs = {name: {"median": report.medians(some), "runs": some} for name, some in rows.items() if some}
    lines = [[name, *report.cells(COLUMNS, one["median"])] for name, one in programs.items()]
    bench.table(["program", *(title for title, _, _ in COLUMNS)], lines)
    return {"hosts": HOSTS, "files": options.files, "size": options.size, "programs": programs}
