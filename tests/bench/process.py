"""Starts programs, in a namespace or here, reads their lines, each with its time, and counts what they cost."""

import ctypes
import os
import pathlib
import re
import selectors
import signal
import subprocess
import time

import network

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
STOP_S = 20
INPUT_S = 3  # until the end of its input has been noticed
SAMPLE_S = 0.05
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # at which all is cleaned up

_started = []


class Failed(Exception):
    """A run that came to nothing; the text is for the user."""


def environment(extra=None):
    """Ours without proxies and without what would lead a program to somewhere else."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    kept.pop("ENXAME_TRACKER", None)
    kept.setdefault("LC_ALL", "C.UTF-8")
    kept["PYTHONDONTWRITEBYTECODE"] = "1"
    return {**kept, **(extra or {})}


def _family(pid):
    """A live process and those that it started, from whichever of its threads."""
    found = [pid]
    for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in children.read_text(encoding="utf-8").split():
                found += _family(int(child))
        except OSError:
            pass
    return found


def _read(pid, name):
    """A file of the process; empty where it is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8")
    except OSError:
        return ""


def _memory_bytes(pid, name):
    found = re.search(rf"^{name}:\s+(\d+) kB", _read(pid, "status"), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def memory_peak_bytes(pid):
    """The most that a live process had resident; 0 where it is gone.  (rusage would count us, before the exec.)"""
    return _memory_bytes(pid, "VmHWM")


def memory_now_bytes(pid):
    """What a live process and its children have resident."""
    return sum(_memory_bytes(one, "VmRSS") for one in _family(pid))


def cpu_s_so_far(pid):
    """Processor seconds of a live process, of its children, and of those it has waited for."""
    fields = [_read(one, "stat").rpartition(")")[2].split() for one in _family(pid)]
    return sum(int(ticks) for one in fields for ticks in one[11:15]) / os.sysconf("SC_CLK_TCK")


class Usage:
    """Processor seconds (user and system, its waited-for children's too) and the largest resident memory."""

    def __init__(self, cpu_s=0.0, rss_bytes=0):
        self.cpu_s = cpu_s
        self.rss_bytes = rss_bytes

    def __add__(self, other):
        return Usage(self.cpu_s + other.cpu_s, max(self.rss_bytes, other.rss_bytes))


class Process:
    """One program.  It dies with us: the kernel sends it `death_signal` when our main thread ends, however."""

    def __init__(
        self, words, folder, name, *, host=None, lines=False, extra=None, input=False, death_signal=signal.SIGKILL
    ):  # fmt: skip
        """Its output goes to FOLDER/NAME.out and .err; with `lines` its standard output comes to us, for Watch."""
        self.words = [str(word) for word in words]
        self.name = name
        self.err_path = folder / f"{name}.err"
        self.out_path = folder / f"{name}.out"
        self.usage = None
        self.text = b""
        self.status = None
        self.memory_peak_bytes = 0
        self._asked_to_end = False

        def prepare():
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            if host is not None:
                network.enter(host.namespace)
            _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal))

        with open(self.err_path, "wb") as err, open(self.out_path, "wb") as out:
            # A signal may come only before it is started, or when end_all() knows it.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            try:
                self._popen = subprocess.Popen(
                    self.words, cwd=folder, env=environment(extra), preexec_fn=prepare, start_new_session=True,
                    stdin=subprocess.PIPE if input else subprocess.DEVNULL,
                    stdout=subprocess.PIPE if lines else out, stderr=err,
                )  # fmt: skip
                self.pid = self._popen.pid
                self.stdin, self.stdout = self._popen.stdin, self._popen.stdout
                _started.append(self)
            except OSError as fault:
                raise Failed(f"{self.words[0]}: {fault.strerror}") from None
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def say(self, line):
        try:
            os.write(self.stdin.fileno(), line.encode() + b"\n")
        except BrokenPipeError:
            raise Failed(self.explain("ended too soon")) from None

    def log(self):
        out = self.out_path.read_text(errors="replace") + self.text.decode(errors="replace")
        return out + self.err_path.read_text(errors="replace")

    def explain(self, what):
        last = "\n".join("    " + line for line in self.log().splitlines()[-8:])
        status = f" (status {self.status})" if self.ended() else ""
        return f"{self.name} {what}{status}" + (f"; it said last:\n{last}" if last else "")

    def ended(self):
        """Whether it has; reaps it."""
        if self.status is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self._reaped(status, usage)
        return self.status is not None

    def _reaped(self, status, usage):
        self.status = os.waitstatus_to_exitcode(status)
        self._popen.returncode = self.status
        self.usage = Usage(usage.ru_utime + usage.ru_stime, self.memory_peak_bytes)

    def wait(self, timeout_s):
        """Until it has ended, however."""
        wait_until(self.ended, timeout_s, f"the end of {self.name}")

    def interrupt(self):
        """As Ctrl+C does.  Harmless where it has ended."""
        if not self.ended():
            os.kill(self.pid, signal.SIGINT)

    def sample(self):
        """Looks at its memory, as long as it is there."""
        self.memory_peak_bytes = max(self.memory_peak_bytes, memory_peak_bytes(self.pid))

    def begin_stop(self):
        """Asks it to end: those that read from us by the end of their input.  Harmless where it has ended."""
        if self._asked_to_end or self.ended():
            return
        self._asked_to_end = True
        self.sample()
        if self.stdin:
            self.stdin.close()
        else:
            os.kill(self.pid, signal.SIGTERM)

    def stop(self):
        """Ends it, more and more firmly; what it cost."""
        self.begin_stop()
        steps = [(signal.SIGTERM, INPUT_S)] if self.stdin else []
        for number, patience_s in [*steps, (signal.SIGKILL, STOP_S), (None, STOP_S)]:
            deadline = time.monotonic() + patience_s
            while not self.ended() and time.monotonic() < deadline:
                time.sleep(0.01)
            if not self.ended() and number:
                os.killpg(self.pid, number)
        if self.stdin:
            self.stdin.close()
        if self.stdout and not self.stdout.closed:
            self.text += self.stdout.read()
            self.stdout.close()
            self.out_path.write_bytes(self.text)
        return self.usage


def stop_all(processes):
    """All of them at the same time; what they cost together."""
    for process in processes:
        process.begin_stop()
    total = Usage()
    for process in processes:
        total += process.stop()
    return total


def end_all():
    """Whoever still runs, also of those that were started just now."""
    stop_all([process for process in _started if not process.ended()])


def wait_all(processes, timeout_s):
    """Until all have ended well; the time.monotonic() of each one's end."""
    ends = {}
    deadline = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        try:
            for process in processes:
                selector.register(os.pidfd_open(process.pid), selectors.EVENT_READ, process)
            while len(ends) < len(processes):
                events = selector.select(SAMPLE_S)
                now = time.monotonic()
                for key, _ in events:
                    if not key.data.ended() or key.data.status != 0:
                        raise Failed(key.data.explain("failed"))
                    ends[key.data] = now
                    selector.unregister(key.fd)
                    os.close(key.fd)
                if now > deadline:
                    late = next(process for process in processes if process not in ends)
                    raise Failed(late.explain(f"did not end within {timeout_s:.0f} s"))
                for process in processes:
                    process.sample()
        finally:
            for key in list(selector.get_map().values()):
                os.close(key.fd)
    return [ends[process] for process in processes]


def wait_for_line(processes, pattern, timeout_s):
    """Until each process has printed a line that matches; {process: (time.monotonic() of the line, match)}."""
    wanted = re.compile(pattern)
    found = {}
    deadline = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        for process in processes:
            selector.register(process.stdout, selectors.EVENT_READ, process)
        while len(found) < len(processes):
            events = selector.select(max(0.0, deadline - time.monotonic()))
            now = time.monotonic()
            if not events:
                late = next(process for process in processes if process not in found)
                raise Failed(late.explain(f"had not finished after {timeout_s:.0f} s"))
            for key, _ in events:
                process = key.data
                data = os.read(process.stdout.fileno(), 65536)
                process.text += data
                match = _find(wanted, process)
                if match and process not in found:
                    found[process] = (now, match)
                    selector.unregister(process.stdout)
                elif not data:
                    time.sleep(0.1)  # until its status can be told, too
                    raise Failed(process.explain("ended too soon"))
    return found


def _find(wanted, process):
    whole_lines = process.text[: process.text.rfind(b"\n") + 1].decode(errors="replace")
    return next((match for match in map(wanted.search, whole_lines.splitlines()) if match), None)


def wait_until(predicate, timeout_s, what):
    """The predicate's first true value."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(0.02)
