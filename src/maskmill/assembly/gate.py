"""The gate of the registry: whether a candidate becomes champion, and why."""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities.model_registry import ModelVersion

from maskmill.assembly.limits import missed_floors, missed_limits
from maskmill.assembly.rescoring import scores_of, tested_prediction
from maskmill.assembly.settings import RegisterSettings
from maskmill.canonical.folder import PanopticFolder
from maskmill.evaluation.bootstrap import Resampling
from maskmill.evaluation.comparison import Difference, compare, differences_of_counts
from maskmill.evaluation.evidence import Evidence
from maskmill.evaluation.image_counts import read_image_counts
from maskmill.tracking.lineage import MODEL_TAG, PREDICTION_TAG, TEST_TAG
from maskmill.tracking.models import CHALLENGER, CHAMPION, champion, version_with_alias
from maskmill.tracking.promotion import (
    ALIAS_TAG,
    QUESTION_TAG,
    REASON_TAG,
    WITHDRAWN_TAG,
    keep_decision,
    move_champion,
    set_challenger,
)
from maskmill.tracking.version_facts import version_facts

COUNTS = "counts.csv"
NUM_RESAMPLES = 2000
NUM_ATTEMPTS = 5  # comparisons, if other processes change the champion meanwhile


@dataclass(frozen=True)
class Decision:
    """The alias that a version gets, the reason, and its differences from the champion.

    Args:
        alias: champion, challenger, or None for neither.
        reason: in words.
        differences: from the champion with which it was compared.
        is_champion_already: nothing was compared, since it was champion before.
    """

    alias: str | None
    reason: str
    differences: Sequence[Difference] = ()
    is_champion_already: bool = False


class Gate:
    """Decides about one version.

    The alias `champion` moves to a version that is better than the champion on the same images and
    keeps to every limit. `challenger` is, of the versions that did not become champion, the one
    with the best deciding score on the same images; a version without scores on these images loses
    the alias to one that has them.

    Args:
        settings: the required lead and the limits.
        evidence: of the candidate's evaluation.
        score: the candidate's deciding score.
    """

    def __init__(self, settings: RegisterSettings, evidence: Evidence, score: float) -> None:
        self.settings = settings
        self.evidence = evidence
        self.score = score

    def decide(self, version: ModelVersion) -> Decision:
        """Decide, keep the reason, and move the aliases.

        Raises:
            ValueError: other processes change the champion all the time.
        """
        for _ in range(NUM_ATTEMPTS):
            present = champion(self.settings.name)
            question = self._question(present)
            decision = self._repeated(version, present, question)
            if decision is None:
                decision = self._decision(version, present)
                # The reason first: a process that is killed here leaves no alias without one.
                keep_decision(version, decision.alias, decision.reason, question)
            if decision.alias == CHALLENGER:
                set_challenger(version)
            if decision.alias != CHAMPION or move_champion(version, seen=present):
                return decision
        raise ValueError(
            f"models:/{self.settings.name}@{CHAMPION}: expected to compare with the champion, but "
            f"other processes changed it {NUM_ATTEMPTS} times - register again"
        )

    def _question(self, present: ModelVersion | None) -> str:
        """A digest of everything that the decision depends on."""
        settings = self.settings
        rules = [settings.metric, settings.margin, settings.confidence, settings.floors]
        limits = [settings.max_latency_ms, settings.latency_size, settings.max_size_mb]
        against = None if present is None else _identity(present)
        content = json.dumps([self.evidence.digest, against, rules, limits], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def _repeated(
        self, version: ModelVersion, present: ModelVersion | None, question: str
    ) -> Decision | None:
        """The decision that was made before, so that registering again writes the same bytes."""
        facts = version_facts(version)
        reason = facts.get(REASON_TAG, "")
        if present is not None and present.version == version.version:
            known = reason or "it is the champion already"
            return Decision(CHAMPION, known, is_champion_already=True)
        if facts.get(WITHDRAWN_TAG):
            again = f"promote.model=models:/{version.name}/{version.version}"
            return Decision(None, f"{reason}; `maskmill promote {again}` makes it champion again")
        if facts.get(QUESTION_TAG) != question:
            return None
        is_champion = facts[ALIAS_TAG] == CHAMPION  # if it was killed before the alias
        alias = CHAMPION if is_champion else self._alias_of_loser(version)
        return Decision(alias, reason, self._differences(present))

    def _decision(self, version: ModelVersion, present: ModelVersion | None) -> Decision:
        missed = self._missed(version)
        if present is None:
            if not missed:
                return Decision(CHAMPION, "the first version of this model")
            return self._lost(version, f"no champion yet, but {'; '.join(missed)}")
        try:
            return self._compare(version, present, missed)
        except (ValueError, OSError) as error:
            reason = " ".join(str(error).split())
            return self._lost(
                version,
                f"champion version {present.version} cannot be scored on these images: {reason} "
                f"- `maskmill promote promote.model=models:/{version.name}/{version.version}` "
                "makes this version champion",
            )

    def _missed(self, version: ModelVersion) -> list[str]:
        """The limits that the version misses, in words."""
        counts = read_image_counts(self.settings.evaluation / COUNTS)
        split = PanopticFolder(self.settings.images)
        uri = f"models:/{version.name}/{version.version}"
        image = split.image(split.records[0])
        return missed_floors(self.settings, counts) + missed_limits(self.settings, uri, image)

    def _compare(
        self, version: ModelVersion, present: ModelVersion, missed: Sequence[str]
    ) -> Decision:
        settings = self.settings
        candidate = read_image_counts(settings.evaluation / COUNTS)
        with tempfile.TemporaryDirectory() as folder:
            scores = scores_of(present, self.evidence, settings.images, Path(folder))
            baseline = read_image_counts(scores / COUNTS)
        resampling = Resampling(NUM_RESAMPLES)
        result = compare(
            candidate,
            baseline,
            metric=settings.metric,
            margin=settings.margin,
            resampling=resampling,
        )
        reason = (
            f"{settings.metric} {result.candidate:.4f} against {result.baseline:.4f} "
            f"of champion version {present.version}: leads by more than {settings.margin:g} "
            f"in {result.confidence:.1%} of resamples, {settings.confidence:.1%} required"
        )
        differences = differences_of_counts(candidate, baseline, resampling)
        if missed:
            return self._lost(version, f"{reason}; {'; '.join(missed)}", differences)
        if result.confidence < settings.confidence:
            return self._lost(version, reason, differences)
        return Decision(CHAMPION, reason, differences)

    def _differences(self, present: ModelVersion | None) -> Sequence[Difference]:
        """Those of a decision that is repeated."""
        if present is None:
            return ()
        candidate = read_image_counts(self.settings.evaluation / COUNTS)
        with tempfile.TemporaryDirectory() as folder:
            try:
                scores = scores_of(present, self.evidence, self.settings.images, Path(folder))
            except (ValueError, OSError):
                return ()
            baseline = read_image_counts(scores / COUNTS)
        return differences_of_counts(candidate, baseline, Resampling(NUM_RESAMPLES))

    def _lost(
        self, version: ModelVersion, reason: str, differences: Sequence[Difference] = ()
    ) -> Decision:
        """Challenger, unless there is a better one on the same images, which the reason names."""
        better = self._better_challenger(version)
        if better is None:
            return Decision(CHALLENGER, reason, differences)
        metric = self.settings.metric
        score = f"{metric} {better.tags[metric]:.6}"
        stays = f"challenger stays version {better.version} with {score}"
        return Decision(None, f"{reason}; {stays}", differences)

    def _alias_of_loser(self, version: ModelVersion) -> str | None:
        return CHALLENGER if self._better_challenger(version) is None else None

    def _better_challenger(self, version: ModelVersion) -> ModelVersion | None:
        """The present challenger, if it is another one with a better score on the same images."""
        holder = version_with_alias(version.name, CHALLENGER)
        if holder is None or holder.version == version.version:
            return None
        before = self.evidence.key_with(tested_prediction(holder).as_dict())  # of earlier commits
        if version_facts(holder).get(TEST_TAG) not in {self.evidence.test, before}:
            return None
        score = float(holder.tags.get(self.settings.metric, "nan"))
        return holder if score > self.score else None


def _identity(version: ModelVersion) -> str:
    """The model of a version and how it predicts."""
    prediction = version_facts(version).get(PREDICTION_TAG, "")
    return f"{version.tags.get(MODEL_TAG)}{prediction}"
