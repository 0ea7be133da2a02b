"""The time that a chat template is told: fixed once, written as text, formatted alike on every machine."""

from datetime import datetime
from typing import NoReturn

from jaxpsn.core.errors import refuse

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_PLAIN = frozenset("dHIjmMSfwyYGuVUW")
"""Directives that are digits in every locale."""
_WHOLE = {
    "c": "%a %b %e %H:%M:%S %Y", "x": "%m/%d/%y", "X": "%H:%M:%S", "D": "%m/%d/%y", "F": "%Y-%m-%d",
    "T": "%H:%M:%S", "R": "%H:%M", "r": "%I:%M:%S %p",
}  # fmt: skip
_LONGEST = 1000


def now() -> str:
    """The local time with its offset, to the second (ISO 8601)."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def parse(field: str, text: str) -> datetime:
    """The time in ``text``; a UserError that names ``field`` if it is none, or has no offset."""
    allowed = "a time like 2026-01-31T12:30:00+00:00"
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        refuse(field, text, allowed)
    return found if found.utcoffset() is not None else refuse(field, text, f"{allowed}, with an offset")


class Clock:
    """A fixed time. ``strftime`` writes its local form as C does in the plain locale, whatever the machine's is."""

    def __init__(self, time: datetime) -> None:
        self._time = time.replace(tzinfo=None)

    def strftime(self, form: str) -> str:
        """``form`` with its directives filled in; ValueError for one that no platform shares."""
        if not isinstance(form, str) or len(form) > _LONGEST:
            raise ValueError(f"a format of at most {_LONGEST} characters is needed")
        written, rest = [], form
        while rest:
            plain, mark, rest = rest.partition("%")
            written.append(plain)
            if mark:
                # "%-d" leaves the leading zero out.
                bare, rest = rest[:1] == "-", rest.removeprefix("-")
                text = self._directive(rest[:1])
                written.append((text.lstrip("0 ") or "0") if bare else text)
                rest = rest[1:]
        return "".join(written)

    def _directive(self, letter: str) -> str:
        time = self._time
        if letter in _WHOLE:
            return self.strftime(_WHOLE[letter])
        if letter and letter in _PLAIN:
            return f"{time.year:04}" if letter == "Y" else time.strftime(f"%{letter}")
        day, month = _DAYS[time.weekday()], _MONTHS[time.month - 1]
        words = {
            "a": day[:3], "A": day, "b": month[:3], "h": month[:3], "B": month, "p": "AM" if time.hour < 12 else "PM",
            "P": "am" if time.hour < 12 else "pm", "e": f"{time.day:2}", "k": f"{time.hour:2}",
            "l": f"{(time.hour - 1) % 12 + 1:2}", "C": f"{time.year // 100:02}", "n": "\n", "t": "\t", "%": "%",
            # As with transformers, whose time has no zone.
            "z": "", "Z": "",
        }  # fmt: skip
        return words[letter] if letter in words else _unknown(letter)


def _unknown(letter: str) -> NoReturn:
    raise ValueError(f"%{letter} in strftime_now: a directive that is the same everywhere, such as %d %b %Y")
