"""Griffe extension: docstrings of the package as Markdown."""

import sys
from pathlib import Path

import griffe

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _make.markdown import markdown


class Markdown(griffe.Extension):
    """Turn the docstrings of everything that is loaded into Markdown."""

    def on_object(self, *, obj, **kwargs):
        """Rewrite one docstring in place."""
        if obj.docstring:
            near = (obj.path, obj.parent.path if obj.parent else "", obj.module.path)
            obj.docstring.value = markdown(obj.docstring.value, near)
