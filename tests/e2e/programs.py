"""Starts the real programs, waits until they serve, stops them, and looks for what sanitizers have to say."""

import contextlib
import ctypes
import dataclasses
import hashlib
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import time

import pytest
import requests

import client

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("ENXAME_BIN", ROOT / "build")).resolve()
LONG = os.environ.get("ENXAME_LONG") == "1"
SANITIZED = any(name in BIN.name for name in ("address", "thread"))
READY_S = 60
STOP_S = 40 if SANITIZED else 10
SANITIZER_STATUS = 66
SANITIZER_WORDS = re.compile(r"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error: ")

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def environment(home):
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    kept.pop("ENXAME_TRACKER", None)
    kept["HOME"] = str(home)
    kept.setdefault("LC_ALL", "C.UTF-8")
    kept["ASAN_OPTIONS"] = f"exitcode={SANITIZER_STATUS}:detect_leaks=1:" + kept.get("ASAN_OPTIONS", "")
    kept["UBSAN_OPTIONS"] = f"exitcode={SANITIZER_STATUS}:print_stacktrace=1:" + kept.get("UBSAN_OPTIONS", "")
    kept["TSAN_OPTIONS"] = f"exitcode={SANITIZER_STATUS}:" + kept.get("TSAN_OPTIONS", "")
    return kept


def check_sanitizers(text, status, what):
    assert not SANITIZER_WORDS.search(text) and status != SANITIZER_STATUS, f"{what}: status {status}\n{text}"


class Patience:
    """A deadline.  Of the time between two looks at most a second counts: not that for which all was stopped."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.looked = time.monotonic()

    def left(self):
        now = time.monotonic()
        self.seconds -= min(now - self.looked, 1)
        self.looked = now
        return self.seconds > 0


class Program:
    """A program under test.  Its standard output and error go to files, so it never waits for a reader.

    Start it from a thread that lives as long as it: the kernel kills it when that thread ends.
    """

    def __init__(self, name, arguments, folder, ready, ready_s=READY_S, **options):
        self.name = name
        self.arguments = [str(argument) for argument in arguments]
        self.out_path = folder / f"{name}.out"
        self.err_path = folder / f"{name}.err"
        self.expected_statuses = {0}
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.process = subprocess.Popen(
                self.arguments, stdout=out, stderr=err, cwd=folder, env=environment(folder),
                preexec_fn=_die_with_parent, **{"stdin": subprocess.DEVNULL, **options},
            )  # fmt: skip
        try:
            self.ready = self._wait_ready(ready, ready_s)
        except BaseException:
            self._end(signal.SIGKILL)
            raise

    def _wait_ready(self, pattern, ready_s):
        patience = Patience(ready_s)
        while True:
            ended = self.process.poll() is not None
            found = re.search(pattern, self.out(), re.MULTILINE)
            if found:
                return found
            assert not ended, f"{self.name} ended with {self.process.returncode}: {self._last_words()}\n{self.log()}"
            assert patience.left(), f"{self.name} was not ready in {ready_s} s: {self._last_words()}\n{self.log()}"
            time.sleep(0.01)

    def out(self):
        return self.out_path.read_text(errors="replace")

    def err(self):
        return self.err_path.read_text(errors="replace")

    def log(self):
        """All that it printed so far."""
        return self.out() + self.err()

    def _last_words(self):
        """For an assertion's first line: where there are many failures, only that is seen."""
        return (self.log().splitlines() or ["it said nothing"])[-1]

    @property
    def alive(self):
        return self.process.poll() is None

    def memory_bytes(self):
        """Resident memory."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) * 1024

    def send(self, number):
        self.process.send_signal(number)

    def freeze(self):
        """Stops all of its threads, until SIGCONT."""
        self.send(signal.SIGSTOP)
        tasks = list(pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/stat"))
        wait_until(lambda: all(") T " in task.read_text() for task in tasks))

    def kill(self):
        """kill -9."""
        self.expected_statuses.add(-signal.SIGKILL)
        self._end(signal.SIGKILL)

    def stop(self, number=signal.SIGTERM):
        """Asks it to end, and demands that it does so cleanly."""
        self._end(number)
        self.check()

    def wait(self, timeout_s=60):
        """Until it ends by itself; its status."""
        return self.process.wait(timeout_s)

    def _end(self, number):
        if not self.alive:
            return
        self.process.send_signal(number)
        patience = Patience(STOP_S)
        while patience.left():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.1)
                return
        self.process.kill()
        self.process.wait()
        raise AssertionError(f"{self.name} did not end within {STOP_S} s\n{self.log()}")

    def check(self):
        status = self.process.returncode
        check_sanitizers(self.err(), status, self.name)
        assert status in self.expected_statuses, f"{self.name} ended with {status}: {self._last_words()}\n{self.log()}"


class TrackerProgram(Program):
    def __init__(self, name, arguments, folder, **options):
        super().__init__(name, arguments, folder, r"^tracker listening on (\S+):(\d+)", **options)
        self.port = int(self.ready[2])
        host = self.ready[1].strip("[]")
        self.host = {"::": "127.0.0.1", "0.0.0.0": "127.0.0.1"}.get(host, host)
        self.address = client.host_port(self.host, self.port)
        self.url = "http://" + self.address

    def client(self, identity=None):
        """The independent client, as one more peer."""
        return client.Tracker(self.url, identity)


class PeerProgram(Program):
    def __init__(self, name, arguments, folder, peer_dir, **options):
        pattern = r"^peer ([0-9a-f]{8}) listening on (\S+):(\d+), tracker (.*), downloads in (.*)$"
        super().__init__(name, arguments, folder, pattern, **options)
        self.dir = pathlib.Path(peer_dir)
        self.short_id = self.ready[1]
        self.host = self.ready[2].strip("[]")
        self.port = int(self.ready[3])
        self.address = client.host_port(self.host, self.port)
        self.url = "http://" + self.address

    def client(self):
        return client.Peer(self.url)

    @property
    def id(self):
        return client.Peer(self.url).status()["id"]


class ShellProgram(Program):
    """A peer whose commands come line by line while it runs; it serves until end(), or until it is stopped."""

    def __init__(self, name, arguments, folder, peer_dir):
        super().__init__(name, arguments, folder, r"", stdin=subprocess.PIPE)
        self.dir = pathlib.Path(peer_dir)
        self.expected_statuses = {0, 128 + signal.SIGTERM}

    @property
    def id(self):
        path = self.dir / ".enxame/secret"
        wait_until(lambda: path.exists() and len(path.read_text().strip()) == 64)
        return hashlib.sha256(bytes.fromhex(path.read_text().strip())).hexdigest()

    def client(self, tracker):
        """Speaks to the address that the tracker knows, once it is no more that of an earlier run."""
        api, own = tracker.client(), self.id

        def reached():
            for row in api.peers():
                peer = client.Peer(client.host_port(row["host"], row["port"]))
                with contextlib.suppress(requests.ConnectionError):
                    if row["id"] == own and peer.status()["id"] == own:
                        return peer
            return None

        return wait_until(reached)

    def say(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def end(self, timeout_s=60):
        """No more commands: its status."""
        self.process.stdin.close()
        status = self.wait(timeout_s)
        self.expected_statuses.add(status)
        return status

    def _end(self, number):
        super()._end(number)
        self.process.stdin.close()


@dataclasses.dataclass
class Result:
    """What a peer that ran some commands left."""

    status: int
    stdout: str
    stderr: str
    dir: pathlib.Path

    def ok(self):
        assert self.status == 0, f"status {self.status}\n{self.stdout}{self.stderr}"
        return self


# Programs of other tests on this machine must not be found: only who tests discovery leaves it on (discover=True).
QUIET = ["--no-discover"]


def discovery(on):
    return [] if on else QUIET


def trackers_of(tracker):
    """A program, an address, or a list of those, as --tracker options."""
    trackers = tracker if isinstance(tracker, (list, tuple)) else [tracker]
    return [word for one in trackers for word in ("--tracker", getattr(one, "address", one))]


class Launcher:
    """Starts programs in one test's folder and stops them at its end: peers first, so that they can unregister."""

    def __init__(self, folder, db=None):
        """`db`: what a tracker's --db is by default, else a file in the folder."""
        self.folder = folder
        self.db = db or folder / "tracker.db"
        self.started = []

    def _name(self, kind):
        return f"{kind}{sum(program.name.startswith(kind) for program in self.started)}"

    def start_tracker(self, *args, listen="127.0.0.1:0", db=None, discover=False, wrapper=(), **options):
        name = self._name("tracker")
        words = [*wrapper, BIN / "tracker", *discovery(discover), "--listen", listen, "--db", db or self.db, *args]
        program = TrackerProgram(name, words, self.folder, **options)
        self.started.append(program)
        return program

    def start_peer(
        self, *, tracker, files=(), args=(), dir=None, host="127.0.0.1", port=0, discover=False, wrapper=(), **options
    ):  # fmt: skip
        """`wrapper`: words before the program's own, such as those of without_rights()."""
        name = self._name("peer")
        peer_dir = pathlib.Path(dir or self.folder / f"{name}.d")
        words = [*wrapper, BIN / "peer", "--daemon", *discovery(discover), *trackers_of(tracker), "--dir", peer_dir]
        program = PeerProgram(name, [*words, *args, host, port, *files], self.folder, peer_dir, **options)
        self.started.append(program)
        return program

    def start_shell(self, *, tracker, files=(), args=(), dir=None, host="127.0.0.1", port=0, discover=False):
        name = self._name("shell")
        peer_dir = pathlib.Path(dir or self.folder / f"{name}.d")
        words = [BIN / "peer", *discovery(discover), *trackers_of(tracker), "--dir", peer_dir, *args, host, port, *files]
        program = ShellProgram(name, words, self.folder, peer_dir)
        self.started.append(program)
        return program

    def run_peer(
        self, commands=(), *, tracker, files=(), args=(), dir=None, host="127.0.0.1", port=0, stdin=None, timeout_s=90,
        discover=False, wrapper=()
    ):  # fmt: skip
        """Runs commands (-c) or lines of standard input (`stdin`, a text) to their end."""
        peer_dir = pathlib.Path(dir or self.folder / f"run{random.getrandbits(32):08x}.d")
        words = [*wrapper, BIN / "peer", *discovery(discover), *trackers_of(tracker), "--dir", peer_dir]
        words += [word for command in commands for word in ("-c", command)]
        words += [*args, host, port, *files]
        done = subprocess.run(
            [str(word) for word in words], input=(stdin or "").encode(), capture_output=True, cwd=self.folder,
            env=environment(self.folder), preexec_fn=_die_with_parent, timeout=timeout_s, check=False,
        )  # fmt: skip
        out, err = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
        result = Result(done.returncode, out, err, peer_dir)
        check_sanitizers(result.stderr, result.status, "peer")
        return result

    def attach(self, commands, peer_dir, *, stdin=None, cwd=None, wrapper=(), timeout_s=90):
        """Runs commands, or lines of standard input, in the peer that runs on the folder."""
        words = [*wrapper, BIN / "peer", "--attach", "--dir", peer_dir]
        words += [word for command in commands for word in ("-c", command)]
        done = subprocess.run(
            [str(word) for word in words], input=(stdin or "").encode(), capture_output=True, cwd=cwd or self.folder,
            env=environment(self.folder), preexec_fn=_die_with_parent, timeout=timeout_s, check=False,
        )  # fmt: skip
        out, err = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
        check_sanitizers(err, done.returncode, "peer --attach")
        return Result(done.returncode, out, err, pathlib.Path(peer_dir))

    def start_attached(self, commands, peer_dir):
        """The same, in the background."""
        words = [BIN / "peer", "--attach", "--dir", peer_dir]
        words += [word for command in commands for word in ("-c", command)]
        program = Program(self._name("attached"), words, self.folder, r"")
        self.started.append(program)
        return program

    def stop_all(self):
        faults = []
        for program in sorted(self.started, key=lambda one: isinstance(one, TrackerProgram)):
            try:
                program.stop()
            except AssertionError as fault:
                faults.append(str(fault))
        assert not faults, "\n".join(faults)


# ---- small helpers ----


def without_rights():
    """A wrapper: root's right to read and write every file is taken off, so that modes count."""
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


def random_file(path, size, seed=1):
    """Makes a file of `size` bytes that are the same for the same seed; returns its path."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = random.Random(seed)
    with open(path, "wb") as file:
        for position in range(0, size, 1 << 20):
            file.write(generator.randbytes(min(1 << 20, size - position)))
    return path


def sha256_file(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def need_strace(tmp_path):
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    tried = subprocess.run(["strace", "-D", "-f", "-o", tmp_path / "tried", "true"], capture_output=True, check=False)
    if tried.returncode != 0 or b"ermitted" in tried.stderr:
        pytest.skip(f"this machine does not allow to trace programs: {tried.stderr.decode()}")


def wait_until(predicate, timeout_s=60, what=None):
    """The predicate's first true value.  A slow, shared machine may take many times as long as others."""
    patience = Patience(timeout_s)
    while True:
        value = predicate()
        if value:
            return value
        assert patience.left(), f"not within {timeout_s} s: {what or predicate}"
        time.sleep(0.02)
