"""What a training run will need, before it is paid for: memory, time, cost, and what would fit."""
