"""What error messages share: the nearest known word, and the cause behind a wrapped error."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` Did you mean 'nearest'?` for the nearest known word, or nothing."""
    nearest = difflib.get_close_matches(str(word), [str(name) for name in known], n=1)
    return f" Did you mean '{nearest[0]}'?" if nearest else ""


@contextmanager
def original_errors() -> Iterator[None]:
    """MONAI wraps each error of a transform in a RuntimeError; the error itself is what a user can act on."""
    try:
        yield
    except RuntimeError as error:
        cause: BaseException = error
        while isinstance(cause, RuntimeError) and cause.__cause__ is not None:
            cause = cause.__cause__
        raise cause from None
