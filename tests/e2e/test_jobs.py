"""Many files as one job: patterns and prefixes, small files in batches, what goes wrong, and what is there already."""

import contextlib
import hashlib
import os
import pathlib
import re
import signal
import sqlite3
import subprocess
import time

import pytest

import client
from client import Content, FakeHolder
from fake_tracker import FakeTracker
from many_holder import ManyHolder
from programs import random_file, wait_until

SMALL_MAX = 256 * 1024


def make_tree(root, sizes):
    """{relative name: bytes} written below `root`."""
    for number, (name, size) in enumerate(sizes.items()):
        random_file(root / name, size, seed=number + 1)
    return root


def tree(root):
    """{relative name: SHA-256} of all files below, but for what is the peer's own, which comes and goes."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (pathlib.Path(folder, name) for folder, _, names in os.walk(root) for name in names)
        if path.is_file() and not re.search(r"(^|/)\.(enxame/|\w+-\d+\.enxame-parts/)", str(path.relative_to(root)))
    }


def share_all(start_peer, tracker, paths, count, **options):
    """A peer that shares them, once the tracker knows of `count` names."""
    peer = start_peer(tracker=tracker, files=paths, **options)
    api = tracker.client()
    identity = peer.id
    wait_until(lambda: any(one["id"] == identity and one["files"] == count for one in api.peers()))
    return peer


def small_contents(count, folder="folder", size=1000):
    return [Content.random(size + n, seed=n + 1, name=f"{folder}/{n:05d}") for n in range(count)]


def litter(folder):
    return [str(path) for path in folder.rglob("*") if re.fullmatch(r"j\d+|\..*enxame-part.*", path.name)]


def summary_of(result, title):
    return re.search(rf"^{re.escape(title)}: (\d+) files?, .* in [^;\n]*?(; \d+ more are not here)?$", result.stdout, re.M)


def holders_of(result):
    """{address: (pieces, faults, note)}"""
    row = re.compile(r"^(\S+:\d+)\s+[0-9a-f]{8}\s+(\d+)\s+\d[\d.]* [KMG]?i?B\s+\d+ %\s+(\d+)\s*(.*)$", re.M)
    return {one[1]: (int(one[2]), int(one[3]), one[4]) for one in row.finditer(result.stdout)}


# ---- which files ----

SIZES = {
    "empty": 0, "a": 1, "b": 16384, "c": 16385, "sub/d": 65536, "sub/deep er/e": SMALL_MAX, "sub/f.iso": SMALL_MAX + 1,
    "sub/large.ISO": 3_000_000, "ção 日本.txt": 5000, "same1": 7000, "x.iso": 12,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A folder of small and large files, two of them with one content."""
    root = make_tree(tmp_path / "src/folder", SIZES)
    (root / "sub/same2").write_bytes((root / "same1").read_bytes())
    return root


@pytest.fixture
def seeder(start_peer, tracker, folder):
    return share_all(start_peer, tracker, [folder], len(SIZES) + 1)


@pytest.mark.sanitized
@pytest.mark.parametrize("word", ["folder/", "'folder/*'", "'FOL*/*'"])
def test_a_folder_comes_whole(seeder, tracker, run_peer, folder, word):
    done = run_peer([f"download {word}"], tracker=tracker).ok()
    assert tree(done.dir / "folder") == tree(folder)
    assert int(summary_of(done, word.strip("'"))[1]) == len(SIZES) + 1
    assert done.stdout.count("\n") <= 3  # one summary for all
    assert litter(done.dir) == []
    assert set(holders_of(done)) == {seeder.address}


def test_a_pattern_takes_what_fits(seeder, tracker, run_peer, folder):
    done = run_peer(["download *.iso"], tracker=tracker).ok()
    assert set(tree(done.dir)) == {"folder/sub/f.iso", "folder/sub/large.ISO", "folder/x.iso"}
    assert all(tree(folder)[name.removeprefix("folder/")] == digest for name, digest in tree(done.dir).items())


def test_a_folder_within_a_folder(seeder, tracker, run_peer, folder):
    done = run_peer(["download 'folder/sub/deep er/'"], tracker=tracker).ok()
    assert set(tree(done.dir)) == {"folder/sub/deep er/e"}


def test_nothing_fits(seeder, tracker, run_peer):
    done = run_peer(["download 'nothing*'"], tracker=tracker)
    assert done.status == 1 and 'nobody has a file that fits "nothing*"' in done.stderr
    assert tree(done.dir) == {}
    assert run_peer(["download older/"], tracker=tracker).status == 1  # a prefix begins where the name does


@pytest.mark.parametrize("place", ["elsewhere/below", "{tmp}/far away"])
def test_as_a_folder(seeder, tracker, run_peer, folder, tmp_path, place):
    place = place.format(tmp=tmp_path)
    done = run_peer([f"download folder/ as '{place}'"], tracker=tracker).ok()
    assert tree(done.dir / place / "folder") == tree(folder)
    assert litter(done.dir) == litter(tmp_path) == []


@pytest.mark.parametrize("place", ["../out", "a/../b", ".enxame/x", "a//b"])
def test_as_a_folder_that_is_refused(seeder, tracker, run_peer, tmp_path, place):
    done = run_peer([f"download folder/ as {place}"], tracker=tracker, dir=tmp_path / "d")
    assert done.status == 1 and "give an absolute path" in done.stderr
    assert tree(done.dir) == {} and not (tmp_path / "out").exists()


def test_a_name_with_a_star_is_still_one_file(start_peer, tracker, run_peer, tmp_path):
    make_tree(tmp_path / "src", {"a*b": 100, "axb": 200})
    share_all(start_peer, tracker, [tmp_path / "src"], 2)
    done = run_peer(["download 'src/a*b'"], tracker=tracker).ok()
    assert set(tree(done.dir)) == {"src/a*b"}
    done = run_peer(["download 'src/a*b' as one"], tracker=tracker).ok()
    assert set(tree(done.dir)) == {"one"}


@pytest.mark.sanitized
def test_two_thousand_files_take_few_requests(start_peer, tracker, run_peer, tmp_path):
    root = make_tree(tmp_path / "src/many", {f"{n % 7}/{n}": 500 + n for n in range(2000)})
    peer = share_all(start_peer, tracker, [root], 2000)
    done = run_peer(["download many/"], tracker=tracker).ok()
    assert tree(done.dir / "many") == tree(root)
    metrics = peer.client().get("/metrics").text
    assert int(re.search(r"^enxame_peer_requests_total (\d+)$", metrics, re.M)[1]) < 100


# ---- what is shared afterwards ----


def test_the_files_are_shared_and_at_the_next_start_too(seeder, tracker, start_shell, launcher, folder):
    shell = start_shell(tracker=tracker)
    shell.say("download folder/")
    contents = [Content.of_file(folder / name) for name in ("a", "c", "sub/deep er/e", "sub/large.ISO", "sub/same2")]
    api = tracker.client()
    for content in contents:
        wait_until(lambda content=content: shell.id in api.holder_ids(content))
    for content in contents:  # small ones with the finest layer
        chunk_size = 16384 if content.size <= SMALL_MAX else 256 * 1024
        assert shell.client(tracker).fetch(content, chunk_size) == content.data
    assert shell.end() == 0
    again = launcher.start_peer(tracker=tracker, dir=shell.dir)
    for content in contents:
        wait_until(lambda content=content: again.id in api.holder_ids(content))
    names = {one["name"] for one in again.client().files()}
    assert names == {"folder/" + name for name in tree(folder)}


# ---- what is there already ----


@pytest.mark.sanitized
def test_what_is_there_is_not_fetched_and_what_is_other_stays(tracker, run_peer, tmp_path):
    contents = small_contents(6)
    large = Content.random(SMALL_MAX + 5, seed=77, name="folder/large")
    place = tmp_path / "d/folder"
    place.mkdir(parents=True)
    (place / "00000").write_bytes(contents[0].data)
    (place / "00001").write_bytes(b"mine")
    (place / "00002").write_bytes(contents[2].data[:-1] + b"?")
    (place / "00003").mkdir()
    (place / "large").write_bytes(b"mine too")
    with (
        ManyHolder(contents, tracker.address) as holder,
        FakeHolder(large, tracker=tracker.address),
    ):
        done = run_peer(["download folder/"], tracker=tracker, dir=tmp_path / "d")
        assert done.status == 1
        assert set(holder.sent) == {"folder/00004", "folder/00005"}
    assert "1 of them were here already; 4 more are not here" in done.stdout
    for name in ("00001", "00002", "00003", "large"):
        assert re.search(rf"folder/{name} exists and is another file: it is kept", done.stderr), done.stderr
    assert (place / "00001").read_bytes() == b"mine" and (place / "large").read_bytes() == b"mine too"
    assert (place / "00002").read_bytes().endswith(b"?") and (place / "00003").is_dir()
    assert (place / "00005").read_bytes() == contents[5].data


def test_what_is_shared_here_under_its_name_is_here(start_peer, tracker, run_peer, tmp_path):
    root = make_tree(tmp_path / "src/folder", {"a": 100, "b": SMALL_MAX + 9})
    share_all(start_peer, tracker, [root], 2)
    done = run_peer(["download folder/"], tracker=tracker, files=[root]).ok()
    assert "2 files" in done.stdout and "2 of them were here already" in done.stdout
    assert tree(done.dir) == {}


def test_said_again_nothing_is_fetched(seeder, tracker, run_peer, folder):
    first = run_peer(["download folder/", "download folder/"], tracker=tracker).ok()
    assert f"{len(SIZES) + 1} of them were here already" in first.stdout
    again = run_peer(["download folder/"], tracker=tracker, dir=first.dir).ok()
    assert f"{len(SIZES) + 1} of them were here already" in again.stdout
    assert holders_of(again) == {}
    with contextlib.closing(sqlite3.connect(first.dir / ".enxame/state.db")) as db:
        assert db.execute("SELECT count(*), count(DISTINCT target) FROM downloads").fetchone() == (len(SIZES) + 1,) * 2


# ---- holders that do wrong ----


@pytest.mark.sanitized
def test_wrong_bytes_of_one_file_come_from_another(tracker, start_shell):
    contents = small_contents(40)
    with ManyHolder(contents, tracker.address) as liar:
        liar.wrong = {contents[7].name}
        shell = start_shell(tracker=tracker)
        shell.say("download folder/")
        wait_until(lambda: "sent wrong bytes of a file" in shell.err())
        wait_until(lambda: len(tree(shell.dir)) == 39)
        with ManyHolder(contents, tracker.address) as honest:
            wait_until(lambda: "folder/: 40 files" in shell.out())
            assert set(honest.sent) == {contents[7].name}
        assert tree(shell.dir) == {one.name: hashlib.sha256(one.data).hexdigest() for one in contents}
        assert re.search(rf"^{liar.address} .* 39 .* 1  sent wrong bytes$", shell.out(), re.M)


def test_a_lie_that_nobody_makes_good_waits_alone(tracker, open_prompt):
    contents = small_contents(10)
    with ManyHolder(contents, tracker.address) as liar:
        liar.wrong = {contents[3].name}
        prompt = open_prompt(tracker)
        prompt.child.send("download folder/\r")
        wait_until(lambda: len(tree(prompt.dir)) == 9)
        prompt.expect("stalled")
        assert liar.sent[contents[3].name] == 1  # a liar is not asked for the same again
        with ManyHolder([contents[3]], tracker.address):
            wait_until(lambda: len(tree(prompt.dir)) == 10)
        prompt.expect("folder/: 10 files")
        assert litter(prompt.dir) == []


@pytest.mark.long
def test_a_script_gives_up_where_nobody_has_the_rest(tracker, run_peer):
    contents = small_contents(10)
    with ManyHolder(contents, tracker.address) as holder:
        holder.lacks = {contents[3].name}
        done = run_peer(["download folder/"], tracker=tracker)
    assert done.status == 1 and "nobody to fetch from" in done.stderr
    assert len(tree(done.dir)) == 9 and litter(done.dir) == []


def test_who_lies_three_times_is_not_asked_any_more(tracker, start_shell):
    contents = small_contents(600, size=3000)
    with ManyHolder(contents, tracker.address) as liar:
        liar.wrong = {one.name for one in contents}
        shell = start_shell(tracker=tracker)
        shell.say("download folder/")
        wait_until(lambda: "is banned: it sent wrong bytes of several files" in shell.err())
        with ManyHolder(contents, tracker.address):
            wait_until(lambda: "folder/: 600 files" in shell.out())
        assert len(tree(shell.dir)) == 600
        assert re.search(rf"^{liar.address} .* \d+  banned: sent wrong bytes$", shell.out(), re.M)


@pytest.mark.parametrize("fault", ["cut", "other_root", "refuses", "lacks"])
def test_a_faulty_holder_is_made_up_for(tracker, run_peer, fault):
    contents = small_contents(300)
    with ManyHolder(contents, tracker.address) as faulty, ManyHolder(contents, tracker.address) as honest:
        if fault == "cut":
            faulty.cut_after = 20
        elif fault == "refuses":
            faulty.refuses = 500
        else:
            setattr(faulty, fault, {one.name for one in contents[100:200]})
        done = run_peer(["download folder/"], tracker=tracker).ok()
        assert tree(done.dir) == {one.name: hashlib.sha256(one.data).hexdigest() for one in contents}
        assert honest.sent


def test_a_holder_that_hangs_up_now_and_then_serves_in_the_end(tracker, run_peer):
    contents = small_contents(50)
    with ManyHolder(contents, tracker.address) as holder:
        holder.cut_after, holder.cuts = 20, 2
        done = run_peer(["download folder/"], tracker=tracker).ok()
        assert max(holder.sent.values()) == 1  # what came before is not fetched again
    assert len(tree(done.dir)) == 50


def test_a_holder_that_falls_silent_loses_its_files(tracker, start_shell):
    contents = small_contents(60)
    with ManyHolder(contents, tracker.address) as silent:
        silent.silent = True
        shell = start_shell(tracker=tracker)
        shell.say("download folder/")
        wait_until(lambda: silent.batches)
        with ManyHolder(contents, tracker.address):
            wait_until(lambda: "folder/: 60 files" in shell.out())
        assert len(tree(shell.dir)) == 60


def test_a_slow_holder_does_not_hold_all_up(tracker, run_peer):
    contents = small_contents(200)
    with ManyHolder(contents, tracker.address) as slow, ManyHolder(contents, tracker.address) as fast:
        slow.rate_files_s = 2
        started = time.monotonic()
        done = run_peer(["download folder/"], tracker=tracker).ok()
        assert time.monotonic() - started < 40  # alone it would take 50 s for its half
        assert len(tree(done.dir)) == 200 and len(fast.sent) > 150


def test_two_holders_with_a_half_each_make_a_whole(tracker, run_peer):
    contents = small_contents(100)
    with ManyHolder(contents[:50], tracker.address) as one, ManyHolder(contents[50:], tracker.address) as other:
        done = run_peer(["download folder/"], tracker=tracker).ok()
        assert len(tree(done.dir)) == 100
        assert len(one.sent) == len(other.sent) == 50
        assert one.asked_first == other.asked_first == "have"  # nobody aims a job at a stranger
        assert {pieces for pieces, _, _ in holders_of(done).values()} == {50}


def test_two_holders_share_the_work(tracker, run_peer):
    contents = small_contents(1000)
    with ManyHolder(contents, tracker.address) as one, ManyHolder(contents, tracker.address) as other:
        one.rate_files_s = other.rate_files_s = 500
        done = run_peer(["download folder/"], tracker=tracker).ok()
        assert len(tree(done.dir)) == 1000
        assert min(len(one.sent), len(other.sent)) > 100
        assert sum(one.sent.values()) + sum(other.sent.values()) == 1000


def test_a_stranger_at_the_named_port_is_not_sent_a_batch(tracker, run_peer):
    """The tracker names a web server that knows nothing of peers."""
    contents = small_contents(5)
    with ManyHolder(contents, tracker.address) as real, FakeTracker() as stranger:
        other = client.Tracker(tracker.address)
        other.register(int(stranger.address.split(":")[1]), [one.record() for one in contents], "127.0.0.1")
        done = run_peer(["download folder/"], tracker=tracker).ok()
        assert len(tree(done.dir)) == 5 and len(real.sent) == 5
        assert stranger.requests == []  # not one POST


# ---- names ----


def test_one_name_of_two_contents_in_a_script(start_peer, tracker, run_peer, tmp_path):
    one = make_tree(tmp_path / "one/folder", {"a": 10, "b": 20, "c": SMALL_MAX + 1})
    other = make_tree(tmp_path / "other/folder", {"a": 11, "d": 40})
    (other / "c").write_bytes(b"another")
    share_all(start_peer, tracker, [one], 3)
    share_all(start_peer, tracker, [other], 3)
    done = run_peer(["download folder/"], tracker=tracker)
    assert done.status == 1
    assert set(tree(done.dir)) == {"folder/b", "folder/d"}
    for name in ("a", "c"):
        assert f'"folder/{name}" means 2 different files' in done.stderr
    assert "2 names of folder/ mean different files" in done.stderr
    assert "folder/: 2 files" in done.stdout


def test_one_name_of_two_contents_at_the_prompt(start_peer, tracker, open_prompt, tmp_path):
    for place, size in (("one", 1000), ("other", 2000)):
        make_tree(tmp_path / place / "folder", {"a": size, f"only-{place}": 5})
        share_all(start_peer, tracker, [tmp_path / place / "folder"], 2)
    prompt = open_prompt(tracker)
    prompt.child.send("download folder/\r")
    shown = prompt.expect("which one (0: none)? ")
    number = re.search(r"(\d)  [0-9a-f]{12}  (2.0 KB|2000 B|1.95 KiB|2.0 KiB)", shown)[1]
    prompt.child.send(f"{number}\r")
    prompt.child.expect_exact("folder/: 3 files")
    wait_until(lambda: len(tree(prompt.dir)) == 3)
    assert (prompt.dir / "folder/a").stat().st_size == 2000
    assert prompt.end() == 0


HOSTILE = ["../out", "/etc/out", "a/../../out", ".enxame/secret", "folder/../../out", "folder//x", "folder/\x1b[2J", "fol\u202eder/x"]


def test_hostile_names_from_the_tracker_are_left_out(run_peer, tmp_path):
    good = Content.random(1000, name="folder/good")
    rows = [{"name": name, "size": good.size, "root": good.root, "holders": 1} for name in [*HOSTILE, good.name]]
    with FakeTracker() as fake, ManyHolder([good], fake.address) as holder:
        fake.listings["/v1/files"] = {"files": rows}
        row = {"id": holder.id, "host": "127.0.0.1", "port": holder.port, "complete": True}
        answer = {"contents": [{"root": good.root, "size": good.size, "holders": [row]}]}
        answers = fake.answer
        fake.answer = lambda kind, length, body: (200, answer) if kind == "holders" else answers(kind, length, body)
        done = run_peer(["download '*'"], tracker=fake.address, dir=tmp_path / "a/d").ok()
    assert set(tree(done.dir)) == {"folder/good"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"d"}
    assert {path.name for path in done.dir.iterdir()} == {".enxame", "folder"}


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_a_link_below_the_folder_is_not_followed_out(seeder, tracker, run_peer, tmp_path, where):
    outside = tmp_path / "outside"
    outside.mkdir()
    place = tmp_path / ("d" if where == "inside" else "place")
    place.mkdir()
    (place / "folder").mkdir()
    (place / "folder/sub").symlink_to(outside)
    command = "download folder/" + ("" if where == "inside" else f" as {place}")
    done = run_peer([command], tracker=tracker, dir=tmp_path / "d")
    assert done.status == 1
    assert list(outside.iterdir()) == []
    assert set(tree(place / "folder")) >= {"a", "b", "c", "same1", "x.iso"}
    assert "sub/d: its folder is" in done.stderr or "sub/d: " in done.stderr


# ---- ends in the middle ----


@pytest.mark.sanitized
@pytest.mark.parametrize("place", ["inside", "outside"])
def test_a_kill_in_the_middle_and_the_same_again(tracker, start_shell, run_peer, tmp_path, place):
    contents = small_contents(1500, size=2000)
    wanted = {one.name: hashlib.sha256(one.data).hexdigest() for one in contents}
    root = tmp_path / "d" if place == "inside" else tmp_path / "place"
    command = "download folder/" + ("" if place == "inside" else f" as {root}")
    with ManyHolder(contents, tracker.address) as holder:
        holder.rate_files_s = 1000
        shell = start_shell(tracker=tracker, dir=tmp_path / "d")
        shell.say(command)
        wait_until(lambda: len(tree(root)) > 300 if root.exists() else False)
        shell.kill()
        finished = tree(root)
        assert finished.items() <= wanted.items()
        before = sum(holder.sent.values())
        holder.rate_files_s = 0
        done = run_peer([command], tracker=tracker, dir=tmp_path / "d").ok()
        assert tree(root) == wanted
        assert f"{len(finished)} of them were here already" in done.stdout
        assert sum(holder.sent.values()) - before == 1500 - len(finished)
    assert litter(tmp_path) == []


def test_litter_of_a_killed_one_goes_at_the_next_start(tracker, start_shell, run_peer, tmp_path):
    contents = small_contents(400)
    with ManyHolder(contents, tracker.address) as holder:
        holder.rate_files_s = 100
        shell = start_shell(tracker=tracker, dir=tmp_path / "d")
        shell.say(f"download folder/ as {tmp_path}/place")
        wait_until(lambda: [path for one in litter(tmp_path / "place") for path in os.listdir(one)])
        shell.kill()
    assert litter(tmp_path / "place") and litter(tmp_path / "d")
    run_peer(["status"], tracker=tracker, dir=tmp_path / "d").ok()
    assert litter(tmp_path / "place") == litter(tmp_path / "d") == []


def test_another_peers_unfinished_files_are_left_alone(tracker, run_peer, tmp_path):
    """A copied folder's links lead to what another peer works on."""
    run_peer(["status"], tracker=tracker, dir=tmp_path / "d").ok()
    others = tmp_path / "place" / f".{'0' * 64}-1.enxame-parts"
    others.mkdir(parents=True)
    (others / "5").write_bytes(b"in use")
    (tmp_path / "d/.enxame/parts/j1").symlink_to(others)
    run_peer(["status"], tracker=tracker, dir=tmp_path / "d").ok()
    assert (others / "5").read_bytes() == b"in use"
    assert not os.path.lexists(tmp_path / "d/.enxame/parts/j1")


def test_ctrl_c_ends_a_script_and_keeps_what_is_there(tracker, start_shell, tmp_path):
    contents = small_contents(500)
    with ManyHolder(contents, tracker.address) as holder:
        holder.rate_files_s = 200
        shell = start_shell(tracker=tracker)
        shell.say("download folder/")
        wait_until(lambda: len(tree(shell.dir)) > 10)
        shell.expected_statuses.add(128 + signal.SIGINT)
        shell.send(signal.SIGINT)
        assert shell.wait() == 128 + signal.SIGINT
    assert 10 < len(tree(shell.dir)) < 500 and litter(shell.dir) == []


def test_cancel_at_the_prompt(tracker, open_prompt):
    contents = small_contents(500)
    with ManyHolder(contents, tracker.address) as holder:
        holder.rate_files_s = 100
        prompt = open_prompt(tracker)
        prompt.child.send("download folder/\r")
        prompt.expect("fetching 500 files")
        wait_until(lambda: len(tree(prompt.dir)) > 10)
        prompt.child.send("status\r")
        prompt.child.expect(r"j1\s+running .* folder/ \(\d+ of 500 files\)")
        prompt.child.send("cancel j1\r")
        prompt.expect("download of folder/: ended after")
        prompt.child.send("status\r")
        prompt.child.expect(r"j1\s+cancelled")
        assert litter(prompt.dir) == []
        assert prompt.end() == 0


def test_leaving_the_prompt_says_what_is_missing(tracker, open_prompt):
    contents = small_contents(500)
    with ManyHolder(contents, tracker.address) as holder:
        holder.rate_files_s = 100
        prompt = open_prompt(tracker)
        prompt.child.send("download folder/\r")
        prompt.expect("fetching 500 files")
        prompt.child.send("exit\r")
        prompt.expect("the rest of folder/ is not fetched: say the same again")
        assert prompt.end("") == 0
        assert litter(prompt.dir) == []


@pytest.mark.needs_root
def test_a_full_disk_ends_it_and_more_room_lets_it_go_on(tracker, run_peer, small_disk):
    disk = small_disk(3 << 20)
    contents = small_contents(300, size=10_000)
    wanted = {one.name: hashlib.sha256(one.data).hexdigest() for one in contents}
    with ManyHolder(contents, tracker.address):
        done = run_peer(["download folder/"], tracker=tracker, dir=disk / "d")
        assert done.status == 1 and re.search("no space|full", done.stderr), done.stderr
        assert tree(disk / "d").items() <= wanted.items() and litter(disk) == []
        subprocess.run(["mount", "-o", "remount,size=30M", disk], check=True)
        run_peer(["download folder/"], tracker=tracker, dir=disk / "d").ok()
        assert tree(disk / "d") == wanted


def test_a_rate_limit_holds_for_small_files(tracker, run_peer):
    contents = small_contents(400, size=8000)
    with ManyHolder(contents, tracker.address):
        began = time.monotonic()
        run_peer(["download folder/"], tracker=tracker, args=["--limit-down", "2M"]).ok()
        assert time.monotonic() - began > 400 * 8000 / (2 << 20) - 0.3


# ---- long ----


@pytest.mark.long
@pytest.mark.timeout(1800)  # to remove so many files takes some disks longer than all else
@pytest.mark.parametrize("count", [10_000, 100_000])
def test_very_many_files(start_peer, start_shell, tracker, tmp_path, count):
    root = tmp_path / "src/many"
    for n in range(count):
        if n % 1000 == 0:
            (root / f"{n // 1000}").mkdir(parents=True)
        (root / f"{n // 1000}/{n}").write_bytes(b"%d" % n * 20)
    share_all(start_peer, tracker, [root], count)
    shell = start_shell(tracker=tracker)
    shell.say("download many/")
    shell.say("status")
    most = 0
    while "many/: " not in shell.out():
        assert shell.alive, shell.log()
        most = max(most, shell.memory_bytes())
        time.sleep(0.05)
    assert f"many/: {count} files" in shell.out()
    assert shell.end() == 0
    assert sum(path.is_file() for path in (shell.dir / "many").rglob("*")) == count
    assert most < 200 << 20
