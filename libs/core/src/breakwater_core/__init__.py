"""Pure domain: model, strategy, sizing, risk, ledger, performance, ports."""
