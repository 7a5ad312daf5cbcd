"""Occlusion: a box slides over the clip, and what it hides is worth what the score loses.

Zeiler and Fergus (Visualizing and understanding convolutional networks, ECCV 2014) slide a square
over an image. Over a clip the square lasts a few frames and slides along time as well; its size and
strides are those of `aosa`, which differs in that its boxes move. What stands in a hidden box is
the base; theirs was gray.
"""

import numpy as np

from tiemcli.kernels.arrays import Doubles, Floats
from tiemcli.methods.evidence import Evidence, attributed
from tiemcli.methods.scene import Scene
from tiemcli.methods.tubes import Tubes, drops, standing


def find(scene: Scene) -> Evidence:
    """Hide box after box, and give each pixel the mean drop of the score over those that hide it."""
    boxes = standing(scene.shape, scene.settings.queries)
    with scene.stage("masks", "where", len(boxes)):
        lost = drops(scene, boxes)
    return attributed(scene, mean_drop(boxes, lost), "queries", len(boxes), boxes.warning)


def mean_drop(boxes: Tubes, lost: Doubles) -> Floats:
    """For each pixel (T, H, W) float32 the mean of `lost` (N,) over the boxes that hide it, 0 where
    none does."""
    total, count = np.zeros(boxes.shape), np.zeros(boxes.shape)
    for box, loss in enumerate(lost.tolist()):
        for place in boxes.places(box):
            total[place] += loss
            count[place] += 1
    return np.divide(total, count, out=total, where=count > 0).astype(np.float32)
