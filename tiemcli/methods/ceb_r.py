"""Contrastive excitation backprop through a CNN and an RNN (Bargal et al., CVPR 2018)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tiemcli.errors import ModelError
from tiemcli.gradients.convolutions import with_normalisations_folded
from tiemcli.gradients.excitation import classifier, contrastive
from tiemcli.gradients.graph import Node
from tiemcli.methods.class_score import class_score
from tiemcli.methods.evidence import Evidence, attributed
from tiemcli.methods.layer import to_clip
from tiemcli.methods.layers import chosen
from tiemcli.methods.scene import Scene


def find(scene: Scene) -> Evidence:
    """max(0, Σ_k cP_k) of a layer's places, brought to the clip's size: (T, H, W), at least 0.

    cP is the probability of winning that the class's weights give, less that of the same weights
    negated, down to the last layer with a map, or --layer (the papers choose one of each network by
    hand). All frames share one sum, set to 1: so we read Bargal's normalisation over time, without
    which frames cannot be compared. Raises ModelError where an operator has no rule.
    """
    clip = scene.torch_clip()
    with scene.gradient_stage(1):
        layer = chosen(clip, scene.settings.layer)
        graph = with_normalisations_folded(clip.graph.with_outputs([clip.scored, layer.name]))
        top = classifier(graph, layer.name, clip.scored)
        if top is None:
            raise ModelError(
                f"--method {scene.settings.method}: no weights lie between {layer.name!r} and the "
                "answer",
                "choose an earlier layer by --layer",
            )
        values: dict[str, Tensor] = {}

        def look(_: Node, made: Mapping[str, Any]) -> None:
            values.update(
                (name, value.detach()) for name, value in made.items() if isinstance(value, Tensor)
            )

        scores, inner = clip.activations([top.outputs[0]], seen=look)
        (slope,) = clip.slopes(class_score(scene, scores), inner[top.outputs[0]])
        found = layer.volume(contrastive(graph, values, top, slope, layer.name)).sum(0).relu()
        scene.progress.advance(1)
    total = found.sum()
    return attributed(
        scene, to_clip(found / torch.where(total > 0, total, 1), clip.shape), "autograd", 1
    )
