#!/bin/sh
# Start the tracking server with logins. What is secret comes through the environment and a file in /tmp.
set -eu
umask 077
export MLFLOW_AUTH_CONFIG_PATH=/tmp/basic_auth.ini MLFLOW_FLASK_SERVER_SECRET_KEY="$MLFLOW_SECRET_KEY"
export MLFLOW_BACKEND_STORE_URI="postgresql+psycopg2://mlflow:$MLFLOW_DB_PASSWORD@postgres/mlflow"
# A password is hashed once a minute and not at each request, which would cost more than the request itself: one that was
# changed goes on to work for that long.
cat >"$MLFLOW_AUTH_CONFIG_PATH" <<INI
[mlflow]
default_permission = READ
database_uri = $MLFLOW_BACKEND_STORE_URI
admin_username = admin
admin_password = $MLFLOW_ADMIN_PASSWORD
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
INI
mlflow db upgrade "$MLFLOW_BACKEND_STORE_URI"
exec mlflow server --app-name basic-auth --host 0.0.0.0 --port 5000 --workers 2 \
	--artifacts-destination /mlflow/artifacts --allowed-hosts "mlflow:5000,$MLFLOW_HOSTS"
