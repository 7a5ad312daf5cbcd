"""How figures are put into words, the same wherever a person reads them."""

from tiemcli.result import CostRecord

# What the clip is where a mask hides it, by the kind of base.
HIDDEN = {
    "blur": "blurred",
    "black": "black",
    "mean": "its mean colour",
    "average": "its average frame",
}

# What a backend finds a mask by.
FITTED_BY = {
    "autograd": "gradients",
    "finite-difference": "queries",
    "queries": "queries",
    "none": "evaluations",
}
# Below this share of their number evaluations have clearly shared work.
SHARED = 0.95


def score_text(value: float) -> str:
    """A probability to three places; a regression's large value to four digits."""
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.4g}"


def count_text(count: int, things: str) -> str:
    """1 gradient, 2 gradients."""
    return f"{count:,} {things if count != 1 else things.removesuffix('s')}"


def cost_text(cost: CostRecord) -> str:
    """What an explanation took, and what its evaluations cost where they shared work."""
    parts = [count_text(cost.forwards, "evaluations")]
    if cost.computed < SHARED * cost.forwards:
        parts[0] += f" for the work of {count_text(round(cost.computed), 'runs')} of the network"
    if cost.backwards:
        parts.append(count_text(cost.backwards, "gradients"))
    return ", ".join(parts)
