"""Who may decide what, and which candidate is good enough: no MLflow and no state."""
