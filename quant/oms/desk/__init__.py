"""The order desk: the one way an order takes, from a decision to the broker's answer."""
