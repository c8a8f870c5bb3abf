"""The way from files to analysed scans as boxes and arrows: what stays runs down, what is left out goes to the right.

Sizes are in the drawing's own units, a pixel each at full width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from pipeline.reporting.sections.cohort import Step

BOX_WIDTH, GAP, PADDING, LINE = 210, 36, 10, 19
LETTERS = 24
"""That fit into a line of a box."""


@dataclass(frozen=True)
class Box:
    """Lines of text in a rectangle, whose upper left corner is at (x, y)."""

    x: int
    y: int
    lines: list[str]
    is_loss: bool

    @property
    def width(self) -> int:
        return BOX_WIDTH

    @property
    def height(self) -> int:
        return 2 * PADDING + LINE * len(self.lines)

    @property
    def bottom(self) -> int:
        return self.y + self.height

    @property
    def centre(self) -> int:
        return self.x + BOX_WIDTH // 2

    def baseline(self, line: int) -> int:
        """Where the letters of a line stand."""
        return self.y + PADDING + LINE * line + 14


@dataclass(frozen=True)
class Diagram:
    width: int
    height: int
    boxes: list[Box]
    arrows: list[tuple[int, int, int, int]]
    """(x, y) of tail and head."""


def flow_diagram(steps: Sequence[Step]) -> Diagram | None:
    """Boxes one below the other, losses beside the arrow they leave from, and the parts of the split side by side."""
    if not steps:
        return None
    boxes: list[Box] = []
    arrows: list[tuple[int, int, int, int]] = []
    trunk, y = None, 1
    for step in (step for step in steps if not step.is_part):
        box = Box(BOX_WIDTH + GAP if step.is_loss else 1, y, words_of(step), step.is_loss)
        boxes.append(box)
        if step.is_loss and trunk is not None:
            middle = box.y + box.height // 2
            arrows.append((trunk.centre, middle, box.x, middle))
        elif trunk is not None:
            arrows.append((trunk.centre, trunk.bottom, box.centre, box.y))
        trunk = trunk if step.is_loss else box
        y = box.bottom + (GAP // 2 if step.is_loss else GAP)
    for column, step in enumerate(step for step in steps if step.is_part):
        box = Box(1 + column * (BOX_WIDTH + GAP), y, words_of(step), is_loss=False)
        boxes.append(box)
        if trunk is not None:
            arrows.append((trunk.centre, trunk.bottom, box.centre, box.y))
    width = max(box.x for box in boxes) + BOX_WIDTH + 1
    return Diagram(width, max(box.bottom for box in boxes) + 1, boxes, arrows)


def words_of(step: Step) -> list[str]:
    """What the box says; its first line stands out."""
    return [f"{step.scans:,} scans, {step.patients:,} patients", *wrap(step.name, LETTERS)]
