"""A table of texts for the terminal, and for a paper."""

from __future__ import annotations

from collections.abc import Sequence

SPECIAL = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
}


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under their names: numbers to the right, words to the left."""
    right = [all(_is_number(row[i]) for row in rows) for i in range(len(header))]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if r else cell.ljust(width) for cell, width, r in zip(row, widths, right, strict=True)
        )
        for row in (header, *rows)
    ]
    return "\n".join(line.rstrip() for line in lines)


def latex(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A `tabular` with the rules of the package booktabs."""
    right = [all(_is_number(row[i]) for row in rows) for i in range(len(header))]
    head, *body = ["  " + " & ".join(map(escaped, row)) + r" \\" for row in (header, *rows)]
    columns = "".join("r" if r else "l" for r in right)
    lines = [f"\\begin{{tabular}}{{{columns}}}", r"  \toprule", head, r"  \midrule", *body, r"  \bottomrule"]
    return "\n".join([*lines, r"\end{tabular}"])


def escaped(text: str) -> str:
    return "".join(SPECIAL.get(character, character) for character in text)


def _is_number(cell: str) -> bool:
    """Also one with its deviation, a duration, a part of a whole; and what is not there."""
    return not cell.strip("0123456789.+-e±/: ") or cell in ("nan", "inf", "-inf")
