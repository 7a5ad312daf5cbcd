"""`zoo:NAME`: small networks of random weights, one for each way video classifiers are built.

They answer nothing of use. What they hold is each architecture's operators, in the order in which
its framework writes them; `tiem bench networks` measures on them which files can be explained.
"""

from difflib import get_close_matches
from importlib import import_module

from tiemcli.errors import UsageError
from tiemcli.exporters.original import Original, Wanted

CLASSES = 7

# Each family is a module of this package, whose NETWORKS has these names.
FAMILIES = {
    "cnn_rnn": ("cnn-lstm", "cnn-gru", "cnn-bilstm", "cnn-rnn", "loop-gru"),
    "control": ("scan-cond",),
    "deployed": ("uint8", "detector"),
    "keras_networks": ("keras-c3d", "keras-convlstm", "keras-cnn-lstm", "keras-cnn-bigru"),
    "movinet": ("movinet",),
    "published": ("r2plus1d-18", "r3d-18", "mc3-18", "s3d", "mvit-v1", "mvit-v2", "swin3d"),
    "slowfast": ("slowfast", "slowfast-two"),
    "tsm": ("tsm", "tsn"),
    "video_transformers": ("videomae", "timesformer", "vivit", "vjepa2"),
    "x3d": ("x3d",),
}
NAMES = {name: family for family, names in FAMILIES.items() for name in names}


def load(name: str, wanted: Wanted) -> Original:
    """A network of the zoo, its weights drawn with `wanted.seed`.

    Raises UsageError for a name that is none, and where something is wanted that no network here
    has: trained weights, a frame's answer made a clip's.
    """
    if name not in NAMES:
        near = get_close_matches(name, NAMES, n=1)
        hint = f"did you mean zoo:{near[0]}?" if near else f"there are {', '.join(NAMES)}"
        raise UsageError(f"zoo:{name}: no such network", hint)
    if wanted.weights not in ("DEFAULT", "none") or wanted.per_frame:
        raise UsageError(
            f"zoo:{name} has random weights, and answers for clips",
            "leave out --weights and --per-frame",
        )
    family = import_module(f"tiemcli.exporters.zoo.{NAMES[name]}")
    original: Original = family.NETWORKS[name].original(
        wanted.classes or CLASSES, wanted.seed, wanted.facts
    )
    return original
