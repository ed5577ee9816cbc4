"""The tracker's API with well-meant requests: registrations, search, holders, pages."""

import random
import time

import programs
import pytest
from client import Content, Tracker, expect, expect_problem
from programs import wait_until

pytestmark = pytest.mark.both_stores


def contents(count, seed=0):
    generator = random.Random(seed)
    return [Content(generator.randbytes(20), f"folder/file {number:04}.bin") for number in range(count)]


def records(items):
    return [item.record() for item in items]


# ---- registrations ----


@pytest.mark.sanitized
def test_a_registration_is_listed_found_and_forgotten(start_tracker):
    peer = start_tracker().client()
    one = Content(b"one", "docs/One.txt")
    answer = peer.register(7001, [one.record()], host="127.0.0.1")
    assert answer == {"heartbeat_s": 10, "expires_s": 30, "files": 1}
    (listed,) = peer.peers()
    assert listed["age_ms"] < 10_000
    assert listed == {"id": peer.identity.id, "host": "127.0.0.1", "port": 7001, "files": 1, "age_ms": listed["age_ms"]}
    assert peer.files("one") == [{"name": "docs/One.txt", "size": 3, "root": one.root, "holders": 1}]
    holder = {"id": peer.identity.id, "host": "127.0.0.1", "port": 7001, "complete": True}
    assert peer.owners(one.root) == {
        "root": one.root, "size": 3, "names": ["docs/One.txt"], "holders": [holder], "holders_total": 1,
        "other_sizes": [],
    }  # fmt: skip
    assert peer.heartbeat() == {"expires_s": 30, "files": 1}
    peer.unregister()
    assert peer.peers() == [] and peer.files() == [] and peer.owners(one.root) is None
    assert expect_problem(peer.try_heartbeat(), 404).endswith(":unknown-peer")
    assert expect_problem(peer.try_unregister(), 404).endswith(":unknown-peer")
    assert expect_problem(peer.try_change(), 404).endswith(":unknown-peer")


def test_a_peer_without_files_registers(tracker):
    peer = tracker.client()
    assert expect(
        peer.call("POST", "/v1/peers", {"id": peer.identity.id, "port": 1, "unknown": [1]}, peer.identity.bearer), 200
    ).json()["files"] == 0
    assert [one["files"] for one in peer.peers()] == [0]


def test_a_registration_replaces_what_the_id_had(tracker):
    peer, items = tracker.client(), contents(4)
    peer.register(7001, records(items[:3]))
    assert peer.register(7002, records(items[2:]))["files"] == 2
    assert {row["name"] for row in peer.files()} == {item.name for item in items[2:]}
    assert [one["port"] for one in peer.peers()] == [7002]
    assert peer.owners(items[0].root) is None


def test_files_are_added_and_removed_by_name_and_by_content(tracker):
    peer = tracker.client()
    one, two = Content(b"one", "one"), Content(b"two", "two")
    peer.register(7001, [one.record()])
    assert peer.change(add=[one.record("again"), two.record(), two.record()]) == 3
    assert peer.owners(one.root)["names"] == ["again", "one"]
    assert peer.owners(one.root)["holders_total"] == 1
    assert peer.change(remove=[{"root": one.root, "size": 3, "name": "one"}]) == 2
    assert peer.owners(one.root)["names"] == ["again"]
    assert peer.change(add=[one.record("third")], remove=[{"root": two.root, "size": 3}]) == 2
    assert peer.change(remove=[{"root": one.root, "size": 3}]) == 0
    assert peer.change(remove=[{"root": one.root, "size": 3}]) == 0
    assert peer.files() == []


def test_a_content_held_in_part_becomes_complete(tracker):
    peer, item = tracker.client(), Content(b"x", "x")
    peer.register(7001, [item.record(complete=False)])
    assert [one["complete"] for one in peer.owners(item.root)["holders"]] == [False]
    peer.change(add=[item.record(complete=True)])
    assert [one["complete"] for one in peer.owners(item.root)["holders"]] == [True]
    assert peer.heartbeat()["files"] == 1


def test_names_and_contents_are_kept_apart(tracker):
    first, second = tracker.client(), tracker.client()
    one, two = Content(b"one", "same"), Content(b"two!", "same")
    first.register(7001, [one.record(), two.record("other")])
    second.register(7002, [two.record()])
    rows = {(row["name"], row["root"]): row["holders"] for row in first.files()}
    assert rows == {("same", one.root): 1, ("other", two.root): 2, ("same", two.root): 2}
    first.unregister()
    assert [(row["name"], row["root"], row["holders"]) for row in first.files()] == [("same", two.root, 1)]


def test_one_root_of_two_sizes_is_two_contents(tracker):
    honest, other, liar = tracker.client(), tracker.client(), tracker.client()
    item = Content(b"x" * 100, "x")
    honest.register(7001, [item.record()])
    other.register(7002, [item.record()])
    liar.register(7003, [{**item.record(), "size": 64}])
    found = honest.owners(item.root)
    assert (found["size"], found["other_sizes"], len(found["holders"])) == (100, [64], 2)
    found = honest.owners(item.root, 64)
    assert (found["size"], found["other_sizes"], found["holders"][0]["port"]) == (64, [100], 7003)
    assert honest.owners(item.root, 65) is None


# ---- who may change what ----


def test_who_names_the_instance_that_ended_takes_its_place(start_tracker):
    peer = start_tracker().client()
    first, second, third = "1" * 32, "2" * 32, "3" * 32
    peer.register(7001, host="127.0.0.1", instance=first)
    peer.register(7002, host="127.0.0.1", instance=second, previous=first)
    assert [row["port"] for row in peer.peers()] == [7002]
    # A clone of the first start knows the same earlier instance, but that is no longer the one that is registered.
    assert expect_problem(
        peer.try_register(7003, host="127.0.0.1", instance=third, previous=first), 409
    ).endswith(":peer-elsewhere")


def test_a_peer_beside_the_tracker_is_listed_by_an_address_that_others_reach(tracker):
    peer = tracker.client()
    peer.register(7001, addresses=["127.0.0.1:7001", "[fe80::1]:7001", "192.0.2.7:7001", "192.0.2.8:7001"])
    assert [row["host"] for row in peer.peers()] == ["192.0.2.7"]
    peer.register(7001, addresses=["127.0.0.1:7001"])
    assert [row["host"] for row in peer.peers()] == ["127.0.0.1"]
    peer.register(7001, host="127.0.0.1", addresses=["192.0.2.7:7001"])  # what was claimed counts
    assert [row["host"] for row in peer.peers()] == ["127.0.0.1"]


def test_another_instance_at_another_address_waits_until_the_old_one_lapses(start_tracker):
    peer = start_tracker("--heartbeat", "1", "--expire", "2").client()
    first, second = "11" * 16, "22" * 16
    peer.register(7001, host="127.0.0.1", instance=first)
    peer.register(7002, host="127.0.0.1", instance=first)
    assert expect_problem(peer.try_register(7003, host="127.0.0.1", instance=second), 409).endswith(":peer-elsewhere")
    assert expect_problem(peer.try_register(7003, host="127.0.0.1"), 409).endswith(":peer-elsewhere")
    assert [one["port"] for one in peer.peers()] == [7002]
    peer.register(7002, host="127.0.0.1", instance=second)
    wait_until(lambda: peer.try_register(7003, host="127.0.0.1", instance=first).status_code == 200)
    assert [one["port"] for one in peer.peers()] == [7003]


def test_the_host_is_where_the_request_came_from_unless_said(start_tracker):
    tracker = start_tracker(listen="[::]:0")
    for url, host in ((f"127.0.0.1:{tracker.port}", "127.0.0.1"), (f"[::1]:{tracker.port}", "::1")):
        for claimed, listed in ((None, host), ("0.0.0.0", host), ("::", host), ("192.0.2.7", "192.0.2.7")):
            peer = Tracker(url)
            peer.register(7001, host=claimed)
            assert [one["host"] for one in peer.peers()] == [listed]
            peer.unregister()
    assert tracker.ready[1] == "[::]"


# ---- search ----


@pytest.fixture
def catalogue(tracker):
    peer = tracker.client()
    names = [
        "arq1.txt", "Arq2.TXT", "music/Été à Paris.ogg", "100% sure.txt", "100 sure.txt", "under_score", "underXscore",
        'quote "it" \'s.txt', "a", "ab", "b/a.c", "b/a.cc", "[x].iso", "back\\slash", "日本語.txt", "OR AND NOT*".replace("*", ""),
    ]  # fmt: skip
    peer.register(7001, [Content(name.encode()).record(name) for name in names])
    return peer


SEARCHES = [
    ("arq", ["arq1.txt", "Arq2.TXT"]),
    ("ARQ2", ["Arq2.TXT"]),
    ("été", ["music/Été à Paris.ogg"]),
    ("0% s", ["100% sure.txt"]),
    ("r_s", ["under_score"]),
    ('"it"', ['quote "it" \'s.txt']),
    ("' OR 1", []),
    ("t\" 's", ['quote "it" \'s.txt']),
    ("and", ["OR AND NOT"]),
    ("[x]", ["[x].iso"]),
    ("k\\s", ["back\\slash"]),
    ("日本語", ["日本語.txt"]),
    ("日", ["日本語.txt"]),
    ("a", ["arq1.txt", "Arq2.TXT", "a", "ab"]),
    ("AB", ["ab"]),
    ("b", ["b/a.c", "b/a.cc", "back\\slash"]),
    ("*.c", ["b/a.c"]),
    ("b*c", ["b/a.c", "b/a.cc"]),
    ("?", ["a"]),
    ("a?", ["ab"]),
    ("ar*.t?t", ["arq1.txt", "Arq2.TXT"]),
    ("*[x]*", ["[x].iso"]),
    ("nothing like it", []),
    ("zz", []),
]


@pytest.mark.sanitized
def test_search_takes_patterns_literally_but_for_wildcards(catalogue):
    for q, names in SEARCHES:
        # Names that came with one request are of the same age: their order is the store's.
        assert sorted(row["name"] for row in catalogue.files(q)) == sorted(names), q


def test_search_without_a_pattern_lists_everything(catalogue):
    assert len(catalogue.files()) == len(catalogue.files("")) == len(catalogue.files("*")) == 16


# ---- pages ----


def test_pages_are_whole_while_the_catalogue_changes(tracker):
    peer, other, items = tracker.client(), tracker.client(), contents(50)
    peer.register(7001, records(items))
    seen, after = [], ""
    for step in range(100):
        page = peer.get_json(f"/v1/files?limit=7{after}")
        seen += [row["name"] for row in page["files"]]
        assert len(page["files"]) <= 7
        if "next" not in page:
            break
        after = "&after=" + page["next"]
        if step == 1:
            listed = [item for item in items if item.name in seen]
            peer.change(remove=[{"root": item.root, "size": item.size} for item in listed])
            other.register(7002, [Content(b"new %d" % n, f"new {n}").record() for n in range(5)])
    old = [name for name in seen if name in {item.name for item in items}]
    assert sorted(old) == [item.name for item in items]
    assert len(seen) == len(old) + 5


def test_the_list_of_peers_has_pages(tracker):
    peers = [tracker.client() for _ in range(25)]
    for peer in peers:
        peer.register(7001)
    listed = [one["id"] for one in peers[0].peers(limit=10)]
    assert sorted(listed) == sorted(peer.identity.id for peer in peers)
    assert len(peers[0].get_json("/v1/peers?limit=10")["peers"]) == 10


def test_answers_stay_below_256_kib_whatever_the_names(tracker):
    peer = tracker.client()
    deep = "/".join(['"' * 250] * 12)
    items = [Content(str(number).encode()).record(f"{deep}/{number}") for number in range(120)]
    peer.register(7001)
    for first in range(0, 120, 40):
        peer.change(add=items[first : first + 40])
    page = peer.get("/v1/files?limit=1000")
    assert len(page.content) <= 256 * 1024 and "next" in page.json()
    assert len(peer.files(limit=1000)) == 120
    peer.change(add=[{**items[0], "name": f"{deep}/again {number}"} for number in range(40)])
    assert len(peer.get(f"/v1/files/{items[0]['root']}").content) <= 256 * 1024


# ---- holders ----


def test_holders_are_a_random_sample_of_the_limit(tracker):
    item = Content(b"popular", "p")
    peers = [tracker.client() for _ in range(20)]
    for peer in peers:
        peer.register(7001, [item.record()])
    seen = set()
    for _ in range(200):
        found = peers[0].get_json(f"/v1/files/{item.root}?limit=3")
        assert len({holder["id"] for holder in found["holders"]}) == 3
        assert found["holders_total"] == 20
        seen |= {holder["id"] for holder in found["holders"]}
        if len(seen) == 20:
            break
    assert len(seen) == 20


def test_holders_of_many_contents_at_once(tracker):
    peer, items = tracker.client(), contents(1000)
    peer.register(7001, records(items[:999]))
    answer = expect(
        peer.call("POST", "/v1/holders", {"contents": [{"root": i.root, "size": i.size} for i in items]}), 200
    )
    assert len(answer.content) <= 256 * 1024
    found = answer.json()["contents"]
    assert [one["root"] for one in found] == [item.root for item in items[: len(found)]]
    assert len(found) > 500
    for one in found:
        assert [holder["id"] for holder in one["holders"]] == [peer.identity.id]
    rest = items[len(found) :]
    assert [one["root"] for one in peer.holders(rest)] == [item.root for item in rest[:-1]]
    assert peer.holders(items[999:]) == []


# ---- many files ----


@pytest.mark.both_stores(False)
def test_100_000_files_go_in_bounded_requests(tracker, record_property):
    peer = tracker.client()
    names = [f"series {number % 100}/episode {number:06}.mkv" for number in range(100_000)]
    files = [{"name": n, "size": 7, "root": f"{i:064x}", "complete": True} for i, n in enumerate(names)]
    started = time.monotonic()
    peer.register(7001, files[:1000])
    for first in range(1000, 100_000, 1000):
        held = peer.change(add=files[first : first + 1000])
    print(f"100,000 files registered in {time.monotonic() - started:.2f} s")
    assert held == 100_000 == peer.heartbeat()["files"]
    for q in ("episode 031415", "*31415.mkv", "031415", "series", "s", "*zz*"):
        started = time.monotonic()
        page = peer.get_json(f"/v1/files?q={q}")
        print(f"search for {q!r}: {1000 * (time.monotonic() - started):.1f} ms, {len(page['files'])} rows")
    assert [row["name"] for row in peer.files("031415")] == [names[31415]]
    peer.register(7001, files[:10])
    assert len(peer.files("episode")) == 10
    peer.unregister()
    assert peer.files("episode") == []


# ---- the tracker about itself ----


def test_health_and_metrics(tracker):
    peer = tracker.client()
    peer.register(7001, records(contents(3)))
    health = expect(peer.get("/healthz"), 200).json()
    assert health["status"] == "ok" and len(bytes.fromhex(health["id"])) == 32
    expect_problem(peer.get("/v1/nothing"), 404)
    text = expect(peer.get("/metrics"), 200).text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert lines["enxame_peers"] == "1" and lines["enxame_contents"] == "3" and lines["enxame_holdings"] == "3"
    assert lines['enxame_http_requests_total{method="POST",route="/v1/peers",status="200"}'] == "1"
    assert lines['enxame_http_requests_total{method="other",route="other",status="404"}'] == "1"
    assert int(lines["enxame_commit_duration_seconds_count"]) >= 1 and lines["enxame_write_queue_depth"] == "0"


@pytest.mark.both_stores(False)
def test_an_idle_tracker_is_small(tracker):
    tracker.client().register(7001, records(contents(10)))
    print(f"resident: {tracker.memory_bytes() / 2**20:.1f} MiB")
    assert programs.SANITIZED or tracker.memory_bytes() < 20 * 2**20
