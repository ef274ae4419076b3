"""How all pictures are drawn: SVG, the same bytes for the same numbers. Needs matplotlib."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

from assay.domain.errors import Unavailable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MISSING: Final = "pictures need matplotlib: pip install 'assay[plots]'"


def new_figure(width: float, height: float) -> Figure:
    """An empty one, of so many inches. Raises Unavailable without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise Unavailable(MISSING) from None
    return Figure(figsize=(width, height), layout="constrained")


def without_frame(axes: Any) -> None:
    """Leave out the lines that say nothing."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def drawn(figure: Figure) -> str:
    """The element `svg`, as text."""
    from matplotlib import rc_context

    target = io.StringIO()
    with rc_context({"svg.hashsalt": "assay", "svg.fonttype": "none", "font.size": 9}):
        figure.savefig(target, format="svg", metadata={"Date": None}, facecolor="white")
    text = target.getvalue()
    return text[text.index("<svg") :]
