"""Pages of the root directory become pages of the site: their links lead to its pages, or are text."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from multiprobe.cli.group import SECTIONS

ROOT = Path(__file__).parents[2]


def load(name: str) -> ModuleType:
    """A module of tools/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"tools/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hooks = load("site_hooks")
docstrings = load("site_docstrings")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[safety](docs/safety.md#budget)", "[safety](safety.md#budget)"),
        ("[cli/options.py](src/multiprobe/cli/options.py)", "cli/options.py"),
        ("see [security](SECURITY.md#what)", "see [security](security.md#what)"),
        ("[a](https://example.org/b.md)", "[a](https://example.org/b.md)"),
        ("[`x`](#one) and [y](tests/)", "[`x`](#one) and y"),
    ],
)
def test_links(text: str, expected: str) -> None:
    assert hooks.within_site(text) == expected


def test_the_pages_exist() -> None:
    assert all((ROOT / name).exists() for name in hooks.PAGES)


def test_the_section_on_installation_is_a_page() -> None:
    page = hooks.install_section("# x\n\nfirst\n\n## Install\n\nlike this\n\n### more\n\n## Next\n\nlast\n")
    assert page == "# Install\n\nlike this\n\n### more\n"
    assert "pipx install" in hooks.install_section((ROOT / "README.md").read_text())


def test_the_reference_has_every_command_with_its_options_by_section() -> None:
    text = "\n".join(hooks.command_reference())
    for commands in SECTIONS.values():
        assert all(f"\n## multiprobe {name}\n" in f"\n{text}" for name in commands)
    assert "| **When to stop** | |\n| `-d, --duration TIME` | Stop after this time" in text
    assert "| `-h, --help` |" in text
    assert r"a glob ('tcp\_\*')" in text


def shown(html: str) -> str:
    return hooks.on_page_content(html, *[None] * 3)


def test_short_words_of_code_are_not_broken() -> None:
    assert shown("<code>--pid</code>") == '<code class="word">--pid</code>'
    assert shown("<code>--top N</code>") == '<code class="word">--top N</code>'
    words = "<code>" + " ".join(f'<span class="word">{word}</span>' for word in ("ls", "--all", "--recursive"))
    assert shown("<code>ls --all --recursive x</code>") == f"{words} x</code>"
    for kept in (f"<code>{'x' * 40}</code>", "<pre><span></span><code>a-b\n</code></pre>", "<code><b>x-y</b></code>"):
        assert shown(kept) == kept


def test_pictures_lead_to_themselves_and_pages_have_names() -> None:
    picture = '<img alt="what" src="../pictures/mix.svg" />'
    assert shown(picture) == f'<a class="picture" href="../pictures/mix.svg">{picture}</a>'
    assert shown('see <a href="../json/">json.md</a>') == 'see <a href="../json/">json</a>'


def test_parameters_in_docstrings_are_a_list() -> None:
    text = "What it does.\n\nfirst: one\n    more\nother, third: two\n\nRaises what: it must."
    assert docstrings.with_lists(text) == (
        "What it does.\n\n- first: one\n    more\n- other, third: two\n\nRaises what: it must."
    )
