"""Two networks of random weights that the bench builds for itself, as `torch:MODULE:FACTORY`.

torch is imported where a network is made, so that this module can be where torch is not.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

# Few classes: of hundreds that are alike, every probability is next to nothing.
CLASSES = 7
PIXELS = {"scale": 1 / 255, "mean": [0.45] * 3, "std": [0.225] * 3}
READING = {"color": "rgb", "resize": "crop", "output": "logits"}
# The deviation of trained weights is about this; transformers' own start is nearly silent.
DEVIATION = 0.1


def r2plus1d_10() -> "nn.Module":
    """R(2+1)D with one block a stage in place of two, of 56×56: its T is said by who asks."""
    from torch import nn
    from torchvision.models.video import resnet

    network: nn.Module = resnet.VideoResNet(
        block=resnet.BasicBlock,
        conv_makers=[resnet.Conv2Plus1D] * 4,
        layers=[1, 1, 1, 1],
        stem=resnet.R2Plus1dStem,
        num_classes=CLASSES,
    )
    _tell(network, layout="NCTHW", frames=16, size=[56, 56])
    return network


def videomae_tiny() -> "nn.Module":
    """VideoMAE of a ViT-Ti: 12 layers of 192, 3 heads, tubelets of 2×16×16, 16 frames of 112×112."""
    from torch import nn
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    from tiemcli.exporters.zoo.video_transformers import Classifier

    config = VideoMAEConfig(
        hidden_size=192,
        num_hidden_layers=12,
        num_attention_heads=3,
        intermediate_size=768,
        image_size=112,
        num_frames=16,
        num_labels=CLASSES,
    )
    network = VideoMAEForVideoClassification(config)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, 0.0, DEVIATION)
    module = Classifier(network, "pixel_values")
    _tell(module, layout="NTCHW", frames=16, size=[112, 112])
    return module


def _tell(network: Any, **input_facts: Any) -> None:
    """Give the network what `torch:` reads of its attribute."""
    network.tiem = input_facts | PIXELS | READING
