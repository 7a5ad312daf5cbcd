"""The size of the gradient at every pixel (Simonyan, Vedaldi, Zisserman 2014, arXiv:1312.6034)."""

from tiemcli.methods.class_score import pixel_slopes
from tiemcli.methods.evidence import Evidence, attributed
from tiemcli.methods.scene import Scene


def find(scene: Scene) -> Evidence:
    """max_c |∂S/∂x_c|, of the class's score before the softmax and the pixels as the network is fed.

    Of Φ itself the gradient would tell as much of the other classes, which is why the paper's is of
    S. (T, H, W), at least 0: where a change would matter, not in which direction.
    """
    clip = scene.torch_clip()
    with scene.gradient_stage(1):
        slopes = pixel_slopes(scene, clip)
        scene.progress.advance(1)
    return attributed(scene, slopes.abs().amax(0).cpu().numpy(), "autograd", 1)
