"""The programs as services: what they tell the service manager, and the units that start them."""

import re
import shutil
import signal
import socket
import subprocess

import programs
import pytest
from client import expect
from programs import ROOT, wait_until

UNITS = sorted((ROOT / "packaging").glob("*.service"))


class Manager:
    """Listens as a service manager does; `abstract`: on a socket that is no file."""

    def __init__(self, folder, abstract):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if abstract:
            self.socket.bind("")  # the kernel chooses a name
            self.name = "@" + self.socket.getsockname()[1:].decode()
        else:
            self.name = str(folder / "notify")
            self.socket.bind(self.name)
        self.socket.settimeout(60)

    def wrapper(self, **more):
        return ["env", f"NOTIFY_SOCKET={self.name}", *(f"{name}={value}" for name, value in more.items())]

    def heard(self):
        """The next message, as a dictionary."""
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())

    def nothing_more(self):
        self.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            self.socket.recv(4096)


@pytest.fixture(params=["file", "abstract"])
def manager(request, tmp_path):
    manager = Manager(tmp_path, request.param == "abstract")
    yield manager
    manager.socket.close()


def test_a_tracker_tells_when_it_serves_and_when_it_stops(manager, start_tracker):
    tracker = start_tracker(wrapper=manager.wrapper())
    assert manager.heard()["READY"] == "1"
    expect(tracker.client().get("/healthz"), 200)
    tracker.stop()
    assert manager.heard()["STOPPING"] == "1"
    manager.nothing_more()


def test_a_tracker_that_cannot_serve_does_not_say_so(manager, start_tracker, tmp_path):
    start_tracker()
    done = subprocess.run(
        [*manager.wrapper(), programs.BIN / "tracker", "--listen", "127.0.0.1:0", "--db", tmp_path / "tracker.db"], capture_output=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    manager.nothing_more()


def test_a_peer_tells_when_it_serves_and_when_it_stops(manager, tracker, start_peer):
    peer = start_peer(tracker=tracker, wrapper=manager.wrapper())
    assert manager.heard()["READY"] == "1"
    peer.stop()
    assert manager.heard()["STOPPING"] == "1"


def test_a_tracker_gives_signs_of_life_while_it_waits_and_only_where_they_are_wanted(manager, start_tracker):
    tracker = start_tracker(wrapper=manager.wrapper(WATCHDOG_USEC=200000))
    heard = [manager.heard() for _ in range(4)]
    assert "READY" in heard[0] and heard[1:] == [{"WATCHDOG": "1"}] * 3
    tracker.stop()
    wait_until(lambda: "STOPPING" in manager.heard())
    tracker = start_tracker(wrapper=manager.wrapper(WATCHDOG_USEC=200000, WATCHDOG_PID=1))
    tracker.stop()
    assert ["READY" in manager.heard(), "STOPPING" in manager.heard()] == [True, True]
    manager.nothing_more()


@pytest.mark.parametrize("name", ["", "relative", "/missing/socket", "@", "/" + "x" * 200])
def test_a_socket_that_cannot_be_reached_does_no_harm(start_tracker, name):
    tracker = start_tracker(wrapper=["env", f"NOTIFY_SOCKET={name}", "WATCHDOG_USEC=none"])
    expect(tracker.client().get("/healthz"), 200)
    tracker.stop(signal.SIGINT)


# ---- units ----


@pytest.fixture
def installed(tmp_path):
    """The units as they are installed, with programs where they say."""
    (tmp_path / "bin").mkdir()
    for name in ("tracker", "peer"):
        shutil.copy("/bin/true", tmp_path / "bin" / name)
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace("@PREFIX@", str(tmp_path)))
    return [tmp_path / unit.name for unit in UNITS]


def analyze(*words):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run(
        ["systemd-analyze", *map(str, words)], capture_output=True, text=True, timeout=60, check=False, env={"SYSTEMD_PAGER": "", "PATH": "/usr/bin:/bin"}
    )  # fmt: skip


def test_systemd_takes_the_units(installed):
    done = analyze("verify", *installed)
    assert done.returncode == 0, done.stderr
    ours = [line for line in done.stderr.splitlines() if "enxame" in line]
    assert not ours


def test_services_may_do_little(installed):
    assert len(installed) == 2
    for unit in installed:
        done = analyze("security", "--offline=yes", unit)
        found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
        if not found:
            pytest.skip(f"this systemd looks at no files: {done.stderr}")
        assert float(found[1]) < 2, done.stdout


def test_units_start_what_the_options_allow(installed):
    for unit in installed:
        text = unit.read_text()
        words = re.search(r"^ExecStart=(.*)$", text, re.MULTILINE)[1].split()
        program = programs.BIN / words[0].rsplit("/", 1)[1]
        options = [word for word in words if word.startswith("--")]
        shown = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout
        assert options and all(option in shown for option in options)
        assert "Type=notify" in text and "Restart=on-failure" in text
        # What may pass is tried again for ever, a wrong option only once.
        assert "StartLimitIntervalSec=0" in text and "RestartPreventExitStatus=2" in text
