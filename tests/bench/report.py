"""Figures as text: medians, tables for a terminal and for Markdown, units."""

import statistics


def medians(rows):
    """Of each figure that all rows have, the median."""
    numbers = [name for name, value in rows[0].items() if isinstance(value, (int, float))]
    return {name: statistics.median(row[name] for row in rows) for name in numbers}


def size_text(count):
    """As the programs write sizes: 64 MiB.  Nothing, where nothing was measured, is "-"."""
    if not count:
        return "-"
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} GiB"


def figure(value):
    """As many places as tell something."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def cells(columns, row):
    """`columns`: (title, name, format or function)."""
    return [
        (form(row[name]) if callable(form) else form.format(row[name])) if row.get(name) is not None else "-"
        for _, name, form in columns
    ]


def one_line(columns, row):
    return ", ".join(f"{title} {cell}" for (title, _, _), cell in zip(columns, cells(columns, row)))


def _is_figures(cells):
    return all(cell[:1].isdigit() or cell == "-" for cell in cells)


def table(head, rows, markdown=False):
    """Figures stand to the right of their column, words to the left."""
    lines = [head, *rows]
    columns = list(zip(*lines))
    widths = [max(map(len, column)) for column in columns]
    right = [_is_figures(column[1:]) for column in columns]
    aligned = [
        [cell.rjust(width) if figures else cell.ljust(width) for cell, width, figures in zip(line, widths, right)]
        for line in lines
    ]
    if not markdown:
        return "\n".join("  ".join(line).rstrip() for line in aligned)
    rule = ["-" * max(1, width - 1) + ":" if figures else "-" * width for width, figures in zip(widths, right)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [aligned[0], rule, *aligned[1:]])
