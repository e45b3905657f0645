"""The Rossmann store sales forecast: data, features, boosters, ensemble, registered model, command line."""
