import pytest

from pipeline.training.showing import spoken


@pytest.mark.parametrize(
    ("seconds", "says"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2.0 h"), (90_000, "25.0 h")],
)
def test_time_left_is_told_in_the_unit_one_would_use(seconds: float, says: str) -> None:
    assert spoken(seconds) == says
