# Four images from one file: trainer (the steps), airflow (scheduler, workers, web server), mlflow (tracking server),
# engine (the part of the Docker engine that workers may use).
#     docker build --target trainer --build-arg CODE_COMMIT=$(git rev-parse HEAD) -t rossmann-trainer .
# `make images` builds all of them. Versions come from constraints.txt alone. GPU=1 keeps XGBoost's GPU libraries.
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS base
ENV LANG=C.UTF-8 PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# git for DVC, OpenMP for LightGBM; nothing in these images needs a program that runs as another user.
RUN set -eu; missing=""; \
    command -v git >/dev/null || missing="git"; \
    ldconfig -p | grep -q 'libgomp\.so\.1' || missing="$missing libgomp1"; \
    if [ -n "$missing" ]; then \
        apt-get update -qq; apt-get install -qq -y --no-install-recommends $missing; rm -rf /var/lib/apt/lists/*; \
    fi; \
    useradd --system --uid 10001 --user-group --home-dir /home/retrain --create-home --shell /usr/sbin/nologin retrain; \
    find / -xdev -type f -perm /6000 -exec chmod a-s {} +
WORKDIR /opt/retrain

FROM base AS builder
ARG UV_VERSION
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --quiet --no-cache-dir "uv${UV_VERSION:+==$UV_VERSION}" \
    && python3 -m venv --without-pip /opt/venv
ENV VIRTUAL_ENV=/opt/venv UV_NO_CACHE=1 UV_LINK_MODE=copy
COPY constraints.txt include/requirements.txt include/deploy/requirements-*.txt ./

FROM builder AS build-trainer
ARG GPU=0
RUN /opt/uv/bin/uv pip install --system-certs --quiet -r requirements.txt -c constraints.txt \
    && if [ "$GPU" = 0 ]; then /opt/uv/bin/uv pip uninstall --quiet nvidia-nccl-cu12; fi

FROM builder AS build-mlflow
RUN /opt/uv/bin/uv pip install --system-certs --quiet -r requirements-mlflow.txt -c constraints.txt

FROM builder AS build-airflow
RUN /opt/uv/bin/uv pip install --system-certs --quiet -r requirements-airflow.txt -c constraints.txt

FROM base AS trainer
RUN mkdir /data && chown retrain /data
COPY --from=build-trainer /opt/venv /opt/venv
COPY include/__init__.py include/
COPY include/config include/config
COPY include/deploy/data-server.sh include/deploy/
COPY include/lifecycle include/lifecycle
COPY include/rossmann include/rossmann
ARG CODE_COMMIT=unknown
LABEL org.opencontainers.image.title="rossmann-trainer" org.opencontainers.image.revision="${CODE_COMMIT}"
ENV HOME=/tmp MLFLOW_DISABLE_TELEMETRY=true PYTHONPATH=/opt/retrain RETRAIN_CODE_COMMIT="${CODE_COMMIT}"
USER 10001
CMD ["python", "-m", "include.rossmann", "--help"]

FROM base AS mlflow
COPY --from=build-mlflow /opt/venv /opt/venv
COPY include/deploy/mlflow-server.sh /usr/local/bin/mlflow-server
RUN mkdir /mlflow && chown retrain /mlflow
ARG CODE_COMMIT=unknown
LABEL org.opencontainers.image.title="retrain-mlflow" org.opencontainers.image.revision="${CODE_COMMIT}"
ENV MLFLOW_DISABLE_TELEMETRY=true
USER 10001
WORKDIR /mlflow
EXPOSE 5000
CMD ["mlflow-server"]

FROM base AS engine
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends haproxy && rm -rf /var/lib/apt/lists/*
COPY include/deploy/engine.cfg /etc/haproxy/engine.cfg
LABEL org.opencontainers.image.title="retrain-engine"
USER 10001
EXPOSE 2375
CMD ["haproxy", "-f", "/etc/haproxy/engine.cfg"]

FROM base AS airflow
COPY --from=build-airflow /opt/venv /opt/venv
COPY dags dags
COPY plugins plugins
COPY include/__init__.py include/
COPY include/config include/config
COPY include/deploy include/deploy
COPY include/lifecycle include/lifecycle
RUN mkdir -p /opt/airflow/logs && chown -R retrain /opt/airflow
ARG CODE_COMMIT=unknown
LABEL org.opencontainers.image.title="retrain-airflow" org.opencontainers.image.revision="${CODE_COMMIT}"
ENV AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/retrain/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/retrain/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    MLFLOW_DISABLE_TELEMETRY=true \
    PYTHONPATH=/opt/retrain \
    RETRAIN_CODE_COMMIT="${CODE_COMMIT}"
USER 10001
CMD ["airflow", "version"]
