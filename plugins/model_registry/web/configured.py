"""What is configured of the models, and through which Airflow connection each is reached."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

from include.lifecycle.config.files import configured_models
from include.lifecycle.config.load import load_lifecycle_config, named_model
from include.lifecycle.config.models import LifecycleConfig, retrain_dag_id
from model_registry.web.access import known_dags
from model_registry.web.problems import PageError, told

if TYPE_CHECKING:
    from include.lifecycle.views.summary import Unreadable


BROKEN = "Its configuration cannot be used: who administers Airflow sees here why."


@dataclass(frozen=True)
class Configured:
    """The models that are configured.

    :param configs: by registered model
    :param dags: the DAGs that retrain them, as far as Airflow knows them, by registered model
    :param broken: what is shown of the configurations that cannot be used, by the registered model that each names,
        which nothing else is shown of, or else by its file
    """

    configs: Mapping[str, LifecycleConfig]
    dags: Mapping[str, frozenset[str]]
    broken: "Mapping[str, Unreadable]"

    @classmethod
    def read(cls) -> Self:
        """Read all configurations.

        :raises PageError: when there is none
        """
        from include.lifecycle.views.summary import Unreadable

        names = configured_models()
        if not names:
            raise PageError(503, "No model is configured.")
        known = known_dags(map(retrain_dag_id, names))
        dags = {name: known & {retrain_dag_id(name)} for name in names}
        found = {name: told(partial(load_lifecycle_config, name)) for name in names}
        configs = {config.model: config for config in found.values() if not isinstance(config, PageError)}
        broken = dict[str, Unreadable]()
        for name, why in found.items():
            if isinstance(why, PageError):
                model = named_model(name)
                shown = model if model is not None and model not in {*configs, *broken} else f"{name}.yaml"
                broken[shown] = Unreadable(shown, BROKEN, dags[name], f"{name}.yaml cannot be used: {why.sentence}")
        return cls(configs, {model: dags[config.name] for model, config in configs.items()}, broken)

    def unreadable(self, model: str, why: str, dags: frozenset[str] = frozenset()) -> "Unreadable":
        """Return what is shown of a model that cannot be read.

        :param why: one sentence
        :param dags: the DAGs that registered its versions; by default the one that its configuration has for it
        """
        from include.lifecycle.views.summary import Unreadable

        return Unreadable(model, why, dags or self.dags.get(model, frozenset()))

    def connections(self, name: str | None = None) -> list[str]:
        """Return the Airflow connections through which a model may be found: its own, else all."""
        if name is not None and name in self.configs:
            return [self.configs[name].connections.mlflow]
        return list(dict.fromkeys(config.connections.mlflow for config in self.configs.values()))

    def behind(self, conn_id: str) -> dict[str, LifecycleConfig]:
        """Return what is configured of the models behind a connection, by registered model."""
        return {name: config for name, config in self.configs.items() if config.connections.mlflow == conn_id}
