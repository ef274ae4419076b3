"""Events become metrics and logs here, and nowhere else."""
