"""What starts and stops the programs must not overlook a bad end."""

import ctypes
import os
import signal

import pytest

import programs
from programs import Program

READY = r"^ready"


@pytest.fixture
def start(tmp_path):
    started = []

    def start(script, **options):
        # A shell that is itself the program: `exec` where it only waits.
        started.append(Program("program", ["/bin/bash", "-c", script], tmp_path, READY, **options))
        return started[-1]

    yield start
    for program in started:
        if program.alive:
            program.process.kill()
            program.process.wait()


GOOD = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done"


def test_a_clean_end_is_accepted(start):
    program = start(GOOD)
    program.stop()
    assert not program.alive


def test_another_status_is_a_failure(start):
    program = start(GOOD.replace("exit 0", "exit 3"))
    with pytest.raises(AssertionError, match="ended with 3"):
        program.stop()


def test_death_by_the_signal_is_a_failure(start):
    program = start("echo ready; exec sleep 60")
    with pytest.raises(AssertionError, match="ended with -15"):
        program.stop()


def test_a_program_that_does_not_end_is_killed_and_a_failure(start, monkeypatch):
    monkeypatch.setattr(programs, "STOP_S", 0.5)
    program = start("trap '' TERM; echo ready; while :; do sleep 0.05; done")
    with pytest.raises(AssertionError, match="did not end"):
        program.stop()
    assert not program.alive


@pytest.mark.parametrize(
    "report",
    [
        "==1==ERROR: AddressSanitizer: heap-use-after-free",
        "==1==ERROR: LeakSanitizer: detected memory leaks",
        "WARNING: ThreadSanitizer: data race",
        "a.c:1:2: runtime error: signed integer overflow",
    ],
)
def test_a_sanitizers_report_is_a_failure_whatever_the_status(start, report):
    program = start(f"echo '{report}' >&2; {GOOD}")
    with pytest.raises(AssertionError, match="status 0"):
        program.stop()


def test_a_killed_program_is_expected_to_be_dead(start):
    program = start(GOOD)
    program.kill()
    program.check()


def test_a_program_that_ends_before_it_is_ready_is_told_of_at_once(start):
    with pytest.raises(AssertionError, match="(?s)ended with 1.*port taken"):
        start("echo 'port taken' >&2; exit 1")


def test_a_program_that_is_never_ready_is_killed(start, tmp_path):
    with pytest.raises(AssertionError, match="not ready"):
        start(f"echo $$ > {tmp_path}/pid; exec sleep 60", ready_s=0.5)
    assert not os.path.exists(f"/proc/{(tmp_path / 'pid').read_text().strip()}")


def test_a_program_dies_with_the_tests(tmp_path):
    pr_set_child_subreaper = 36
    ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1)  # the orphan becomes our child, so that we can see its end
    pid = os.fork()
    if pid == 0:
        program = Program("program", ["/bin/bash", "-c", "echo ready; exec sleep 60"], tmp_path, READY)
        (tmp_path / "pid").write_text(str(program.process.pid))
        os._exit(0)
    os.waitpid(pid, 0)
    _, status = os.waitpid(int((tmp_path / "pid").read_text()), 0)
    ctypes.CDLL(None).prctl(pr_set_child_subreaper, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
