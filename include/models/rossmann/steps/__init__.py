"""One module per pipeline step: each reads and writes only MLflow and its own scratch folder."""
