"""A step of a pipeline as a task: in a local process or a container, with its retries and its result."""
