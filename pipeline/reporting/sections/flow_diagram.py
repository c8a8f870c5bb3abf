"""The flow from files to analyzed scans as boxes and arrows: exclusions are to the right of the vertical flow.

Sizes are in the units of the drawing, one pixel at full width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

BOX_WIDTH, GAP, PADDING, LINE = 210, 36, 10, 19
MAX_CHARACTERS = 24
"""Per line of a box."""


@dataclass(frozen=True)
class Step:
    """One step from files to analyzed scans."""

    name: str
    scans: int
    patients: int
    is_exclusion: bool = False
    is_part: bool = False
    """A part of the split, below the last step."""


@dataclass(frozen=True)
class Box:
    """Lines of text in a rectangle, whose upper left corner is at (x, y)."""

    x: int
    y: int
    lines: list[str]
    is_exclusion: bool

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
    def center(self) -> int:
        return self.x + BOX_WIDTH // 2

    def baseline(self, line: int) -> int:
        """The y of the text of a line."""
        return self.y + PADDING + LINE * line + 14


@dataclass(frozen=True)
class Diagram:
    width: int
    height: int
    boxes: list[Box]
    arrows: list[tuple[int, int, int, int]]
    """(x, y) of tail and head."""


def flow_diagram(steps: Sequence[Step]) -> Diagram | None:
    """Boxes from top to bottom, exclusions beside their arrow, and the parts of the split side by side."""
    if not steps:
        return None
    boxes: list[Box] = []
    arrows: list[tuple[int, int, int, int]] = []
    trunk, y = None, 1
    for step in (step for step in steps if not step.is_part):
        box = Box(BOX_WIDTH + GAP if step.is_exclusion else 1, y, box_lines(step), step.is_exclusion)
        boxes.append(box)
        if step.is_exclusion and trunk is not None:
            middle = box.y + box.height // 2
            arrows.append((trunk.center, middle, box.x, middle))
        elif trunk is not None:
            arrows.append((trunk.center, trunk.bottom, box.center, box.y))
        trunk = trunk if step.is_exclusion else box
        y = box.bottom + (GAP // 2 if step.is_exclusion else GAP)
    for column, step in enumerate(step for step in steps if step.is_part):
        box = Box(1 + column * (BOX_WIDTH + GAP), y, box_lines(step), is_exclusion=False)
        boxes.append(box)
        if trunk is not None:
            arrows.append((trunk.center, trunk.bottom, box.center, box.y))
    width = max(box.x for box in boxes) + BOX_WIDTH + 1
    return Diagram(width, max(box.bottom for box in boxes) + 1, boxes, arrows)


def box_lines(step: Step) -> list[str]:
    """Counts in the first line, which is emphasized, then the name."""
    return [f"{step.scans:,} scans, {step.patients:,} patients", *wrap(step.name, MAX_CHARACTERS)]
