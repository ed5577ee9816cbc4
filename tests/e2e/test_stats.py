"""How long downloads took: the table, the file for a spreadsheet, and the picture of it."""

import contextlib
import csv
import os
import re
import sqlite3
import statistics
import subprocess

import pytest

from client import Content, FakeHolder
from programs import ROOT, random_file, wait_until, without_rights

PLOT = ROOT / "scripts/plot"
HEAD = [
    "file_size_bytes", "holders", "chunk_size_bytes", "runs", "mean_time_s", "standard_deviation_s", "rate_bytes_per_s"
]  # fmt: skip
ROWS = [
    [1 << 20, 1, 16384, 3, "0.025", "0.003", 41943040],
    [1 << 20, 1, 65536, 3, "0.015", "0.002", 69905066],
    [64 << 20, 3, 65536, 1, "0.500", "", 134217728],
    [64 << 20, 3, 262144, 2, "0.400", "0.500", 167772160],
]


def rows_of(path):
    raw = path.read_bytes()
    assert raw.endswith(b"\r\n") and raw.count(b"\n") == raw.count(b"\r\n")
    head, *rows = csv.reader(raw.decode().splitlines())
    assert head == HEAD
    return [dict(zip(HEAD, row, strict=True)) for row in rows]


def table_of(stdout):
    lines = [line for line in stdout.splitlines() if line.strip()]
    start = next(i for i, line in enumerate(lines) if line.split()[:2] == ["SIZE", "HOLDERS"])
    return lines[start + 1 :]


@pytest.mark.sanitized
def test_downloads_of_one_kind_make_one_row_that_survives_restarts(start_peer, tracker, tmp_path, run_peer):
    paths = [random_file(tmp_path / f"src/file{n}", 300_000, seed=n) for n in range(5)]
    start_peer(tracker=tracker, files=paths)
    api = tracker.client()
    wait_until(lambda: [row["holders"] for row in api.files()] == [1] * 5)
    commands = [f"download {path.name}" for path in paths[:2]]
    first = run_peer([*commands, "stats"], tracker=tracker, args=["--chunk-size", "16K"]).ok()
    (line,) = table_of(first.stdout)
    assert line.split()[:6] == ["293.0", "KiB", "1", "16.0", "KiB", "2"], line
    run_peer(["download file2"], tracker=tracker, args=["--chunk-size", "16K"], dir=first.dir).ok()
    words = ["download file3", "stats now.csv"]
    second = run_peer(words, tracker=tracker, args=["--chunk-size", "128K"], dir=first.dir).ok()
    one, other = rows_of(tmp_path / "now.csv")
    assert [one[name] for name in HEAD[:4]] == ["300000", "1", "16384", "3"]
    assert float(one["standard_deviation_s"]) >= 0 and float(one["mean_time_s"]) > 0
    assert abs(int(one["rate_bytes_per_s"]) * float(one["mean_time_s"]) - 300_000) < 100
    assert (other["chunk_size_bytes"], other["runs"], other["standard_deviation_s"]) == ("131072", "1", "")
    assert "now.csv: 2 rows" in second.stdout


def test_holders_that_brought_nothing_do_not_count(tracker, run_peer):
    content = Content.random(20 * 65536, name="file")
    with contextlib.ExitStack() as stack:
        for held in (set(range(0, 20, 2)), set(range(1, 20, 2)), set()):
            stack.enter_context(FakeHolder(content, tracker=tracker.address, held=held))
        done = run_peer(["download file", "stats"], tracker=tracker).ok()
    (line,) = table_of(done.stdout)
    assert line.split()[:6] == ["1.3", "MiB", "2", "64.0", "KiB", "1"], line


def test_the_figures_are_those_of_the_downloads(tracker, run_peer, tmp_path):
    """What is kept is compared with what the peer said after each download."""
    contents = [Content.random(200_000, name=f"file{n}", seed=n) for n in range(5)]
    with contextlib.ExitStack() as stack:
        for content in contents:
            stack.enter_context(FakeHolder(content, tracker=tracker.address)).pace_s = 0.05
        commands = [f"download {content.name}" for content in contents]
        done = run_peer([*commands, "stats all.csv"], tracker=tracker).ok()
    found = re.findall(r"^file\d: .* in ([\d.]+) (m?s), ", done.stdout, re.MULTILINE)
    shown = [float(number) / (1000 if unit == "ms" else 1) for number, unit in found]
    (row,) = rows_of(tmp_path / "all.csv")
    assert len(shown) == 5 and row["runs"] == "5"
    assert abs(float(row["mean_time_s"]) - statistics.mean(shown)) < 0.02
    assert abs(float(row["standard_deviation_s"]) - statistics.stdev(shown)) < 0.02


def test_what_was_here_before_is_no_sample(tracker, run_peer, tmp_path):
    content = Content.random(200_000, name="file")
    other = Content.random(65536 * 2, name="begun", seed=2)
    local = tmp_path / "src/file"
    local.parent.mkdir()
    local.write_bytes(content.data)
    empty = Content.random(0, name="empty")
    with (
        FakeHolder(content, tracker=tracker.address),
        FakeHolder(empty, tracker=tracker.address),
        FakeHolder(other, tracker=tracker.address, held={0}) as half,
    ):
        folder = run_peer(["stats"], tracker=tracker).ok().dir
        copied = ["download file", "download file as copy", "download empty"]
        done = run_peer([*copied, "stats"], tracker=tracker, dir=folder, files=[local]).ok()
        assert "no download was timed yet" in done.stderr
        with contextlib.closing(sqlite3.connect(folder / ".enxame/state.db")) as db:
            assert db.execute("SELECT count(*) FROM statistics").fetchone() == (0,)
        assert half.ranges == []


def test_a_resumed_download_is_no_sample(tracker, run_peer, start_shell, tmp_path):
    content = Content.random(65536 * 4, name="file")
    with FakeHolder(content, tracker=tracker.address, held={0, 1}) as holder:
        shell = start_shell(tracker=tracker, dir=tmp_path / "d")
        shell.say("download file")
        wait_until(lambda: holder.sent_bytes == 2 * 65536)
        part = tmp_path / "d/.enxame/state.db"

        def recorded():
            with contextlib.closing(sqlite3.connect(part)) as db:
                found = db.execute("SELECT verified FROM downloads").fetchone()
            return found and found[0] and found[0][0] == 0b11000000

        wait_until(recorded)
        shell.stop()
    with FakeHolder(content, tracker=tracker.address):
        done = run_peer(["download file", "stats"], tracker=tracker, dir=tmp_path / "d").ok()
    assert "were here already" in done.stdout and "no download was timed yet" in done.stderr


def test_only_a_file_of_statistics_is_replaced(tracker, run_peer, tmp_path):
    content = Content.random(100_000, name="file")
    mine = tmp_path / "mine.csv"
    mine.write_text("year,kilos\n2024,12\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.csv").symlink_to("old.csv")
    (tmp_path / "empty.csv").touch()
    old = tmp_path / "old.csv"
    old.write_text(",".join(HEAD) + "\n1,2,3,4,5,6,7\n")
    with FakeHolder(content, tracker=tracker.address):
        folder = run_peer(["download file"], tracker=tracker).ok().dir
    for word in ("mine.csv", "folder", "link.csv", "empty.csv", "/dev/null", "no/such/folder.csv"):
        done = run_peer([f"stats {word}"], tracker=tracker, dir=folder)
        assert done.status == 1 and word in done.stderr, done
    assert mine.read_text() == "year,kilos\n2024,12\n" and (tmp_path / "link.csv").is_symlink()
    assert old.read_text().count("\n") == 2
    run_peer(["stats old.csv"], tracker=tracker, dir=folder).ok()
    assert [row["file_size_bytes"] for row in rows_of(old)] == ["100000"]
    assert not [path for path in tmp_path.iterdir() if ".tmp-" in path.name]


def test_a_folder_that_cannot_be_written_keeps_the_old_file(tracker, run_peer, tmp_path):
    run_peer(["stats now.csv"], tracker=tracker).ok()
    place = tmp_path / "closed"
    place.mkdir()
    (tmp_path / "now.csv").rename(place / "now.csv")
    before = (place / "now.csv").read_bytes()
    place.chmod(0o555)
    try:
        done = run_peer(["stats closed/now.csv"], tracker=tracker, wrapper=without_rights())
    finally:
        place.chmod(0o755)
    assert done.status == 1 and "closed/now.csv cannot be written: " in done.stderr
    assert (place / "now.csv").read_bytes() == before and len(list(place.iterdir())) == 1


# ---- the picture ----


def write(path, rows=ROWS, head=HEAD):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return path


def plot(*words, **options):
    return subprocess.run(
        [PLOT, *words], capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL, **options
    )


def test_plot_draws_png_and_svg(tmp_path):
    write(tmp_path / "some stats.csv")
    assert plot("some stats.csv", cwd=tmp_path).stdout == "some stats.png\n"
    assert (tmp_path / "some stats.png").read_bytes().startswith(b"\x89PNG")
    done = plot("some stats.csv", "it's.svg", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == "", done
    text = (tmp_path / "it's.svg").read_text()
    for word in ("1 MiB, 1 holder", "64 MiB, 3 holders", "16 KiB", "256 KiB", "chunk size", "500 ms"):
        assert word in text, word


def test_plot_says_what_is_wrong(tmp_path):
    path = write(tmp_path / "stats.csv")
    other = write(tmp_path / "other.csv", head=["a", "b"])
    bad = write(tmp_path / "bad.csv", rows=[[1, 2, 3, 4, "x", "", 7]])
    none = write(tmp_path / "none.csv", rows=[])
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    for words, says in (
        [[path, "out.gif"], ".png or .svg"],
        [[other], "not a file that"],
        [[bad], "line 2"],
        [[none], "no download"],
        [[tmp_path / "binary.csv"], "no text"],
        [[tmp_path / "absent.csv"], "No such file"],
    ):
        done = plot(*words, cwd=tmp_path)
        assert done.returncode != 0 and says in done.stderr and "Traceback" not in done.stderr, done
    assert not [name for name in os.listdir(tmp_path) if name.endswith((".png", ".svg", ".gif"))]


def test_plot_without_gnuplot_names_the_package(tmp_path):
    write(tmp_path / "stats.csv")
    done = plot("stats.csv", cwd=tmp_path, env={"PATH": str(tmp_path)})
    assert done.returncode == 1 and "gnuplot-nox" in done.stderr and "scripts/setup bench" in done.stderr
