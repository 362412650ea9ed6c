"""Lines that a person reads."""

from breakwater_cli.display import day_line
from breakwater_cli.summary import finish_report, summary_line


def test_a_day_is_one_line_with_return_and_largest_drawdown() -> None:
    row = {
        "day": "2024-01-05",
        "account": "main",
        "ror": "0.9927",
        "cumulative": "1.01",
        "mdd": "0.0144",
        "equity": "99273.9",
    }
    line = day_line(row)
    assert "2024-01-05 main" in line
    assert "-0.73 %" in line
    assert "+1.00 %" in line
    assert "1.44 %" in line
    assert "99,273.90" in line


def test_the_summary_tells_return_drawdown_and_rate() -> None:
    report = {
        "counters": {"orders": 4, "fills": 4, "intents": 4},
        "days": [{"day": "2024-01-05", "cumulative": "1.1", "mdd": "0.05"}],
    }
    finish_report(report, trades=1_000_000, wall_seconds=2.0)
    line = summary_line(report)
    assert line.startswith("1 days, return +10.00 %, MDD 5.00 %")
    assert "1,000,000 trades in 2.0 s (500,000/s)" in line
