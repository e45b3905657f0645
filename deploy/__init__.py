"""What starts, checks, backs up and upgrades the stack of docker-compose.yaml."""
