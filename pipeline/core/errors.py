"""Words that errors share."""

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` Did you mean 'nearest'?` for the nearest known word, or nothing."""
    nearest = difflib.get_close_matches(str(word), [str(name) for name in known], n=1)
    return f" Did you mean '{nearest[0]}'?" if nearest else ""
