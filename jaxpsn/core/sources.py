"""What the source text of a component says: the texts below its fields."""

import ast
import functools
import inspect
import itertools
import textwrap


@functools.cache
def field_docs(kind: type) -> dict[str, str]:
    """Field -> the string literal below it, on one line; those of bases too. Without source text there are none."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base.__module__ != "builtins":
            found |= _own(base)
    return found


def _own(kind: type) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError, SyntaxError):  # typed at a prompt
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    docs = {}
    for above, below in itertools.pairwise(body):
        named = isinstance(above, ast.AnnAssign) and isinstance(above.target, ast.Name)
        if named and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            docs[above.target.id] = " ".join(str(below.value.value).split())  # type: ignore[union-attr]
    return docs
