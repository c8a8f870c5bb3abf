"""What the trainings of an experiment are called: by their fold, and by a further seed where one is tried."""

FoldLabel = int | str
"""A trained fold: its number, or `0-seed-1` for fold 0 trained again with another seed."""
SEED_MARK = "-seed-"


def fold_label(number: int, further: int) -> FoldLabel:
    """Of a fold whose seed is `further` from the experiment's own: (0, 1) -> `0-seed-1`, (3, 0) -> 3."""
    return f"{number}{SEED_MARK}{further}" if further else number


def parse_fold(label: FoldLabel) -> tuple[int, int]:
    """The way back: `0-seed-1` -> (0, 1), 3 -> (3, 0)."""
    number, _, further = str(label).partition(SEED_MARK)
    return int(number), int(further or 0)
