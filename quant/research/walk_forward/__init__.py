"""Walk-forward: parameters chosen on the past and traded on what follows."""
