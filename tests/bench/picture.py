"""Draws lines with gnuplot, several panels beside each other, as scripts/plot does for downloads."""

import pathlib
import shutil
import subprocess
import tempfile

import needs
from process import Failed

TERMINALS = {
    ".png": "pngcairo size {width},{height} font 'sans,12' background '#ffffff'",
    ".svg": "svg size {width},{height} font 'sans,14' background '#ffffff'",
}
# Colours that stay apart for the colour-blind (Okabe and Ito), and in grey by the shape of their points.
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"]
POINTS = [7, 5, 9, 11]
PANEL_WIDTH, HEIGHT = 560, 430


def check(path):
    """Whether there can be a picture of that name; known before anything is measured."""
    if path.suffix.lower() not in TERMINALS:
        raise Failed(f"{path}: the picture's name must end with .png or .svg")
    fault = needs.missing(["gnuplot"])
    if fault:
        raise Failed(fault)


def panel(number, title, across, up, lines):
    """`lines`: {its name: [(x, y)]}."""
    text = [f"set title '{title}'", f"set xlabel '{across}'", f"set ylabel '{up}'"]
    places = sorted({x for points in lines.values() for x, _ in points})
    text.append(f"set xrange [{places[0] / 1.5}:{places[-1] * 1.5}]")
    text.append("set xtics (" + ", ".join(f"'{place:,}' {place}" for place in places) + ") nomirror")
    plots = []
    for index, (name, points) in enumerate(lines.items()):
        text += [f"$line{number}_{index} << END", *(f"{x} {y}" for x, y in points), "END"]
        style = f"linecolor '{COLOURS[index % len(COLOURS)]}' linewidth 2 pointtype {POINTS[index % len(POINTS)]}"
        plots.append(f"$line{number}_{index} with linespoints title '{name}' {style} pointsize 1.1")
    return [*text, "plot " + ", ".join(plots)]


def draw(path, panels):
    """`panels`: arguments of panel(), but for the number.  The picture appears when it is whole."""
    kind = path.suffix.lower()
    with tempfile.TemporaryDirectory() as folder:
        picture = pathlib.Path(folder, "picture" + kind)
        text = [
            f"set terminal {TERMINALS[kind].format(width=PANEL_WIDTH * len(panels), height=HEIGHT)}",
            f"set output '{picture}'",
            f"set multiplot layout 1,{len(panels)}",
            "set logscale x 10",
            "set yrange [0:*]",
            "set ytics nomirror",
            "set grid y linecolor '#dddddd' linetype 1",
            "set border 3 linecolor '#555555'",
            "set key at graph 0.5,-0.28 center top Left reverse",
            "set bmargin 8",
        ]
        for number, one in enumerate(panels):
            text += panel(number, *one)
        done = subprocess.run(["gnuplot", "-"], input="\n".join(text) + "\n", capture_output=True, text=True, check=False)
        if done.returncode or not picture.exists() or picture.stat().st_size == 0:
            raise Failed(f"gnuplot failed:\n{done.stderr}")
        try:
            shutil.copyfile(picture, path)
        except OSError as fault:
            raise Failed(f"{path}: {fault.strerror}") from None
