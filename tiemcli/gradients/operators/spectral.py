"""The discrete Fourier transform, and the windows that go with it."""

from collections.abc import Callable

import torch
from torch import Tensor

from tiemcli.gradients.graph import Node
from tiemcli.gradients.registry import register


@register("DFT")
def dft(
    node: Node, x: Tensor, length: Tensor | None = None, axis_input: Tensor | None = None
) -> Tensor:
    """The transform of `x` (..., 1) real or (..., 2) complex along an axis, as (..., 2)."""
    axis = node.attr("axis", 1) if node.opset < 20 else -2
    axis = (axis if axis_input is None else int(axis_input)) % x.ndim
    count = None if length is None else int(length)
    onesided, inverse = bool(node.attr("onesided", 0)), bool(node.attr("inverse", 0))
    if inverse and onesided:
        signal: Tensor = torch.fft.irfft(torch.view_as_complex(x), count, axis)
        return signal[..., None]
    signal = torch.view_as_complex(x) if x.shape[-1] == 2 else x[..., 0]
    if inverse:
        return torch.view_as_real(torch.fft.ifft(signal, count, axis))
    transform = torch.fft.rfft if onesided else torch.fft.fft
    return torch.view_as_real(transform(signal, count, axis))


_WINDOWS: dict[str, Callable[..., Tensor]] = {
    "BlackmanWindow": torch.blackman_window,
    "HammingWindow": lambda size, periodic: torch.hamming_window(size, periodic, 25 / 46, 21 / 46),
    "HannWindow": torch.hann_window,
}


@register(*_WINDOWS)
def window(node: Node, size: Tensor) -> Tensor:
    return _WINDOWS[node.op_type](int(size), bool(node.attr("periodic", 1)))
