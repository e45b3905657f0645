"""What a model's YAML file may say of its life cycle. DAG files read it: nothing heavier than pydantic."""
