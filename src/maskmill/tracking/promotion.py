"""Who is champion, since when and why: decisions are kept as tags of versions."""

import getpass
import json
from datetime import UTC, datetime

from mlflow.entities.model_registry import ModelVersion

from maskmill.tracking.models import (
    CHALLENGER,
    CHAMPION,
    champion,
    keep_facts,
    version_with_alias,
    versions,
)
from maskmill.tracking.store import connect
from maskmill.tracking.version_facts import HISTORY_TAG, MAX_TAG_LENGTH, version_facts

REASON_TAG = "decision"  # the reason of the last decision
ALIAS_TAG = "maskmill.alias"  # what it gave: champion, challenger or none
QUESTION_TAG = "maskmill.question"  # a digest of what was decided, to repeat the same answer
WITHDRAWN_TAG = "maskmill.withdrawn"  # why a version was replaced by hand; empty: it was not
CHAMPIONS_TAG = "maskmill.champions"  # of the registered model: versions in the order of their time
NONE = "none"
MAX_CHAMPIONS = 500


def keep_decision(version: ModelVersion, alias: str | None, reason: str, question: str) -> None:
    """Keep a decision with its reason; those before it stay in the history.

    Args:
        version: that was decided about.
        alias: that it gets, None for none.
        reason: in words.
        question: digest of what was decided; empty for decisions of people.
    """
    time = datetime.now(UTC).isoformat(timespec="seconds")
    entry = f"{time} {_user()}: {alias or NONE}: {reason}"
    history = "\n".join([entry, version_facts(version).get(HISTORY_TAG, "")]).strip()
    facts = {
        HISTORY_TAG: history,
        QUESTION_TAG: question,
        ALIAS_TAG: alias or NONE,
        REASON_TAG: reason[:MAX_TAG_LENGTH],
    }
    keep_facts(version, facts)


def move_champion(version: ModelVersion, *, seen: ModelVersion | None) -> bool:
    """Make a version champion, unless the champion is not the one with which it was compared.

    Args:
        version: the new champion.
        seen: the champion at the time of the comparison, None if there was none.

    Returns:
        whether the version is champion now; if not, compare it with the present one.
    """
    name = version.name
    if _number(champion(name)) not in {_number(seen), _number(version)}:
        return False
    client = connect()
    client.set_registered_model_alias(name, CHAMPION, version.version)
    challenger = version_with_alias(name, CHALLENGER)
    if _number(challenger) == _number(version):
        client.delete_registered_model_alias(name, CHALLENGER)
    earlier = champions(name)
    if earlier[-1:] != [str(version.version)]:  # registering the champion again is no change
        _keep_champions(name, [*earlier, str(version.version)])
    return _number(champion(name)) == _number(version)


def set_challenger(version: ModelVersion) -> None:
    """Give a version the alias `challenger`."""
    connect().set_registered_model_alias(version.name, CHALLENGER, version.version)


def champions(name: str) -> list[str]:
    """The numbers of the champions so far, in order."""
    text = connect().get_registered_model(name).tags.get(CHAMPIONS_TAG, "[]")
    return [str(number) for number in json.loads(text)]


def promote(version: ModelVersion, reason: str) -> None:
    """Make a version champion by hand; the one before it is withdrawn.

    Raises:
        ValueError: it is the champion already.
    """
    present = champion(version.name)
    if _number(present) == _number(version):
        raise ValueError(
            f"models:/{version.name}/{version.version}: expected a version to promote, but it is "
            "the champion already - nothing to do"
        )
    keep_decision(version, CHAMPION, f"promoted by hand: {reason}", "")
    keep_facts(version, {WITHDRAWN_TAG: ""})
    if present is not None:
        _withdraw(present, f"replaced by hand by version {version.version}: {reason}")
    move_champion(version, seen=present)


def rollback(name: str, reason: str) -> ModelVersion:
    """Make the champion before the present one champion again.

    Returns:
        the version that is champion now.

    Raises:
        ValueError: there is no champion, or none before it.
    """
    present = champion(name)
    existing = {_number(version) for version in versions(name)}
    earlier = [number for number in champions(name) if number in existing]
    while earlier and earlier[-1] == _number(present):
        earlier.pop()
    if present is None or not earlier:
        raise ValueError(
            f"models:/{name}@{CHAMPION}: expected a champion with one before it, but the champions "
            f"were {champions(name)} - promote a version that `maskmill models {name}` lists"
        )
    version = connect().get_model_version(name, earlier[-1])
    keep_decision(version, CHAMPION, f"rolled back from version {present.version}: {reason}", "")
    keep_facts(version, {WITHDRAWN_TAG: ""})
    _withdraw(present, f"rolled back to version {version.version}: {reason}")
    move_champion(version, seen=present)
    _keep_champions(name, earlier)
    return version


def _withdraw(version: ModelVersion, reason: str) -> None:
    """Keep a version from becoming champion again because `register` is run again."""
    keep_decision(version, None, reason, "")
    keep_facts(version, {WITHDRAWN_TAG: reason})


def _keep_champions(name: str, numbers: list[str]) -> None:
    text = json.dumps(numbers[-MAX_CHAMPIONS:])
    connect().set_registered_model_tag(name, CHAMPIONS_TAG, text)


def _user() -> str:
    """The user's name; containers often have none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _number(version: ModelVersion | None) -> str | None:
    return None if version is None else str(version.version)
