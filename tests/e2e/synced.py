"""Folders that several peers of this machine keep the same, and what is in them."""

import hashlib
import itertools
import os
import pathlib
import re
import shutil
import sqlite3
import stat

import programs
from programs import wait_until


def snapshot(root):
    """What a user sees of a folder: of each name its kind, and of files bytes, bit and time."""
    seen = {}
    for folder, names, files in os.walk(root):
        if ".enxame" in names:
            names.remove(".enxame")
        for name in names:
            seen[os.path.relpath(os.path.join(folder, name), root)] = "folder"
        for name in files:
            path = pathlib.Path(folder, name)
            try:
                status = path.lstat()
                if not stat.S_ISREG(status.st_mode):
                    continue
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
            except FileNotFoundError:  # it goes just now
                continue
            seen[os.path.relpath(path, root)] = (digest, bool(status.st_mode & 0o100), status.st_mtime_ns)
    return seen


def texts(root):
    """The bytes of all files, by name."""
    names = [name for name, what in snapshot(root).items() if what != "folder"]
    return {name: pathlib.Path(root, name).read_bytes() for name in names}


class Replica:
    """One peer and its folder."""

    def __init__(self, launcher, folder, network, path=None):
        self.launcher = launcher
        self.path = path or folder / "synced"
        self.dir = folder / "state"
        self.network = network
        self.peer = None
        self.path.mkdir(parents=True, exist_ok=True)

    def start(self, neighbours=(), args=()):
        """`neighbours`: other replicas that run, or addresses."""
        listed = self.dir.parent / "neighbours"
        addresses = [one if isinstance(one, str) else one.peer.address for one in neighbours]
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text("".join(f"{address}\n" for address in addresses))
        words = ["--no-tracker", "--network", self.network, "--sync", self.path, "--neighbours", listed, *args]
        self.peer = self.launcher.start_peer(tracker=[], dir=self.dir, args=words)
        return self

    def stop(self):
        self.peer.stop()

    def kill(self):
        self.peer.kill()

    @property
    def runs(self):
        return self.peer is not None and self.peer.alive

    def say(self, *commands, status=0):
        """`status` None: any."""
        done = self.launcher.attach(commands, self.dir)
        assert status is None or done.status == status, done.stdout + done.stderr
        return done.stdout

    def write(self, name, content=b""):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def read(self, name):
        return (self.path / name).read_bytes()

    def has(self, name):
        return os.path.lexists(self.path / name)

    def remove(self, name):
        path = self.path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    def trash(self):
        """The bytes of all that is in the trash."""
        root = self.path / ".enxame/trash"
        return [path.read_bytes() for path in root.rglob("*") if path.is_file()] if root.exists() else []

    def index(self, sql):
        (path,) = (self.dir / ".enxame").glob("sync-*.db")
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)
        try:
            return database.execute(sql).fetchall()
        finally:
            database.close()

    def knows(self, name, size=None):
        """Whether the index has the file, with this size."""
        folder, _, base = name.rpartition("/")
        sql = f"SELECT size FROM entries WHERE folder = '{folder}' AND base = '{base}' AND kind < 2"
        rows = self.index(sql)
        return bool(rows) and (size is None or rows[0][0] == size)

    def sent_bytes(self):
        text = self.peer.client().get("/metrics").text
        return int(re.search(r"^enxame_peer_sent_bytes_total (\d+)", text, re.MULTILINE)[1])


class Group:
    """Peers that sync one network of their own; each knows those that were started before it."""

    numbers = itertools.count()

    def __init__(self, launcher, folder):
        self.launcher = launcher
        self.folder = folder
        self.network = f"test {os.getpid()} {next(self.numbers)}"
        self.replicas = []

    def add(self, path=None):
        replica = Replica(self.launcher, self.folder / f"r{len(self.replicas)}", self.network, path)
        self.replicas.append(replica)
        return replica

    def start(self, count=2):
        """Adds and starts so many."""
        added = [self.add() for _ in range(count)]
        for replica in added:
            self.launch(replica)
        return added

    def launch(self, replica, args=()):
        return replica.start([other for other in self.replicas if other is not replica and other.runs], args)

    def wait_same(self, *replicas, timeout_s=60):
        """Until all folders that run are the same, and none has anything to do; what they hold."""
        replicas = replicas or [replica for replica in self.replicas if replica.runs]

        def same():
            first, *others = (snapshot(replica.path) for replica in replicas)
            return first == others[0] and all(other == first for other in others)

        def calm():
            return same() and all(not replica.index("SELECT 1 FROM pending LIMIT 1") for replica in replicas) and same()

        try:
            wait_until(calm, timeout_s=timeout_s)
        except AssertionError:
            sights = [snapshot(replica.path) for replica in replicas]
            names = sorted(set().union(*sights))
            lines = [f"{name}: {[sight.get(name) for sight in sights]}" for name in names
                     if len({str(sight.get(name)) for sight in sights}) > 1]  # fmt: skip
            pending = [replica.index("SELECT name, kind, size FROM pending LIMIT 5") for replica in replicas]
            logs = "\n".join(replica.peer.err()[-3000:] for replica in replicas)
            raise AssertionError("\n".join(lines[:40]) + f"\npending: {pending}\n{logs}") from None
        return snapshot(replicas[0].path)


def conflicts(names):
    return sorted(name for name in names if re.search(r"\.conflict-[0-9a-f]{8}-\d{8}-\d{6}", name))


__all__ = ["Group", "Replica", "conflicts", "programs", "snapshot", "texts"]
