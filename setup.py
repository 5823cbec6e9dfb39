"""The long description: README.md, with paths in the source distribution instead of links that an index can't follow, and
without pictures that it can't show.

All else is in pyproject.toml.
"""

import re
from pathlib import Path

from setuptools import setup

README = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
WITHOUT_PICTURES = re.sub(r"!\[[^]]*\]\((?!https?:)[^)]+\)\n(?:.+\n)*\n", "", README)

setup(
    long_description=re.sub(r"\[([^]]+)\]\((?!https?:|#)([^)]+)\)", r"\1 (`\2`)", WITHOUT_PICTURES),
    long_description_content_type="text/markdown",
)
