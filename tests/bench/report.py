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


def cells(columns, row):
    """`columns`: (title, name, format or function)."""
    return [
        (form(row[name]) if callable(form) else form.format(row[name])) if row.get(name) is not None else "-"
        for _, name, form in columns
    ]


def one_line(columns, row):
    return ", ".join(f"{title} {cell}" for (title, _, _), cell in zip(columns, cells(columns, row)))


def table(head, rows, markdown=False):
    """The first column to the left, the others to the right where they are figures."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    aligned = [
        [cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(zip(line, widths))]
        for line in lines
    ]
    if not markdown:
        return "\n".join("  ".join(line).rstrip() for line in aligned)
    rule = ["-" * max(1, width - 1) + ":" if column else "-" * width for column, width in enumerate(widths)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [aligned[0], rule, *aligned[1:]])
