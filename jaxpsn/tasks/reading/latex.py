r"""LaTeX as tokens and groups, printed in two ways: a plain canonical string, and LaTeX again with nothing implied.

Tokens never fuse: where two numbers would meet, a space stands between them, so ``\frac{1}23`` is no ``1/23`` and
``x^{2}3`` no ``x^{23}``. Groups may nest ``DEPTH`` deep; the work is linear in the text's length.
"""

import re

DEPTH = 40
"""How deep groups may nest; a deeper text is printed as its tokens."""

_TOKEN = re.compile(
    r"\\text *\{[^{}]*\}|\\[A-Za-z]+|\\.|[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]{1,4}(?![0-9]))?|\.[0-9]+|[A-Za-z]{2,}|[^\s]",
    re.DOTALL,
)
_COMMAND = re.compile(r"\\[A-Za-z]+")
_NUMBER = re.compile(r"([0-9]*)(?:\.([0-9]+))?(?:e([-+]?[0-9]+))?")
_PLAIN_COMMANDS = {
    "sqrt", "pi", "sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "arcsin", "arccos", "arctan", "sinh",
    "cosh", "tanh", "det", "max", "min", "gcd", "theta", "alpha", "beta", "infty",
}  # fmt: skip
_PRODUCTS = {r"\cdot", r"\times", r"\ast", "*"}
_CONNECTIVES = {"and", "or"}
_OPENERS, _CLOSERS = {"(", "["}, {")", "]"}

Node = str | list  # a token, or the nodes of a group {...}


class TooDeep(ValueError):
    """Groups that nest deeper than `DEPTH`."""


def tokens(text: str) -> list[str]:
    r"""The tokens of a cleaned text: numbers, words, commands, ``\text{...}`` and single signs."""
    return _TOKEN.findall(text)


def tree(text: str) -> list[Node]:
    """The text's tokens with each balanced ``{...}`` as a list; stray braces are left out. Raises TooDeep."""
    stack: list[list[Node]] = [[]]
    for token in tokens(text):
        if token == "{":
            stack.append([])
            if len(stack) > DEPTH:
                raise TooDeep
        elif token == "}":
            if len(stack) > 1:
                group = stack.pop()
                stack[-1].append(group)
        elif token in _PLAIN_COMMANDS:
            stack[-1].append("\\" + token)
        elif not (token == r"\text" or token == "\\"):
            stack[-1].append(token)
    while len(stack) > 1:
        group = stack.pop()
        stack[-1].append(group)
    return stack[0]


def canonical(text: str) -> str:
    r"""A cleaned text as a plain string: ``\frac{1}{2}`` is ``1/2``, ``x^{10}`` ``x^10``, ``\sqrt3`` ``sqrt(3)``."""
    try:
        return join(_plain(tree(text)))
    except TooDeep:
        return " ".join(tokens(text))


def rendered(text: str) -> str:
    r"""A cleaned text as LaTeX with nothing implied: braces around every argument, ``\cdot`` before a number.

    Raises TooDeep.
    """
    return " ".join(_render(tree(text)))


def join(parts: list[str]) -> str:
    """Tokens as one string, with a space only where they would fuse."""
    out = ""
    for part in parts:
        fuses = out[-1:].isdigit() and (part[:1].isdigit() or part[:1] == ".")
        command = part[:1].isalpha() and re.search(r"\\[A-Za-z]+$", out[-20:])
        out += (" " if fuses or command else "") + part
    return out


def number(token: str) -> str:
    """A number as one writes it: no zeros in front or behind the decimals; a power of ten is written out as one."""
    whole, decimals, power = _NUMBER.fullmatch(token).groups()
    digits = (whole or "").lstrip("0") or "0"
    kept = (decimals or "").rstrip("0")
    plain = digits + ("." + kept if kept else "")
    if power is None or int(power) == 0:
        return plain
    return f"{plain}*10^{int(power)}" if int(power) > 0 else f"{plain}*10^({int(power)})"


def _is_number(node: Node) -> bool:
    return isinstance(node, str) and _NUMBER.fullmatch(node) is not None and node[:1] != ""


def _argument(nodes: list[Node], place: int, single: bool) -> tuple[list[Node], int]:
    """The argument that begins at ``place``; a bare number gives only its first digit where ``single``."""
    if place >= len(nodes):
        return [], place
    node = nodes[place]
    if isinstance(node, list):
        return node, place + 1
    if single and len(node) > 1 and (node[0].isdigit() or node.isalpha()):
        nodes[place] = node[1:]
        return [node[0]], place
    if node in ("-", "+") and place + 1 < len(nodes) and not single:
        following = nodes[place + 1]
        return [node, *following] if isinstance(following, list) else [node, following], place + 2
    return [node], place + 1


def _degree(nodes: list[Node], place: int) -> tuple[list[Node] | None, int]:
    """The ``[n]`` of a root, or None."""
    if place < len(nodes) and nodes[place] == "[" and "]" in nodes[place:]:
        end = nodes.index("]", place)
        return nodes[place + 1 : end], end + 1
    return None, place


def _bracketed(nodes: list[Node], place: int, single: bool) -> tuple[list[Node], int]:
    """The argument of a root or a power; in plain writing it is what stands in round brackets."""
    if place < len(nodes) and nodes[place] == "(":
        depth = 0
        for end in range(place, len(nodes)):
            depth += (nodes[end] == "(") - (nodes[end] == ")")
            if depth == 0:
                return nodes[place + 1 : end], end + 1
    return _argument(nodes, place, single)


def _plain(nodes: list[Node]) -> list[str]:
    nodes, out, i = list(nodes), [], 0
    while i < len(nodes):
        node = nodes[i]
        i += 1
        if isinstance(node, list):
            inside = _plain(node)
            raised = i < len(nodes) and nodes[i] == "^" and len(inside) > 1
            out += ["(", *inside, ")"] if raised else inside
        elif node == r"\frac":
            i = _plain_fraction(nodes, i, out)
        elif node == r"\binom":
            above, i = _argument(nodes, i, True)
            below, i = _argument(nodes, i, True)
            out += ["binom", "(", *_plain(above), ",", *_plain(below), ")"]
        elif node == r"\sqrt":
            degree, i = _degree(nodes, i)
            inside, i = _bracketed(nodes, i, True)
            out += ["sqrt"] + (["[", *_plain(degree), "]"] if degree else []) + ["(", *_plain(inside), ")"]
        elif node in ("^", "_"):
            argument, i = _bracketed(nodes, i, False)
            out += ["\u00b0"] if argument == [r"\circ"] else [node, *_wrapped(_plain(argument))]
        else:
            out += _plain_token(node)
    return out


def _plain_token(node: str) -> list[str]:
    if node.startswith(r"\text"):
        return _plain(tree(node[node.index("{") + 1 : -1])) if "{" in node else []
    if node in _PRODUCTS:
        return ["*"]
    if node == r"\div":
        return ["/"]
    if node in _CONNECTIVES or node == ";":
        return [","]
    if node == r"\%":
        return ["%"]
    return [number(node)] if _is_number(node) else [node]


def _plain_fraction(nodes: list[Node], i: int, out: list[str]) -> int:
    above, i = _argument(nodes, i, True)
    below, i = _argument(nodes, i, True)
    top, bottom = _plain(above), _plain(below)
    whole = out[-1] if out and out[-1].isdigit() and out[-2:-1] not in (["^"], ["/"], ["_"]) else None
    if whole and len(top) == len(bottom) == 1 and top[0].isdigit() and bottom[0].isdigit() and len(whole) < 40:
        out[-1:] = [str(int(whole) * int(bottom[0]) + int(top[0])), "/", bottom[0]]
        return i
    if top[:1] == ["-"] and _simple_above(top[1:]) and (not out or out[-1] in ("(", ",", "=", "[")):
        out.append("-")
        top = top[1:]
    whole_fraction = [*_wrapped(top, _simple_above), "/", *_wrapped(bottom)]
    bound = out[-1:] == ["/"] or (i < len(nodes) and nodes[i] in ("^", "!"))
    out += ["(", *whole_fraction, ")"] if bound else whole_fraction
    return i


def _simple(parts: list[str]) -> bool:
    if len(parts) == 1:
        return (
            parts[0].isdigit()
            or (len(parts[0]) == 1 and parts[0].isalpha())
            or _COMMAND.fullmatch(parts[0]) is not None
        )
    return parts[:1] == ["sqrt"] and parts[-1:] == [")"] and parts.count("(") == 1


def _simple_above(parts: list[str]) -> bool:
    return _simple(parts) or (len(parts) > 1 and parts[0].isdigit() and _simple(parts[1:]) and not parts[1].isdigit())


def _wrapped(parts: list[str], simple=_simple) -> list[str]:
    return parts if simple(parts) else ["(", *parts, ")"]


def _render(nodes: list[Node]) -> list[str]:
    nodes, out, i = list(nodes), [], 0
    while i < len(nodes):
        node = nodes[i]
        i += 1
        if isinstance(node, list):
            out += ["{", *_render(node), "}"]
        elif node in (r"\begin", r"\end"):
            name, i = _argument(nodes, i, False)
            out.append(f"{node}{{{''.join(_render(name))}}}")
        elif node in (r"\frac", r"\binom"):
            above, i = _argument(nodes, i, True)
            below, i = _argument(nodes, i, True)
            out.append(rf"{node}{{{' '.join(_render(above))}}}{{{' '.join(_render(below))}}}")
        elif node == r"\sqrt":
            degree, i = _degree(nodes, i)
            inside, i = _bracketed(nodes, i, True)
            index = f"[{' '.join(_render(degree))}]" if degree else ""
            out.append(rf"\sqrt{index}{{{' '.join(_render(inside))}}}")
        elif node in ("^", "_"):
            argument, i = _bracketed(nodes, i, False)
            if argument == [r"\circ"]:
                out[-1:] = [rf"\frac{{{' '.join(out[-1:])} \cdot \pi}}{{180}}"]
            else:
                out.append(f"{node}{{{' '.join(_render(argument))}}}")
        else:
            out += _rendered_token(node, out)
    return out


def _rendered_token(node: str, out: list[str]) -> list[str]:
    if node.startswith(r"\text"):
        return _render(tree(node[node.index("{") + 1 : -1])) if "{" in node else []
    if node == "*":
        return [r"\cdot"]
    if node in _CONNECTIVES or node == ";":
        return [","]
    if _is_number(node):
        text = number(node)
        text = re.sub(r"\*10\^\(?(-?[0-9]+)\)?", r" \\cdot 10^{\1}", text)
        closed = (
            bool(out)
            and out[-1][-1:] in ("}", ")", "!")
            and out[-1] != r"\}"
            and not out[-1].startswith(("_", r"\begin"))
        )
        applied = len(out) > 1 and out[-1].startswith("^") and out[-2].lstrip("\\") in _PLAIN_COMMANDS
        return [r"\cdot", text] if closed and not applied else [text]
    return [node]
