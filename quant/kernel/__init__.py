"""One feed, compiled: targets in; orders, fills, account and figures out, by DESIGN §5. Knows no backtrader."""
