"""A peer at a terminal, driven as by a person who types."""

import contextlib
import pathlib
import platform
import subprocess

import pexpect
import pytest

import programs
from programs import need_strace, wait_until

PROMPT = "enxame> "
CALLS = {  # the numbers of system calls
    "x86_64": {"sendto": "44", "rt_sigtimedwait": "128"},
    "aarch64": {"sendto": "206", "rt_sigtimedwait": "137"},
}
DELAY_US = 500_000


class Prompt:
    """A peer at a terminal; with `attach`, a program that is attached to the peer on that folder."""

    def __init__(self, tmp_path, tracker=None, *files, directory=None, attach=None):
        self.dir = attach or directory or tmp_path / "prompt.d"
        words = ["--attach", "--dir", self.dir]
        if attach is None:
            tracker = ["--tracker", getattr(tracker, "address", tracker)]
            words = [*programs.QUIET, *tracker, "--dir", self.dir, "127.0.0.1", "0", *files]
        self.child = pexpect.spawn(
            str(programs.BIN / "peer"), list(map(str, words)), cwd=str(tmp_path), dimensions=(30, 100), encoding="utf-8",
            env=programs.environment(tmp_path) | {"TERM": "xterm"}, timeout=programs.READY_S,
        )  # fmt: skip
        self.child.delaybeforesend = None
        self.greeting = self.expect(PROMPT)
        # The window's size may be set only now, which draws the prompt once more.
        self.run(" are-you-there")  # a blank in front keeps it out of the history

    def expect(self, text):
        self.child.expect_exact(text)
        return self.child.before

    def run(self, line):
        """What a command printed."""
        self.enter(line)
        return self.expect(PROMPT)

    def enter(self, line):
        """Until it is echoed, after a tab only what follows: a message may come before, and draws the prompt anew."""
        self.child.send(line + "\r")
        self.expect(line.rpartition("\t")[2][-20:] + "\r\n")

    def give_up(self, line):
        """Says a command that nobody answers, and ends the wait with Ctrl+C."""
        self.enter(line)
        with pytest.raises(pexpect.TIMEOUT):
            self.child.expect_exact(PROMPT, timeout=1)
        self.child.send("\x03")
        self.expect(PROMPT)

    def type(self, text):
        """Without Enter, until it is echoed."""
        self.child.send(text)
        self.expect(text)

    def wipe(self, line):
        """Types a line and wipes it with Ctrl+C.  A message may draw the prompt anew before that."""
        self.type(line)
        self.child.send("\x03")
        self.expect("^C\r\n")
        self.expect(PROMPT)

    def end(self, how="\x04"):
        self.child.send(how)
        self.child.expect(pexpect.EOF)
        text = self.child.before
        self.child.close()
        programs.check_sanitizers(text, self.child.exitstatus, "peer")
        return self.child.exitstatus


class SlowSignals:
    """Makes the thread slow that handles a prompt's signals: where it sends and writes, before (`delay_enter`) or after."""

    def __init__(self, prompt, tmp_path, delay):
        need_strace(tmp_path)
        if platform.machine() not in CALLS:
            pytest.skip(f"the numbers of system calls on {platform.machine()} are not known here")
        self._trace = tmp_path / "trace"
        self._tasks = pathlib.Path(f"/proc/{prompt.child.pid}/task")
        self._thread = wait_until(self._find)
        words = ["-e", "trace=sendto,write", "-e", f"inject=sendto,write:{delay}={DELAY_US}"]
        self._strace = subprocess.Popen(["strace", "-qq", *words, "-o", self._trace, "-p", self._thread])

    def _is_in(self, thread, call):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            return (self._tasks / thread / "syscall").read_text().split()[0] == CALLS[platform.machine()][call]

    def _find(self):
        return next((task.name for task in self._tasks.iterdir() if self._is_in(task.name, "rt_sigtimedwait")), None)

    def sends(self):
        return self._is_in(self._thread, "sendto")

    def done(self):
        """Whether it was slow, and waits again."""
        return "DELAYED" in self._trace.read_text() and self._is_in(self._thread, "rt_sigtimedwait")

    def __enter__(self):
        status = self._tasks / self._thread / "status"
        wait_until(lambda: f"TracerPid:\t{self._strace.pid}\n" in status.read_text())
        return self

    def __exit__(self, *_):
        self._strace.terminate()
        self._strace.wait()
