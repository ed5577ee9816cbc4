"""What the tracker says about itself, to Prometheus and in its log."""

import json
import math
import re
import time

import pytest
import requests
from client import Content, expect, expect_problem
from programs import wait_until

parser = pytest.importorskip("prometheus_client.parser", reason="python3-prometheus-client is not installed")

FILES = [Content(str(n).encode(), f"{n}.bin").record() for n in range(5)]


def scrape(tracker):
    """The metrics by name, as Prometheus' own library reads them; what it demands is checked."""
    answer = expect(requests.get(tracker.url + "/metrics", timeout=30), 200)
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.text.endswith("\n")
    families = {family.name: family for family in parser.text_string_to_metric_families(answer.text)}
    for name, family in families.items():
        assert family.documentation and family.type in ("counter", "gauge", "histogram"), name
        assert re.fullmatch(r"(enxame|process)_[a-z0-9_]+", name)
        if family.type == "counter":  # the parser takes _total off
            assert f"\n# TYPE {name}_total counter\n" in answer.text
        if family.type == "histogram":
            check_histogram(family)
        samples = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples]
        assert len(samples) == len(set(samples)), name
    return families


def check_histogram(family):
    series = {}
    for sample in family.samples:
        labels = {key: value for key, value in sample.labels.items() if key != "le"}
        kind = sample.name.removeprefix(family.name)
        one = series.setdefault(tuple(sorted(labels.items())), {"_bucket": []})
        if kind == "_bucket":
            one[kind].append((float(sample.labels["le"]), sample.value))
        else:
            one[kind] = sample.value
    for one in series.values():
        bounds, values = zip(*one["_bucket"], strict=True)
        assert list(bounds) == sorted(bounds) and bounds[-1] == math.inf
        assert list(values) == sorted(values) and values[-1] == one["_count"]
        assert one["_sum"] >= 0 and (one["_sum"] > 0) == (one["_count"] > 0)


def value(families, name, sample=None, **labels):
    found = [one.value for one in families[name].samples if one.name == (sample or name) and labels.items() <= one.labels.items()]
    return sum(found)


def test_metrics_are_what_prometheus_expects(tracker):
    peer = tracker.client()
    peer.register(7001, FILES)
    peer.heartbeat()
    expect_problem(peer.get("/v1/nothing"), 404)
    expect_problem(peer.call("POST", "/v1/peers", {}), 400)
    expect(peer.get("/healthz"), 200)  # what is counted once it was answered is so before the next on its connection
    found = scrape(tracker)
    total = "enxame_http_requests_total"
    assert value(found, "enxame_http_requests", total, method="POST", route="/v1/peers", status="200") == 1
    assert value(found, "enxame_http_requests", total, method="POST", route="/v1/peers", status="400") == 1
    assert value(found, "enxame_http_requests", total, route="/v1/peers/{}/heartbeat") == 1
    assert value(found, "enxame_http_requests", total, route="other", status="404") == 1
    duration = "enxame_http_request_duration_seconds"
    assert value(found, duration, duration + "_count", route="/v1/peers", method="POST") == 2
    bounds = {sample.labels.get("le") for sample in found[duration].samples}
    assert {"0.0005", "0.01", "1", "10", "+Inf"} <= bounds
    assert value(found, "enxame_commit_duration_seconds", "enxame_commit_duration_seconds_count") >= 2
    assert value(found, "enxame_batch_writes", "enxame_batch_writes_sum") >= 2
    gauges = {"peers": 1, "contents": 5, "names": 5, "holdings": 5, "store_up": 1}
    gauges |= {"write_queue_depth": 0, "search_queue_depth": 0}
    for name, count in gauges.items():
        assert value(found, "enxame_" + name) == count, name
    assert 1 <= value(found, "enxame_http_connections") <= 3
    assert value(found, "enxame_http_connections_max") >= 100
    assert value(found, "enxame_build_info") == 1


def test_metrics_of_the_process_are_its_own(tracker):
    found = scrape(tracker)
    assert abs(value(found, "process_resident_memory_bytes") / tracker.memory_bytes() - 1) < 0.5
    assert 5 < value(found, "process_open_fds") < value(found, "process_max_fds")
    assert value(found, "process_start_time_seconds") > 1.7e9
    used = value(found, "process_cpu_seconds", "process_cpu_seconds_total")
    assert 0 < used <= value(scrape(tracker), "process_cpu_seconds", "process_cpu_seconds_total")


def test_metrics_count_what_comes_and_goes(start_tracker):
    tracker = start_tracker("--heartbeat", "1", "--expire", "2")

    def expired():
        return value(scrape(tracker), "enxame_peers_expired", "enxame_peers_expired_total")

    assert expired() == 0
    began = time.monotonic()
    tracker.client().register(7001, FILES)
    so_far = expired()
    assert so_far == 0 or time.monotonic() - began >= 2
    wait_until(lambda: expired() == 1)
    wait_until(lambda: value(scrape(tracker), "enxame_contents") == value(scrape(tracker), "enxame_names") == 0)
    found = scrape(tracker)
    assert value(found, "enxame_peers") == value(found, "enxame_holdings") == 0


def test_where_the_store_does_not_answer_health_and_metrics_say_so(start_tracker, tmp_path):
    tracker = start_tracker()
    peer = tracker.client()
    peer.register(7001, FILES)
    tracker.stop()  # so that all is in the database, and nothing in its log
    tracker = start_tracker()
    peer = tracker.client(peer.identity)
    expect(peer.get("/healthz"), 200)
    path = tmp_path / "tracker.db"
    with open(path, "r+b") as file:
        file.write(bytes(path.stat().st_size))

    def fails():
        peer.try_heartbeat()  # what was read before is not believed any more after a write
        return peer.get("/healthz").status_code != 200

    wait_until(fails)
    assert expect_problem(peer.get("/healthz"), 503, "the tracker's database failed: ").endswith("store-failed")
    found = scrape(tracker)
    assert value(found, "enxame_store_up") == 0 and value(found, "enxame_store_errors", "enxame_store_errors_total") > 0
    assert "enxame_peers" not in found


# ---- the log ----

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def work(tracker):
    """A request of each kind whose secret must not be told; the peer's id."""
    peer = tracker.client()
    peer.register(7001, FILES)
    peer.heartbeat()
    expect_problem(peer.call("POST", "/v1/peers", {}), 400)
    expect_problem(peer.get("/v1/nothing\u2028\"x"), 404)
    wrong = tracker.client()
    expect_problem(wrong.call("DELETE", f"/v1/peers/{peer.identity.id}", headers=wrong.identity.bearer), 403)
    peer.unregister()
    return peer.identity, wrong.identity


def no_secrets(text, *identities):
    assert "earer" not in text and "uthorization" not in text
    for identity in identities:
        assert identity.secret.hex() not in text


def test_the_log_is_json_lines_with_fields_and_no_secrets(start_tracker):
    tracker = start_tracker("-v", "--log-format", "json")
    identity, wrong = work(tracker)
    tracker.stop()
    lines = [json.loads(line) for line in tracker.err().splitlines()]
    assert lines and all(TIME.fullmatch(line["time"]) for line in lines)
    assert {line["level"] for line in lines} <= {"error", "warn", "info", "debug"}
    assert all(isinstance(line["message"], str) for line in lines)
    logged = [line for line in lines if line["message"] == "request"]
    # An answer is logged once it was sent: before the next on its connection, but not before those on others.
    served = sorted(logged, key=lambda line: line["source"] != logged[0]["source"])
    assert [(line["method"], line["route"], line["status"]) for line in served] == [
        ("POST", "/v1/peers", 200), ("POST", "/v1/peers/{}/heartbeat", 200), ("POST", "/v1/peers", 400),
        ("other", "other", 404), ("DELETE", "/v1/peers/{}", 204), ("DELETE", "/v1/peers/{}", 403),
    ]  # fmt: skip
    for line in served:
        assert line["duration_us"] >= 0 and line["sent_bytes"] >= 0 and line["source"].startswith("127.0.0.1:")
    assert [line.get("peer") == identity.id for line in served] == [True, True, False, False, True, True]
    no_secrets(tracker.err(), identity, wrong)


def test_the_log_is_text_for_people(start_tracker):
    tracker = start_tracker("-v")
    identity, wrong = work(tracker)
    tracker.stop()
    assert re.search(
        r"^\d\d:\d\d:\d\d\.\d{3} debug: request method=POST route=/v1/peers status=200 duration_us=\d+ sent_bytes=\d+"
        rf" source=127\.0\.0\.1:\d+ peer={identity.id}$", tracker.err(), re.MULTILINE,
    )  # fmt: skip
    no_secrets(tracker.err(), identity, wrong)


def test_without_v_requests_are_not_logged(start_tracker):
    tracker = start_tracker("--log-format", "json")
    work(tracker)
    tracker.stop()
    serving, stopping = [json.loads(line) for line in tracker.err().splitlines()]
    assert (serving["message"], stopping["message"]) == ("serving", "stopping")
    assert serving["listen"] == tracker.address and serving["database"].endswith("tracker.db") and serving["version"]
