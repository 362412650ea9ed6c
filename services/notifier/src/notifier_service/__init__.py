"""Order events, fills, performance and alerts in; Slack messages out."""
