"""Order events and fills in; ledger, daily performance and an HTTP API out."""
