"""Adds to the site what stands outside of docs/: how to install (from the README), how to contribute, security, the
changelog by version; and the page of tested kernels, which `make vm-all` writes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]
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
