"""Adds to the site what stands outside of docs/: how to install (from the README), how to contribute, security, the
changelog by version; the page of tested kernels, which `make vm-all` writes; and the reference of the command line,
from the declarations of the commands.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING

import click

from multiprobe.cli.command import Command
from multiprobe.cli.group import commands

if TYPE_CHECKING:
    from mkdocs.structure.pages import Page
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]
COMMANDS = "<!-- commands -->"
"""Where a page has the reference of the command line."""
INLINE = re.compile(r"(?<!</span>)<code>([^<]+)</code>")
LONGEST_WORD, LONGEST_PIECE = 28, 14
"""Letters of a word of code that is not broken, and of a piece of several words."""
PICTURE = re.compile(r'<img [^>]*src="([^"]+)"[^>]*>')
PAGES = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
NOT_YET = """# Kernels

`make vm-all` runs all kernel tests on every series of kernels that Debian's archive has, and writes this page; in this
copy of the sources it hasn't been run. `make test` runs them on Linux 6.1, 6.12 and 7.3.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages (MkDocs calls this by its name)."""
    from mkdocs.structure.files import File

    for name in PAGES:
        text = within_site((ROOT / name).read_text(encoding="utf-8"))
        files.append(File.generated(config, name.lower(), content=text))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "install.md", content=within_site(install_section(readme))))
    if files.get_file_from_path("support.md") is None:
        files.append(File.generated(config, "support.md", content=NOT_YET))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Insert the reference of the command line."""
    return markdown.replace(COMMANDS, "\n".join(command_reference())) if COMMANDS in markdown else markdown


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Words of code, options above all, are not broken at their hyphens (docs/site.css); pictures lead to themselves, so
    that a phone can show them in full; a page that a link names by its file is named without the ending."""
    html = INLINE.sub(_unbroken, html)
    html = PICTURE.sub(r'<a class="picture" href="\1">\g<0></a>', html)
    return re.sub(r">([a-z-]+)\.md</a>", r">\1</a>", html)


def _unbroken(match: re.Match[str]) -> str:
    """A piece of code whose short words stand in elements of their own; one of a single short word is one."""
    words = match[1].split(" ")
    if len(unescape(match[1])) <= (LONGEST_WORD if len(words) == 1 else LONGEST_PIECE):
        return f'<code class="word">{match[1]}</code>'
    if len(words) == 1:
        return match[0]
    kept = (f'<span class="word">{word}</span>' if 1 < len(unescape(word)) <= LONGEST_WORD else word for word in words)
    return f"<code>{' '.join(kept)}</code>"


def command_reference() -> Iterator[str]:
    """Every command in Markdown: usage, description, options by section, examples."""
    root = click.Context(commands, info_name="multiprobe", **commands.context_settings)
    for name in commands.list_commands(root):
        command = commands.get_command(root, name)
        assert isinstance(command, Command)
        context = click.Context(command, info_name=name, parent=root)
        usage = " ".join(command.collect_usage_pieces(context))
        yield f"## multiprobe {name}\n\n```text\n{context.command_path} {usage}\n```\n"
        yield escaped(inspect.cleandoc(command.help or "")) + "\n"
        yield "| option | meaning |\n|---|---|"
        for section, options in command.options_by_section(context).items():
            yield f"| **{section}** | |"
            yield from (f"| `{names}` | {escaped(meaning)} |" for names, meaning in options)
        yield f"\n```text\n{(command.epilog or '').strip()}\n```\n"


def escaped(text: str) -> str:
    """Text in which Markdown finds nothing of its own."""
    return re.sub(r"([\\*_`|])", r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;"))


def install_section(readme: str) -> str:
    """The README's section on installation, as a page."""
    return "# Install" + readme.partition("\n## Install")[2].partition("\n## ")[0]


def within_site(text: str) -> str:
    """Markdown of the root directory, for the site: links to pages stay links, those to other files become text."""
    return re.sub(r"\[([^]]*)\]\(([^)]*)\)", _link, text)


def _link(match: re.Match[str]) -> str:
    label, target = match.groups()
    if target.startswith(("https://", "#")):
        return match[0]
    if target.startswith("docs/"):
        return f"[{label}]({target.removeprefix('docs/')})"
    page = target.partition("#")[0]
    return f"[{label}]({target.replace(page, page.lower())})" if page in PAGES else label
