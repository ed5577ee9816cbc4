"""A peer at a terminal, driven as by a person who types."""

import pexpect
import pytest

import programs

PROMPT = "enxame> "


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

    def end(self, how="\x04"):
        self.child.send(how)
        self.child.expect(pexpect.EOF)
        text = self.child.before
        self.child.close()
        programs.check_sanitizers(text, self.child.exitstatus, "peer")
        return self.child.exitstatus
