"""Eq. 7, where the area is asked for by a penalty: its constants, and its form without torch."""

import numpy as np

from tiemcli.kernels.arrays import Bools, Doubles, Floats

# The reward weighs 100 against 300 for the squared distance of the sorted mask from its template.
REWARD_WEIGHT, AREA_WEIGHT = 100.0, 300.0
# Under gradients the area's weight grows by this factor an iteration, as in extremal perturbations
# (Fong et al. 2019): without it the gentle white-box regressor's pointing game is 98.8, not 99.8.
AREA_GROWTH = 1.0035
# Cells in [0, 1] become a mask by a steep sigmoid about ½, rescaled to reach both ends.
STEEPNESS = 12.0
SIGMOID_FLOOR = 1 / (1 + np.exp(STEEPNESS / 2))


def steep_sigmoid(values: Floats) -> Floats:
    """Masks in about [0, 1] for smooth values in [0, 1], any shape."""
    sigmoid = 1 / (1 + np.exp(-STEEPNESS * (values - 0.5)))
    mask = (sigmoid - SIGMOID_FLOOR) / (1 - 2 * SIGMOID_FLOOR)
    return np.asarray(mask.clip(0, 1), dtype=np.float32)


def area_distance(masks: Floats, template: Bools) -> Doubles:
    """The mean squared distance of each mask's sorted frames from the template: (N,) float64.

    masks: (N, T, H, W). template: (T, H·W), from `kernels.area.sorted_template`.
    """
    ordered = -np.sort(-masks.reshape(*masks.shape[:2], -1), axis=-1)
    return np.asarray(np.square(ordered - template).mean(axis=(1, 2), dtype=np.float64))
