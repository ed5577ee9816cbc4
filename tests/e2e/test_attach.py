"""--attach: commands given to a peer that runs already, over its control socket."""

import contextlib
import os
import re
import signal
import socket
import struct
import subprocess

import pytest

import programs
from client import Content, FakeHolder
from programs import random_file, sha256_file, wait_until
from prompts import PROMPT, SlowSignals
from test_download import share
from test_jobs import ManyHolder, small_contents, tree

CHUNK = 64 * 1024


def half(content):
    return set(range(content.chunk_count(CHUNK) // 2))


@pytest.fixture
def daemon(tracker, start_peer):
    return start_peer(tracker=tracker)


@pytest.fixture
def attach(launcher):
    return launcher.attach


@pytest.fixture
def halved(tracker):
    """A content of which its holder has only half for now."""
    content = Content.random(10 * CHUNK, name="file")
    with FakeHolder(content, tracker=tracker.address, held=half(content)) as holder:
        yield holder


def wait_for_half(holder):
    wait_until(lambda: sum(holder.chunk_bytes(CHUNK).values()) == 5 * CHUNK)


def complete(holder):
    holder.add_held(range(10))


# ---- scripts ----


@pytest.mark.sanitized
def test_results_messages_and_status_are_the_commands(daemon, attach, tmp_path):
    done = attach(["status", "help peers"], daemon.dir).ok()
    assert done.stdout.startswith(f"id         {daemon.id}\n") and "who is there" in done.stdout
    assert done.stderr == ""
    done = attach(["frobnicate", "chunk-size"], daemon.dir)
    assert done.status == 1 and done.stdout == "chunk size of the next downloads: auto, by the size of each file\n"
    assert done.stderr == 'unknown command "frobnicate"; "help" lists them\n'
    # Ended as in a script of its own.
    assert attach(["exit", "frobnicate"], daemon.dir).ok().stderr == ""
    assert daemon.alive
    with open("/dev/full", "wb") as full:
        words = [programs.BIN / "peer", "--attach", "--dir", daemon.dir, "-c", "help"]
        done = subprocess.run(words, stdout=full, env=programs.environment(tmp_path), check=False)
    assert done.returncode == 1


@pytest.mark.sanitized
def test_lines_of_standard_input(daemon, attach):
    done = attach([], daemon.dir, stdin="# a comment\n\n  chunk-size 1M\nchunk-size\nexit\nfrobnicate\n").ok()
    assert done.stdout.count("1.0 MiB") == 2 and done.stderr == ""
    done = attach([], daemon.dir, stdin="help " + "x" * 20_000 + "\nstatus\0\nchunk-size")
    assert done.status == 1 and "at most 8192 bytes" in done.stderr and "1.0 MiB" in done.stdout
    long = attach(["help " + "x" * 20_000], daemon.dir)
    assert long.status == 1 and "at most 8192 bytes" in long.stderr


@pytest.mark.sanitized
def test_a_download_is_waited_for(tracker, daemon, start_peer, attach, tmp_path):
    path = random_file(tmp_path / "src/file", 3 << 20)
    seeder = share(start_peer, tracker, path)
    done = attach(["download file", "shared"], daemon.dir).ok()
    assert sha256_file(daemon.dir / "file") == sha256_file(path)
    assert re.search(r"^file: 3.0 MiB in ", done.stdout, re.MULTILINE) and seeder.address in done.stdout
    done = attach(["download nowhere"], daemon.dir)
    assert done.status == 1 and 'nobody has "nowhere"' in done.stderr


@pytest.mark.sanitized
def test_all_that_only_shows_something_works_from_afar(daemon, attach):
    commands = ["help", "peers", "search", "status", "shared", "stats", "limit", "chunk-size", "verify"]
    assert attach(commands, daemon.dir).ok().stderr == "nothing found\nnothing is shared\nno download was timed yet\n"


def test_two_files_of_a_name_are_an_error_that_lists_both(tracker, daemon, start_peer, attach, tmp_path):
    for place in ("a", "b"):
        share(start_peer, tracker, random_file(tmp_path / place / "same.bin", 100, seed=ord(place)))
    done = attach(["download same.bin"], daemon.dir)
    assert done.status == 1 and "means 2 different files" in done.stderr and "say which one" in done.stderr


def test_paths_are_those_of_who_is_attached(daemon, attach, tmp_path):
    elsewhere = random_file(tmp_path / "else where/file.bin", 10).parent
    done = attach(["share file.bin nofile", "stats s.csv"], daemon.dir, cwd=elsewhere)
    assert "1 file is shared, 1 of them new" in done.stdout
    # What the peer logs of it is told, too.
    assert done.status == 1 and f"{elsewhere}/nofile" in done.stderr
    assert (elsewhere / "s.csv").exists() and not (tmp_path / "s.csv").exists()


def test_the_default_folder_is_found_by_the_port(tmp_path):
    words = [programs.BIN / "peer", "--daemon", *programs.QUIET, "--no-tracker", "127.0.0.1", "0"]
    peer = programs.Program("peer", words, tmp_path, "^peer ")
    words = [programs.BIN / "peer", "--attach", "127.0.0.1", "0", "-c", "status", "-c", "stop"]
    done = subprocess.run(
        words, cwd=tmp_path, env=programs.environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and str(tmp_path / "downloads/0") in done.stdout
    assert peer.wait() == 0
    peer.check()


# ---- which peer, and who may ----


def test_where_no_peer_runs_that_is_said(launcher, attach, tracker, start_peer, tmp_path):
    for place in (tmp_path / "nothing", tmp_path):
        done = attach(["status"], place)
        assert done.status == 1 and f"no peer runs on {place}" in done.stderr and done.stdout == ""
    peer = start_peer(tracker=tracker)
    control = peer.dir / ".enxame/control"
    assert control.stat().st_mode & 0o777 == 0o600
    peer.stop()
    assert not control.exists()
    assert "no peer runs" in attach(["status"], peer.dir).stderr


def test_after_kill_9_the_socket_is_stale_and_replaced(tracker, start_peer, attach):
    peer = start_peer(tracker=tracker)
    peer.kill()
    assert (peer.dir / ".enxame/control").is_socket()
    done = attach(["status"], peer.dir)
    assert done.status == 1 and "no peer runs on" in done.stderr
    again = start_peer(tracker=tracker, dir=peer.dir)
    assert again.address in attach(["status"], peer.dir).ok().stdout


def test_the_path_may_be_long(tracker, start_peer, attach, tmp_path):
    peer = start_peer(tracker=tracker, dir=tmp_path.joinpath(*["x" * 150] * 2))
    assert peer.address in attach(["status"], peer.dir).ok().stdout


def test_every_running_peer_can_be_attached_to(tracker, open_prompt, start_shell, attach):
    prompt = open_prompt(tracker)
    assert str(prompt.dir) in attach(["status"], prompt.dir).ok().stdout
    shell = start_shell(tracker=tracker)
    wait_until((shell.dir / ".enxame/control").exists)
    assert str(shell.dir) in attach(["status"], shell.dir).ok().stdout
    assert shell.end() == 0 and prompt.end("exit\r") == 0


def test_a_peer_that_cannot_make_a_socket_runs_all_the_same(tracker, start_peer, attach, tmp_path):
    (tmp_path / "d/.enxame/control").mkdir(parents=True)
    peer = start_peer(tracker=tracker, dir=tmp_path / "d")
    assert "nobody can attach" in peer.err()
    assert attach(["status"], peer.dir).status == 1


@pytest.mark.needs_root
def test_another_user_is_refused(daemon, attach):
    control = daemon.dir / ".enxame/control"
    wrapper = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with contextlib.ExitStack() as stack:
        # The folders of a test are root's alone; the socket itself must hold.
        for folder in [*daemon.dir.parents, daemon.dir, control.parent]:
            mode = folder.stat().st_mode & 0o777
            if mode & 0o005 != 0o005:
                folder.chmod(mode | 0o005)
                stack.callback(folder.chmod, mode)
        refused = attach(["status"], daemon.dir, wrapper=wrapper)
        assert refused.status == 1 and "only the user who runs it may" in refused.stderr
        control.chmod(0o666)
        refused = attach(["status"], daemon.dir, wrapper=wrapper)
        assert refused.status == 1 and refused.stdout == ""
        assert "only the user who runs the peer may attach" in refused.stderr
    assert attach(["status"], daemon.dir).ok()


# ---- ends ----


@pytest.mark.sanitized
def test_ctrl_c_ends_the_waiting_and_not_the_download(daemon, launcher, attach, halved):
    client = launcher.start_attached(["download file", "frobnicate"], daemon.dir)
    wait_for_half(halved)
    client.send(signal.SIGINT)
    assert client.wait() == 128 + signal.SIGINT
    client.expected_statuses.add(128 + signal.SIGINT)
    assert "the download goes on in the peer" in client.err() and "frobnicate" not in client.err()
    complete(halved)
    wait_until((daemon.dir / "file").exists)
    assert attach(["download file"], daemon.dir).ok().stdout.startswith("file: ")


@pytest.mark.sanitized
def test_a_client_that_is_killed_harms_nobody(daemon, launcher, attach, halved):
    client = launcher.start_attached(["download file"], daemon.dir)
    wait_for_half(halved)
    client.kill()
    assert "file" in attach(["status"], daemon.dir).ok().stdout
    complete(halved)
    wait_until((daemon.dir / "file").exists)


@pytest.mark.parametrize("kill", [False, True])
def test_the_end_of_the_peer_is_told(daemon, launcher, halved, open_prompt, kill):
    client = launcher.start_attached(["download file"], daemon.dir)
    prompt = open_prompt(attach=daemon.dir)
    wait_for_half(halved)
    if kill:
        daemon.kill()
    else:
        daemon.stop()
    words = "the connection to the peer is lost" if kill else "the peer has ended"
    assert client.wait() == 1
    client.expected_statuses.add(1)
    assert words in client.err()
    prompt.expect(words)
    assert prompt.end("") == 1


def test_stop_ends_the_peer_from_afar(daemon, attach):
    done = attach(["stop", "frobnicate"], daemon.dir).ok()
    assert done.stderr == ""
    assert daemon.wait() == 0
    daemon.check()


def test_who_waits_for_a_download_hears_that_another_cancelled_it(daemon, launcher, attach, halved):
    client = launcher.start_attached(["download file"], daemon.dir)
    wait_for_half(halved)
    assert "download of file: cancelled" in attach(["cancel file"], daemon.dir).ok().stderr
    assert client.wait() == 1
    client.expected_statuses.add(1)
    assert "download of file: cancelled" in client.err()


def test_many_files_are_one_job_for_all_who_are_attached(tracker, daemon, launcher, attach, open_prompt):
    contents = small_contents(500)
    with ManyHolder(contents, tracker.address) as holder:
        holder.rate_files_s = 100
        prompt = open_prompt(attach=daemon.dir)
        client = launcher.start_attached(["download folder/"], daemon.dir)
        wait_until(lambda: len(tree(daemon.dir)) > 10)
        client.send(signal.SIGINT)
        assert client.wait() == 128 + signal.SIGINT
        client.expected_statuses.add(128 + signal.SIGINT)
        assert "the download goes on in the peer" in client.err()
        before = len(tree(daemon.dir))
        wait_until(lambda: len(tree(daemon.dir)) > before)
        assert "download of folder/: cancelled" in attach(["cancel all"], daemon.dir).ok().stderr
        prompt.expect("download of folder/: ended after")
        assert attach(["cancel all"], daemon.dir).status == 1
        assert prompt.end("exit\r") == 0


# ---- the prompt ----


@pytest.mark.sanitized
def test_a_prompt_that_is_attached_does_what_a_prompt_does(tracker, daemon, start_peer, open_prompt, tmp_path):
    paths = [random_file(tmp_path / f"src/{name}.bin", 100_000, seed=ord(name[0])) for name in ("one", "two")]
    share(start_peer, tracker, paths)
    prompt = open_prompt(attach=daemon.dir)
    assert f"Attached to peer {daemon.short_id} at {daemon.address}" in prompt.greeting
    # Completion of commands and of names, and rows of the last listing.
    assert "one.bin" in prompt.run("sea\tbin")
    assert "two.bin: 97.7 KiB" in prompt.run("owners tw\t")
    prompt.child.send("download 1\r")
    prompt.expect("one.bin: 97.7 KiB in ")
    prompt.expect("100 %")
    assert sha256_file(daemon.dir / "one.bin") == sha256_file(paths[0])
    # Paths are completed where the user is.
    prompt.child.send("share sr\ttw\t\r")
    prompt.expect("2 files are shared, 1 of them new")
    prompt.expect(PROMPT)
    prompt.wipe("frobnicate")
    assert "COMMAND" in prompt.run("help")
    assert prompt.end("exit\r") == 0
    assert daemon.alive
    again = open_prompt(attach=daemon.dir)
    again.child.send("\x1b[A\x1b[A")
    again.expect("help")
    assert again.end("\x15\x04") == 0
    assert daemon.alive


def test_a_question_is_asked_at_the_prompt(tracker, daemon, start_peer, open_prompt, tmp_path):
    for place in ("a", "b"):
        share(start_peer, tracker, random_file(tmp_path / place / "same.bin", 100, seed=ord(place)))
    prompt = open_prompt(attach=daemon.dir)
    for answer in ("0\r", "\x03"):
        prompt.child.send("download same.bin\r")
        prompt.expect("which one (0: none)? ")
        prompt.child.send(answer)
        prompt.expect(PROMPT)
    assert not (daemon.dir / "same.bin").exists()
    prompt.child.send("download same.bin\r")
    prompt.expect("which one (0: none)? ")
    prompt.child.send("2\r")
    prompt.expect(PROMPT)
    wait_until((daemon.dir / "same.bin").exists)
    assert prompt.end("exit\r") == 0


@pytest.mark.sanitized
def test_two_at_once_each_with_its_own_listing(tracker, daemon, start_peer, open_prompt, halved, tmp_path):
    share(start_peer, tracker, [random_file(tmp_path / f"src/{name}", 100, seed=ord(name)) for name in "ab"])
    one, other = open_prompt(attach=daemon.dir), open_prompt(attach=daemon.dir)
    one.run("search a")
    other.run("search b")
    assert "a: 100 B, root" in one.run("owners 1")
    assert "b: 100 B, root" in other.run("owners 1")
    # A download shows at both: its progress, and its end.
    one.child.send("download file\r")
    for prompt in (one, other):
        prompt.expect("320.0 KiB of 640.0 KiB")
    complete(halved)
    for prompt in (one, other):
        prompt.expect("file: 640.0 KiB in ")
        assert prompt.end("exit\r") == 0


def test_ctrl_c_that_comes_as_a_command_ends_leaves_the_next_one_alone(tracker, daemon, attach, open_prompt, tmp_path):
    wait_until(lambda: tracker.client().peers())
    prompt = open_prompt(attach=daemon.dir)
    with SlowSignals(prompt, tmp_path, "delay_enter") as signals:
        tracker.freeze()
        prompt.enter("peers")
        prompt.child.send("\x03")
        wait_until(signals.sends)
        tracker.send(signal.SIGCONT)
        prompt.expect(PROMPT)
        tracker.freeze()
        prompt.enter("peers")
        wait_until(signals.done)
        attach(["help"], daemon.dir).ok()  # the peer knows of the Ctrl-C, too
        tracker.send(signal.SIGCONT)
        assert daemon.id[:8] in prompt.expect(PROMPT)
    assert prompt.end() == 0


def test_ctrl_c_ends_a_command_and_then_the_patience_with_a_peer(tracker, daemon, open_prompt):
    prompt = open_prompt(attach=daemon.dir)
    tracker.freeze()
    try:
        prompt.give_up("peers")
    finally:
        tracker.send(signal.SIGCONT)
    assert "127.0.0.1" in prompt.run("peers")
    daemon.freeze()
    try:
        prompt.child.send("peers\r")
        prompt.expect("\r\n")
        # Two signals at once would be one.
        told = 1
        while told:
            prompt.child.send("\x03")
            told = prompt.child.expect_exact(["the peer does not answer", "^C"])
        assert prompt.end("") == 1
    finally:
        daemon.send(signal.SIGCONT)


# ---- clients that misbehave ----

VERSION = 1


def frame(kind, content=b""):
    return struct.pack(">I", len(content) + 1) + kind + content


HELLO = frame(b"H", bytes([VERSION, 0, 0, 80]) + b"/")


@pytest.fixture
def connect(daemon):
    """A socket to the peer that may say anything."""
    with contextlib.ExitStack() as stack:

        def connect_one(*words):
            one = stack.enter_context(socket.socket(socket.AF_UNIX))
            one.settimeout(30)
            folder = os.open(daemon.dir / ".enxame", os.O_PATH)
            stack.callback(os.close, folder)
            one.connect(f"/proc/self/fd/{folder}/control")
            for word in words:
                one.sendall(word)
            return one

        yield connect_one


def read_frame(one):
    head = one.recv(5, socket.MSG_WAITALL)
    if len(head) < 5:
        return None, b""
    return head[4:], one.recv(struct.unpack(">I", head[:4])[0] - 1, socket.MSG_WAITALL)


def is_closed(one):
    """Whatever came before."""
    with contextlib.suppress(ConnectionResetError):
        while one.recv(65536):
            pass
    return True


@pytest.mark.sanitized
def test_who_breaks_the_protocol_is_let_go(connect, attach, daemon):
    for words in (
        b"GET / HTTP/1.1\r\n\r\n",
        frame(b"L", b"status"),
        HELLO + HELLO,
        HELLO + frame(b"r", b"x"),
        HELLO + frame(b"L", b"a\0b"),
        HELLO + struct.pack(">I", 1 << 31) + b"L",
        HELLO + frame(b"L", b"status") * 50,
        os.urandom(100_000),
    ):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            one = connect(words)
        assert is_closed(one)
    one = connect(HELLO)
    assert read_frame(one) == (b"d", b"\1\0")
    one.sendall(b"\0\0\xff\xffL" + b"x" * 9000)
    assert is_closed(one)
    # Nothing is under way that could be interrupted, and nobody has a window without columns.
    one = connect(HELLO, frame(b"I"), frame(b"W", b"\0\0"))
    assert read_frame(one) == (b"d", b"\1\0")
    one.sendall(frame(b"L", b"exit"))
    assert read_frame(one) == (b"d", b"\1\1") and is_closed(one)
    assert attach(["status"], daemon.dir).ok()


def test_another_version_is_told_apart(connect):
    one = connect(frame(b"H", b"\x09whatever"))
    kind, text = read_frame(one)
    assert kind == b"b" and b"another version" in text and is_closed(one)


def test_who_never_says_who_it_is_keeps_no_place(connect):
    silent, half_said = connect(), connect(HELLO[:3])
    assert is_closed(silent) and is_closed(half_said)


@pytest.mark.sanitized
def test_who_does_not_read_is_waited_for_by_nobody_else(daemon, connect, attach, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(8000):
        (folder / f"{number:0200}").touch()
    assert "8000 files are shared" in attach(["share many"], daemon.dir).stdout
    deaf = connect(HELLO, frame(b"L", b"shared"))
    wait_until(lambda: deaf.recv(1, socket.MSG_PEEK))
    again = attach(["shared"], daemon.dir).ok()
    assert len(again.stdout.splitlines()) == 8001
    daemon.stop()  # within the usual time


def test_there_are_places_for_sixteen(connect, attach, daemon):
    guests = [connect(HELLO) for _ in range(16)]
    for one in guests:
        assert read_frame(one) == (b"d", b"\1\0")
    done = attach(["status"], daemon.dir)
    assert done.status == 1 and "too many are attached" in done.stderr
    guests[0].close()
    wait_until(lambda: attach(["status"], daemon.dir).status == 0)
