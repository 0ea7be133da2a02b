"""Texts of components: what is read, what is refused, and that what was written is read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpsn.core import grammar
from jaxpsn.core.errors import UserError
from jaxpsn.core.grammar import Call, Group, Plus, Word
from tests.core.toys import refused


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("steps", Word("steps")),
        (" steps ( ) ", Word("steps")),
        ("steps(25)", Call("steps", (Word("25"),), ())),
        ("a(1e-3, x=-2.5E+4)", Call("a", (Word("1e-3"),), (("x", Word("-2.5E+4")),))),
        ("a+b\n+c", Plus((Word("a"), Word("b"), Word("c")))),
        ("a(x=b+c(1))", Call("a", (), (("x", Plus((Word("b"), Call("c", (Word("1"),), ())))),))),
        ("(64, 64,)", Group((Word("64"), Word("64")))),
        ("64x64", Word("64x64")),
        ("f(path=data/a-b_c.jsonl)", Call("f", (), (("path", Word("data/a-b_c.jsonl")),))),
        (r"f('C:\new (1), +=.txt')", Call("f", (Word(r"C:\new (1), +=.txt", True),), ())),
        (r'f("a\"b\\\u00e9")', Call("f", (Word('a"b\\é', True),), ())),
        ("f('')", Call("f", (Word("", True),), ())),
        ("a(structure.rank=3)", Call("a", (), (("structure.rank", Word("3")),))),
    ],
)
def test_texts_and_their_trees(text, tree):
    assert grammar.parse("x", text) == tree


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("", "a name or a value is expected, not the end"),
        ("a b", "the end is expected, not 'b' at character 3"),
        ("a(", "a name or a value is expected, not the end"),
        ("a(x=1", "a comma or ) is expected, not the end"),
        ("a(x=1))", "the end is expected, not ')' at character 7"),
        ("a(x=)", "a name or a value is expected, not ')' at character 5"),
        ("a(x=1, 2)", "field=value is expected, not '2' at character 8"),
        ("a(x=1, x=2)", "x once only"),
        ("a +", "a name or a value is expected, not the end"),
        ("a(,)", "a name or a value is expected, not ',' at character 3"),
        ("a=1", "the end is expected, not '=' at character 2"),
        ("a('x)", "a closing quote for the one at character 3"),
        ('a( "x\\")', "a closing quote for the one at character 4"),
        (r'a("\d")', r""""\d" in 'single' quotes, or \\ for \ """.strip()),
        ("a(" * 33 + ")" * 33, "at most 32 brackets within brackets"),
    ],
)
def test_what_is_refused(text, allowed):
    refused(f"arms = {text!r}: {allowed}", grammar.parse, "arms", text)


def test_a_text_is_bounded():
    with pytest.raises(UserError, match="at most 10000 characters"):
        grammar.parse("arms", "a" * 10_001)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_one_line(text):
    try:
        grammar.parse("x", text)
    except UserError as error:
        assert "\n" not in str(error) and str(error).startswith("x = ")


@given(st.text(alphabet="ab1.-+=(), '\"\\x:", max_size=40))
def test_texts_near_the_grammar_are_written_as_they_were_read(text):
    try:
        tree = grammar.parse("x", text)
    except UserError:
        return
    assert grammar.parse("x", grammar.write(tree)) == tree


@given(st.text(max_size=60))
def test_quoted_texts_survive(text):
    assert grammar.parse("x", f"f(a={grammar.quote(text)})").fields[0][1].text == text


def test_arms():
    assert grammar.arm("arms", "wide: a(x=1) + b, agent.lr=3, env=c(2)") == (
        "wide",
        Plus((Call("a", (), (("x", Word("1")),)), Word("b"))),
        (("agent.lr", Word("3")), ("env", Call("c", (Word("2"),), ()))),
    )
    assert grammar.arm("arms", "a(x=0.1) + b").label == "a-x-0.1-b"
    assert grammar.arm("arms", "f(path=C:/x)").label == "f-path-C-x"
    refused("arms = 'a, b': = after b is expected, not the end", grammar.arm, "arms", "a, b")
    refused("arms = 'a, b=1, b=2': b once only", grammar.arm, "arms", "a, b=1, b=2")
    refused("arms = 'a b': a comma or the end is expected, not 'b' at character 3", grammar.arm, "arms", "a b")
