"""`scripts/bench growth`: how a swarm's time grows with its leechers and with the file."""

import copy

import report
import swarm

SWARMS = [2, 4, 8, 16, 24]
SIZES = [1 << shift for shift in range(24, 31)]


def series(options, bench, title, name, values, text):
    """One swarm for each value of an option; rows for the table and for the JSON."""
    lines, found = [], []
    for value in values:
        changed = copy.copy(options)
        setattr(changed, name, value)
        result = swarm.measure(changed, bench)
        found.append(result)
        for program, one in result["programs"].items():
            lines.append([text(value), program, f"{result['best_s']:.2f}", *report.cells(swarm.COLUMNS, one["median"])])
    bench.table([title, "program", "F/u, s", *(column for column, _, _ in swarm.COLUMNS)], lines)
    return found


def run(options, bench):
    """Both series, or the one whose values were given."""
    both = not options.swarms and not options.sizes
    result = {}
    if options.swarms or both:
        bench.say(f"more and more leechers, {report.size_text(options.size)}:")
        result["leechers"] = series(options, bench, "leechers", "leechers", options.swarms or SWARMS, str)
    if options.sizes or both:
        bench.say(f"larger and larger files, {options.leechers} leechers:")
        result["sizes"] = series(options, bench, "file", "size", options.sizes or SIZES, report.size_text)
    return result
