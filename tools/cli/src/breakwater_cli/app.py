"""The `breakwater` command: what each subcommand takes and prints; the work is done in the modules beside it.

Exit codes: 0 done, 1 failed, 2 bad input or settings, 3 something needed is absent (NATS, database, exchange, port),
4 ordered but not confirmed in time (`halt`, `flatten`), 130 interrupted. `fetch` and `data` say what 1 means for them.
"""

import json
import sys
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from breakwater_cli.config_commands import config as config_commands
from breakwater_cli.control_commands import control_commands
from breakwater_cli.dead import dead
from breakwater_cli.fetch import fetch
from breakwater_cli.running import run_async, run_until_interrupted
from breakwater_core.errors import BreakwaterError, InvalidInputError
from breakwater_runtime.errors import exit_code_of, explain
from breakwater_runtime.logs import configure_logs
from breakwater_runtime.redaction import keep_secret
from breakwater_runtime.service import first_cause

INTERRUPTED = 130

app = typer.Typer(
    name="breakwater",
    help="Volatility breakout on Bybit perpetuals, run correctly on many processes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(dead)
app.add_typer(fetch)
app.add_typer(config_commands)
app.add_typer(control_commands)


def _kept(secret: str | None) -> str | None:
    """Blank an option in all that the command writes."""
    keep_secret(secret)
    return secret


ConfigOption = Annotated[Path | None, typer.Option("--config", help="YAML or JSON configuration.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="section.key=value; may be given several times.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
MoreRecordings = Annotated[
    list[str] | None,
    typer.Argument(help="Further files of --recording, as in `--recording A B C`.", show_default=False),
]
DATABASE_OPTION = typer.Option(
    envvar="BREAKWATER_DATABASE_URL", help="SQLAlchemy URL; default: SQLite in --out.", callback=_kept
)
OutOption = Annotated[Path, typer.Option("--out", help="Folder for report.json, report.html, the database and logs.")]


def main() -> None:
    """Run the command and end with its exit code; failures are one line on standard error."""
    configure_logs(service="breakwater", run_id="", instance="", level="error")
    try:
        app()
    except BaseExceptionGroup as group:
        _fail(first_cause(group))
    except (BreakwaterError, OSError) as error:
        _fail(error)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _fail(error: BaseException) -> None:
    if isinstance(error, OSError) and error.filename is not None:
        error = InvalidInputError(f"{error.filename}: cannot be used ({error.strerror}); check the path and its rights")
    sys.stderr.write(f"breakwater: {explain(error)}\n")
    sys.exit(exit_code_of(error))


def _day(text: str | None, option: str) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(f"{option} takes a day such as 2024-05-31, was {text!r}") from error


def _print(value: Any, *, as_json: bool, text: str) -> None:
    sys.stdout.write((json.dumps(value) if as_json else text) + "\n")


@app.command()
def demo(
    out: OutOption = Path("var/demo"),
    days: Annotated[
        int, typer.Option(min=6, max=60, help="Days to generate; the first five warm the average up.")
    ] = 12,
    trades_per_day: Annotated[int, typer.Option(min=1000, max=5_000_000, help="Trades a day, all symbols.")] = 250_000,
    seed: Annotated[int, typer.Option(help="Another seed is another market.")] = 7,
    executors: Annotated[int, typer.Option(min=1, max=16)] = 2,
    speed: Annotated[str, typer.Option(help="max, or times real time.")] = "max",
    as_json: JsonOption = False,
) -> None:
    """Trade a synthetic market through every service as a process: no key, no Docker, nothing to set up."""
    from breakwater_cli.demo import run_demo
    from breakwater_cli.summary import summary_line

    report = run_async(
        lambda: run_demo(
            output=out,
            days=days,
            trades_per_day=trades_per_day,
            seed=seed,
            executors=executors,
            speed=speed,
            quiet=as_json,
        )
    )
    _print(report["counters"] | {"run_id": report["run_id"]}, as_json=as_json, text=summary_line(report))
    if not as_json:
        sys.stdout.write(f"report: {out / 'report.html'}   figures: {out / 'report.json'}   logs: {out / 'logs'}\n")


@app.command()
def replay(
    files: Annotated[list[str], typer.Argument(help="Recordings: files, folders, or SYMBOL=FILE.")],
    out: OutOption,
    config: ConfigOption = None,
    overrides: SetOption = None,
    speed: Annotated[str, typer.Option(help="max, or times real time.")] = "max",
    executors: Annotated[int, typer.Option(min=1, max=64, help="Executor processes for orders.")] = 1,
    signals: Annotated[int, typer.Option(min=1, max=8, help="Signal processes, all hot.")] = 1,
    start: Annotated[str | None, typer.Option(help="First day, e.g. 2024-05-01.")] = None,
    end: Annotated[str | None, typer.Option(help="Last day, included.")] = None,
    database: Annotated[str | None, DATABASE_OPTION] = None,
    run_id: Annotated[str | None, typer.Option(help="Default: derived from recording, days and configuration.")] = None,
    keep_bus: Annotated[bool, typer.Option("--keep-bus", help="Keep the store of the embedded NATS.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Replay recorded trades or candles through the production services, in lock-step, and report."""
    from breakwater_cli.replay import ReplayRequest
    from breakwater_cli.replay import replay as run_replay
    from breakwater_cli.summary import summary_line
    from breakwater_runtime.config_file import read_config

    request = ReplayRequest(
        sources=tuple(files),
        config=read_config(config, overrides or ()),
        output=out,
        speed=speed,
        executors=executors,
        signals=signals,
        start=_day(start, "--start"),
        end=_day(end, "--end"),
        database_url=database,
        run_id=run_id,
        keep_bus=keep_bus,
        quiet=as_json,
    )
    report = run_async(lambda: run_replay(request))
    _print(report["counters"] | {"run_id": report["run_id"]}, as_json=as_json, text=summary_line(report))


@app.command()
def backtest(
    files: Annotated[list[str] | None, typer.Argument(help="Recordings: files, folders, or SYMBOL=FILE.")] = None,
    recording: Annotated[list[str] | None, typer.Option(help="The same; may be repeated.")] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="bars: candles, fast; tick: every trade. The same report. Default: bars where it can."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "--output", help="Folder for report.json and report.html, or a .json file.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="File for the HTML page.")] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    start: Annotated[str | None, typer.Option("--start", "--first-day", help="First day, e.g. 2024-05-01.")] = None,
    end: Annotated[str | None, typer.Option("--end", "--last-day", help="Last day, included.")] = None,
    run_id: Annotated[str | None, typer.Option(help="Default: the id of a replay of the same.")] = None,
    funding: Annotated[
        list[Path] | None, typer.Option(help="Recorded funding: CSV of symbol, timestamp, funding_rate; repeatable.")
    ] = None,
    book: Annotated[
        list[str] | None, typer.Option(help="Recorded best bids and asks of a symbol: FILE or SYMBOL=FILE; repeatable.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Backtest recorded trades or candles in one process, without bus and services, and report as a replay does."""
    from breakwater_cli.backtest import BacktestRequest, engine_of, run_backtest
    from breakwater_cli.summary import summary_line
    from breakwater_runtime.config_file import read_config

    request = BacktestRequest(
        sources=(*(files or ()), *(recording or ())),
        config=read_config(config, overrides or ()),
        engine=engine_of(engine),
        start=_day(start, "--start"),
        end=_day(end, "--end"),
        output=out,
        page=html,
        run_id=run_id,
        funding=tuple(funding or ()),
        books=tuple(book or ()),
        quiet=as_json,
    )
    report = run_backtest(request)
    _print(report["counters"] | {"run_id": report["run_id"]}, as_json=as_json, text=summary_line(report))


@app.command()
def optimize(
    files: Annotated[list[str] | None, typer.Argument(help="Candles: files, folders, or SYMBOL=FILE.")] = None,
    recording: Annotated[list[str] | None, typer.Option(help="The same; may be repeated.")] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(help="section.key=from:to:step or =a,b,c; may be repeated. Universes: portfolio.symbols=A+B,C."),
    ] = None,
    search: Annotated[Path | None, typer.Option(help="YAML, JSON or TOML with `vary` and any option below.")] = None,
    objective: Annotated[str | None, typer.Option(help="sharpe, calmar, cagr, or cagr@0.25: drawdown cap.")] = None,
    method: Annotated[str | None, typer.Option(help="grid, or bayes: Optuna.")] = None,
    trials: Annotated[int | None, typer.Option(help="Sets that bayes asks for per choice.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed is another sample.")] = None,
    walk_forward: Annotated[str | None, typer.Option(help="anchored, rolling or none.")] = None,
    train_days: Annotated[int | None, typer.Option(help="Days that choose in a window.")] = None,
    test_days: Annotated[int | None, typer.Option(help="Days that judge in a window.")] = None,
    holdout: Annotated[float | None, typer.Option(help="Share of the days, the last, that choose nothing.")] = None,
    permutations: Annotated[int | None, typer.Option(help="Times the days are shuffled; 0: not tested.")] = None,
    chunk_sets: Annotated[int | None, typer.Option(help="Sets per chunk.")] = None,
    funding: Annotated[Path | None, typer.Option(help="CSV of recorded funding rates.")] = None,
    cluster: Annotated[str | None, typer.Option(help="tcp://host:port of a Dask scheduler; default: here.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Threads here; default: one per core.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for results.parquet, search.json, chosen.yaml.")] = Path(
        "var/optimize"
    ),
    config: ConfigOption = None,
    overrides: SetOption = None,
    start: Annotated[str | None, typer.Option("--start", "--first-day", help="First day, e.g. 2024-05-01.")] = None,
    end: Annotated[str | None, typer.Option("--end", "--last-day", help="Last day, included.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Search parameters over candles, in-sample and out, and say whether the result is significant.

    Interrupted (130), the same command goes on with the chunks that are finished.
    """
    from breakwater_cli.optimize import OptimizeRequest, outcome_text, run_optimize
    from breakwater_runtime.config_file import read_config

    given = {
        "objective": objective,
        "method": method,
        "trials": trials,
        "seed": seed,
        "walk_forward": walk_forward,
        "train_days": train_days,
        "test_days": test_days,
        "holdout": holdout,
        "permutations": permutations,
        "chunk_sets": chunk_sets,
        "first_day": _day(start, "--start"),
        "last_day": _day(end, "--end"),
    }
    request = OptimizeRequest(
        sources=(*(files or ()), *(recording or ())),
        base=read_config(config, overrides or ()),
        vary=tuple(vary or ()),
        search_file=search,
        options={name: value for name, value in given.items() if value is not None},
        funding=funding,
        cluster=cluster,
        workers=workers,
        output=out,
        quiet=as_json,
    )
    outcome, values = run_optimize(request)
    _print(values, as_json=as_json, text="" if as_json else outcome_text(outcome, out))


@app.command()
def record(
    out: Annotated[Path, typer.Option("--out", help="Folder that the Parquet recording is written to.")],
    files: Annotated[
        list[str] | None, typer.Argument(help="Recordings to convert; none: record the live stream.")
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    exchange: Annotated[str, typer.Option(help="REST base of the exchange.")] = "https://api.bybit.com",
    stream: Annotated[str, typer.Option(help="WebSocket base of the exchange.")] = "wss://stream.bybit.com",
    as_json: JsonOption = False,
) -> None:
    """Record the public trades of the configured symbols to Parquet until ctrl-C, or convert other recordings."""
    from breakwater_cli.record import convert, record_live
    from breakwater_runtime.config_file import read_config

    settings = read_config(config, overrides or ())
    if files:
        trades = convert(files, settings, out)
        _print({"trades": trades, "directory": str(out)}, as_json=as_json, text=f"{trades:,} trades written to {out}")
    else:
        run_until_interrupted(lambda: record_live(settings, out, exchange_url=exchange, stream_url=stream))


@app.command()
def data(
    sources: Annotated[list[str], typer.Argument(help="Files, folders, or SYMBOL=FILE.")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    everything: Annotated[bool, typer.Option("--all", help="List every gap, incomplete day and repeated row.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List what recordings hold per symbol: extent, gaps, incomplete days, repeated rows, faults.

    Days are those of the configured session. Exit code 0: every file can be read, 1: one has a fault, 2: bad input.
    """
    from breakwater_cli.data import as_values, show
    from breakwater_recordings.inventory import take_inventory
    from breakwater_runtime.config_file import read_config

    inventory = take_inventory(sources, session=read_config(config, overrides or ()).session.session())
    if as_json:
        _print(as_values(inventory), as_json=True, text="")
    else:
        show(inventory, everything=everything)
    if inventory.faults:
        raise typer.Exit(1)


@app.command()
def up(
    more: MoreRecordings = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for the database, logs and the bus.")] = Path("var/up"),
    recording: Annotated[
        list[str] | None, typer.Option(help="Recording to play; default: the synthetic market.")
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    executors: Annotated[int, typer.Option(min=1, max=64)] = 2,
    database: Annotated[str | None, DATABASE_OPTION] = None,
    reporter_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the reporter's API; 0 takes a free one.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Run the whole system in real time against the paper exchange, until ctrl-C."""
    from breakwater_cli.up import UpRequest
    from breakwater_cli.up import up as run_up
    from breakwater_runtime.config_file import read_config

    request = UpRequest(
        output=out,
        recordings=(*(recording or ()), *(more or ())),
        config=read_config(config, overrides or ()),
        executors=executors,
        database_url=database,
        reporter_port=reporter_port,
        as_json=as_json,
    )
    run_until_interrupted(lambda: run_up(request))


@app.command()
def run(
    service: Annotated[
        str, typer.Argument(help="market-data, signal, executor, reporter, notifier or paper-exchange.")
    ],
) -> None:
    """Run one service in this process; its settings come from the environment (see its README)."""
    import runpy

    services = ("market-data", "signal", "executor", "reporter", "notifier", "paper-exchange")
    if service not in services:
        raise InvalidInputError(f"no such service: {service!r}; there are {', '.join(services)}")
    runpy.run_module(f"{service.replace('-', '_')}_service", run_name="__main__")


@app.command()
def paper_exchange(
    more: MoreRecordings = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="One port for REST and sockets; 0 takes a free one.")] = 0,
    recording: Annotated[list[str] | None, typer.Option(help="File, folder or SYMBOL=FILE; may be repeated.")] = None,
    synthetic: Annotated[bool, typer.Option("--synthetic", help="Play the synthetic market.")] = False,
    account: Annotated[list[str] | None, typer.Option(help="KEY:SECRET:USDT; may be repeated.")] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve a Bybit v5 exchange on this machine, in real time, until SIGTERM or ctrl-C."""
    from breakwater_cli.paper import serve_paper_exchange
    from breakwater_runtime.config_file import read_config

    recordings = (*(recording or ()), *(more or ()))
    if recordings and synthetic:
        raise InvalidInputError("--recording and --synthetic exclude each other")
    serve_paper_exchange(
        port=port,
        recordings=recordings,
        accounts=tuple(account or ()),
        config=read_config(config, overrides or ()),
        as_json=as_json,
    )


@app.command()
def report(
    database: Annotated[
        str, typer.Argument(help="SQLAlchemy URL, the --out folder of an earlier run, or the folder of a search.")
    ],
    run_id: Annotated[str | None, typer.Option(help="Run to report; default: the only one.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder for report.json and report.html; a search's page goes to its own by default."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the report of a run from the reporter's database, or the page of a search from its folder."""
    from breakwater_cli.reports import make_report, make_search_page
    from breakwater_cli.summary import summary_line

    if (searched := make_search_page(Path(database), out)) is not None:
        _print(searched, as_json=as_json, text=f"{searched['verdict']}\npage: {searched['page']}")
        return
    values = make_report(database, run_id, out)
    _print(values, as_json=as_json, text=summary_line(values))


@app.command()
def study(
    data: Annotated[list[Path], typer.Option("--data", help="Folder or file of candles; may be repeated.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for study.html, portfolio.html and study.json.")] = Path(
        "var/study"
    ),
    document: Annotated[
        Path | None, typer.Option(help="Markdown file to write; graphics go to the folder beside it of its name.")
    ] = None,
    symbols: Annotated[
        str | None, typer.Option(help="Symbols, with commas between; default: the ten longest histories.")
    ] = None,
    leave_out: Annotated[
        list[str] | None, typer.Option(help="File names of other markets, e.g. '*_spot_*', which is the default.")
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    start: Annotated[str | None, typer.Option("--start", "--first-day", help="First day, e.g. 2024-05-01.")] = None,
    end: Annotated[str | None, typer.Option("--end", "--last-day", help="Last day, included.")] = None,
    train_days: Annotated[int, typer.Option(min=2, help="Days on which a walk-forward window chooses.")] = 365,
    test_days: Annotated[int, typer.Option(min=1, help="Days on which it is judged.")] = 90,
    permutations: Annotated[int, typer.Option(min=1, help="Copies with flipped signs, of each such test.")] = 1000,
    shuffles: Annotated[int, typer.Option(min=1, help="Copies with shuffled days; each runs every set again.")] = 99,
    seed: Annotated[int, typer.Option(help="Of the copies.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Study the strategy on candles: filters, surfaces, walk-forward, tests against chance, costs, leverage."""
    from breakwater_cli.study import StudyRequest, made_by, make_study, study_config
    from breakwater_research.study.plan import StudyPlan

    plan = StudyPlan(
        folders=tuple(data),
        config=study_config(config, overrides or (), symbols),
        leave_out=tuple(leave_out or ("*_spot_*",)),
        first_day=_day(start, "--start"),
        last_day=_day(end, "--end"),
        train_days=train_days,
        test_days=test_days,
        permutations=permutations,
        shuffles=shuffles,
        seed=seed,
    )
    figures = make_study(
        StudyRequest(plan=plan, output=out, document=document, command=made_by(sys.argv[1:]), quiet=as_json)
    )
    _print(figures, as_json=as_json, text="\n".join([figures["verdict"], *figures["reasons"]]))
    if not as_json:
        sys.stdout.write(f"pages: {out / 'study.html'}  {out / 'portfolio.html'}   figures: {out / 'study.json'}\n")


@app.command()
def parity(
    a: Annotated[str, typer.Argument(help="What should have happened: report.json, folder of a run, or run id.")],
    b: Annotated[str, typer.Argument(help="What did happen: the same.")],
    database: Annotated[
        str | None, typer.Option(help="Where run ids are looked up: SQLAlchemy URL, or the --out folder of a run.")
    ] = None,
    tolerance_bps: Annotated[
        str, typer.Option(help="Prices, fee rates and daily figures may differ by so many basis points.")
    ] = "0",
    tolerance_ms: Annotated[int, typer.Option(min=0, help="Executions may be apart by so many milliseconds.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare two reports order by order: causes, costs. Exit code 0: equal, 1: they differ, 2: bad input."""
    from breakwater_cli.parity import DIFFERENT, compare_reports, show
    from breakwater_core.decimals import from_text
    from breakwater_research.parity import Tolerance

    tolerance = Tolerance(bps=from_text(tolerance_bps), time_ms=tolerance_ms)
    found = compare_reports(a, b, database=database, tolerance=tolerance)
    if as_json:
        _print(found.as_values(), as_json=True, text="")
    else:
        show(found)
    if not found.is_equal:
        raise typer.Exit(DIFFERENT)


@app.command()
def doctor(
    exchange: Annotated[str | None, typer.Option(help="REST base of an exchange to look at.")] = None,
    accounts_file: Annotated[
        Path | None, typer.Option(help="Keys to check, as EXECUTOR_ACCOUNTS_FILE has them; read-only calls.")
    ] = None,
    account: Annotated[str | None, typer.Option(help="Only this account of the file.")] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="BREAKWATER_API_KEY", help="Key to check; read-only calls.")
    ] = None,
    api_secret: Annotated[str | None, typer.Option(envvar="BREAKWATER_API_SECRET", help="Its secret.")] = None,
    leverage: Annotated[int, typer.Option(min=1, max=100, help="Leverage that each symbol should have.")] = 10,
    echo_url: Annotated[
        str | None, typer.Option(help="Service that answers with the address it is asked from.")
    ] = None,
    expected_address: Annotated[
        list[str] | None, typer.Option(help="Address or network that requests may leave from; may be repeated.")
    ] = None,
    database: Annotated[
        str | None, typer.Option(envvar="BREAKWATER_DATABASE_URL", help="SQLAlchemy URL to try.")
    ] = None,
    nats: Annotated[str | None, typer.Option(help="NATS address to try; default: the embedded server.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check this machine, and on request accounts at an exchange, a database and a NATS server.

    Each fault comes with its remedy. Exit code 0: nothing failed, 1: a check failed, 2: bad input.
    """
    from breakwater_cli.doctor import doctor_request, examine, table

    request = doctor_request(
        exchange_url=exchange,
        accounts_file=accounts_file,
        account=account,
        api_key=api_key,
        api_secret=api_secret,
        leverage=leverage,
        echo_url=echo_url,
        expected_addresses=tuple(expected_address or ()),
        database_url=database,
        nats_url=nats,
        config_path=config,
    )
    findings = run_async(lambda: examine(request))
    _print([finding.as_values() for finding in findings], as_json=as_json, text=table(findings))
    if any(not finding.passed for finding in findings):
        raise typer.Exit(1)
