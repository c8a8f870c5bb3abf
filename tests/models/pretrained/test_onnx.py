"""Weights out of an ONNX file, against the arrays that it was made of."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.models.pretrained.sources import read_weights

onnx = pytest.importorskip("onnx", reason="optional: 'make encoder' installs it")


def write_graph(path: Path, **options: object) -> dict[str, np.ndarray]:
    """A linear layer as an exporter writes it: the weight transposed under a number, the bias under its name."""
    weight, bias = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(2, np.float32)
    constants = [
        onnx.numpy_helper.from_array(weight.T, "onnx::MatMul_7"),
        onnx.numpy_helper.from_array(bias, "fc.bias"),
    ]
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "onnx::MatMul_7"], ["y"], name="/fc/MatMul"),
        onnx.helper.make_node("Add", ["y", "fc.bias"], ["z"], name="/fc/Add"),
    ]
    values = [onnx.helper.make_tensor_value_info(name, 1, ["n", size]) for name, size in (("x", 3), ("z", 2))]
    graph = onnx.helper.make_graph(nodes, "g", values[:1], values[1:], constants)
    onnx.save(onnx.helper.make_model(graph), path, **options)
    return {"fc.weight": weight, "fc.bias": bias}


def test_a_constant_without_a_name_is_called_after_the_layer_that_reads_it(tmp_path: Path) -> None:
    expected = write_graph(tmp_path / "x.onnx")
    found = read_weights(tmp_path / "x.onnx")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], torch.from_numpy(value), rtol=0, atol=0)


def test_weights_outside_of_the_file_are_not_followed(tmp_path: Path) -> None:
    write_graph(tmp_path / "x.onnx", save_as_external_data=True, size_threshold=0, location="weights.bin")
    with pytest.raises(ValueError, match="2 weights, such as onnx::MatMul_7, are outside of it"):
        read_weights(tmp_path / "x.onnx")


def test_a_file_that_is_no_onnx_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"\x08not a graph")
    with pytest.raises(ValueError, match="x.onnx: not a readable ONNX file"):
        read_weights(tmp_path / "x.onnx")
