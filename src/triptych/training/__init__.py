"""The learning: cold start (SFT), reinforcement (GRPO), and how rewards reach tokens."""
