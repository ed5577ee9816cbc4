"""A synced folder, and peers that tell lies of theirs; and what lies in it that is no file."""

import os
import shutil

import pytest
import requests

from client import expect, expect_problem, sha256
from fake_syncer import FakeSyncer
from programs import wait_until
from synced import Group, snapshot


@pytest.fixture
def group(tmp_path, launcher):
    return Group(launcher, tmp_path)


@pytest.fixture
def liar(group):
    with FakeSyncer(group.network) as fake:
        yield fake


def start(group, liar):
    return group.add().start([liar.address])


def finish(liar, replica, name="last"):
    """What it told so far has been looked at: nothing of it holds up the rest."""
    liar.add(name, f"text of {name}".encode())
    wait_until(lambda: replica.has(name) and replica.read(name) == f"text of {name}".encode())


# ---- the index, served ----


def test_the_index_is_for_the_own_network_only(group):
    (one,) = group.start(1)
    one.write("file", "text")
    wait_until(lambda: one.knows("file"))
    api = one.peer.client()
    assert expect_problem(api.get("/v1/sync/index"), 403).endswith("other-network")
    other = {"Enxame-Network": sha256(b"another").hex()}
    assert expect_problem(api.get("/v1/sync/index", headers=other), 403).endswith("other-network")
    own = {"Enxame-Network": sha256(group.network.encode()).hex()}
    page = expect(api.get("/v1/sync/index?since=0", headers=own), 200).json()
    assert [entry["name"] for entry in page["entries"]] == ["file"] and not page["more"]
    expect_problem(api.get("/v1/sync/index?since=x", headers=own), 400, "since")
    expect_problem(api.get("/v1/sync/index?limit=1001", headers=own), 400, "limit")
    later = expect(api.get(f"/v1/sync/index?since={page['sequence']}&wait_ms=200", headers=own), 200).json()
    assert later["entries"] == [] and later["sequence"] == page["sequence"] and later["epoch"] == page["epoch"]


def test_who_syncs_nothing_has_no_index_and_shares_nothing_of_the_folder(group, start_peer):
    idle = start_peer(tracker=[], args=["--no-tracker", "--network", group.network])
    own = {"Enxame-Network": sha256(group.network.encode()).hex()}
    assert expect_problem(idle.client().get("/v1/sync/index", headers=own), 404).endswith("no-sync")
    (one,) = group.start(1)
    one.write("file", "text")
    wait_until(lambda: one.knows("file"))
    assert one.peer.client().files() == []
    answer = requests.get(f"{one.peer.url}/v1/files/{sha256(b'text').hex()}/data?size=4", timeout=30)
    assert answer.status_code == 200 and answer.content == b"text", "but whoever knows the content gets it"


# ---- names and places ----


@pytest.mark.sanitized
def test_hostile_names_lead_nowhere(group, liar, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    replica = start(group, liar)
    for name in ["../out", "/tmp/out", "a/../../out", ".enxame/marker-00000000", ".enxame/trash/x", "a//b", "a/./b", "",
                 "new\nline", "x" * 300, "a/" * 100 + "b", "a\\..\\b\x01"]:  # fmt: skip
        liar.add(name, b"hostile")
    finish(liar, replica)
    seen = set(snapshot(replica.path))
    assert seen == {"last"} and not os.listdir(outside) and not os.path.exists("/tmp/out")
    assert "not valid" in replica.peer.err()


def test_a_link_where_a_folder_is_expected_is_never_followed(group, liar, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    replica = start(group, liar)
    (replica.path / "link").symlink_to(outside)
    (replica.path / "file link").symlink_to(outside / "precious")
    liar.add("link/precious", b"hostile")
    liar.add("link/new", b"hostile")
    liar.add("file link", b"hostile")
    liar.append({"name": "link", "kind": "deleted", **liar.version()})
    liar.append({"name": "link/precious", "kind": "deleted", **liar.version()})
    finish(liar, replica)
    assert os.listdir(outside) == ["precious"]
    assert (outside / "precious").read_text() == "mine"
    assert os.path.islink(replica.path / "link") and os.path.islink(replica.path / "file link")


# ---- contents ----


def test_wrong_bytes_are_never_put_into_place(group, liar):
    replica = start(group, liar)
    for number in range(2):  # who lies three times is asked for nothing more
        truth = b"the truth %d" % number
        liar.contents[sha256(truth).hex()] = b"a lie, eh %d" % number
        liar.add(f"wrong {number}", truth, held=False)
    missing = liar.add("missing", b"nobody has this", held=False)
    finish(liar, replica, "but others go on")
    assert set(snapshot(replica.path)) == {"but others go on"}
    assert "wrong bytes" in replica.peer.err()
    # Who has them after all is believed.
    honest = group.add()
    honest.write("brought later", b"nobody has this")
    group.launch(honest)
    wait_until(lambda: replica.has("missing") and replica.read("missing") == b"nobody has this", timeout_s=60)
    assert missing == sha256(b"nobody has this").hex()


def test_what_nobody_has_holds_up_nothing(group, liar):
    replica = start(group, liar)
    for number in range(3000):
        liar.add(f"missing/{number}", b"nobody %d" % number, held=False)
    for number in range(40):
        liar.add(f"large/{number}", b"large %d" % number, held=False, size=50_000_000)
    for number in range(50):
        liar.add(f"there/{number}", b"text %d" % number)
    wait_until(lambda: all(replica.has(f"there/{number}") for number in range(50)), timeout_s=60)
    finish(liar, replica)
    assert not replica.has("missing/0")


def test_a_broken_index_is_told_of_and_asked_again(group, liar):
    liar.mangle = lambda text: text[:-1]
    replica = start(group, liar)
    wait_until(lambda: "sync: 127.0.0.1" in replica.peer.err())
    liar.mangle = None
    finish(liar, replica)
    liar.epoch += 1
    liar.entries.clear()
    finish(liar, replica, "after its index began anew")


def test_a_version_from_far_ahead_is_no_way_to_stop_time(group, liar):
    """The largest counters that there can be: the file can be replaced by nobody, and nothing else suffers."""
    replica = start(group, liar)
    top = {"counters": {liar.id: 2**53 - 1}, "author": liar.id, "time": 2**53 - 1}
    liar.add("frozen", b"for ever", **top)
    finish(liar, replica)
    replica.write("frozen", "edited")
    replica.write("free", "edited")
    wait_until(lambda: replica.knows("free", 6))
    assert replica.peer.alive and replica.read("frozen") == b"edited"


def test_a_folder_that_is_away_is_no_deletion(group):
    one, other = group.start()
    for number in range(10):
        one.write(f"folder/{number}", f"text {number}")
    group.wait_same()
    aside = one.path.with_name("unmounted")
    one.path.rename(aside)
    one.path.mkdir()
    other.write("meanwhile", "1")
    wait_until(lambda: "moved, removed or unmounted" in one.peer.err() or "marker" in one.peer.err())
    assert len(snapshot(other.path)) == 12
    shutil.rmtree(one.path)
    aside.rename(one.path)
    group.wait_same()
    assert one.has("meanwhile") and one.has("folder/9")
