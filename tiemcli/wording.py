"""How figures are put into words, the same wherever a person reads them."""

from collections.abc import Sequence

from tiemcli.result import AskedRecord, CostRecord

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


def asked_text(asked: Sequence[AskedRecord]) -> str:
    """What it took to ask a network that is elsewhere, and where the time went, if that is known."""
    seconds = sum(record.seconds for record in asked)
    clips = sum(record.clips for record in asked)
    parts = [f"{seconds:.1f} s", f"{1000 * seconds / clips:.3g} ms a clip"]
    inside = [record.inside for record in asked if record.inside is not None]
    if len(inside) == len(asked):
        parts.append(
            f"{max(0, seconds - sum(inside)) / seconds:.0%} of it on the way to the server"
        )
    retries = sum(record.retries for record in asked)
    if retries:
        parts.append(f"{retries:,} asked again")
    requests = count_text(sum(record.requests for record in asked), "requests")
    return f"{requests} of {count_text(clips, 'clips')}: {', '.join(parts)}"


def cost_text(cost: CostRecord) -> str:
    """What an explanation took, and what its evaluations cost where they shared work."""
    parts = [count_text(cost.forwards, "evaluations")]
    if cost.computed < SHARED * cost.forwards:
        parts[0] += f" for the work of {count_text(round(cost.computed), 'runs')} of the network"
    if cost.backwards:
        parts.append(count_text(cost.backwards, "gradients"))
    return ", ".join(parts)
