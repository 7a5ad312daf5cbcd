"""Real networks, where their folder is there."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tiemcli.gradients import Differentiable


@pytest.mark.shared
@pytest.mark.parametrize("name", ["weizmann_tiny3d", "ucf50_lrcn", "efficientnet_lite0_avg16"])
def test_a_real_network_is_differentiated(shared_data, reference, name):
    """Logits are onnxruntime's; the gradient is there, finite, and the slope of those logits."""
    model = onnx.load(shared_data / "models" / f"{name}.onnx")
    shape = [axis.dim_value or 1 for axis in model.graph.input[0].type.tensor_type.shape.dim]
    coarse = torch.rand(*shape[:2], 4, 6, 6, generator=torch.Generator().manual_seed(4))
    # Corners are aligned for want of a flat border, where a maximum is tied and has no slope.
    x = nn.functional.interpolate(coarse, shape[2:], mode="trilinear", align_corners=True)
    clip = x.requires_grad_().detach().numpy()
    (logits,) = Differentiable(model)(x)
    (theirs,) = reference(model, clip)
    assert np.abs(logits.detach().numpy() - theirs).max() < 1e-3 * np.abs(theirs).max()

    top = int(logits.argmax())
    gradient = torch.autograd.grad(logits.reshape(-1)[top], x)[0].numpy()
    assert np.isfinite(gradient).all()
    assert gradient.any()

    # Clip, direction and step are smooth and small, so that few kinks of the network lie between.
    wave = np.sin(np.linspace(0, 2 * np.pi, shape[-1], dtype=np.float32)) * np.ones_like(clip)
    step = np.float32(0.002 * clip.std())
    ahead, behind = (
        float(reference(model, clip + sign * step * wave)[0].reshape(-1)[top]) for sign in (1, -1)
    )
    finite = (ahead - behind) / (2 * float(step))
    assert float((gradient * wave).sum()) == pytest.approx(finite, rel=0.03)
