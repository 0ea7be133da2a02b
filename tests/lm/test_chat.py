"""Chat templates of others: what is refused, within which bounds, what they are told, and which switches they have."""

import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.lm.templates import chat, clock
from jaxpsn.lm.templates.chat import Template

CLOCK = clock.Clock(clock.parse("clock", "2024-02-29T17:05:09+05:30"))
ASKED = [{"role": "user", "content": "x"}]


def template(source, variables=None, **tokens):
    return Template(source, "some/tokenizer_config.json", tokens, CLOCK, variables or {})


def rendered(source, variables=None, **tokens):
    return template(source, variables, **tokens).render(ASKED)


def grown(step, start="'ab'", used="{{ n.s }}"):
    """A value made larger forty times over."""
    return f"{{% set n = namespace(s={start}) %}}{{% for i in range(40) %}}{step}{{% endfor %}}{used}"


def nest(text):
    return grown("{% set n.s = (n.s, n.s) %}", "('a',)", text)


HOSTILE = {
    "classes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ raise_exception.__globals__['json'] }}{{ cycler.__init__.__globals__.os.system('true') }}",
    "format": "{{ '{0.__class__.__init__.__globals__}'.format(messages.append).x.y }}",
    "mutation": "{{ messages.append(1) }}",
    "own error": "{{ raise_exception('only\nalternating roles') }}",
    "syntax": "{% for %}",
    "type": "{{ 1 + 'a' }}",
    "long": "x" * 200_000,
    "brackets": "{{ " + "[" * 9000 + "]" * 9000 + " }}",
    "signs": "{{ " + "-" * 40_000 + "1 }}",
    "nested loops": "{% for a in [1] %}" * 500 + "{% endfor %}" * 500,
    # time
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "filtered loops": "{% for a in range(99999) %}{% for b in range(99999) if b < 0 %}{% endfor %}{% endfor %}",
    "long range": "{% for a in range(1000000000000) %}{% endfor %}",
    "lists": "{% set l = ('a' * 9999) | list %}{% for a in l %}{% for b in l %}{% endfor %}{% endfor %}",
    "macros": "{% macro m(n) %}{% if n %}{{ m(n - 1) ~ m(n - 1) }}{% endif %}{% endmacro %}{{ m(40) }}",
    "recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "callers": "{% macro m() %}{{ caller() ~ caller() }}{% endmacro %}" + "{% call m() %}" * 30 + "{% endcall %}" * 30,
    "recursive loop": "{% for a in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
    "equal": nest("{% set m = namespace(s=('a',)) %}{% for i in range(40) %}{% set m.s = (m.s, m.s) %}{% endfor %}"
                  "{{ n.s == m.s }}"),
    "hash": nest("{{ {n.s: 1} }}"),
    "entry": nest("{{ {}[n.s] }}"),
    "contained": "{% set s = 'a' * 900000 %}{% for i in range(9999) %}{{ 'b' in s }}{% endfor %}",
    "slices": "{% set s = 'a' * 900000 %}{% for i in range(9999) %}{% set t = s[1:] %}{% endfor %}",
    "sums": "{{ ([[1]] * 9000) | sum(start=[]) }}",
    "rounding": "{{ 5 | round(-1000000000) }}",
    "squares": "{% set n = namespace(a=3) %}{% for i in range(99) %}{% set n.a = n.a * n.a %}{% endfor %}{{ n.a }}",
    "power": "{{ 9 ** 9 ** 9 }}",
    "stripped": "{% set s = 'a' * 900000 %}{{ s.strip('b' * 900000 + 'a') }}",
    "trimmed": "{% set s = 'a' * 900000 %}{{ s | trim('b' * 900000 + 'a') }}",
    "from behind": "{% set s = 'a' * 900000 %}{{ s.rfind('b' + 'a' * 400000) }}",
    "long numbers": "{% set n = ('f' * 900000) | int(base=16) %}{{ n // 3 }}",
    # memory
    "length": "{% for a in range(9999) %}{{ 'a' * 9999 }}{% endfor %}",
    "own text": "{% macro m(n) %}" + "x" * 5000 + "{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}"
                "{% set a = m(40) %}",
    "repeat": "{{ 'a' * 9999999999 }}",
    "repeated list": "{{ ([1] * 9999999999) | length }}",
    "plus": grown("{% set n.s = n.s + n.s %}"),
    "tilde": grown("{% set n.s = n.s ~ n.s %}"),
    "set": grown("{% set n.s %}{{ n.s }}{{ n.s }}{% endset %}"),
    "joins": grown("{% set n.s = [n.s, n.s] | join %}"),
    "join method": grown("{% set n.s = n.s.join(['', '', n.s]) %}"),
    "replaces": grown("{% set n.s = n.s | replace('a', 'aa') %}"),
    "replace method": grown("{% set n.s = n.s.replace('a', 'aa') %}"),
    "formats": grown("{% set n.s = '%s%s' | format(n.s, n.s) %}"),
    "format method": grown("{% set n.s = '{0}{0}'.format(n.s) %}"),
    "lists of lists": grown("{% set n.s = [n.s, n.s] %}"),
    "json": grown("{% set n.s = [n.s, n.s] %}", used="{{ n.s | tojson }}"),
    "center": "{{ 'x' | center(2000000000) }}",
    "center method": "{{ 'x'.center(2000000000) }}",
    "tabs": "{{ '\t'.expandtabs(2000000000) }}",
    "zeros": "{{ '1'.zfill(2000000000) }}",
    "indent": "{{ 'a' | indent(2000000000, true) }}",
    "indented JSON": "{{ [1] | tojson(indent=2000000000) }}",
    "batch": "{{ [1] | batch(2000000000, 'x') | list }}",
    "slice": "{{ [1] | slice(2000000000) | list }}",
    "percent": "{{ '%9999999999d' % 1 }}",
    "star": "{{ '%*d' | format(2000000000, 1) }}",
    "braces": "{{ '{:2000000000}'.format(1) }}",
    "inner braces": "{{ '{:{}}'.format(1, 2000000000) }}",
    # what is not of the template's data
    "lipsum": "{{ lipsum(5) }}",
    "random": "{{ [1, 2, 3] | random }}",
    "include": "{% include 'x' %}",
    "import": "{% import 'x' as y %}",
    "block": "{% block a %}{{ self.a() }}{% endblock %}",
    "address": "{{ range }}",
    "address of a cycler": "{{ cycler(1, 2) | string }}",
    "address in text": "{{ 'x' ~ namespace(a=1) }}",
    "address in a format": "{{ '{}'.format(messages.copy) }}",
    "address in a field": "{{ '{0.upper}'.format('a') }}",
    "address in an index": "{{ '{0[upper]}'.format('a') }}",
    "address of an attribute": "{{ ['a'] | join(',', attribute='upper') }}",
    "address in the middle": "{{ range | center(80) }}",
    "address in JSON": "{{ ['a'] | map(attribute='upper') | list | tojson }}",
    "identity": "{{ 'ab' is sameas 'a' ~ 'b' }}",
    "now": "{{ now() }}",
    "environment": "{{ environ['HOME'] }}",
    "epoch": "{{ strftime_now('%s') }}",
    "encode": "{{ 'a'.encode() }}",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_or_broken_template_is_one_line(name):
    with pytest.raises(UserError) as caught:
        rendered(HOSTILE[name])
    message = str(caught.value)
    assert message.startswith("some/tokenizer_config.json: the chat template does not render")
    assert "\n" not in message and len(message) < 300


def test_bounds_leave_room_for_long_prompts():
    told = template("{% for m in messages %}{{ m.content.split('\n') | join(' ') | trim + '\n' }}{% endfor %}")
    text = "word and word\n" * 20_000
    assert told.render([{"role": "user", "content": text}]) == text.replace("\n", " ").strip() + "\n"
    for _ in range(3):  # what one rendering costs is not counted against the next
        assert len(told.render([{"role": "user", "content": "a" * 900_000}])) == 900_001


def test_tests_take_their_argument_by_name_or_place():
    assert rendered("{{ 9 is divisibleby(num=3) }}{{ x is defined }}{{ false is sameas false }}") == "TrueFalseTrue"


def test_macros_may_call_each_other():
    source = "{% macro m(n) %}{{ n }}{% if n %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(20) }}"
    assert rendered(source).startswith("2019") and rendered(source).endswith("210")


def test_the_clock_stands_still_and_speaks_no_locale():
    source = "{{ strftime_now('%A %-d %B %Y|%d %b %y|%H:%M:%S|%I %p|%j|%F|%e|%Z%%') }}"
    assert rendered(source) == "Thursday 29 February 2024|29 Feb 24|17:05:09|05 PM|060|2024-02-29|29|%"
    assert template(source).reads_clock and not template("{{ bos_token }}").reads_clock
    assert template("{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% endif %}").reads_clock


@pytest.mark.parametrize("text", ["today", "2024-02-29T17:05:09", "2024-02-30T00:00:00+00:00", ""])
def test_a_time_that_is_none_is_refused(text):
    with pytest.raises(UserError, match=r"clock = '.*a time like 2026-01-31T12:30:00\+00:00"):
        clock.parse("clock", text)


def test_the_time_of_now_is_read_back():
    told = clock.now()
    assert clock.parse("clock", told).isoformat() == told


SWITCHED = (
    "{{ bos_token }}{% if not day is defined %}{% set day = 'Monday' %}{% endif %}{{ day }}"
    "{% for m in messages %}{{ m.content }}{% endfor %}"
    "{% if enable_thinking is defined and enable_thinking is false %}<no>{% endif %}{{ effort | default('high') }}"
)


def test_switches_are_what_the_template_reads():
    plain = template(SWITCHED, bos_token="<s>")
    assert plain.switches == ("day", "effort", "enable_thinking") and plain.render(ASKED) == "<s>Mondayxhigh"
    given = {"enable_thinking": "false", "effort": "low", "day": '"2"'}
    assert rendered(SWITCHED, given, bos_token="<s>") == "<s>2x<no>low"
    with pytest.raises(UserError, match=r"variable 'enable_thinkin' .* nearest: enable_thinking"):
        template(SWITCHED, {"enable_thinkin": "false"})
    with pytest.raises(UserError, match=r"variable 'a' of the chat template: nothing, as it reads none"):
        template("{{ messages[0].content }}{{ bos_token }}", {"a": "1"}, bos_token="<s>")
    for name in ("messages", "bos_token", "range", "m"):  # given already, or its own
        with pytest.raises(UserError, match=f"variable '{name}'"):
            template(SWITCHED, {name: "1"}, bos_token="<s>")


@pytest.mark.parametrize(
    ("source", "mark"),
    [
        ("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>\n{% endfor %}", "</s>"),
        ("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}", "<|user|>"),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", None),
        ("{% for m in messages %}{{ m.content }} \n<|end|><|end|>more{% endfor %}", "<|end|><|end|>"),
        ("[INST] {{ messages[0].content }} [/INST]", None),
        ("{{ messages[0].content }}</s>", "</s>"),
        ("{% if messages | length > 1 %}{{ raise_exception('once') }}{% endif %}{{ messages[0].content }}</s>", "</s>"),
    ],
)
def test_the_end_of_an_answer_is_what_the_template_writes_behind_it(source, mark):
    assert template(source).end_of_turn(["<|user|>", "</s>", "<|end|>", "<|end|><|end|>", "", "[/INST]"]) == mark


def test_a_template_gives_at_most_a_million_characters():
    assert len(rendered("{{ 'a' * 1000000 }}")) == chat.LENGTH
    with pytest.raises(UserError, match=r"more than 1,000,000 characters"):
        rendered("{{ 'a' * 1000001 }}")
