"""Folders that are kept the same by several peers: what travels, what wins, what is never lost."""

import os
import random
import subprocess

import pytest

from programs import random_file, wait_until
from synced import Group, conflicts, snapshot, texts


@pytest.fixture
def group(tmp_path, launcher):
    return Group(launcher, tmp_path)


# ---- what travels ----


@pytest.mark.sanitized
def test_all_that_a_folder_holds_and_all_that_is_done_to_it_travels(group):
    one, other = group.start()
    path = one.write("folder/deep/text", "first")
    one.write("nothing")
    (one.path / "empty").mkdir()
    one.write("tool", "#!/bin/sh\n").chmod(0o755)
    os.utime(path, ns=(0, 987_654_321_123_456_789))
    seen = group.wait_same()
    assert seen["empty"] == "folder" and seen["tool"][1] and not seen["nothing"][1]
    assert seen["folder/deep/text"][2] == 987_654_321_123_456_789

    other.write("folder/deep/text", "second, from the other side")
    (other.path / "tool").chmod(0o644)
    (other.path / "empty").rmdir()
    os.utime(other.path / "nothing", ns=(0, 1_000_000_000))
    seen = group.wait_same()
    assert one.read("folder/deep/text").startswith(b"second")
    assert "empty" not in seen and not seen["tool"][1] and seen["nothing"][2] == 1_000_000_000
    assert one.trash() == [b"first"] and not other.trash()

    (one.path / "folder").rename(one.path / "moved")
    one.remove("nothing")
    seen = group.wait_same()
    assert set(seen) == {"moved", "moved/deep", "moved/deep/text", "tool"}
    assert b"" in other.trash()


def test_names_of_one_content_keep_their_own_times_and_bits(group):
    one, other = group.add(), group.add()
    group.launch(one)
    for size in (0, 1000, 700_000):
        for number in range(3):
            path = one.write(f"{size}-{number}", random.Random(size).randbytes(size))
            path.chmod(0o755 if number == 1 else 0o644)
            os.utime(path, ns=(0, 1_000_000_000 * (size + number + 1)))
    one.say("sync wait 60")
    group.launch(other)
    assert len(group.wait_same()) == 9
    one.say("sync wait 60")
    assert not one.trash() and not other.trash()


def test_a_renamed_or_copied_file_fetches_nothing(group, tmp_path):
    one, other = group.start()
    random_file(one.path / "large", 3_000_000)
    random_file(one.path / "small", 100_000, seed=2)
    group.wait_same()
    before = one.sent_bytes()
    (one.path / "large").rename(one.path / "large too")
    one.write("copy of small", one.read("small"))
    group.wait_same()
    assert one.sent_bytes() - before < 30_000
    assert not other.trash(), "what lies in the folder under another name needs no place in the trash"


def test_many_files_of_one_content_are_put_into_place_together(group):
    """Empty ones, as there are in every tree; one after the other they would take minutes."""
    one, other = group.start()
    for number in range(700):
        one.write(f"{number % 7}/empty {number}")
        one.write(f"{number % 7}/same {number}", "the same" * 5000)
    seen = group.wait_same()
    assert len(seen) == 1400 + 7 and not conflicts(seen)
    assert os.listdir(other.path / ".enxame/incoming") == []


def test_only_what_changed_of_a_large_file_is_fetched(group):
    one, other = group.start()
    path = random_file(one.path / "image", 64 << 20)
    group.wait_same()
    before = one.sent_bytes()
    with open(path, "r+b") as file:
        file.seek(32 << 20)
        file.write(random.Random(5).randbytes(1 << 20))
    group.wait_same()
    changed = one.sent_bytes() - before
    assert other.peer.client().status()["downloads"] == [], "no user asked for it"
    assert other.peer.client().files() == []
    assert (1 << 20) <= changed < (2 << 20)
    before = one.sent_bytes()
    with open(path, "ab") as file:
        file.write(random.Random(6).randbytes(1 << 20))
    group.wait_same()
    assert one.sent_bytes() - before < (2 << 20)


def test_the_same_files_beforehand_join_in_silence(group):
    replicas = [group.add() for _ in range(3)]
    for replica in replicas:
        for number in range(20):
            path = replica.write(f"folder/{number}", f"the same {number}" * number)
            os.utime(path, ns=(0, (1000 + number) * 10**9))
    for replica in replicas:
        group.launch(replica)
    seen = group.wait_same()
    assert len(seen) == 21 and not conflicts(seen)
    assert all(not replica.trash() for replica in replicas)


def test_a_chain_of_peers_gets_all_of_it(group):
    """The last one knows the first only through the one between them."""
    replicas = group.start(3)
    for number in range(300):
        replicas[number % 3].write(f"{number % 7}/{number}", random.Random(number).randbytes(number * 50))
    seen = group.wait_same()
    assert len(seen) == 300 + 7 and not conflicts(seen)


def test_who_was_away_gets_all_changes_and_brings_nothing_back(group):
    one, other = group.start()
    for number in range(120):
        one.write(f"{number % 5}/{number}", f"version 1 of {number}")
    group.wait_same()
    other.stop()
    for number in range(120):
        name = f"{number % 5}/{number}"
        if number % 4 == 0:
            one.remove(name)
        elif number % 4 == 1:
            one.write(name, f"version 2 of {number}")
        elif number % 4 == 2:
            (one.path / name).rename(one.path / f"{name} renamed")
    one.remove("3")
    wait_until(lambda: not one.knows("3"))
    group.launch(other)
    seen = group.wait_same()
    assert not conflicts(seen)
    assert one.has("1/1") and one.read("1/1") == b"version 2 of 1" and not other.has("0/0") and not other.has("3")


# ---- what wins, and that nothing is lost ----


def test_edits_in_two_places_at_once_are_all_kept_on_all(group):
    replicas = group.start(3)
    replicas[0].write("folder/report.txt", "as it was")
    group.wait_same()
    for replica in replicas:
        replica.stop()
    for number, replica in enumerate(replicas):
        replica.write("folder/report.txt", f"as {number} wants it")
    for replica in replicas:
        group.launch(replica)
    seen = group.wait_same()
    names = conflicts(seen)
    assert len(names) == 2 and all(name.startswith("folder/report.conflict-") and name.endswith(".txt") for name in names)
    expected = {b"as 0 wants it", b"as 1 wants it", b"as 2 wants it"}
    assert set(texts(replicas[1].path).values()) == expected
    # A change of what was kept is an ordinary one.
    replicas[2].write(names[0], "decided")
    seen = group.wait_same()
    assert conflicts(seen) == names and replicas[0].read(names[0]) == b"decided"


def test_an_edit_beats_a_deletion_of_the_same_time(group):
    one, other = group.start()
    one.write("folder/kept", "first")
    one.write("gone", "by both")
    group.wait_same()
    one.stop()
    other.stop()
    one.remove("folder")
    one.remove("gone")
    other.write("folder/kept", "edited meanwhile")
    other.remove("gone")
    group.launch(one)
    group.launch(other)
    seen = group.wait_same()
    assert set(seen) == {"folder", "folder/kept"} and one.read("folder/kept") == b"edited meanwhile"


def test_metadata_alone_make_no_conflict_copy(group):
    one, other = group.start()
    one.write("file", "text")
    group.wait_same()
    one.stop()
    other.stop()
    os.utime(one.path / "file", ns=(0, 5 * 10**9))
    (other.path / "file").chmod(0o755)
    group.launch(one)
    group.launch(other)
    assert set(group.wait_same()) == {"file"}


def test_a_folder_and_a_file_of_one_name_are_both_kept(group):
    one, other = group.add(), group.add()
    one.write("name/within", "in the folder")
    other.write("name", "the file")
    group.launch(one)
    group.launch(other)
    seen = group.wait_same()
    (copy,) = conflicts(seen)
    assert seen["name"] == "folder" and one.read("name/within") == b"in the folder" and one.read(copy) == b"the file"


def test_a_file_becomes_a_folder_and_a_folder_a_file(group):
    one, other = group.start()
    one.write("file", "to be a folder")
    one.write("folder/within", "to go")
    group.wait_same()
    one.remove("file")
    one.write("file/within", "below")
    one.remove("folder")
    one.write("folder", "a file now")
    seen = group.wait_same()
    assert seen["file"] == "folder" and other.read("folder") == b"a file now" and not conflicts(seen)
    assert sorted(other.trash()) == [b"to be a folder", b"to go"]


def test_a_deleted_folder_stays_where_it_has_what_nobody_else_knows(group):
    one, other = group.add(), group.add()
    one.write(".enxameignore", "*.tmp\n")
    one.write("folder/known", "1")
    group.launch(one)
    group.launch(other)
    group.wait_same()
    other.write("folder/private.tmp", "only here")
    one.remove("folder")
    wait_until(lambda: not other.has("folder/known"))
    wait_until(lambda: one.has("folder"), what="the folder is back, as it could not go")
    assert other.read("folder/private.tmp") == b"only here" and not one.has("folder/private.tmp")


def test_what_is_ignored_is_neither_sent_nor_taken(group):
    one, other = group.add(), group.add()
    other.write(".enxameignore", "secret/\n")
    group.launch(other)
    one.write("secret/key", "one's own")
    one.write("open", "to all")
    group.launch(one)
    wait_until(lambda: other.has("open") and one.has(".enxameignore"))
    assert not other.has("secret")
    other.write("secret/key", "another")
    other.write("last", "1")
    wait_until(lambda: one.has("last"))
    assert one.read("secret/key") == b"one's own"


# ---- the trash ----


def test_a_version_comes_back_from_the_trash_as_a_new_edit(group):
    one, other = group.start()
    one.write("letter", "first")
    group.wait_same()
    one.write("letter", "second")
    group.wait_same()
    one.remove("letter")
    group.wait_same()
    assert sorted(other.trash()) == [b"first", b"second"]
    other.say("sync restore letter")
    group.wait_same()
    assert one.read("letter") == b"second"
    other.say("sync restore letter")
    group.wait_same()
    assert one.read("letter") == b"first" and other.trash() == [b"second"]
    other.say("sync restore nothing-of-that-name", status=1)


# ---- the end at any moment ----


@pytest.mark.sanitized
def test_killed_at_random_moments_no_file_is_ever_half_written(group):
    rng = random.Random(11)
    one, other = group.start()
    contents, written = {}, set()
    for _ in range(5):
        for number in range(60):
            name = f"{number % 3}/{number}"
            contents[name] = rng.randbytes(rng.choice([10, 5_000, 200_000]))
            one.write(name, contents[name])
        written |= set(contents.values())
        awaited = rng.choice(sorted(contents))
        wait_until(lambda name=awaited: other.has(name) and other.read(name) == contents[name])
        other.kill()
        assert set(texts(other.path).values()) <= written
        group.launch(other)
    assert not conflicts(group.wait_same())
    assert texts(other.path) == contents


# ---- no room ----


def grow(disk, mebibytes):
    subprocess.run(["mount", "-o", f"remount,size={mebibytes}m", disk], check=True)


@pytest.mark.needs_root
def test_a_full_disk_makes_one_peer_wait_and_harms_nobody(group, small_disk):
    disk = small_disk(24 << 20)
    one, other, full = group.add(), group.add(), group.add(disk / "synced")
    for replica in (one, other, full):
        group.launch(replica)
    one.write("first", "before")
    group.wait_same()
    for number in range(120):
        random_file(one.path / f"many/{number}", 250_000, seed=number)
    random_file(one.path / "large", 30_000_000, seed=999)
    group.wait_same(one, other)
    wait_until(lambda: "full" in full.say("sync", status=None), what="it says that the disk is full")
    assert "waits" in full.peer.err()
    assert full.peer.alive and full.read("first") == b"before"
    known = set(texts(one.path).values())
    assert set(texts(full.path).values()) <= known, "nothing is half written"
    grow(disk, 300)
    group.wait_same()


@pytest.mark.needs_root
def test_a_full_trash_makes_it_wait_until_there_is_room(group, small_disk):
    disk = small_disk(24 << 20)
    one, small = group.add(), group.add(disk / "synced")
    for replica in (one, small):
        group.launch(replica)
    for number in range(5):
        random_file(one.path / f"{number}", 900_000, seed=number)
    group.wait_same()
    for number in range(5):
        random_file(one.path / f"{number}", 900_000, seed=100 + number)
    wait_until(lambda: "trash is full" in small.say("sync", status=None))
    assert 0 < len(small.trash()) < 5
    grow(disk, 300)  # and with it the tenth of it
    group.wait_same()
    assert len(small.trash()) == 5
