"""What a strategy must show before it trades: the rehearsal of the live path against the backtest."""
