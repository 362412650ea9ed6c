"""The study's document: Markdown whose every figure comes from the run, and its graphics as SVG files."""

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from breakwater_core.errors import InvalidInputError
from breakwater_research.heat_maps import HeatMap
from breakwater_research.number_text import fixed, percent
from breakwater_research.study.findings import (
    about_costs,
    about_filters,
    about_leverage,
    about_slippage,
    about_spans,
    against_holding,
    known_and_not_known,
    verdict,
)
from breakwater_research.study.study import Study, span_name
from breakwater_research.study.study_charts import study_charts
from breakwater_research.study.study_pages import variant_cells
from breakwater_research.svg_files import chart_svg, heat_map_svg

_TEMPLATES = Environment(  # noqa: S701  # Markdown and no HTML; cells are escaped by the filter `cell`
    loader=PackageLoader("breakwater_research"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_TEMPLATES.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def write_document(study: Study, path: Path, *, command: str) -> list[Path]:
    """Write the document and, in the folder beside it that has its name, the graphics; return the files.

    Args:
        study: What was found.
        path: The document, ending in `.md`.
        command: How to make it again.

    Raises:
        InvalidInputError: If the path does not end in `.md`, or a file cannot be written.
    """
    if path.suffix != ".md":
        raise InvalidInputError(f"{path}: the document must end in .md")
    graphics = {
        name: heat_map_svg(chart) if isinstance(chart, HeatMap) else chart_svg(chart)
        for name, chart in study_charts(study).items()
    }
    folder = path.with_suffix("")
    files = {folder / f"{name}.svg": text for name, text in graphics.items()}
    files[path] = document_text(study, folder=folder.name, graphics=list(graphics), command=command)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stale in set(folder.glob("*.svg")) - set(files):
            stale.unlink()
        for file, text in files.items():
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
    return list(files)


def document_text(study: Study, *, folder: str, graphics: list[str], command: str) -> str:
    """Return the document as Markdown; the same study gives the same text.

    Args:
        study: What was found.
        folder: Where its graphics are, beside it.
        graphics: Their names.
        command: How to make it again.
    """
    return _TEMPLATES.get_template("study.md.jinja").render(
        study=study,
        folder=folder,
        graphics=graphics,
        command=command,
        dates=study.base.series.dates,
        span=span_name(study.span_ms),
        verdict=verdict(study.search),
        against_holding=against_holding(study),
        about_filters=about_filters(study),
        about_costs=about_costs(study),
        about_slippage=about_slippage(study),
        about_leverage=about_leverage(study),
        about_spans=about_spans(study),
        limits=known_and_not_known(study),
        variant_cells=variant_cells,
        years=study.base.series.by_year(),
        held_years=study.holding.by_year(),
        percent=percent,
        fixed=fixed,
    )
