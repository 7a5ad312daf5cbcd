"""transformers' own video classifiers, of random weights and small configurations."""

from typing import Any

import transformers
from torch import Tensor, nn

from tiemcli.exporters.zoo.recipe import Build, Recipe

LAYOUT, FRAMES, SIDE = "NTCHW", 8, 32
SHAPE = (1, FRAMES, 3, SIDE, SIDE)
PATCH = 8
SMALL: dict[str, Any] = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3}
PATCHES = SMALL | {"image_size": SIDE, "num_frames": FRAMES, "intermediate_size": 96}
# The deviation of trained weights is about this; transformers' own start is nearly silent.
DEVIATION = 0.1


class Classifier(nn.Module):
    """A network of transformers as a function of one tensor, which it knows as `argument`."""

    def __init__(self, network: nn.Module, argument: str) -> None:
        super().__init__()
        self.network, self.argument = network, argument

    def forward(self, clips: Tensor) -> Tensor:
        logits: Tensor = self.network(**{self.argument: clips}).logits
        return logits


def _classifier(name: str, argument: str = "pixel_values", **config: Any) -> Build:
    """NAMEForVideoClassification of a NAMEConfig."""

    def build(classes: int) -> nn.Module:
        settings = getattr(transformers, f"{name}Config")(num_labels=classes, **config)
        network = getattr(transformers, f"{name}ForVideoClassification")(settings)
        for parameter in network.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, 0.0, DEVIATION)
        return Classifier(network, argument)

    return build


NETWORKS = {
    "videomae": Recipe(_classifier("VideoMAE", patch_size=PATCH, **PATCHES), LAYOUT, SHAPE),
    "timesformer": Recipe(_classifier("Timesformer", patch_size=PATCH, **PATCHES), LAYOUT, SHAPE),
    "vivit": Recipe(_classifier("Vivit", tubelet_size=[2, PATCH, PATCH], **PATCHES), LAYOUT, SHAPE),
    "vjepa2": Recipe(
        _classifier(
            "VJEPA2",
            "pixel_values_videos",
            crop_size=SIDE,
            patch_size=PATCH,
            frames_per_clip=FRAMES,
            mlp_ratio=2,
            pred_hidden_size=24,
            pred_num_attention_heads=3,
            pred_num_hidden_layers=1,
            num_pooler_layers=1,
            **SMALL,
        ),
        LAYOUT,
        SHAPE,
    ),
}
