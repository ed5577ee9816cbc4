"""scripts/bench: its words, small runs of it with our own programs alone, and that nothing is left behind."""

import collections
import hashlib
import http.server
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading

import pytest

from programs import BIN, ROOT, SANITIZED, random_file, wait_until

sys.path.insert(0, str(ROOT / "tests" / "bench"))
import catalogue  # noqa: E402
import load  # noqa: E402
import process  # noqa: E402
import report  # noqa: E402
import swarm  # noqa: E402
import torrent  # noqa: E402
import tracker_course  # noqa: E402
import workplace  # noqa: E402

BENCH = ROOT / "scripts" / "bench"
RUN_S = 240  # a small run takes seconds, and many times as long where others keep the machine busy
pytestmark = [pytest.mark.skipif(SANITIZED, reason="it measures plain builds"), pytest.mark.timeout(2 * RUN_S)]


def bench(*words, wrapper=(), env=None):
    return subprocess.run([*wrapper, BENCH, *words], capture_output=True, text=True, timeout=RUN_S, check=False, env=env)


@pytest.fixture
def work():
    """A folder in memory, as a disk that others keep busy would make small runs long."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="enxame-test-", dir=base) as folder:
        yield pathlib.Path(folder)


def figures(tmp_path, work, command, *words):
    """What a run of our own programs wrote as JSON; it left nothing where it worked."""
    path = tmp_path / "figures.json"
    done = bench(command, "--bin", BIN, "--work", work, "--json", path, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(work.iterdir()) == [] and processes_below(work) == []
    found = json.loads(path.read_text())
    assert found["machine"]["cores"] == os.cpu_count() and found["command"][0] == command
    return found[command], done.stdout


def processes_below(folder):
    """Process ids of programs that were told of something in this folder."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        except OSError:
            pass  # it has just ended
    return found


def namespaces():
    """Network namespaces that any process is in or holds open."""
    found = set()
    for pattern in ("[0-9]*/ns/net", "[0-9]*/fd/*"):
        for path in pathlib.Path("/proc").glob(pattern):
            try:
                found.add(os.readlink(path))
            except OSError:
                pass
    return {name for name in found if name.startswith("net:")}


# ---- its words ----


def test_help_names_each_command():
    done = bench("--help")
    assert done.returncode == 0
    for command in ("transfer", "small-files", "hash", "swarm", "growth", "sync", "tracker", "tracker-growth", "refresh"):
        assert command in done.stdout
        assert bench(command, "--help").returncode == 0


@pytest.mark.parametrize(
    "words, told",
    [
        ([], "required"),
        (["fly"], "fly"),
        (["transfer", "--size", "64X"], "64X"),
        (["transfer", "--size", "0"], "'0'"),
        (["transfer", "--programs", "enxame,wget"], "wget"),
        (["transfer", "--runs", "none"], "none"),
        (["swarm", "--rate", "1"], "bits a second"),
        (["swarm", "--leechers", "0"], "1 to 200"),
        (["swarm", "--set", "curl:fast"], "PROGRAM:SETTING"),
        (["growth", "--swarms", "2,,4"], "''"),
        (["tracker", "--rows", "heartbeat,fly"], "fly"),
        (["tracker-growth", "--peers", "10,0"], "'0'"),
    ],
)
def test_wrong_words_are_named(words, told):
    done = bench(*words)
    assert done.returncode == 2 and told in done.stderr and done.stdout == ""


def test_missing_binaries_are_named(tmp_path):
    done = bench("transfer", "--bin", tmp_path)
    assert done.returncode == 1 and f"{tmp_path}/tracker" in done.stderr and "make" in done.stderr


@pytest.mark.needs_root
def test_swarm_needs_root_and_says_so():
    nobody = ["setpriv", "--reuid=65534", "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    done = bench("swarm", "--bin", BIN, wrapper=nobody)
    assert done.returncode == 2 and "root" in done.stderr


def test_a_program_that_is_not_here_is_named_with_its_package(tmp_path, work):
    few = tmp_path / "bin"
    few.mkdir()
    words = ["transfer", "--size", "1M", "--runs", "1", "--programs", "enxame,rsync", "--bin", BIN, "--work", work]
    done = bench(*words, env={"PATH": str(few)})
    assert done.returncode == 0, done.stderr
    assert "Debian package rsync" in done.stderr and "\nrsync" not in done.stdout


# ---- small runs ----


def test_transfer_measures_and_checks(tmp_path, work):
    words = ["--size", "1M", "--runs", "2", "--programs", "enxame,enxame-command"]
    found, shown = figures(tmp_path, work, "transfer", *words)
    assert found["size"] == 1 << 20
    for name, measured in [("enxame", "process"), ("enxame-command", "command")]:
        one = found["programs"][name]
        assert one["measured"] == measured and len(one["runs"]) == 2 and name in shown
        assert one["median"]["seconds"] > 0 and one["median"]["rss_bytes"] >= 0


def test_small_files_are_fetched_as_one_job(tmp_path, work):
    words = ["--files", "50", "--size", "1K", "--runs", "1", "--programs", "enxame,enxame-command"]
    found, _ = figures(tmp_path, work, "small-files", *words)
    assert (found["files"], found["size"], len(found["programs"])) == (50, 1024, 2)


@pytest.mark.needs_root
def test_swarm_measures_and_leaves_nothing_behind(tmp_path, work):
    before = namespaces()
    words = ["--leechers", "2", "--size", "2M", "--runs", "1", "--programs", "enxame", "--markdown"]
    found, shown = figures(tmp_path, work, "swarm", *words)
    wait_until(lambda: namespaces() <= before, what="the end of the namespaces")
    assert (found["leechers"], found["size"], found["rate_bits_s"]) == (2, 2 << 20, 100_000_000)
    (run,) = found["programs"]["enxame"]["runs"]
    assert len(run["seconds"]) == 2 and run["last_ratio"] >= run["mean_ratio"] >= run["first_ratio"] > 1
    # The link carries what the programs sent, and the frames around it.
    assert 0.99 < run["seeder_payload_ratio"] < run["seeder_link_ratio"] < 3
    assert shown.startswith("| program") and "| enxame" in shown


@pytest.mark.needs_root
def test_sync_measures_and_compares_every_byte(tmp_path, work):
    words = ["--files", "40", "--size", "1M", "--edits", "1", "--runs", "1", "--programs", "enxame"]
    found, _ = figures(tmp_path, work, "sync", *words)
    assert (found["hosts"], found["files"], found["size"]) == (3, 40, 1 << 20)
    (run,) = found["programs"]["enxame"]["runs"]
    assert min(run[name] for name in ("contact_s", "files_s", "edit_s", "rss_bytes")) > 0
    assert run["slowest_edit_s"] >= run["edit_s"]


@pytest.fixture
def disk():
    """A folder beside the programs, which are not in memory as a rule."""
    with tempfile.TemporaryDirectory(prefix="enxame-test-", dir=BIN) as folder:
        os.chmod(folder, 0o755)  # for PostgreSQL, too, which does not run as root
        if tracker_course.file_system(folder) in tracker_course.MEMORY_KINDS:
            pytest.skip("the programs were built in memory: there is no disk to measure on")
        yield pathlib.Path(folder)


def test_tracker_is_measured_by_requests_that_were_all_answered(tmp_path, disk):
    words = ["--peers", "200", "--files", "400", "--idle", "50", "--seconds", "1", "--runs", "1", "--programs", "enxame"]
    found, shown = figures(tmp_path, disk, "tracker", *words, "--rows", "heartbeat,new,idle,lookup")
    assert list(found["rows"]) == ["heartbeat", "new", "idle", "lookup", "memory"] and "heartbeats" in shown
    memory = found["rows"].pop("memory")["median"]
    assert memory["rss_bytes"] >= memory["anonymous_bytes"] > 0 and memory["database_bytes"] > 0
    for one in found["rows"].values():
        (run,) = one["runs"]
        assert run["requests"] > 0 and run["rate"] > 0 and run["rss_bytes"] > 0
        assert 0 < run["p50_ms"] <= run["p99_ms"] <= run["p999_ms"] <= run["max_ms"]
        assert 0 <= run["stolen"] < 1
    assert "stolen" in shown and "with 50 idle connections" in shown.lower() and "400 files and 4000 holdings" in shown


@pytest.mark.long
def test_trackers_on_postgresql_are_measured_beside_one_on_sqlite(tmp_path, disk):
    words = ["--peers", "200", "--seconds", "1", "--runs", "1", "--rows", "heartbeat", "--programs", "enxame,postgresql"]
    found, shown = figures(tmp_path, disk, "tracker", *words)
    if "heartbeat-postgresql" not in found["rows"]:
        pytest.skip("there is no PostgreSQL here")
    assert set(found["rows"]) == {"heartbeat", "heartbeat-postgresql", "heartbeat-postgresql-2"}
    assert all(one["median"]["rate"] > 0 for one in found["rows"].values()) and "of SQLite's" in shown


def test_growth_of_a_tracker_is_measured_and_drawn(tmp_path, disk):
    picture = tmp_path / "growth.svg"
    words = ["--files", "50", "--seconds", "1", "--runs", "1", "--picture", picture]
    found, shown = figures(tmp_path, disk, "tracker-growth", *words)
    assert list(found) == ["files"] and list(found["files"]) == ["50"]
    assert all(rows["lookup"]["rate"] > 0 and rows["search"]["rate"] > 0 for rows in found["files"].values())
    assert shown.startswith("files") and "<svg" in picture.read_text()


def test_a_picture_that_cannot_be_drawn_is_told_before_anything_is_measured(disk):
    done = bench("tracker-growth", "--bin", BIN, "--work", disk, "--picture", "growth.gif")
    assert done.returncode == 1 and "growth.gif" in done.stderr and ".svg" in done.stderr


def test_a_tracker_in_memory_is_not_measured(work):
    if tracker_course.file_system(work) not in tracker_course.MEMORY_KINDS:
        pytest.skip("there is no file system in memory here")
    done = bench("tracker", "--bin", BIN, "--work", work)
    assert done.returncode == 1 and "--work" in done.stderr and "memory" in done.stderr


def test_who_was_just_started_when_a_signal_came_is_ended_too(tmp_path, monkeypatch):
    real, started = subprocess.Popen, []

    def start(*words, **options):
        started.append(real(*words, **options))
        signal.raise_signal(signal.SIGTERM)
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", start)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        with pytest.raises(SystemExit):
            process.Process(["sleep", "1000"], tmp_path, "sleeper")
        process.end_all()
        assert started[0].poll() == -signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)
        started[0].kill()
        started[0].wait()


def send_at_once(running, numbers):
    """None of the signals is delivered before the last one is there."""
    running.send_signal(signal.SIGSTOP)
    wait_until(lambda: pathlib.Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    for number in numbers:
        running.send_signal(number)
    running.send_signal(signal.SIGCONT)


@pytest.mark.needs_root
@pytest.mark.parametrize("numbers", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGTERM], [signal.SIGKILL]])
def test_a_swarm_that_is_interrupted_leaves_nothing_behind(work, tmp_path, numbers):
    before, number = namespaces(), numbers[0]
    words = ["swarm", "--leechers", "2", "--size", "64M", "--rate", "1M", "--programs", "enxame"]
    with open(tmp_path / "err", "wb") as err:
        command = [BENCH, *words, "--bin", BIN, "--work", work]
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=err)
    try:
        # The bench itself, tracker, seeder and leechers.
        wait_until(lambda: len(processes_below(work)) >= 5)
        send_at_once(running, numbers)
        status = running.wait(30)
    finally:
        running.kill()
        running.wait()
    assert status == (-number if number == signal.SIGKILL else 128 + number)
    wait_until(lambda: not processes_below(work), what="the end of all programs")
    wait_until(lambda: namespaces() <= before, what="the end of the namespaces")
    if number != signal.SIGKILL:
        assert list(work.iterdir()) == []
    said = (tmp_path / "err").read_text()
    assert "Exception" not in said and "Error" not in said, said


def test_what_a_killed_run_left_is_removed_by_the_next(work):
    left = work / "enxame-bench-left"
    left.mkdir()
    (left / "lock").touch()
    done = bench("transfer", "--bin", BIN, "--work", work, "--size", "1K", "--runs", "1", "--programs", "enxame")
    assert done.returncode == 0, done.stderr
    assert list(work.iterdir()) == []


def test_refresh_renews_one_table_and_leaves_the_rest(tmp_path, work):
    document = tmp_path / "figures.md"
    table = "<!-- table {}: {} -->\nold {}\n<!-- end -->\n"
    arguments = f"transfer --size 1K --runs 1 --programs enxame --work {work}"
    document.write_text("Before.\n" + table.format("one", arguments, 1) + table.format("two", "fly", 2) + "After.\n")
    done = bench("refresh", "one", "--file", document, "--bin", BIN)
    assert done.returncode == 0, done.stderr
    text = document.read_text()
    assert text.startswith("Before.\n") and text.endswith("After.\n") and "old 1" not in text and "old 2" in text
    assert f"scripts/bench {arguments}\n" in text and "| enxame" in text
    assert bench("refresh", "three", "--file", document).returncode == 1
    failed = bench("refresh", "two", "--file", document, "--bin", BIN)
    assert failed.returncode == 1 and "old 2" in document.read_text()


# ---- its parts ----


def test_another_program_that_fails_is_left_out_and_ours_ends_the_run(work, capsys):
    def fail():
        raise process.Failed("it broke")

    with workplace.Workplace(work, False) as bench:
        assert bench.attempt("rsync", lambda: 7) == 7
        assert bench.attempt("rsync", fail) is None
        told = capsys.readouterr().err
        assert "rsync" in told and "it broke" in told
        with pytest.raises(process.Failed):
            bench.attempt("enxame-command", fail)


def test_the_bound_of_equal_links_is_one_copy_and_slow_uploads_raise_it():
    best = swarm.bound_s(64 << 20, 100e6, [100e6] * 8)
    assert best == pytest.approx((64 << 20) * 8 / 100e6)
    assert swarm.bound_s(64 << 20, 100e6, [100e6, 25e6] * 4) / best == pytest.approx(4 / 3)


def test_torrents_are_what_libtorrent_reads(tmp_path):
    libtorrent = pytest.importorskip("libtorrent")
    path = random_file(tmp_path / "some.bin", 100_000)
    encoded = torrent.make(path, "http://192.0.2.1/announce", 1 << 14)
    read = libtorrent.torrent_info(libtorrent.bdecode(encoded))
    assert (read.name(), read.total_size(), read.num_pieces()) == ("some.bin", 100_000, 7)
    last = path.read_bytes()[6 << 14 :]
    assert read.hash_for_piece(6) == hashlib.sha1(last, usedforsecurity=False).digest()


@pytest.mark.parametrize("status, once, told", [(500, False, "should be"), (200, True, "prepared")])
def test_a_load_that_was_not_answered_well_or_ran_out_is_no_result(tmp_path, status, once, told):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    (tmp_path / "requests").write_text(load.line("GET", "/one") + load.line("GET", "/two"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        words = {"seconds": 1, "connections": 2, "threads": 1, "once": once}
        one = load.Load(tmp_path, [f"127.0.0.1:{server.server_port}"], tmp_path / "requests", **words)
        try:
            with pytest.raises(process.Failed, match=told):
                one.figures()
        finally:
            one.process.stop()
            server.shutdown()


def test_made_up_peers_own_their_ids_and_each_file_has_as_many_holders():
    assert hashlib.sha256(bytes.fromhex(catalogue.secret(7))).hexdigest() == catalogue.peer_id(7)
    names = catalogue.Names()
    assert len({names.of(file) for file in range(2000)}) == 2000
    for held in (catalogue.held, catalogue.held_in_a_row):
        holders = collections.Counter(file for peer in range(100) for file in held(peer, 10, 100))
        assert sorted(holders) == list(range(100)) and set(holders.values()) == {10}
        assert all(len(set(held(peer, 10, 100))) == 10 for peer in range(100))


def test_tables_and_medians():
    assert report.medians([{"a": 3, "b": [1]}, {"a": 1, "b": []}, {"a": 2, "b": []}]) == {"a": 2}
    assert report.table(["x", "y"], [["long", "1"]]).splitlines() == ["x     y", "long  1"]
    marked = report.table(["x", "y"], [["long", "1"]], True)
    assert marked.splitlines() == ["| x    | y |", "| ---- | -: |", "| long | 1 |"]
    assert [report.size_text(size) for size in (0, 512, 65536, 3 << 29)] == ["-", "512 B", "64 KiB", "1.5 GiB"]
