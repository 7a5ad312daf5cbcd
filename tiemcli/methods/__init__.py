"""The methods of explanation, by name: a file each, with one function `find`."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal

from tiemcli.errors import UsageError

if TYPE_CHECKING:
    from tiemcli.methods.evidence import Evidence
    from tiemcli.methods.scene import Scene

Needs = Literal["gradients", "queries", "either", "nothing"]


@dataclass(frozen=True)
class Method:
    """A way to explain. module: its file in this folder. needs: of the network; `either` is what
    --backend says. summary: for a table of them, with where it comes from."""

    name: str
    module: str
    needs: Needs
    summary: str

    @property
    def find(self) -> "Callable[[Scene], Evidence]":
        """What explains a scene; loaded when it is asked for."""
        find: Callable[[Scene], Evidence] = import_module(f"{__name__}.{self.module}").find
        return find


METHODS = {
    method.name: method
    for method in (
        Method("tiem", "tiem", "either", "time importance, then extremal masks (TIEM)"),
        Method("ep-2d", "ep_2d", "either", "extremal masks, every frame alike (Fong 2019)"),
        Method("ep-3d", "ep_3d", "gradients", "an extremal mask of the whole clip (Fong 2019)"),
        Method("step", "step", "gradients", "ep-3d, smooth over frames (Li 2021)"),
        Method("rise", "rise", "queries", "random masks, weighted by their scores (Petsiuk 2018)"),
        Method(
            "occlusion", "occlusion", "queries", "a box that slides over the clip (Zeiler 2014)"
        ),
        Method("aosa", "aosa", "queries", "a box that follows the motion (Uchiyama 2023)"),
        Method("gradient", "gradient", "gradients", "the gradient's size (Simonyan 2014)"),
        Method(
            "integrated-gradients",
            "integrated_gradients",
            "gradients",
            "gradients summed from base to clip (Sundararajan 2017)",
        ),
        Method(
            "grad-cam", "grad_cam", "gradients", "a layer weighted by its slopes (Selvaraju 2017)"
        ),
        Method(
            "grad-cam++",
            "grad_cam_plus_plus",
            "gradients",
            "grad-cam, its slopes weighted (Chattopadhyay 2018)",
        ),
        Method(
            "saliency-tubes",
            "saliency_tubes",
            "gradients",
            "a layer weighted by the classifier (Stergiou 2019)",
        ),
        Method(
            "class-feature-pyramids",
            "class_feature_pyramids",
            "gradients",
            "the kernels that tell the class, layer by layer (Stergiou 2019)",
        ),
        Method("swag-v", "swag_v", "gradients", "superpixels by their gradient (Hartley 2022)"),
        Method("ceb-r", "ceb_r", "gradients", "contrastive excitation, back (Bargal 2018)"),
        Method("random", "random", "nothing", "pixels drawn by lot: what chance finds"),
        Method("center", "center", "nothing", "the middle of every frame: what no look finds"),
    )
}


def method(name: str) -> Method:
    """The method of this name. Raises UsageError."""
    try:
        return METHODS[name]
    except KeyError:
        raise UsageError(f"--method {name}", f"choose from {', '.join(METHODS)}") from None
