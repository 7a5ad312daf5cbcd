"""How figures are put into words, the same wherever a person reads them."""

# What the clip is where a mask hides it, by the kind of base.
HIDDEN = {"blur": "blurred", "black": "black", "mean": "its mean colour"}


def score_text(value: float) -> str:
    """A probability to three places; a regression's large value to four digits."""
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.4g}"
