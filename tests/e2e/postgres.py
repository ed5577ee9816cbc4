#!/usr/bin/python3
"""PostgreSQL for tests: clusters in a folder of their own, which tests start, stop, break and promote.

    postgres.py COMMAND ...    runs it with $ENXAME_TEST_POSTGRES, the beginning of a URI; append the name of a database

A guardian, a process in a session of its own, waits for the end of whoever made the folder, however that comes; then it
ends what still runs in the folder, and removes it.
"""

import contextlib
import ctypes
import dataclasses
import itertools
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.parse

SERVERS = "/usr/lib/postgresql"
ADMIN = "postgres"  # may do everything
USER = "enxame"  # owns what it makes
START_S = 60
STOP_S = 60
MEMORY = "/dev/shm"
MEMORY_MIN = 2 << 30  # free, so that clusters of several workers take no more than a part of it
_IPC_RMID = 0
_SETTINGS = {
    "cluster_name": "enxame-test",
    "dynamic_shared_memory_type": "mmap",  # in the folder, and gone with it
    "listen_addresses": "",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "max_wal_size": "64MB",
    "min_wal_size": "8MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "wal_receiver_status_interval": "1s",
    "wal_retrieve_retry_interval": "200ms",
}
_CARELESS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


class Unavailable(Exception):
    """There is no PostgreSQL here; the text says why."""


class Failed(Exception):
    """PostgreSQL did not do what it was asked for."""


# ---- what the machine has ----


def programs():
    """The folder of the newest server's programs."""
    found = [path.parent for path in pathlib.Path(SERVERS).glob("*/bin/initdb")]
    found = [path for path in found if re.fullmatch("[0-9]+", path.parent.name)]
    if not found:
        raise Unavailable(f"there is no PostgreSQL below {SERVERS} (scripts/setup test installs it)")
    return max(found, key=lambda path: int(path.parent.name))


def _owner():
    """Whose the clusters are: PostgreSQL refuses to run as root.  As options of subprocess; none where we are not root."""
    if os.geteuid() != 0:
        return {}
    for name in (ADMIN, "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise Unavailable(f"PostgreSQL does not run as root, and there is no user {ADMIN} or nobody")


def _reachable(folder):
    """Whether somebody else gets through to the folder."""
    path = pathlib.Path(folder).resolve()
    return all(one.stat().st_mode & stat.S_IXOTH for one in (path, *path.parents))


def in_memory():
    """A parent for clusters that nobody wants to outlive: there no other program's writes hold them up.  None: there is none."""
    with contextlib.suppress(OSError):
        free = os.statvfs(MEMORY)
        if free.f_bavail * free.f_frsize >= MEMORY_MIN and os.access(MEMORY, os.W_OK):
            return MEMORY
    return None


def _environment():
    """Ours without what leads libpq elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


# ---- processes ----


def _processes(folder):
    """Those that work in the folder or below it: a server's processes all do, and keep to it when their parent is gone."""
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with contextlib.suppress(OSError):
                if pathlib.Path(os.readlink(f"/proc/{entry}/cwd").removesuffix(" (deleted)")).is_relative_to(folder):
                    yield int(entry)


def _signal_all(folder, number):
    for pid in _processes(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _wait_until(predicate, seconds, what, log=lambda: ""):
    """Of the time between two looks at most a second counts: not that for which all was stopped."""
    left, looked = seconds, time.monotonic()
    while not (value := predicate()):
        now = time.monotonic()
        left -= min(now - looked, 1)
        looked = now
        if left < 0:
            raise Failed(f"not within {seconds} s: {what}\n{log()}")
        time.sleep(0.01)
    return value


def _release_memory(data):
    """Removes the segment of shared memory that a server leaves that was killed."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        key, number = map(int, (data / "postmaster.pid").read_text().splitlines()[6].split())
        rows = [line.split()[:2] for line in pathlib.Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
        if [str(ctypes.c_int(key).value), str(number)] in rows:
            ctypes.CDLL(None).shmctl(number, _IPC_RMID, None)


# ---- clusters ----


@dataclasses.dataclass
class _Paths:
    data: pathlib.Path
    sockets: pathlib.Path
    log: pathlib.Path


class Cluster:
    """A server with its data.  Made by Home; it is not running yet.

    `durable` where a test needs what was committed to survive a kill or a crash; others are fast.  It is reached by a
    socket in its folder, where `port` is only part of the name; and at 127.0.0.1, too, where `tcp`: the port is free then.
    """

    def __init__(self, home, name, durable, tcp, settings):
        self.home = home
        self.name = name
        self.tcp = tcp
        folder = home.folder / name
        home.make_folder(folder)
        self.paths = _Paths(folder / "data", folder, folder / "log")
        self.settings = {**_SETTINGS, **({} if durable else _CARELESS), **(settings or {})}
        self.settings["unix_socket_directories"] = str(self.paths.sockets)
        if tcp:
            self.settings["listen_addresses"] = "127.0.0.1"
        self.port = 5432
        self.process = None
        self.numbers = itertools.count()

    # -- life --

    def make(self, segment_mib=1):
        """Its data, empty but for the user whose databases tests use."""
        self._run(
            "initdb", "--no-sync", "--auth=trust", f"--username={ADMIN}", "--locale=C.UTF-8", "--encoding=UTF8",
            f"--wal-segsize={segment_mib}", "--no-instructions", f"--pgdata={self.paths.data}",
        )  # fmt: skip
        return self

    def start(self):
        """Until it answers; at another port where somebody took the first one meanwhile."""
        for attempt in range(10):
            if self.tcp and (attempt > 0 or self.port == 5432):
                self.port = free_port()
            size = self.paths.log.stat().st_size if self.paths.log.exists() else 0
            self._launch()
            try:
                _wait_until(self._is_up, START_S, f"{self.name} starts", self.log)
                return self
            except Failed:
                self.kill()
                if not self.tcp or "Address already in use" not in self.log()[size:]:
                    raise
        raise Failed(f"no free port for {self.name}")

    def _launch(self):
        words = [self.home.bin / "postgres", "-D", self.paths.data, "-p", str(self.port)]
        for name, value in self.settings.items():
            words += ["-c", f"{name}={value}"]
        with open(self.paths.log, "ab") as log:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.paths.sockets, env=_environment(),
                start_new_session=True, **self.home.owner,
            )  # fmt: skip

    def _is_up(self):
        if self.process.poll() is not None:
            raise Failed(f"{self.name} ended with {self.process.returncode}\n{self.log()}")
        with contextlib.suppress(OSError, IndexError):
            lines = (self.paths.data / "postmaster.pid").read_text().splitlines()
            return int(lines[0]) == self.process.pid and lines[7].strip() == "ready"
        return False

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self, how="fast"):
        """`fast`: clients are cut off; `immediate`: as in a crash, but tidily; `smart`: when the last client has left."""
        if not self.running:
            return
        self.thaw()
        self.process.send_signal({"fast": signal.SIGINT, "immediate": signal.SIGQUIT, "smart": signal.SIGTERM}[how])
        self._wait_gone()

    def kill(self):
        """kill -9 of all of its processes, at once; what is not on disk is gone (from the server's view)."""
        if not self.running:
            return
        self.process.kill()
        _signal_all(self.paths.data, signal.SIGKILL)
        self._wait_gone()
        _release_memory(self.paths.data)

    def restart(self, how="fast"):
        self.stop(how)
        return self.start()

    def _wait_gone(self):
        try:
            _wait_until(lambda: self.process.poll() is not None, STOP_S, f"{self.name} ends", self.log)
        except Failed:
            _signal_all(self.paths.data, signal.SIGKILL)
            raise
        _wait_until(lambda: not list(_processes(self.paths.data)), STOP_S, f"the processes of {self.name} end", self.log)

    def freeze(self):
        """It takes connections, as the kernel does that, and never answers."""
        os.kill(self.process.pid, signal.SIGSTOP)  # first, so that it starts no more
        _signal_all(self.paths.data, signal.SIGSTOP)

    def signal(self, pids, number):
        """To some of its processes, as pg_stat_activity knows them."""
        for pid in set(pids) & set(_processes(self.paths.data)):
            os.kill(pid, number)

    def thaw(self):
        _signal_all(self.paths.data, signal.SIGCONT)

    # -- use --

    def uri(self, database=ADMIN, user=USER, password=None, by_tcp=None, **parameters):
        return uri([self], database, user, password, self.tcp if by_tcp is None else by_tcp, **parameters)

    def _psql(self, database):
        return [
            "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1",
            f"--dbname={self.uri(database, ADMIN, by_tcp=False)}",
        ]  # fmt: skip

    def sql(self, text, database=ADMIN):
        """What the statements print, as the administrator: a line for each row, `|` between columns."""
        return self._run(*self._psql(database), f"--command={text}", owned=False).strip()

    @contextlib.contextmanager
    def hold(self, text, database=ADMIN):
        """A transaction that keeps the locks of this statement as long as the block lasts."""
        program, *words = self._psql(database)
        with subprocess.Popen(
            [self.home.bin / program, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/",
            env=_environment(),
        ) as psql:  # fmt: skip
            psql.stdin.write(f"BEGIN;\n{text};\n\\echo held\n")
            psql.stdin.flush()
            if "held\n" not in iter(psql.stdout.readline, ""):
                raise Failed(f"these locks could not be taken: {text}")
            yield

    def add_user(self):
        self.sql(f"CREATE ROLE {USER} LOGIN")
        return self

    def database(self, prefix="test", owner=USER):
        """A new and empty one; its name."""
        name = f"{prefix}_{next(self.numbers)}"
        self.sql(f"CREATE DATABASE {name} OWNER {owner}")
        return name

    def drop(self, name):
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def demand_passwords(self):
        """Of everybody but the administrator at the socket."""
        rules = f"local all {ADMIN} trust\nlocal all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n"
        (self.paths.data / "pg_hba.conf").write_text(rules)
        self.sql("SELECT pg_reload_conf()")

    def log(self):
        return self.paths.log.read_text(errors="replace") if self.paths.log.exists() else ""

    # -- replication --

    def standby(self, name="standby"):
        """A copy that follows this one.  From now on, what is committed here is on its disk, too."""
        copy = Cluster(self.home, name, True, self.tcp, None)
        copy.settings["fsync"] = self.settings.get("fsync", "on")
        self._run(
            "pg_basebackup", f"--dbname={self.uri(ADMIN, ADMIN, by_tcp=False)}", "--checkpoint=fast", "--no-sync",
            "--wal-method=stream", "--write-recovery-conf", f"--pgdata={copy.paths.data}",
        )  # fmt: skip
        self.home.clusters.append(copy)
        copy.start()
        # Not before the copy was made: it must not wait for a standby itself when it is promoted.
        self.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.sql("SELECT pg_reload_conf()")
        _wait_until(
            lambda: self.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == "1", START_S,
            f"{name} follows {self.name}", copy.log,
        )  # fmt: skip
        return copy

    def promote(self):
        self.sql("SELECT pg_promote(true, 60)")

    def _run(self, program, *words, owned=True):
        options = self.home.owner if owned else {}
        done = subprocess.run(
            [self.home.bin / program, *words], capture_output=True, text=True, cwd="/", env=_environment(),
            timeout=300, check=False, stdin=subprocess.DEVNULL, **options,
        )  # fmt: skip
        if done.returncode != 0:
            raise Failed(f"{program}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def uri(clusters, database=ADMIN, user=USER, password=None, by_tcp=False, **parameters):
    """A connection string to the first of the clusters that suits."""
    who = urllib.parse.quote(user, safe="") + (f":{urllib.parse.quote(password, safe='')}" if password else "")
    where = {
        "host": ",".join("127.0.0.1" if by_tcp else str(one.paths.sockets) for one in clusters),
        "port": ",".join(str(one.port) for one in clusters),
        **parameters,
    }
    return f"postgresql://{who}@/{database}?{urllib.parse.urlencode(where, safe='/,')}"


# ---- where they live ----


class Home:
    """A folder of clusters: `with postgres.Home() as home: cluster = home.cluster()`.  Raises Unavailable."""

    def __init__(self, parent=None):
        """Below `parent`; where none is given, in a folder for temporary files."""
        self.bin = programs()
        self.owner = _owner()
        if parent and self.owner and not _reachable(parent):
            raise Unavailable(f"PostgreSQL's user does not get through to {parent}")
        parent = parent or tempfile.gettempdir()
        if self.owner and not _reachable(parent):
            parent = "/tmp"
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="enxame-pg-", dir=parent))
        self.clusters = []
        self.guardian = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), "--guard", self.folder], stdin=subprocess.PIPE, cwd="/",
            start_new_session=True,
        )  # fmt: skip
        self._own(self.folder)

    def _own(self, path):
        if self.owner:
            os.chown(path, self.owner["user"], self.owner["group"])

    def make_folder(self, path):
        path.mkdir()
        self._own(path)

    def cluster(self, name=None, durable=False, tcp=False, settings=None, segment_mib=1):
        """A new one that answers."""
        cluster = Cluster(self, name or f"c{len(self.clusters)}", durable, tcp, settings).make(segment_mib)
        self.clusters.append(cluster)
        return cluster.start().add_user()

    def close(self):
        """Whatever still runs is killed."""
        self.guardian.stdin.close()
        _wait_until(lambda: self.guardian.poll() is not None, 2 * STOP_S, f"{self.folder} is removed")
        for cluster in self.clusters:
            if cluster.process is not None:
                cluster.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _guard(folder):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    _signal_all(folder, signal.SIGKILL)
    with contextlib.suppress(Failed):
        _wait_until(lambda: not list(_processes(folder)), STOP_S, "all end")
    for data in folder.glob("*/data"):
        _release_memory(data)
    shutil.rmtree(folder, ignore_errors=True)


# ---- the command ----


def _run_with_cluster(command):
    environment = dict(os.environ)
    with contextlib.ExitStack() as stack:
        try:
            home = stack.enter_context(Home(in_memory()))
        except Unavailable as reason:
            print(f"Without tests of PostgreSQL: {reason}.", file=sys.stderr)
            if os.environ.get("CI") == "true":
                return 1
        else:
            cluster = home.cluster()
            environment["PATH"] = f"{home.bin}:{environment.get('PATH', '')}"
            # The administrator, so that tests can make databases of their own.
            environment["ENXAME_TEST_POSTGRES"] = cluster.uri("", ADMIN) + "&dbname="
        return subprocess.run(command, env=environment, check=False).returncode


def main(words):
    if len(words) == 2 and words[0] == "--guard":
        _guard(pathlib.Path(words[1]))
        return 0
    if not words or words[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    return _run_with_cluster(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
