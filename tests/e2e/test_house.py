"""Installing the programs, and the script that installs the packages they need."""

import os
import pathlib
import shutil
import subprocess

import pytest

from programs import BIN, ROOT, SANITIZED

SETUP = ROOT / "scripts" / "setup"


# ---- make install ----


def make(*words):
    build = os.path.relpath(BIN, ROOT)
    done = subprocess.run(
        ["make", f"BUILD={build}", *words], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def files_below(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.skipif(SANITIZED, reason="what is installed is a plain build")
def test_install_puts_both_programs_below_destdir_and_uninstall_removes_everything(tmp_path):
    where = [f"DESTDIR={tmp_path}", "PREFIX=/opt/enxame"]
    make("install", *where)
    installed = files_below(tmp_path)
    assert {"opt/enxame/bin/tracker", "opt/enxame/bin/peer", "opt/enxame/share/doc/enxame/LICENSE"} <= installed
    assert all(
        name.startswith(("opt/enxame/bin/", "opt/enxame/share/doc/enxame/", "opt/enxame/lib/systemd/system/enxame-"))
        for name in installed
    )
    for program in ("tracker", "peer"):
        path = tmp_path / "opt/enxame/bin" / program
        shown = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=True)
        assert shown.stdout.strip()
    make("uninstall", *where)
    assert files_below(tmp_path) == set()


# ---- scripts/setup, with stand-ins for the system's tools ----

TOOLS = ["bash", "dirname", "realpath", "sed", "tr", "env", "cat"]


class Machine:
    """A folder of programs that is the whole PATH, and a log of what was asked of them."""

    def __init__(self, folder):
        self.folder = folder
        self.log = folder / "log"
        self.log.write_text("")
        for tool in TOOLS:
            (folder / tool).symlink_to(shutil.which(tool))
        self.tool("id", "echo 0")

    def tool(self, name, script):
        path = self.folder / name
        path.write_text(f"#!{shutil.which('bash')}\n{script}\n")
        path.chmod(0o755)

    def debian(self, missing=(), removed="", unknown=()):
        """`missing` is not installed, `unknown` not even in this release; installing them removes `removed`."""
        installed, known = (
            f'case " {" ".join(names)} " in *" $name "*) exit 0;; *) echo -n installed;; esac'
            for names in (missing, unknown)
        )
        self.tool("dpkg-query", f"name=${{@: -1}}; {installed}")
        self.tool("apt-cache", f"name=$2; {known}")
        simulated = f"echo 'Remv {removed} [1]'" if removed else ":"
        self.tool(
            "apt-get",
            f'[[ " $* " == *" --simulate "* ]] && {{ {simulated}; exit 0; }}\necho "apt-get $*" >> {self.log}',
        )

    def setup(self, *words, environment=None):
        return subprocess.run(
            [SETUP, *words], env={"PATH": str(self.folder), **(environment or {})}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip

    def asked(self):
        return self.log.read_text().splitlines()


@pytest.fixture
def machine(tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    return Machine(folder)


def test_setup_leaves_a_complete_machine_alone(machine):
    machine.debian()
    done = machine.setup()
    assert done.returncode == 0 and "installed" in done.stdout
    assert machine.asked() == []


def test_setup_installs_what_is_missing_and_nothing_else(machine):
    machine.debian(missing=["libjansson-dev", "cppcheck"])
    done = machine.setup()
    assert done.returncode == 0, done.stderr
    update, install = machine.asked()
    assert update.endswith(" update")
    assert install.split("install ")[1].split() == ["-y", "--no-install-recommends", "libjansson-dev", "cppcheck"]


def test_setup_takes_the_name_that_the_release_has(machine):
    names = ["libmicrohttpd12t64", "libmicrohttpd12"]
    machine.debian(missing=names, unknown=names[:1])
    assert machine.setup("runtime").returncode == 0
    assert machine.asked()[1].endswith(" libmicrohttpd12")


def test_setup_does_without_what_is_not_needed_where_the_release_has_none(machine):
    names = ["libipsec-mb1", "libipsec-mb2", "libipsec-mb-dev"]
    machine.debian(missing=names, unknown=names)
    assert machine.setup("--check").returncode == 0 and machine.setup().returncode == 0
    assert machine.asked() == []
    machine.debian(missing=names, unknown=names[:1])
    assert machine.setup().returncode == 0
    assert machine.asked()[1].endswith(" libipsec-mb2 libipsec-mb-dev")


def test_setup_of_some_groups_ignores_the_others(machine):
    machine.debian(missing=["cppcheck"])
    assert machine.setup("runtime", "build").returncode == 0
    assert machine.asked() == []


def test_setup_installs_what_only_measuring_needs_where_it_is_asked_for(machine):
    machine.debian(missing=["aria2"])
    assert machine.setup().returncode == 0 and machine.asked() == []
    assert machine.setup("bench").returncode == 0
    assert machine.asked()[1].endswith(" aria2")


def test_setup_check_tells_what_is_missing_and_changes_nothing(machine):
    machine.debian(missing=["cppcheck"])
    done = machine.setup("--check")
    assert done.returncode == 1 and "cppcheck" in done.stdout
    assert machine.asked() == []


def test_setup_does_not_remove_packages_unasked(machine):
    machine.debian(missing=["libcurl4-gnutls-dev"], removed="libcurl4-openssl-dev")
    done = machine.setup()
    assert done.returncode == 1 and "libcurl4-openssl-dev" in done.stdout
    assert not any("install" in line for line in machine.asked())
    for words, environment in (["--yes"], None), ([], {"CI": "true"}):
        assert machine.setup(*words, environment=environment).returncode == 0
    assert sum("install" in line for line in machine.asked()) == 2


def test_setup_gets_a_server_without_a_cluster_that_nobody_asked_for(machine):
    for tool in ("mkdir", "rm", "rmdir"):
        machine.tool(tool, f'echo "{tool} ${{@: -1}}" >> {machine.log}')
    told = machine.folder / "told"
    machine.tool("tee", f'cat > {told}; echo "tee ${{@: -1}}" >> {machine.log}')
    machine.debian(missing=["postgresql"])
    assert machine.setup().returncode == 0
    assert told.read_text() == "create_main_cluster = false\n"
    folder = "/etc/postgresql-common/createcluster.d"
    update, *before, install, removal, tidied = machine.asked()
    assert before == [f"mkdir {folder}", f"tee {folder}/enxame-setup.conf"]
    assert install.endswith(" postgresql")
    assert [removal, tidied] == [f"rm {folder}/enxame-setup.conf", f"rmdir {folder}"]


def test_setup_uses_sudo_where_not_root_and_says_so_where_there_is_none(machine):
    machine.debian(missing=["cppcheck"])
    machine.tool("id", "echo 1000")
    done = machine.setup()
    assert done.returncode == 1 and "root" in done.stderr and machine.asked() == []
    machine.tool("sudo", f'echo "sudo $*" >> {machine.log}; exec "$@"')
    assert machine.setup().returncode == 0
    assert any(line.startswith("sudo ") and " install " in line for line in machine.asked())


def test_setup_elsewhere_than_on_debian_lists_the_packages(machine):
    done = machine.setup("build")
    assert done.returncode == 1 and "not Debian" in done.stderr and "libmicrohttpd-dev" in done.stderr


def test_setup_refuses_words_that_it_does_not_know(machine):
    assert machine.setup("everything").returncode == 2


def test_every_script_can_be_run():
    for path in [ROOT / ".ci" / "run", *pathlib.Path(ROOT / "scripts").iterdir()]:
        if path.name != "packages":
            assert os.access(path, os.X_OK), path
