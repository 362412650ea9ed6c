"""Charts and heat maps as SVG files of their own, for documents: no script, no font, light or dark as the reader is."""

from breakwater_research.charts import Chart
from breakwater_research.heat_maps import HeatMap
from breakwater_research.page_parts import ENVIRONMENT

_CELL_WIDTH = 62
_CELL_HEIGHT = 26
_LABEL_WIDTH = 96
_TOP = 62
_MARGIN = 12
_CHARACTER_WIDTH = 7.0


def chart_svg(chart: Chart) -> str:
    """Return a chart as an SVG file; the same chart gives the same text."""
    offsets, at = [], 0.0
    for entry in chart.legend:
        offsets.append(at)
        at += 24 + _CHARACTER_WIDTH * len(entry.name)
    return ENVIRONMENT.get_template("chart.svg.jinja").render(
        chart=chart, legend=list(zip(chart.legend, offsets, strict=True))
    )


def heat_map_svg(heat: HeatMap) -> str:
    """Return a heat map as an SVG file; the same map gives the same text."""
    return ENVIRONMENT.get_template("heat_map.svg.jinja").render(
        heat=heat,
        left=_LABEL_WIDTH,
        top=_TOP,
        cell_width=_CELL_WIDTH,
        cell_height=_CELL_HEIGHT,
        width=max(_LABEL_WIDTH + _CELL_WIDTH * len(heat.columns) + _MARGIN, 420),
        height=_TOP + _CELL_HEIGHT * len(heat.rows) + _MARGIN,
    )
