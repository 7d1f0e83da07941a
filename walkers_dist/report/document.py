"""The page as one file: its head, the list of its sections, how it is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from walkers_dist.config.errors import UserError
from walkers_dist.records import disk
from walkers_dist.report.html import escape


def document(title: str, body: str) -> str:
    """The whole page, in one piece."""
    css = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)} · walkers</title>\n<style>\n{css}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def contents(body: str, names: Mapping[str, str]) -> str:
    """Links to those of the sections `names` that the body has."""
    links = [f'<a href="#{name}">{escape(word)}</a>' for name, word in names.items() if f'<section id="{name}"' in body]
    return f"<nav>{''.join(links)}</nav>"


def check_place(page: Path) -> None:
    """Raise UserError, before anything is drawn, where there can be no file `page`."""
    if page.is_dir():
        raise UserError(f"{page}: cannot be written: is a folder; name a file, such as {page / 'compare.html'}")
    if not page.parent.is_dir():
        raise UserError(f"{page}: cannot be written: there is no folder {page.parent}")


def write(page: Path, text: str) -> Path:
    """Write the file whole or not at all, and return its path. Raises UserError where it cannot be written."""
    try:
        disk.replace(page, text.encode())
    except OSError as error:
        raise UserError(f"{page}: cannot be written: {error.strerror}") from None
    return page
