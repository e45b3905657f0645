"""What MLflow's registry holds, read: versions, links to them, what a run stored."""
