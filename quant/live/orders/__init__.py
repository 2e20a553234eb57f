"""backtrader's orders on their way to the order desk and back, also over a night and a restart."""
