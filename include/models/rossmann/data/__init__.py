"""The forecast's data: reading and checking files, the versioned data registry, generated sample data."""
