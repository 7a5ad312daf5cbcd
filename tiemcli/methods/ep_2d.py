"""EP-2D: an extremal mask in which every frame keeps the same share (Fong et al., ICCV 2019).

That is TIEM's stage 2 without stage 1, the ablation that TIEM's paper leaves out.
"""

from tiemcli.extremal.recipe import Recipe
from tiemcli.methods.evidence import Evidence
from tiemcli.methods.published import explain_by
from tiemcli.methods.scene import Scene

# EP-3D's, but for the area.
RECIPE = Recipe(volume=False, reward_weight=100, growth=1.0035)


def find(scene: Scene) -> Evidence:
    """As published the mask of a frame is fitted by a penalty; with exact areas also by queries."""
    return explain_by(scene, RECIPE)
