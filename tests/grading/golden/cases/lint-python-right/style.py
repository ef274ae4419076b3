"""Well."""
