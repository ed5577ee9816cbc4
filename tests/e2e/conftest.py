"""Fixtures: the programs of $ENXAME_BIN (default build/) on free ports, stopped and checked at each test's end.

Markers: `sanitized` tests run again with the programs built with sanitizers; `long` ones only with ENXAME_LONG=1;
`needs_root` ones only as root.  `both_stores` runs a test that starts a tracker with each of the tracker's stores, and
needs PostgreSQL: where that cannot be started, it is skipped, but fails where CI is `true`; both_stores(False) on a test
says otherwise than its file.
"""

import contextlib
import os
import shutil
import signal
import subprocess

import pytest

import postgres
import programs
import prompts

TIMEOUT_S = 120


def pytest_configure(config):
    # Ignored under nohup and in the background of a script, and so would the programs under test that inherit it.
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, usual)
    config.addinivalue_line("markers", "sanitized: runs again with the sanitizers' builds")
    config.addinivalue_line("markers", "long: runs only with ENXAME_LONG=1")
    config.addinivalue_line("markers", "needs_root: runs only as root")
    config.addinivalue_line("markers", "both_stores: runs with SQLite and with PostgreSQL")


def pytest_generate_tests(metafunc):
    marker = metafunc.definition.get_closest_marker("both_stores")
    if marker and marker.args != (False,) and "store" in metafunc.fixturenames:
        metafunc.parametrize("store", ["sqlite", "postgres"], indirect=True)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S * (3 if programs.SANITIZED else 1)))
        if item.get_closest_marker("long") and not programs.LONG:
            item.add_marker(pytest.mark.skip(reason="long: scripts/test --long"))
        if item.get_closest_marker("needs_root") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture
def tmp_path(tmp_path):
    """A folder that does not outlive its test: some of the files are large."""
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


@contextlib.contextmanager
def postgres_home(parent=None):
    try:
        home = postgres.Home(parent)
    except postgres.Unavailable as reason:
        if os.environ.get("CI") == "true":
            pytest.fail(str(reason))
        pytest.skip(str(reason))
    with home:
        yield home


@pytest.fixture
def clusters():
    """A postgres.Home of PostgreSQL servers that the test may break: clusters.cluster(durable=True)."""
    with postgres_home() as home:
        yield home


@pytest.fixture(scope="session")
def cluster():
    """A PostgreSQL server for all tests that leave it alone; each makes a database of its own."""
    with postgres_home(postgres.in_memory()) as home:
        yield home.cluster()


@pytest.fixture
def database(cluster):
    """The name of a new database of that server."""
    name = cluster.database()
    yield name
    cluster.drop(name)


@pytest.fixture
def store(request, tmp_path):
    """What a tracker's --db is unless the test says otherwise: a file, or (see `both_stores`) a database."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return tmp_path / "tracker.db"
    return request.getfixturevalue("cluster").uri(request.getfixturevalue("database"))


@pytest.fixture
def launcher(tmp_path, store):
    launcher = programs.Launcher(tmp_path, store)
    yield launcher
    launcher.stop_all()


@pytest.fixture
def start_tracker(launcher):
    """start_tracker(*args, listen="127.0.0.1:0", db=None) -> programs.TrackerProgram"""
    return launcher.start_tracker


@pytest.fixture
def tracker(start_tracker):
    """A tracker that is up; nobody who plays a peer without a heartbeat lapses because the machine is slow."""
    return start_tracker("--expire", "600")


@pytest.fixture
def start_peer(launcher):
    """start_peer(tracker=..., files=[...], args=[...], dir=None, host=..., port=0) -> programs.PeerProgram"""
    return launcher.start_peer


@pytest.fixture
def start_shell(launcher):
    """start_shell(tracker=..., files=[...], args=[...], dir=None) -> programs.ShellProgram"""
    return launcher.start_shell


@pytest.fixture
def run_peer(launcher):
    """run_peer(["search x", ...], tracker=..., files=[...], args=[...], dir=None, stdin=None) -> programs.Result"""
    return launcher.run_peer


@pytest.fixture
def small_disk(tmp_path):
    """small_disk(size) -> a folder on a file system of that many bytes."""
    mounted = []

    def mount(size):
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
        )
        if done.returncode != 0:
            pytest.skip("mounting is not allowed here")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def open_prompt(tmp_path, launcher):
    """open_prompt(tracker, *files, directory=None), or open_prompt(attach=folder) -> prompts.Prompt"""
    opened = []

    def open_one(*words, **options):
        opened.append(prompts.Prompt(tmp_path, *words, **options))
        return opened[-1]

    yield open_one
    for prompt in opened:
        with contextlib.suppress(OSError):
            prompt.child.close(force=True)
