"""What the hybrid, the heads and predictions out of fold do, on cases with a known answer."""

import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression

from dualroute import OptionError, Outcomes, TableError, read_outcomes, read_queries
from dualroute.curve import Hull, lambda_routings
from dualroute.evaluation import realised
from dualroute.predictor import cross_predict, folds_of
from dualroute.predictors.clusters import Clusters
from dualroute.predictors.hybrid import Hybrid, _combined, _peak
from dualroute.predictors.mean import Mean
from dualroute.predictors.regression import Regression
from dualroute.predictors.retrieval import Retrieval
from dualroute.testing import check_predictor

TASKS = ["sort this list of numbers", "prove the theorem by induction", "translate the poem"]


def tasks(n, seed=0):
    """Model 0 is right on sorting, model 1 on proofs, both half the time on poems."""
    draw = np.random.default_rng(seed)
    which = draw.integers(0, 3, n)
    chance = np.array([[0.9, 0.2], [0.1, 0.8], [0.5, 0.5]])[which]
    texts = [f"{TASKS[k]} number {i}" for i, k in enumerate(which)]
    quality = (draw.random((n, 2)) < chance).astype(float)
    cost = np.array([1.0, 3.0]) * (1 + which[:, None]) * np.exp(0.1 * draw.normal(size=(n, 2)))
    return texts, Outcomes.from_arrays(cost, quality), chance


class Knows:
    """Predicts what it is told beforehand, by text."""

    def __init__(self, answers):
        self.answers = answers

    def fit(self, texts, outcomes):
        self.table = outcomes
        return self

    def predict(self, texts):
        told = np.array([self.answers[text] for text in texts])
        return Outcomes.from_arrays(np.ones((len(texts), 2)), told, self.table.models)


def test_hybrid_learns_who_is_right_on_what():
    texts, outcomes, _ = tasks(600)
    fresh, _, chance = tasks(200, seed=1)
    fitted = Hybrid().fit(texts, outcomes)
    told = fitted.predict(fresh)
    assert np.abs(told.column("quality") - chance).mean() < 0.08
    before, after = fitted.report.calibration
    assert after.ece < 0.06
    assert after.brier <= before.brier + 0.005
    # Costs triple from sorting to poems, with a tenth of noise.
    true = np.array([1.0, 3.0]) * (
        1 + np.array([[TASKS.index(t.rsplit(" number ", 1)[0])] for t in fresh])
    )
    assert np.abs(told.column("cost") / true - 1).mean() < 0.15


def test_weights_go_to_the_part_that_knows():
    texts, outcomes, chance = tasks(400)
    good = Knows(dict(zip(texts, chance, strict=True)))
    noise = np.random.default_rng(9).random((400, 2))
    bad = Knows(dict(zip(texts, noise, strict=True)))
    report = Hybrid(parts=(bad, good)).fit(texts, outcomes).report
    (bad_common, bad_apart), (good_common, good_apart) = report.weights["quality"]
    assert good_apart / report.trust == pytest.approx(1, abs=0.1)
    assert bad_apart < 0.1
    assert report.parts == ("knows", "knows")
    assert 0.2 <= report.trust <= 1
    assert min(bad_common, good_common) >= 0


def test_differences_that_are_noise_are_not_trusted():
    # Twenty equally good models whose predicted differences are pure noise but one, that is best.
    draw = np.random.default_rng(3)
    texts = [f"question {i}" for i in range(500)]
    chance = np.full((500, 8), 0.5)
    quality = (draw.random(chance.shape) < chance).astype(float)
    outcomes = Outcomes.from_arrays(np.tile(np.arange(1.0, 9.0), (500, 1)), quality)
    told = Hybrid().fit(texts, outcomes).predict(texts)
    assert np.abs(told.column("quality") - quality.mean(axis=0)).max() < 0.15


def test_predictions_out_of_fold_have_seen_nothing_of_their_query():
    texts, outcomes, _ = tasks(60)

    class Remembers(Knows):
        def __init__(self):
            self.seen = set()

        def fit(self, texts, outcomes):
            self.seen, self.table = set(texts), outcomes
            return self

        def predict(self, texts):
            assert not self.seen & set(texts)
            return Outcomes.from_arrays(np.ones((len(texts), 2)), np.zeros((len(texts), 2)))

    told = cross_predict(Remembers(), [*texts, *texts], outcomes.take(np.r_[0:60, 0:60]), folds=4)
    assert told.n_queries == 120
    steps = []
    cross_predict(Mean(), texts, outcomes, folds=3, tell=lambda a, b: steps.append((a, b)))
    assert steps == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(TableError, match="one distinct text"):
        cross_predict(Mean(), ["same"] * 60, outcomes)
    with pytest.raises(OptionError, match="folds is 1"):
        cross_predict(Mean(), texts, outcomes, folds=1)


def test_out_of_fold_means_are_those_of_the_others():
    texts, outcomes, _ = tasks(30)
    fold = folds_of(texts, 3, seed=5)
    told = cross_predict(Mean(), texts, outcomes, folds=3, seed=5)
    for k in range(3):
        mean = outcomes.column("quality")[fold != k].mean(axis=0)
        assert np.allclose(told.column("quality")[fold == k], mean)
    assert np.bincount(fold).tolist() == [10, 10, 10]


def test_hybrid_keeps_what_it_predicted_out_of_fold():
    texts, outcomes, chance = tasks(300)
    unseen = Hybrid().fit(texts, outcomes).unseen
    assert unseen.n_queries == 300
    error = np.abs(unseen.column("quality") - chance).mean()
    assert error < 0.12
    # A prediction that had seen its outcome would lie nearer to it than to the chance.
    assert np.abs(unseen.column("quality") - outcomes.column("quality")).mean() > 0.25
    assert Hybrid().fit(["same"] * 300, outcomes).unseen is None


def test_peak_of_a_parabola():
    assert _peak({0.2: 0.0, 0.6: 0.16, 1.0: 0.0}) == pytest.approx(0.6)
    assert _peak({0.2: 0.0, 0.6: 0.5, 1.0: 1.1}) == 1.0
    assert _peak({0.2: 1.0, 0.6: 0.5, 1.0: 0.1}) == 0.2


@pytest.mark.parametrize(
    "regression",
    [
        Regression(estimator=LogisticRegression()),
        Regression(estimator=LogisticRegression(), shared=True),
        Regression(estimator=RandomForestClassifier(10, random_state=0)),
        Regression(estimator=RandomForestRegressor(10, random_state=0)),
        Regression(estimator=RandomForestRegressor(10, random_state=0), shared=True),
        Regression(surface=False),
        Hybrid(calibrate="platt", parts=("mean", "clusters")),
        Hybrid(calibrate="none"),
        Retrieval(index="faiss", neighbours=3),
    ],
    ids=str,
)
def test_variants_keep_the_contract(regression):
    check_predictor(regression)


@pytest.mark.parametrize(
    "estimator", [None, LogisticRegression(C=10), RandomForestRegressor(30, random_state=0)]
)
def test_heads_learn_who_is_right_on_what(estimator):
    texts, outcomes, _ = tasks(600)
    fresh, _, chance = tasks(200, seed=1)
    told = Regression(estimator=estimator).fit(texts, outcomes).predict(fresh)
    # The models' means alone are off by .22 on average.
    assert np.abs(told.column("quality") - chance).mean() < (0.1 if estimator is None else 0.21)
    # Spread: calibrated predictions of 0/1 err by about the variance of their chance.
    variance = (told.column("quality_sd") ** 2).mean()
    assert variance == pytest.approx((chance * (1 - chance)).mean(), abs=0.05)


def test_graded_quality_by_a_classifier():
    texts = ["good"] * 50 + ["bad"] * 50
    graded = np.array([[0.75]] * 50 + [[0.25]] * 50)
    table = Outcomes.from_arrays(np.ones((100, 1)), graded)
    told = (
        Regression(estimator=LogisticRegression(C=1e6)).fit(texts, table).predict(["good", "bad"])
    )
    assert told.column("quality")[:, 0] == pytest.approx([0.75, 0.25], abs=0.02)


def test_costs_keep_the_mean_of_each_model():
    texts, outcomes, _ = tasks(800)
    told = Regression().fit(texts, outcomes).predict(texts)
    ratio = told.column("cost").mean(axis=0) / outcomes.column("cost").mean(axis=0)
    assert ratio == pytest.approx(np.ones(2), abs=0.02)


def test_options_that_cannot_be_used():
    with pytest.raises(OptionError, match="scikit-learn"):
        Regression(estimator="ridge")
    with pytest.raises(OptionError, match="no calibration 'magic'"):
        Hybrid(calibrate="magic")
    with pytest.raises(OptionError, match="at least one"):
        Hybrid(parts=())
    with pytest.raises(OptionError, match="folds is 1"):
        Hybrid(folds=1)
    with pytest.raises(OptionError, match="clusters is 0"):
        Clusters(clusters=0)


def test_retrieval_takes_further_queries_without_learning_anew():
    texts, outcomes, _ = tasks(100)
    later, found, _ = tasks(50, seed=4)
    whole = Retrieval().fit(texts, outcomes)
    vocabulary = whole._fitted
    whole.add(later, found)
    assert whole._fitted is vocabulary
    told = whole.predict(later[:1])
    both = Retrieval()
    both.fit(texts, outcomes)
    assert told.column("quality")[0] != pytest.approx(both.predict(later[:1]).column("quality")[0])
    with pytest.raises(TableError, match="other models or columns"):
        whole.add(["x"], Outcomes.from_arrays([[1]], [[1]]))
    with pytest.raises(OptionError, match="learned nothing"):
        Retrieval().add(texts, outcomes)


def test_a_new_model_enters_from_a_few_prompts():
    texts, outcomes, _ = tasks(300)
    known = Clusters(clusters=3, shrinkage=1.0).fit(texts, outcomes)
    prompts = known.representatives(each=5)
    assert len(prompts) == 15
    assert set(prompts) <= set(texts)
    right = [1.0 if "sort" in text else 0.0 for text in prompts]
    known.add_model("sorter", prompts, {"cost": [2.0] * 15, "quality": right})
    told = known.predict([f"{task} please" for task in TASKS])
    assert told.models == ("m0", "m1", "sorter")
    # Five of one cluster with the mean 1/3 as one more: (5 + 1/3) / 6 and (1/3) / 6.
    assert told.column("quality")[:, 2] == pytest.approx([16 / 18, 1 / 18, 1 / 18])
    assert np.allclose(told.column("cost")[:, 2], 2)
    with pytest.raises(TableError, match="known already"):
        known.add_model("sorter", prompts, {"cost": right, "quality": right})
    with pytest.raises(TableError, match="give cost, quality"):
        known.add_model("other", prompts, {"quality": right})
    with pytest.raises(OptionError, match="learned nothing"):
        Clusters().representatives()


AIQ = {"llmrouter_ulab": 0.6966, "zeroeval": 0.9365, "bfcl_2024_08": 0.9170}


@pytest.mark.parametrize("table", AIQ)
def test_hybrid_beats_plain_nearest_neighbours_on_real_tables(table):
    """The figures are those of a plain TF-IDF nearest-neighbour rule on the same folds."""
    if "DUALROUTE_DATA" not in os.environ:
        pytest.skip("DUALROUTE_DATA does not name the directory of observed tables")
    folder = Path(os.environ["DUALROUTE_DATA"]) / table
    outcomes = read_outcomes(folder / "outcomes.csv.gz")
    described = read_queries(folder / "queries.csv.gz", attributes=["fold"])
    row = {name: i for i, name in enumerate(described.ids)}
    order = [row[name] for name in outcomes.queries]
    late = described.attributes["fold"].astype(int)[order] >= 7
    texts = np.array(described.texts, object)[order]
    known, batch = outcomes.take(np.flatnonzero(~late)), outcomes.take(np.flatnonzero(late))
    told = Hybrid().fit(texts[~late].tolist(), known).predict(texts[late].tolist())
    points = [realised(batch, one) for one in lambda_routings(told)]
    hull = Hull.of(
        np.array([one.cost for one in points]) / batch.n_queries,
        np.array([one.quality for one in points]),
    )
    cost = batch.column("cost").mean(axis=0)
    assert hull.mean(cost.min(), cost.max()) > AIQ[table]


@pytest.mark.parametrize("seed", range(10))
def test_rounding_noise_between_models_gets_no_weight(seed):
    # Models that differ by a factor alone, so that nothing but rounding sets them apart; and a
    # part that ought to have a negative weight, so that something is left to explain.
    draw = np.random.default_rng(seed)
    shares = draw.uniform(0.1, 3, 9)
    one, other = draw.normal(size=(2, 80, 1))
    observed, *told = ((0.5 + 0.05 * what) * shares / 6 for what in (one - 0.5 * other, one, other))
    mean = 2 * observed.mean(axis=0)
    combined = _combined(observed / mean, [grid / mean for grid in told])
    assert combined.apart.tolist() == [0.0, 0.0]
    assert 0.5 < combined.common[0] < 1.2
