"""torchvision's own video networks, of random weights and fed as little as each takes."""

from torch import nn
from torchvision.models import video
from torchvision.models.video.mvit import MSBlockConfig, MViT

from tiemcli.exporters.zoo.recipe import Build, Recipe

# Frames and pixels of a side that the small MViTs are fed.
FRAMES, SIDE = 8, 32


def _network(name: str) -> Build:
    """A network by its name in torchvision, whole."""

    def build(classes: int) -> nn.Module:
        network: nn.Module = getattr(video, name)(weights=None, num_classes=classes)
        return network

    return build


def _mvit_blocks() -> list[MSBlockConfig]:
    """Four blocks; the second and the fourth halve the frame and double the heads."""

    def block(heads: int, inputs: int, outputs: int, stride: int, keys: int) -> MSBlockConfig:
        return MSBlockConfig(
            num_heads=heads,
            input_channels=inputs,
            output_channels=outputs,
            kernel_q=[3, 3, 3],
            kernel_kv=[3, 3, 3],
            stride_q=[1, stride, stride],
            stride_kv=[1, keys, keys],
        )

    return [
        block(1, 24, 24, 1, 4),
        block(2, 24, 48, 2, 2),
        block(2, 48, 48, 1, 2),
        block(4, 48, 96, 2, 1),
    ]


def _mvit(version: int) -> Build:
    """MViT (Fan et al., 2021), and its second version with relative positions (Li et al., 2022)."""
    second = version == 2

    def build(classes: int) -> nn.Module:
        network: nn.Module = MViT(
            spatial_size=(SIDE, SIDE),
            temporal_size=FRAMES,
            block_setting=_mvit_blocks(),
            residual_pool=second,
            residual_with_cls_embed=not second,
            rel_pos_embed=second,
            proj_after_attn=second,
            num_classes=classes,
        )
        return network

    return build


NETWORKS = {
    "r2plus1d-18": Recipe(_network("r2plus1d_18"), "NCTHW", (1, 3, 4, 48, 48)),
    "r3d-18": Recipe(_network("r3d_18"), "NCTHW", (1, 3, 4, 48, 48)),
    "mc3-18": Recipe(_network("mc3_18"), "NCTHW", (1, 3, 4, 48, 48)),
    "s3d": Recipe(_network("s3d"), "NCTHW", (1, 3, 16, 224, 224)),
    "mvit-v1": Recipe(_mvit(1), "NCTHW", (1, 3, FRAMES, SIDE, SIDE)),
    "mvit-v2": Recipe(_mvit(2), "NCTHW", (1, 3, FRAMES, SIDE, SIDE)),
    "swin3d": Recipe(_network("swin3d_t"), "NCTHW", (1, 3, 8, 64, 64)),
}
