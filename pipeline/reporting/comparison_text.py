"""What a terminal shows of a comparison."""

from pipeline.evaluation.comparison import Comparison
from pipeline.reporting.wording import SPLIT_NAMES, number


def comparison_text(found: list[Comparison], experiment: str, split: str) -> str:
    """A paragraph a pair, the primary comparison first."""
    head = f"{experiment}, {SPLIT_NAMES[split]}, {found[0].num_patients} patients."
    return "\n".join([head, *(paragraph(pair) for pair in found)])


def paragraph(pair: Comparison) -> str:
    kind = "Primary comparison" if pair.is_primary else "Further comparison, p adjusted by Holm"
    accuracy = f"{number(pair.accuracy_difference)} (McNemar p {p_words(pair.accuracy_p_value)})"
    return (
        f"\n{kind}: {pair.first} against {pair.second}\n  {pair.in_words()}\n"
        f"  AUROC p {p_words(pair.adjusted_p_value)}; difference of accuracies {accuracy}."
    )


def p_words(p_value: float | None) -> str:
    if p_value is None:
        return number(None)
    return "< 0.001" if p_value < 0.001 else number(p_value)
