"""The runner of a deployment: what it is, what it keeps, how others see and steer it."""
