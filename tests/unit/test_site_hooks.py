"""Pages of the root directory become pages of the site: their links lead to its pages, or are text."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "tools/site_hooks.py")
assert spec is not None
assert spec.loader is not None
hooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hooks)


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
