"""What a person and a script see: the command line, exit codes, listings, and the prompt at a terminal."""

import os
import re
import signal
import subprocess
import time

import pexpect
import pytest

import programs
from client import Content, FakeHolder
from fake_tracker import FakeTracker
from programs import random_file, sha256_file, wait_until
from prompts import PROMPT, SlowSignals


def run_words(tmp_path, *words, **options):
    done = subprocess.run(
        [programs.BIN / "peer", *map(str, words)], cwd=tmp_path, env=programs.environment(tmp_path) | options,
        stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    out, err = done.stdout.decode(), done.stderr.decode()
    programs.check_sanitizers(err, done.returncode, "peer")
    return done.returncode, out, err


# ---- the command line ----


@pytest.mark.sanitized
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "<ip> <port>"),
        (["127.0.0.1"], "<port>"),
        (["127.0.0.1", "70000"], "0 to 65535"),
        (["localhost", "0"], "IP address"),
        (["--chunk-size", "10K", "127.0.0.1", "0"], "power of two"),
        (["--tracker", "nowhere", "127.0.0.1", "0"], "host:port"),
        (["--attach"], "its --dir DIR, or its <ip> and <port>"),
        (["--attach", "127.0.0.1"], "<port>"),
        (["--attach", "127.0.0.1", "0", "file"], "-c 'share PATH'"),
        (["--attach", "--dir", "d", "--daemon"], "--daemon is for a peer that starts"),
        (["--daemon", "-c", "peers", "127.0.0.1", "0"], "--daemon"),
    ],
)
def test_usage_errors_exit_with_2_and_a_hint(tmp_path, words, told):
    status, out, err = run_words(tmp_path, *words)
    assert (status, out) == (2, "")
    assert told in err and "try peer --help" in err
    assert not (tmp_path / "downloads").exists()


def test_help_and_version_go_to_standard_output(tmp_path):
    status, out, err = run_words(tmp_path, "--help")
    assert status == 0 and err == "" and "usage: peer" in out and "--tracker" in out
    assert max(len(line) for line in out.splitlines()) <= 100
    status, out, _ = run_words(tmp_path, "--version")
    assert status == 0 and re.fullmatch(r"peer \d+\.\d+\.\d+\n", out)


def test_a_taken_port_is_said(tmp_path, tracker, start_peer):
    peer = start_peer(tracker=tracker)
    words = [*programs.QUIET, "--tracker", tracker.address]
    status, out, err = run_words(tmp_path, *words, "-c", "peers", "127.0.0.1", peer.port)
    assert status == 1 and out == "" and str(peer.port) in err


def test_the_environment_names_the_tracker(tmp_path, tracker):
    words = [*programs.QUIET, "-c", "peers", "127.0.0.1", "0"]
    status, out, _ = run_words(tmp_path, *words, ENXAME_TRACKER=tracker.address)
    assert status == 0 and "127.0.0.1" in out
    assert (tmp_path / "downloads/0").is_dir()


# ---- scripts ----


@pytest.fixture
def seeder(tracker, start_peer, tmp_path):
    folder = tmp_path / "share"
    random_file(folder / "arq1.txt", 600, seed=1)
    random_file(folder / "um nome.bin", 100_000, seed=2)
    random_file(folder / "sub/canção.txt", 300, seed=3)
    peer = start_peer(tracker=tracker, files=[folder])
    wait_until(lambda: len(tracker.client().files()) == 3)
    return peer


def rows(text):
    return [line.split() for line in text.splitlines()]


@pytest.mark.sanitized
def test_search_and_download_in_a_script(tracker, seeder, run_peer, tmp_path):
    result = run_peer(["search arq", "download arq1.txt", 'get "um nome.bin" as other/x.bin'], tracker=tracker).ok()
    (row,) = [row for row in rows(result.stdout) if row[-1] == "share/arq1.txt"]
    assert row[0] == "1" and row[4] == "1" and len(row[3]) == 12
    assert sha256_file(result.dir / "share/arq1.txt") == sha256_file(tmp_path / "share/arq1.txt")
    assert sha256_file(result.dir / "other/x.bin") == sha256_file(tmp_path / "share/um nome.bin")
    assert f"{seeder.address}  {seeder.short_id}" in result.stdout and "100 %" in result.stdout


def test_rows_roots_and_owners(tracker, seeder, run_peer):
    result = run_peer(["search canção", "owners 1", "owners #1"], tracker=tracker).ok()
    root = re.search(r"root ([0-9a-f]{64})", result.stdout)[1]
    assert result.stdout.count(f"{seeder.address}  {seeder.short_id}  all") == 2
    for word in (root, root[:8], root[:6].upper()):
        result = run_peer([f"download {word}"], tracker=tracker).ok()
        assert (result.dir / "share/sub/canção.txt").stat().st_size == 300


def test_peers_status_and_shared(tracker, seeder, run_peer, tmp_path):
    path = random_file(tmp_path / "own.bin", 5)
    result = run_peer(["list", "status", "shared"], tracker=tracker, files=[path]).ok()
    assert any(row[:3] == [seeder.short_id, seeder.address, "3"] for row in rows(result.stdout))
    assert "registered with 1 file\n" in result.stdout and str(result.dir) in result.stdout
    assert re.search(r"1 +5 B +[0-9a-f]{12} +all +own\.bin", result.stdout)


def test_a_script_finds_its_own_files(tracker, run_peer, tmp_path):
    path = random_file(tmp_path / "own.bin", 5)
    result = run_peer(["search own"], tracker=tracker, files=[path]).ok()
    assert "own.bin" in result.stdout


def test_all_commands_run_though_one_fails(tracker, seeder, run_peer):
    result = run_peer(["frobnicate", "download nowhere.bin", "search arq1"], tracker=tracker)
    assert result.status == 1
    assert 'unknown command "frobnicate"' in result.stderr and '"help"' in result.stderr
    assert "nowhere.bin" in result.stderr
    assert "share/arq1.txt" in result.stdout


def test_lines_of_standard_input(tracker, seeder, run_peer):
    lines = "# a comment\n\n  search 'um nome'\n\tdownload #1\nexit\nfrobnicate\n"
    result = run_peer(stdin=lines, tracker=tracker).ok()
    assert (result.dir / "share/um nome.bin").stat().st_size == 100_000
    assert PROMPT not in result.stdout + result.stderr
    result = run_peer(stdin="search arq1\nfrobnicate", tracker=tracker)
    assert result.status == 1 and "frobnicate" in result.stderr and "arq1" in result.stdout
    assert run_peer(stdin="", tracker=tracker).status == 0


@pytest.mark.long
def test_a_script_gives_up_where_nobody_serves(tracker, run_peer):
    content = Content.random(100_000)
    gone = tracker.client()
    gone.register(1, [content.record("gone.bin")])
    result = run_peer(["download gone.bin"], tracker=tracker)
    assert result.status == 1 and "nobody to fetch from" in result.stderr
    assert not (result.dir / "gone.bin").exists()


def test_bad_lines_are_said(tracker, run_peer):
    for line, told in [
        ("search 'x", "quote"),
        ("search x\\", "backslash"),
        ("download", "usage"),
        ("download a b", "usage"),
        ("download a to b", "usage"),
        ("owners", "usage"),
        ("peers now", "usage"),
        ("owners #7", "no row #7"),
        ("owners #x", "#x"),
        ("unshare nothing", "not shared"),
        ("help me", "unknown command"),
        ("search " + "x" * 9000, "8192"),
    ]:
        result = run_peer([line], tracker=tracker)
        assert result.status == 1 and told in result.stderr and result.stdout == "", line


def test_share_and_unshare(tracker, run_peer, tmp_path):
    random_file(tmp_path / "one file.bin", 10, seed=1)
    random_file(tmp_path / "two.bin", 10, seed=2)
    commands = ['share "~/one file.bin" two.bin', "search bin", 'unshare "one file.bin"', "search", "share absent"]
    result = run_peer(commands, tracker=tracker)
    assert result.status == 1 and "absent" in result.stderr
    before, after = re.split(r"one file\.bin\n(?:.*two\.bin\n)?", result.stdout, maxsplit=1)
    assert "2 files are shared, 2 of them new" in before
    assert "one file" not in after
    assert "one file.bin is no longer shared" in result.stderr


def test_a_name_of_two_contents_is_refused_and_both_are_listed(tracker, start_peer, run_peer, tmp_path):
    for place in ("a", "b"):
        start_peer(tracker=tracker, files=[random_file(tmp_path / place / "same.bin", 100, seed=ord(place))])
    wait_until(lambda: len(tracker.client().files("same.bin")) == 2)
    result = run_peer(["download same.bin"], tracker=tracker)
    assert result.status == 1 and "2 different files" in result.stderr
    found = re.findall(r"[0-9a-f]{12}", result.stderr)
    assert {root[:12] for root in found} == {file["root"][:12] for file in tracker.client().files("same.bin")}
    run_peer([f"download {found[0]}"], tracker=tracker).ok()


def test_names_with_pattern_letters_mean_themselves(tracker, start_peer, run_peer, tmp_path):
    odd, other = random_file(tmp_path / "s/a*c?.bin", 10, seed=1), random_file(tmp_path / "s/abcd.bin", 10, seed=2)
    start_peer(tracker=tracker, files=[odd, other])
    wait_until(lambda: len(tracker.client().files()) == 2)
    result = run_peer(["download 'a*c?.bin'"], tracker=tracker).ok()
    assert sha256_file(result.dir / "a*c?.bin") == sha256_file(odd)
    assert "abcd.bin" in run_peer(["search a*d.bin"], tracker=tracker).ok().stdout


def test_hostile_names_of_a_tracker_do_not_reach_the_terminal(run_peer):
    content = {"size": 5, "root": "ab" * 32, "holders": 1}
    names = ["x\x1b[2Jy", "../../evil", "/etc/passwd", "new\nline", "\u202eoverride", "fine"]
    with FakeTracker() as fake:
        fake.listings["/v1/files"] = {"files": [{"name": name, **content} for name in names]}
        fake.refuse["register"] = (403, "no \x1b[31mred\nwords")
        result = run_peer(["search", "download evil", "download ../../evil"], tracker=fake.address)
    shown = result.stdout + result.stderr
    assert "\x1b" not in shown and "\u202e" not in shown and "fine" in shown
    assert [row[-1] for row in rows(result.stdout)] == ["NAME", "fine"]
    assert result.status == 1 and "no ?[31mred?words" in result.stderr
    assert not (result.dir.parent.parent / "evil").exists()


def test_a_script_that_is_ended_says_so_in_its_status(tracker, launcher, tmp_path):
    for number, status in [(signal.SIGINT, 130), (signal.SIGTERM, 143)]:
        words = [programs.BIN / "peer", *programs.QUIET, "--tracker", tracker.address]
        words += ["--dir", tmp_path / f"d{status}", "127.0.0.1", "0"]
        process = subprocess.Popen(
            list(map(str, words)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=programs.environment(tmp_path), cwd=tmp_path,
        )  # fmt: skip
        with process:
            wait_until(lambda: len(tracker.client().peers()) == 1)
            process.send_signal(number)
            process.wait(30)
            err = process.stderr.read()
        programs.check_sanitizers(err.decode(), process.returncode, "peer")
        assert process.returncode == status
        assert tracker.client().peers() == []


def test_results_that_cannot_be_written_fail(tracker, tmp_path):
    words = [programs.BIN / "peer", *programs.QUIET, "--tracker", tracker.address]
    words += ["--dir", tmp_path / "d", "-c", "help", "127.0.0.1", "0"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(list(map(str, words)), stdout=full, env=programs.environment(tmp_path), check=False)
    assert done.returncode == 1


def run_shell(tmp_path, tracker, script):
    """A line of sh, with $PEER for the program and all that it needs but its commands and its address."""
    peer = f"{programs.BIN}/peer --no-discover --tracker {tracker.address} --dir {tmp_path}/closed.d"
    return subprocess.run(
        ["sh", "-c", script], env=programs.environment(tmp_path) | {"PEER": peer}, cwd=tmp_path, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip


def test_standard_files_that_are_closed_stay_closed(tracker, tmp_path):
    # Else what is opened first gets their numbers, and is read for commands, or written over with results.
    assert run_shell(tmp_path, tracker, "exec $PEER 127.0.0.1 0 <&-").returncode == 0
    assert run_shell(tmp_path, tracker, "exec $PEER -c help 127.0.0.1 0 <&- >&-").returncode == 1
    done = run_shell(tmp_path, tracker, "exec $PEER -c nonsense -c status 127.0.0.1 0 <&- 2>&-")
    assert done.returncode == 1 and done.stdout.startswith("id ") and "nonsense" not in done.stdout
    assert tracker.client().peers() == []


@pytest.mark.parametrize("program", ["tracker --no-discover --listen 127.0.0.1:0", "peer --daemon --no-discover --no-tracker 127.0.0.1 0"])
def test_a_hangup_ends_a_service_cleanly_but_not_under_nohup(tmp_path, program):
    for before in ("", "trap '' HUP; "):
        script = f"{before}exec {programs.BIN}/{program}"
        service = programs.Program("service", ["sh", "-c", script], tmp_path, r" listening on ")
        service.send(signal.SIGHUP)
        if before:
            time.sleep(0.3)
            assert service.alive
            service.stop()
        else:
            assert service.wait() == 0
            service.check()
    assert not any(path.stat().st_size for path in tmp_path.glob("*.db-wal"))


# ---- the prompt ----


@pytest.mark.sanitized
def test_a_person_searches_and_downloads_in_the_background(tracker, seeder, open_prompt, tmp_path):
    prompt = open_prompt(tracker)
    assert seeder.short_id in prompt.run("peers")
    assert "share/arq1.txt" in prompt.run("search arq")
    prompt.child.send("download 1\r")
    prompt.expect("arq1.txt: 600 B in ")  # a line of progress may say 100 % before the file is there
    prompt.expect("100 %")
    assert sha256_file(prompt.dir / "share/arq1.txt") == sha256_file(tmp_path / "share/arq1.txt")
    assert prompt.end() == 0
    assert {peer["id"][:8] for peer in tracker.client().peers()} == {seeder.short_id}


def test_who_leaves_hears_that_a_download_will_go_on(tracker, open_prompt):
    content = Content.random(1 << 20, seed=3, name="file")
    with FakeHolder(content, tracker=tracker.address) as holder:
        holder.fail("silent", on=("data",))
        prompt = open_prompt(tracker)
        prompt.child.send("download file\r")
        wait_until(lambda: holder.requests["data"] + holder.requests["any"])
        prompt.child.send("\x04")
        prompt.expect("1 unfinished download will go on at the next start")
        assert prompt.end("") == 0


def test_the_greeting_says_who_and_where(tracker, open_prompt, tmp_path):
    prompt = open_prompt(tracker, random_file(tmp_path / "a.bin", 10))
    greeting = prompt.greeting
    assert "127.0.0.1:" in greeting and tracker.address in greeting and str(prompt.dir) in greeting
    assert "Sharing 1 file." in greeting
    assert prompt.end("exit\r") == 0


def test_a_message_from_the_background_leaves_the_line_as_it_was(start_tracker, open_prompt):
    tracker = start_tracker("--heartbeat", "1", "--expire", "3")
    prompt = open_prompt(tracker)
    prompt.run("peers")
    prompt.type("hel")
    tracker.kill()
    before = prompt.expect("trying again\r\n")
    # The line is wiped before the message, and drawn again behind it.
    assert "\r\x1b[J" in before
    prompt.expect(PROMPT + "hel")
    assert "COMMAND" in prompt.run("p")
    assert prompt.end() == 0


def test_the_history_lasts(tracker, open_prompt):
    prompt = open_prompt(tracker)
    prompt.run("help peers")
    prompt.end()
    history = prompt.dir / ".enxame/history"
    assert history.stat().st_mode & 0o777 == 0o600
    again = open_prompt(tracker, directory=prompt.dir)
    again.child.send("\x1b[A")
    again.expect("help peers")
    assert "who is there" in again.run("")
    again.end()


def test_tab_completes_commands_names_and_paths(tracker, seeder, open_prompt, tmp_path):
    prompt = open_prompt(tracker, tmp_path / "share/arq1.txt")
    assert "registered" in prompt.run("statu\t")
    assert "share/um nome.bin" in prompt.run("sea\tnome")
    assert seeder.address in prompt.run("owners share/u\t")
    prompt.run("unshare a\t")
    assert "nothing is shared" in prompt.run("shared")
    assert "1 file is shared" in prompt.run("share sh\tsub\t")
    # Several: they are shown, and the line stays.
    prompt.child.send("sh\t\t")
    prompt.expect("shared")
    prompt.expect(PROMPT + "share")
    assert prompt.end("\x15\x04") == 0


def test_an_ambiguous_name_is_asked_about(tracker, start_peer, open_prompt, tmp_path):
    for place in ("a", "b"):
        start_peer(tracker=tracker, files=[random_file(tmp_path / place / "same.bin", 100, seed=ord(place))])
    wait_until(lambda: len(tracker.client().files("same.bin")) == 2)
    prompt = open_prompt(tracker)
    prompt.child.send("download same.bin\r")
    listed = prompt.expect("which one (0: none)? ")
    roots = re.findall(r"\d  ([0-9a-f]{12})  ", listed)
    assert len(set(roots)) == 2
    prompt.child.send("0\r")
    prompt.expect(PROMPT)
    assert not (prompt.dir / "same.bin").exists()
    prompt.child.send("download same.bin\r")
    prompt.expect("which one (0: none)? ")
    prompt.child.send("x\r")
    prompt.expect("which one (0: none)? ")
    prompt.child.send("2\r")
    prompt.expect(PROMPT)
    wait_until((prompt.dir / "same.bin").exists)
    assert (prompt.dir / "same.bin").stat().st_size == 100
    prompt.child.send(f"owners {roots[1]}\r")
    prompt.expect("same.bin: 100 B, root " + roots[1])
    root = next(file["root"] for file in tracker.client().files("same.bin") if file["root"].startswith(roots[1]))
    assert Content.of_file(prompt.dir / "same.bin").root == root
    assert prompt.end() == 0


def test_ctrl_c_wipes_a_line_and_ends_a_wait(tracker, open_prompt):
    prompt = open_prompt(tracker)
    prompt.wipe("frobnicate")
    assert "COMMAND" in prompt.run("help")
    wait_until(lambda: len(tracker.client().peers()) == 1)
    # A tracker that is silent: the call is given up.
    tracker.freeze()
    try:
        prompt.give_up("peers")
    finally:
        tracker.send(signal.SIGCONT)
    assert "127.0.0.1" in prompt.run("peers")
    assert prompt.end() == 0


@pytest.mark.parametrize("attached", [False, True])
def test_ctrl_c_that_ends_a_wait_leaves_the_next_line_alone(tracker, start_peer, open_prompt, tmp_path, attached):
    prompt = open_prompt(attach=start_peer(tracker=tracker).dir) if attached else open_prompt(tracker)
    with SlowSignals(prompt, tmp_path, "delay_exit") as signals:
        tracker.freeze()
        prompt.enter("peers")
        prompt.child.send("\x03")
        prompt.expect(PROMPT)
        prompt.type("hel")
        # The thread that ended the wait is slow, and done only now.
        wait_until(signals.done)
        assert "COMMAND" in prompt.run("p")
    tracker.send(signal.SIGCONT)
    assert prompt.end() == 0


def test_ctrl_c_leaves_hashing_to_the_background(tracker, open_prompt, tmp_path):
    with open(tmp_path / "large.bin", "wb") as file:
        file.truncate(64 << 30)
    prompt = open_prompt(tracker)
    prompt.child.send("share large.bin\r")
    prompt.expect("hashing")
    prompt.child.send("\x03")
    prompt.expect("in the background")
    prompt.expect(PROMPT)
    # The line above the prompt goes on, and the prompt is of use.
    prompt.child.send("peers\r")
    prompt.expect("LAST HEARD")
    assert prompt.end() == 0


def test_sigterm_ends_the_prompt_and_unregisters(tracker, open_prompt):
    prompt = open_prompt(tracker)
    wait_until(lambda: len(tracker.client().peers()) == 1)
    os.kill(prompt.child.pid, signal.SIGTERM)
    prompt.child.expect(pexpect.EOF)
    prompt.child.close()
    assert prompt.child.exitstatus == 0
    assert tracker.client().peers() == []
