"""The driver port: what every isolating technology must offer, and nothing else."""
