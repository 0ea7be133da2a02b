"""Tokens that stand beside a ``tokenizer.json``, added to it in the order and with the ids of transformers 5.

They stand in ``tokenizer_config.json`` (``added_tokens_decoder`` and by role, such as ``pad_token``) or, in folders
without that table, in ``special_tokens_map.json`` and ``added_tokens.json``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken, Tokenizer

from jaxpsn.core import foreign
from jaxpsn.core.errors import UserError
from jaxpsn.lm.folders import hf_text as files

_ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_LISTS = ("extra_special_tokens", "additional_special_tokens")
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_MOST = 20_000
"""Most tokens that are added: each costs a look at all others."""


class _Listed(NamedTuple):
    """What a folder says of tokens beside its ``tokenizer.json``."""

    numbered: dict[int, AddedToken]
    """By the id that it names."""
    roles: dict[str, AddedToken]
    """By role: ``eos_token``, ...."""
    more: list[AddedToken]
    """Special, without a role."""
    place: Path
    """The file that names ids."""


def add(folder: Path, own: dict[str, Any], tokens: Tokenizer) -> dict[str, str]:
    """Add to ``tokens`` what the folder's other files name; returns the special tokens by role.

    ``own``: the content of ``tokenizer_config.json``. Raises ``UserError``, naming file and token, for malformed
    entries, a token that would get another id than the folder names, and an end token without any id.
    """
    listed = _listed(folder, own, tokens)
    known = {token.content: token for token in tokens.get_added_tokens_decoder().values()}
    wanted = list(_wanted(listed, known))
    if len(wanted) > _MOST:
        raise UserError(f"{folder}: {len(wanted):,} tokens beside tokenizer.json; at most {_MOST:,} are added")
    _check_end(folder, listed, tokens)
    tokens.add_tokens(wanted)
    for number, token in listed.numbered.items():
        found = tokens.token_to_id(token.content)
        if token.content and found != number:
            shown = foreign.shown(token.content)
            raise UserError(f"{listed.place}: {shown} has id {number} there, in tokenizer.json's order it gets {found}")
    return {role: token.content for role, token in listed.roles.items()}


def _wanted(listed: _Listed, known: dict[str, AddedToken]) -> Iterator[AddedToken]:
    """The tokens to add: those with ids in their order, then those of a role, then the others."""
    names = {token.content for token in listed.roles.values()}
    seen = set(known)
    for _, token in sorted(listed.numbered.items()):
        if repr(known.get(token.content)) != repr(token):
            token.special = token.special or token.content in names
            yield token
        seen.add(token.content)
    for token in (*listed.roles.values(), *listed.more):
        if token.content not in seen:
            seen.add(token.content)
            yield token


def _check_end(folder: Path, listed: _Listed, tokens: Tokenizer) -> None:
    end = listed.roles.get("eos_token")
    if end is None or tokens.token_to_id(end.content) is not None:
        return
    if all(token.content != end.content for token in listed.numbered.values()):
        shown = foreign.shown(end.content)
        raise UserError(f"{folder}: eos_token = {shown} has no id: neither tokenizer.json nor an added token is it")


def _listed(folder: Path, own: dict[str, Any], tokens: Tokenizer) -> _Listed:
    place = folder / "tokenizer_config.json"
    if "added_tokens_decoder" in own:
        numbered = {_number(place, key): _token(place, token) for key, token in _table(place, own).items()}
        return _Listed(numbered, _roles(place, own), _more(place, own), place)
    of_roles = files.read(folder, "special_tokens_map.json")
    map_place, place = folder / "special_tokens_map.json", folder / "added_tokens.json"
    roles = _roles(folder / "tokenizer_config.json", own) | _roles(map_place, of_roles)
    more = _more(folder / "tokenizer_config.json", own) + _more(map_place, of_roles)
    special = {token.content for token in (*roles.values(), *more)}
    numbered = {}
    for text, number in files.read(folder, place.name).items():
        role = text in special
        numbered[_number(place, number)] = AddedToken(text, special=role, normalized=not role)
    numbered |= {number: token for number, token in tokens.get_added_tokens_decoder().items() if number in numbered}
    return _Listed(numbered, roles, more, place)


def _table(place: Path, own: dict[str, Any]) -> dict[str, Any]:
    table = own["added_tokens_decoder"]
    if not isinstance(table, dict):
        raise UserError(f"{place}: added_tokens_decoder = {foreign.shown(table)}: an object of tokens by id")
    return table


def _number(place: Path, value: Any) -> int:
    digits = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10
    if digits or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31):
        return int(value)
    raise UserError(f"{place}: {foreign.shown(value)} where the id of a token is needed")


def _token(place: Path, value: Any, special: bool | None = None) -> AddedToken:
    """A token as one of the files spells it: text, or an object of text and flags."""
    given = {"content": value} if isinstance(value, str) else value
    if not isinstance(given, dict) or not isinstance(given.get("content"), str):
        raise UserError(f"{place}: {foreign.shown(value)} where a token is needed: text, or an object with content")
    flags = {name: given[name] for name in _FLAGS if given.get(name) is not None}
    if special is not None:
        flags["special"] = special
    if wrong := [name for name, flag in flags.items() if not isinstance(flag, bool)]:
        raise UserError(f"{place}: {wrong[0]} = {foreign.shown(flags[wrong[0]])}: true or false")
    return AddedToken(given["content"], **flags)


def _roles(place: Path, table: dict[str, Any]) -> dict[str, AddedToken]:
    """The tokens of a role: those that every tokenizer has first, then the model's own."""
    named = {name: token for name, token in table.items() if name.endswith("_token") and isinstance(token, str | dict)}
    ordered = (*(role for role in _ROLES if role in named), *(name for name in named if name not in _ROLES))
    roles = {name: _token(place, named[name], True) for name in ordered}
    extra = table.get(_LISTS[0])
    return roles | ({name: _token(place, one, True) for name, one in extra.items()} if isinstance(extra, dict) else {})


def _more(place: Path, table: dict[str, Any]) -> list[AddedToken]:
    found = next((table[name] for name in _LISTS if table.get(name)), [])
    if not isinstance(found, list | dict):
        raise UserError(f"{place}: {foreign.shown(found)} where a list of tokens is needed")
    return [] if isinstance(found, dict) else [_token(place, one, True) for one in found]
