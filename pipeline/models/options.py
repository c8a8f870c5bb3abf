"""Options that are one word out of a few."""

from collections.abc import Collection

from pipeline.core.errors import did_you_mean


def check_choice(option: str, value: str, known: Collection[str]) -> None:
    """Refuse a value outside `known`, naming the nearest."""
    if value not in known:
        raise ValueError(f"{option}: unknown value '{value}'.{did_you_mean(value, known)} Known: {', '.join(known)}.")
