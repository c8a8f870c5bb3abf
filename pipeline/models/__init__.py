"""The model zoo: `build_model(name, **options)` builds every network, for images and for volumes."""

from pipeline.models.build import build_model
from pipeline.models.network import Network, StageOutputs
from pipeline.models.pretrained.load import LoadReport, load_pretrained
from pipeline.models.registry import model_names

__all__ = ["LoadReport", "Network", "StageOutputs", "build_model", "load_pretrained", "model_names"]
