"""Which programs are here, and which Debian package has those that are not."""

import importlib.util
import pathlib
import shutil

# program or Python module: package
PACKAGES = {
    "aria2c": "aria2",
    "curl": "curl",
    "gnuplot": "gnuplot-nox",
    "import libtorrent": "python3-libtorrent",
    "ip": "iproute2",
    "nginx": "nginx-light",
    "openssl": "openssl",
    "opentracker": "opentracker",
    "postgres": "postgresql",
    "rsync": "rsync",
    "syncthing": "syncthing",
    "tc": "iproute2",
    "wrk": "wrk",
}


def here(what):
    if what.startswith("import "):
        return importlib.util.find_spec(what.split()[1]) is not None
    if what == "postgres":  # Debian has it beside those in the PATH
        return any(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return shutil.which(what) is not None


def missing(wanted):
    """One sentence on all that is not here; None where nothing is missing."""
    lacking = [what for what in wanted if not here(what)]
    if not lacking:
        return None
    named = ", ".join(f"{what.removeprefix('import ')} (Debian package {PACKAGES[what]})" for what in lacking)
    return f"there is no {named}; scripts/setup bench installs all that the benchmarks use"


def present(names, kinds, say):
    """Of `names` those whose class in `kinds` has what it `needs`; tells of the others."""
    kept = []
    for name in names:
        fault = missing(kinds[name].needs)
        if fault:
            say(f"{name} is left out: {fault}")
        else:
            kept.append(name)
    return kept
