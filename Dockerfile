# Four images from one file: trainer (the steps), airflow (scheduler, workers, web server), mlflow (tracking server),
# engine (the part of the Docker engine that workers may use).
#     docker build --target trainer --build-arg CODE_COMMIT=$(git rev-parse HEAD) -t retrain-trainer .
# `make images` builds all of them, `make scan-images` tells what is in them. Versions come from constraints.txt alone.
# GPU=1 keeps XGBoost's GPU libraries.
ARG PYTHON_IMAGE=python:3.11-slim
ARG UV_VERSION=0.13.9

FROM ${PYTHON_IMAGE} AS builder
ARG UV_VERSION
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --quiet --no-cache-dir uv==${UV_VERSION} \
    && python3 -m venv --without-pip /opt/venv
# Compiled here, once: a step is a new process in a file system that it may not write to.
ENV VIRTUAL_ENV=/opt/venv UV_NO_CACHE=1 UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 PYC_INVALIDATION_MODE=UNCHECKED_HASH
WORKDIR /build
COPY constraints.txt include/requirements.txt deploy/requirements-*.txt ./

# uv leaves a lock file that everybody may write.
FROM builder AS build-trainer
ARG GPU=0
RUN /opt/uv/bin/uv pip install --system-certs --quiet -r requirements.txt -c constraints.txt \
    && if [ "$GPU" = 0 ]; then /opt/uv/bin/uv pip uninstall --quiet nvidia-nccl-cu12; fi \
    && rm /opt/venv/.lock

FROM builder AS build-mlflow
RUN /opt/uv/bin/uv pip install --system-certs --quiet -r requirements-mlflow.txt -c constraints.txt \
    && rm /opt/venv/.lock

# Tornado, which Celery's Flower brings, ships the private key of its own tests.
FROM builder AS build-airflow
RUN /opt/uv/bin/uv pip install --system-certs --quiet -r requirements-airflow.txt -c constraints.txt \
    && rm -r /opt/venv/.lock /opt/venv/lib/python3.*/site-packages/tornado/test

# Nothing in these images needs a program that runs as another user.
FROM ${PYTHON_IMAGE} AS base
ARG PYTHON_IMAGE
LABEL org.opencontainers.image.base.name="${PYTHON_IMAGE}"
ENV LANG=C.UTF-8 PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
RUN useradd --system --uid 10001 --user-group --home-dir /home/retrain --create-home --shell /usr/sbin/nologin retrain \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} +
WORKDIR /opt/retrain

# git for DVC, OpenMP for LightGBM.
FROM base AS trainer
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends git libgomp1 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && mkdir /data /predictions && chown retrain /data /predictions
COPY --from=build-trainer /opt/venv /opt/venv
COPY include/__init__.py include/
COPY include/config include/config
COPY deploy/data-server.sh deploy/data_server.py deploy/
COPY include/lifecycle include/lifecycle
COPY include/retraining include/retraining
COPY include/models include/models
COPY include/rossmann include/rossmann
RUN python -m compileall -q --invalidation-mode unchecked-hash include
ARG CODE_COMMIT=unknown
LABEL org.opencontainers.image.title="retrain-trainer" org.opencontainers.image.revision="${CODE_COMMIT}"
# MLflow would print links to the address that a step knows it by, which no browser does.
ENV HOME=/tmp \
    MLFLOW_DISABLE_TELEMETRY=true \
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT=true \
    PYTHONPATH=/opt/retrain \
    RETRAIN_CODE_COMMIT="${CODE_COMMIT}"
USER 10001
CMD ["python", "-m", "include.models.rossmann", "--help"]

FROM base AS mlflow
COPY --from=build-mlflow /opt/venv /opt/venv
COPY deploy/mlflow-server.sh /usr/local/bin/mlflow-server
RUN mkdir /mlflow && chown retrain /mlflow
ARG CODE_COMMIT=unknown
LABEL org.opencontainers.image.title="retrain-mlflow" org.opencontainers.image.revision="${CODE_COMMIT}"
ENV GIT_PYTHON_REFRESH=quiet MLFLOW_DISABLE_TELEMETRY=true RETRAIN_CODE_COMMIT="${CODE_COMMIT}"
USER 10001
WORKDIR /mlflow
EXPOSE 5000
CMD ["mlflow-server"]

FROM base AS engine
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends haproxy \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
COPY deploy/engine.cfg /etc/haproxy/engine.cfg
ARG CODE_COMMIT=unknown
LABEL org.opencontainers.image.title="retrain-engine" org.opencontainers.image.revision="${CODE_COMMIT}"
ENV RETRAIN_CODE_COMMIT="${CODE_COMMIT}"
USER 10001
EXPOSE 2375
CMD ["haproxy", "-f", "/etc/haproxy/engine.cfg"]

FROM base AS airflow
COPY --from=build-airflow /opt/venv /opt/venv
COPY dags dags
COPY plugins plugins
COPY include/__init__.py include/
COPY include/config include/config
COPY deploy/*.py deploy/
COPY include/lifecycle include/lifecycle
COPY include/retraining include/retraining
RUN python -m compileall -q --invalidation-mode unchecked-hash deploy include plugins \
    && mkdir -p /opt/airflow/logs && chown -R retrain /opt/airflow
ARG CODE_COMMIT=unknown
LABEL org.opencontainers.image.title="retrain-airflow" org.opencontainers.image.revision="${CODE_COMMIT}"
ENV AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/retrain/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/retrain/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    GIT_PYTHON_REFRESH=quiet \
    MLFLOW_DISABLE_TELEMETRY=true \
    PYTHONPATH=/opt/retrain \
    RETRAIN_CODE_COMMIT="${CODE_COMMIT}"
USER 10001
CMD ["airflow", "version"]
