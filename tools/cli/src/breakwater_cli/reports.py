"""The report of a run, made from the reporter's database."""

from pathlib import Path
from typing import Any

from breakwater_core.errors import InvalidInputError
from breakwater_research.report_files import write_report
from breakwater_research.tearsheet import render_html
from breakwater_runtime.redaction import keep_secret
from reporter_service.reading import list_runs, load_report


def make_report(database: str, run_id: str | None, output: Path | None) -> dict[str, Any]:
    """Return the report of a run; with an output folder also write it as JSON and HTML.

    Raises:
        InvalidInputError: If there is no such database or run, or the run has to be named.
    """
    url = database_url_of(database)
    if run_id is None:
        runs = list_runs(url)
        if len(runs) != 1:
            raise InvalidInputError(f"the database holds {len(runs)} runs, name one with --run-id: {', '.join(runs)}")
        run_id = runs[0]
    report = load_report(url, run_id)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write_report(report, output / "report.json")
        (output / "report.html").write_text(render_html(report), encoding="utf-8")
    return report


def make_search_page(folder: Path, output: Path | None) -> dict[str, Any] | None:
    """Write the page of a search and return its verdict and place; None if the folder holds no search.

    Args:
        folder: Where the search left its files.
        output: Folder for report.html; None: the search's own.

    Raises:
        InvalidInputError: If a file of the search is damaged, or the page cannot be written.
    """
    if not (folder / "search.json").is_file():
        return None
    from breakwater_research.search_files import read_search
    from breakwater_research.search_page import render_search

    page = (output or folder) / "report.html"
    text = render_search(folder)
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{page}: cannot be written ({error.strerror}); choose another place") from error
    verdict = read_search(folder).values["verdict"]
    return {"page": str(page), "significant": verdict["significant"], "verdict": verdict["sentence"]}


def database_url_of(database: str) -> str:
    """Return the URL of a database that is given as one, or as the folder of an earlier run.

    Raises:
        InvalidInputError: If the folder holds no database.
    """
    if "://" in database:
        keep_secret(database)
        return database
    file = Path(database) / "breakwater.db" if Path(database).is_dir() else Path(database)
    if not file.is_file():
        raise InvalidInputError(f"{file}: no such database; give a SQLAlchemy URL or the --out folder of a run")
    return f"sqlite:///{file.resolve()}"
