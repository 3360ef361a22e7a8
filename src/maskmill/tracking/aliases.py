"""The version behind an alias of the model registry, without MLflow for models that have none."""

REGISTRY = "models:/"


def is_alias(model: str) -> bool:
    """Does the name mean whichever version an alias points at?"""
    return model.startswith(REGISTRY) and "@" in model


def version_behind(model: str) -> str:
    """models:/NAME/VERSION for models:/NAME@ALIAS; any other name as it is.

    Raises:
        ValueError: the registry has no such alias.
    """
    if not is_alias(model):
        return model
    from mlflow.exceptions import MlflowException  # takes seconds to import

    from maskmill.tracking.store import connect

    name, _, alias = model.removeprefix(REGISTRY).partition("@")
    try:
        version = connect().get_model_version_by_alias(name, alias)
    except MlflowException as error:
        raise ValueError(
            f"{model}: expected an alias of a registered model, but got: {error} - "
            "either register a model or choose an alias that `mlflow ui` shows"
        ) from error
    return f"{REGISTRY}{name}/{version.version}"
