"""scripts/swarm: a swarm on one machine for people to see."""

import importlib.machinery
import importlib.util
import os
import re
import signal
import subprocess
import sys

import pexpect
import pytest

import programs
from programs import ROOT, sha256_file, wait_until

SWARM = ROOT / "scripts/swarm"
SMALL = ["--size", "3M", "--chunk-size", "64K", "--limit-up", "0"]


def environment(tmp_path, **more):
    return programs.environment(tmp_path) | {"ENXAME_BIN": str(programs.BIN), "TMPDIR": str(tmp_path), **more}


def swarm(tmp_path, *words):
    return subprocess.run(
        [SWARM, *words], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=100,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def left_over(folder):
    """Processes that still have to do with the folder."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                words = open(f"/proc/{entry}/cmdline", "rb").read().decode(errors="replace")
            except OSError:
                continue
            if str(folder) in words:
                found.append(words)
    return found


def test_a_swarm_ends_with_copies_that_are_the_same_and_leaves_nothing(tmp_path):
    done = swarm(tmp_path, *SMALL)
    assert done.returncode == 0 and done.stderr == "", done
    assert len(re.findall(r"^same +[0-9a-f]{64}  leecher [12]$", done.stdout, re.MULTILINE)) == 2
    assert "reached 2 leechers" in done.stdout and re.search(r"leecher 1 .* 100 %", done.stdout)
    assert "\x1b" not in done.stdout
    assert list(tmp_path.iterdir()) == [] and left_over(tmp_path) == []


def test_the_log_tells_of_each_block(tmp_path):
    done = swarm(tmp_path, *SMALL, "--leechers", "3", "--keep", "run")
    assert done.returncode == 0, done
    run = tmp_path / "run"
    assert f"who sent which block: {run}/blocks.log" in done.stdout
    log = (run / "blocks.log").read_text()
    line = re.compile(
        r"^ *[\d.]+ s  leecher (\d) +chunk +(\d+) of 48 +65536 bytes  from (seeder|leecher \d) +"
        r"\(127\.0\.0\.1:\d+\)  in [\d.]+ ms$"
    )
    rows = [line.match(one) for one in log.splitlines()]
    assert all(rows), log
    chunks = sorted((int(row[1]), int(row[2])) for row in rows)
    assert chunks == [(leecher, chunk) for leecher in (1, 2, 3) for chunk in range(1, 49)]
    assert any(row[3] == "seeder" for row in rows)
    assert len({sha256_file(path) for path in [run / "swarm.bin", *run.glob("leecher*/swarm.bin")]}) == 1
    again = swarm(tmp_path, *SMALL, "--keep", "run")
    assert again.returncode == 1 and "File exists" in again.stderr
    assert left_over(tmp_path) == []


@pytest.fixture
def script():
    """What is in it, without a run of it."""
    loader = importlib.machinery.SourceFileLoader("swarm_script", str(SWARM))
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("swarm_script", loader))
    loader.exec_module(module)
    sys.dont_write_bytecode = before
    return module


def test_a_copy_that_differs_is_told(tmp_path, capsys, script):
    class Leecher:
        def __init__(self, name, text):
            self.name, self.folder = name, tmp_path / name
            self.folder.mkdir()
            (self.folder / script.NAME).write_text(text)

    run = script.Run(None, tmp_path)
    (tmp_path / script.NAME).write_text("bytes")
    run.peers = [None, Leecher("leecher 1", "bytes"), Leecher("leecher 2", "other")]
    assert run.compare() is False
    lines = capsys.readouterr().out.split("\n")
    assert [line[:9].strip() for line in lines if "leecher" in line] == ["same", "DIFFERENT"]
    run.peers.pop()
    assert run.compare() is True


def test_who_was_just_started_when_a_signal_came_is_ended_too(tmp_path, monkeypatch, script):
    real, started = subprocess.Popen, []

    def start(*words, **options):
        started.append(real(*words, **options))
        signal.raise_signal(signal.SIGTERM)
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", start)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run = script.Run(None, tmp_path)
    try:
        with pytest.raises(SystemExit):
            script.Process(run, "sleeper", ["sleep", "1000"])
        run.end()
        assert started[0].poll() == -signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)
        started[0].kill()
        started[0].wait()


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cleans_up(tmp_path, number, status):
    words = [SWARM, "--size", "64M", "--limit-up", "1M"]
    with open(tmp_path / "out", "w") as out:
        process = subprocess.Popen(
            words, cwd=tmp_path, env=environment(tmp_path), stdout=out, stderr=out, stdin=subprocess.DEVNULL
        )
        wait_until(lambda: len(left_over(tmp_path)) == 4)  # a tracker, a seeder and two leechers
        process.send_signal(number)
        assert process.wait(40) == status, (tmp_path / "out").read_text()
    assert "Traceback" not in (tmp_path / "out").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and left_over(tmp_path) == []


def test_at_a_terminal_it_is_drawn_in_place(tmp_path):
    child = pexpect.spawn(
        str(SWARM), SMALL, cwd=str(tmp_path), env=environment(tmp_path, TERM="xterm-256color"), dimensions=(24, 80),
        encoding="utf-8", timeout=60,
    )  # fmt: skip
    child.expect(pexpect.EOF)
    child.close()
    shown = child.before
    assert child.exitstatus == 0, shown
    assert "\x1b[?25l" in shown and shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor comes back
    frames = re.split(r"\x1b\[\d+A\r\x1b\[J", shown)
    assert len(frames) > 1 and "█" in frames[-1]
    for frame in frames[1:]:
        for line in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", frame).split("\r\n")[:5]:
            assert len(line) < 80, line


@pytest.mark.parametrize("words", [["--leechers", "0"], ["--size", "huge"], ["--limit-up", "-1"], ["--size", "0"]])
def test_arguments_that_make_no_sense_are_refused(tmp_path, words):
    done = swarm(tmp_path, *words)
    assert done.returncode == 2 and "usage:" in done.stderr and "Traceback" not in done.stderr
