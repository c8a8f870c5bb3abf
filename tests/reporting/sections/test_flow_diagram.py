"""The flow of scans as a diagram."""

from pipeline.reporting.sections.cohort import flow_steps
from pipeline.reporting.sections.flow_diagram import flow_diagram
from tests.reporting.example_pages import cohort_inputs


def test_the_flow_runs_down_and_exclusions_are_aside():
    cohort = cohort_inputs()
    drawing = flow_diagram(flow_steps(cohort))
    first, exclusion, rest, development, test = drawing.boxes
    assert first.bottom < exclusion.y and exclusion.bottom < rest.y and rest.bottom < development.y == test.y
    assert exclusion.x > first.x + first.width and test.x > development.x + development.width
    assert all(box.x + box.width < drawing.width and box.bottom < drawing.height for box in drawing.boxes)
    assert flow_diagram([]) is None
