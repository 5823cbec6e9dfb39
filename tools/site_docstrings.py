"""Parameters in docstrings, which have a line each, become lists in the site (Markdown would join their lines)."""

from __future__ import annotations

import re
from typing import Any

import griffe

PARAMETER = re.compile(r"^(?=\w+(, \w+)*: )", re.MULTILINE)


class Parameters(griffe.Extension):
    """Rewrites each docstring when its object has been read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite one docstring (griffe calls this by its name)."""
        if obj.docstring is not None:
            obj.docstring.value = with_lists(obj.docstring.value)


def with_lists(text: str) -> str:
    """A docstring with its paragraphs of parameters as lists."""
    return "\n\n".join(_as_list(part) if PARAMETER.match(part) else part for part in text.split("\n\n"))


def _as_list(paragraph: str) -> str:
    return PARAMETER.sub("- ", paragraph)
