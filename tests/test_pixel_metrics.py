"""What a threshold on P(cell) is worth: confusion, MCC, ROC, with known answers."""

import numpy as np
import pytest

from cellapp.pixel_metrics import Confusion, ThresholdCurve, area_under, roc


@pytest.mark.parametrize(("specificity", "precision", "recall", "prevalence", "accuracy", "f1", "mcc"), [
    (0.96, 0.58, 0.52, 0.096, 0.91, 0.55, 0.504), (0.98, 0.81, 0.73, 0.105, 0.95, 0.77, 0.744)])
def test_table_1_of_the_paper_fits_together(specificity, precision, recall, prevalence, accuracy, f1, mcc):
    odds = (1 - specificity) / (recall * (1 - precision) / precision)  # cell to ground that gives this precision
    cell, ground = 10**6 * odds / (1 + odds), 10**6 / (1 + odds)
    tp, tn = round(recall * cell), round(specificity * ground)
    made = Confusion(tp, round(ground) - tn, tn, round(cell) - tp)
    assert cell / 10**6 == pytest.approx(prevalence, abs=5e-4)
    assert (made.specificity, made.precision, made.recall) == pytest.approx((specificity, precision, recall), abs=1e-4)
    assert made.accuracy == pytest.approx(accuracy, abs=0.01)
    assert made.f1 == pytest.approx(f1, abs=0.005)
    assert made.mcc == pytest.approx(mcc, abs=1e-3)


def test_confusion_adds_and_mcc_is_a_correlation(rng):
    predicted, truth = rng.random(500) < 0.3, rng.random(500) < 0.4
    made = [Confusion(*(int((p & t).sum()) for p, t in ((a, b), (a, ~b), (~a, ~b), (~a, b))))
            for a, b in ((predicted[:200], truth[:200]), (predicted[200:], truth[200:]))]
    total = made[0] + made[1]
    assert total.mcc == pytest.approx(np.corrcoef(predicted, truth)[0, 1])
    assert Confusion(*(10**12 * n for n in (total.tp, total.fp, total.tn, total.fn))).mcc == pytest.approx(total.mcc)


@pytest.mark.parametrize("counts", [(0, 0, 9, 3), (3, 9, 0, 0), (0, 4, 9, 0), (0, 0, 0, 0)])
def test_mcc_of_one_kind_of_pixel_is_zero_not_nan(counts):
    assert Confusion(*counts).mcc == 0
    assert np.isnan(Confusion(0, 0, 9, 0).precision)


def test_the_curve_equals_a_direct_count_of_pixels(rng):
    curve, maps = ThresholdCurve(), []
    for shape in ((30, 41), (17, 5)):
        truth = rng.random(shape) < 0.3
        probability = np.clip(rng.normal(0.4 + 0.2 * truth, 0.2), 0, 1).astype(np.float32)
        probability.ravel()[:20] = np.arange(20) / 20       # on the thresholds themselves
        curve.add(probability, truth)
        maps.append((probability, truth))
    for threshold in (0.0, 0.05, 0.1, 0.37, 0.5, 0.55, 0.7, 0.95, 1.0 - 1e-3):
        direct = [((p >= threshold), t) for p, t in maps]
        assert curve.at(threshold) == sum(
            (Confusion(int((p & t).sum()), int((p & ~t).sum()), int((~p & ~t).sum()), int((~p & t).sum()))
             for p, t in direct), Confusion(0, 0, 0, 0))
    best, confusion = curve.best_by_mcc()
    grid = [k / 100 for k in range(5, 96)]
    assert confusion == curve.at(best)
    assert confusion.mcc == max(curve.at(t).mcc for t in grid) > 0.3


def test_equally_good_thresholds_give_the_middle_one():
    curve = ThresholdCurve()
    assert curve.best_by_mcc() == (0.5, Confusion(0, 0, 0, 0))
    curve.add(np.array([[0.205, 0.805]], np.float32), np.array([[False, True]]))
    threshold, confusion = curve.best_by_mcc()
    assert threshold == 0.51, "the middle of 0.21 … 0.80, of two the upper"
    assert confusion.mcc == 1


@pytest.mark.parametrize("wrong", [-0.01, 1.01, np.nan])
def test_the_curve_takes_probabilities_only(wrong):
    with pytest.raises(ValueError, match="0 … 1"):
        ThresholdCurve().add(np.full((2, 2), wrong, np.float32), np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match="shape"):
        ThresholdCurve().add(np.zeros((2, 2), np.float32), np.zeros((2, 3), bool))


def test_roc_of_known_histograms():
    false, true, thresholds = roc(np.array([0, 1, 0, 3]), np.array([2, 1, 1, 0]))
    assert true.tolist() == [0, 0.75, 0.75, 1, 1]
    assert false.tolist() == [0, 0, 0.25, 0.5, 1]
    assert thresholds.tolist() == [np.inf, 0.75, 0.5, 0.25, 0]
    # Of 4 × 4 pairs the cell wins 12 + 2 and draws 1.
    assert area_under(false, true) == pytest.approx(14.5 / 16)


@pytest.mark.parametrize(("cell", "ground", "area"), [(0.9, 0.1, 1), (0.1, 0.9, 0), (0.4, 0.4, 0.5)])
def test_auc_of_known_answers(cell, ground, area):
    curve = ThresholdCurve()
    truth = np.arange(12).reshape(3, 4) % 3 == 0
    curve.add(np.where(truth, cell, ground).astype(np.float32), truth)
    assert curve.auc() == pytest.approx(area)
    only = ThresholdCurve()
    only.add(np.full((3, 4), 0.4, np.float32), np.ones((3, 4), bool))
    assert np.isnan(only.auc())
