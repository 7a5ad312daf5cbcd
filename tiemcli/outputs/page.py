"""Pages that need nothing but themselves: templates with their style and script inside."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from tiemcli.wording import cost_text

_ENVIRONMENT = Environment(
    loader=PackageLoader("tiemcli.outputs"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: object) -> str:
    """The page of a template in `templates/`; what stands in `values` is escaped."""
    return _ENVIRONMENT.get_template(template).render(**values)


def score(value: float) -> str:
    """A score as a reader compares it: three decimals below 10, else four digits."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"


def percent(share: float) -> str:
    """A share as a whole number of percent; below 10, with a decimal where it needs one."""
    number = 100 * share
    digits = f"{number:.1f}".removesuffix(".0") if number < 9.95 else f"{number:.0f}"
    return f"{digits}\N{NO-BREAK SPACE}%"


_ENVIRONMENT.filters |= {"score": score, "percent": percent, "cost": cost_text}
