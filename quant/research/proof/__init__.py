"""What a search proves: statistics of Sharpe ratios, overfitting, neighbours, and the verdict on them."""
