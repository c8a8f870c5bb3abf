"""Networks of a second, as the tests of models build them."""

from tests.models.conftest import build_tiny

__all__ = ["build_tiny"]
