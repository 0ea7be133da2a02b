"""How tyro reads and shows a field that holds a component: as its text."""

from typing import Any

from tyro.constructors import PrimitiveConstructorSpec

from jaxpsn.core.components import spec_of


def _shown(value: Any) -> list[str]:
    return [value if isinstance(value, str) else spec_of(value)]


SPEC: Any = PrimitiveConstructorSpec(
    nargs=1,
    metavar="TEXT",
    instance_from_str=lambda texts: texts[0],
    is_instance=lambda value: True,
    str_from_instance=_shown,
)
"""``Annotated[Any, SPEC]``: a flag takes the text of a component; whoever holds the field makes the component of it."""
