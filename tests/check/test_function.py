"""`check_function`: right Functions draw no alarm, wrong ones are flagged, and told why."""

from __future__ import annotations

import pytest
import torch

import handgrad as hg
from check import functions as made
from check.functions import tensor
from handgrad.errors import BadInput, UserCodeFailed

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
LABELS = torch.tensor([3, 0, 3, 2, 1])
MASK = torch.tensor([[True, False, True], [False, True, True]])

RIGHT = {
    "Exp": lambda d: (tensor(4, 3, dtype=d),),
    "Linear": lambda d: (tensor(4, 3, dtype=d), tensor(3, 5, dtype=d), tensor(5, dtype=d)),
    "AddBroadcast": lambda d: (tensor(8, 4, dtype=d), tensor(4, dtype=d)),
    "Scale": lambda d: (tensor(8, 4, dtype=d), tensor(1, 4, dtype=d)),
    "Center": lambda d: (tensor(8, 4, dtype=d),),
    "Mean": lambda d: (tensor(8, 4, dtype=d),),
    "Variance": lambda d: (tensor(8, 4, dtype=d),),
    "Relu": lambda d: (tensor(8, 4, dtype=d),),
    "ReluOfOutput": lambda d: (tensor(8, 4, dtype=d),),
    "Softmax": lambda d: (tensor(8, 4, dtype=d),),
    "SinCos": lambda d: (tensor(6, dtype=d),),
    "SinCosNone": lambda d: (tensor(6, dtype=d),),
    "LogSigmoid": lambda d: (tensor(6, dtype=d),),
    "Tiny": lambda d: (tensor(6, dtype=d),),
    "Sort": lambda d: (tensor(7, dtype=d),),
    "Dropout": lambda d: (tensor(8, 4, dtype=d), 0.5),
    "RowMax": lambda d: (tensor(5, 4, dtype=d),),
    "RowMaxShared": lambda d: (tensor(5, 4, dtype=d),),
    "RowMaxOther": lambda d: (tensor(5, 4, dtype=d),),
    "Sqrt": lambda d: (tensor(5, 4, dtype=d).abs(),),
    "Reciprocal": lambda d: (tensor(5, 4, dtype=d),),
    "Log": lambda d: (tensor(5, 4, dtype=d).abs(),),
    "LayerNorm": lambda d: (tensor(2, 5, 4, dtype=d), tensor(4, dtype=d), tensor(4, dtype=d), 1e-5),
    "CrossEntropy": lambda d: (tensor(5, 4, dtype=d), LABELS),
    "Embedding": lambda d: (tensor(4, 3, dtype=d), LABELS),
    "TrailingNones": lambda d: (tensor(3, dtype=d),),
    "ReluInPlace": lambda d: (tensor(8, 4, dtype=d),),
    "MaxWithIndices": lambda d: (tensor(8, 4, dtype=d),),
    "Silu": lambda d: (tensor(8, 4, dtype=d),),
    "SigmoidSpelledOut": lambda d: (tensor(8, 4, dtype=d),),
    "Attention": lambda d: tuple(tensor(2, 5, 4, seed=s, dtype=d) for s in range(3)),
    "FloatInside": lambda d: (tensor(4, 3, dtype=d),),
    "PowerSum": lambda d: (3, tensor(4, dtype=d), tensor(4, seed=1, dtype=d)),
    "Where": lambda d: (tensor(2, 3, dtype=d), tensor(2, 3, dtype=d), MASK),
    "CumulativeSum": lambda d: (tensor(4, 3, dtype=d), 1),
    "Identity": lambda d: (tensor(4, 3, dtype=d),),
    "Norm": lambda d: (tensor(4, 3, dtype=d),),
    "PartlyDetached": lambda d: (tensor(4, 3, dtype=d),),
    "NumpyTanh": lambda d: (tensor(4, 3, dtype=d),),
    "NumpyAbs": lambda d: (tensor(4, 3, dtype=d),),
}

BY_STEPS = ("NumpyTanh", "NumpyAbs", "PartlyDetached")  # slower: judged by finite differences
X = tensor(5, 4)
BATCH = (tensor(4, 3), tensor(3, 5), tensor(5))
SQUARE = (tensor(4, 4), tensor(4, 4, seed=1), tensor(4))
# name: inputs, rows that are wrong, words of the note, kind of the diagnosis
WRONG = {
    "ExpSavesInput": ((X,), ["dx"], "off by", "saved"),
    "LinearNoTranspose": (SQUARE, ["dx"], "off by", None),
    "LinearTransposed": (BATCH, ["dW"], "shape [5, 3], should be [3, 5]", "transpose"),
    "LinearWrongNeeds": (BATCH, ["dW"], "needs_input_grad only for W", None),
    "LinearSwapped": (SQUARE, ["dx", "dW"], "off by", "order"),
    "LinearKeepdim": (BATCH, ["db"], "shape [1, 5], should be [5]", "keepdim"),
    "AddUnreduced": ((tensor(8, 4), tensor(4)), ["db"], "shape [8, 4], should be [4]", "broadcast"),
    "ScaleUnreduced": ((X, tensor(1, 4)), ["dw"], "should be [1, 4]", "broadcast"),
    "CenterForgetsN": ((tensor(1, 4),), ["dx"], "at shape [3, 5]", None),
    "MeanForgetsN": ((X,), ["dx"], "off by", "factor"),
    "VarianceBiased": ((tensor(2000, 2),), ["dx"], "off by", "factor"),
    "MatmulSymmetric": ((torch.ones(4, 4).double(), torch.eye(4).double()), ["dA"], "", None),
    "ReluDead": ((X,), ["dx"], "x at 50", None),
    "SoftmaxZero": ((X,), ["dx"], "off by", None),
    "SoftmaxDiagonal": ((X,), ["dx"], "off by", None),
    "TanhForgetsUpstream": ((X,), ["dx"], "off by", "upstream"),
    "SinCosSign": ((X,), ["dx"], "off by", None),
    "LogSigmoidUnstable": ((X,), ["dx"], "at x at -800", None),
    "TinySign": ((X,), ["dx"], "off by", "sign"),
    "MeanAllZero": ((tensor(200_000),), ["dx"], "off by", None),
    "SortForgetsOrder": ((tensor(9),), ["dx"], "off by", None),
    "SortOnePair": ((tensor(2000),), ["dx"], "off by", None),
    "Round": ((X,), ["dx"], "where the derivative is zero", "surrogate"),
    "DropoutForgetsScale": ((X, 1e-4), ["dx"], "off by", "factor"),
    "DropoutDrawsAgain": ((X, 0.5), ["dx"], "off by", None),
    "SquareNaN": ((X,), ["dx"], "NaN where the derivative is finite", None),
    "SquareHalf": ((X,), ["dx"], "off by", "factor"),
    "SquareAlmost": ((X,), ["dx"], "1e-06 of its summands' size", "factor"),
    "SquareFloor": ((X,), ["dx"], "upstream gradient times 1e-06", None),
    "SquareTwice": ((X,), ["dx"], "off by", "upstream"),
    "SquareNumber": ((X,), ["dx"], "a float, not a tensor", None),
    "TripleInHalf": ((X,), ["dx"], "off by", None),
    "TripleInFloat": ((X,), ["dx"], "dtype torch.float32, should be torch.float64", "dtype"),
    "RowMaxMask": ((X,), ["dx"], "x at", None),
    "NumpyTanhWrong": ((X,), ["dx"], "finite differences", None),
    "LayerNormForgetsMean": ((X, tensor(4), tensor(4), 1e-5), ["dx"], "off by", None),
    "CrossEntropyForgetsUpstream": ((tensor(5, 4), LABELS), ["dlogits"], "off by", "upstream"),
    "EmbeddingOverwrites": ((tensor(4, 3), LABELS), ["dC"], "off by", None),
    "AttentionForgetsScale": (
        tuple(tensor(5, 4, seed=s) for s in range(3)),
        ["dq", "dk"],
        "off by",
        None,
    ),
}

# name: inputs, the row of the whole, words of its note, kind
FAULTS = {
    "DoubleInPlace": ((X,), "backward", "changes the upstream gradient in place", "mutates"),
    "SavedMutated": ((X,), "backward", "in place", "mutates"),
    "SavedMutatedByData": ((X,), "backward", "in place", "mutates"),
    "DropoutDrawsAgain": ((X, 0.5), "backward", "called twice with the same ctx", "unsteady"),
    "SinCosNoneForgotten": ((X,), "backward", "no upstream gradient of output 0", None),
    "SquareViews": ((X,), "backward", "raised RuntimeError", None),
    "SquareRaises": ((X,), "backward", "raised AttributeError", None),
    "TooFew": (BATCH, "backward", "returned 2 gradients for 3 inputs", "count"),
    "Stray": ((X, 0.5), "backward", "returned a gradient for p, which is a float", "stray"),
    "ReluNotMarked": ((X,), "forward", "changes its input x in place", "mutates"),
}


def rows(report):
    return {row.name: row for row in report.rows}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, d) for name in RIGHT for d in DTYPES if d == torch.float64 or name not in BY_STEPS],
    ids=str,
)
def test_a_right_function_draws_no_alarm(name, dtype):
    report = hg.check_function(getattr(made, name), *RIGHT[name](dtype))
    assert report.ok, str(report)
    assert report.exit_code == 0
    assert all(row.verdict == "correct" for row in report.rows)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("name", RIGHT)
def test_a_right_function_draws_no_alarm_from_another_seed(name, seed):
    report = hg.check_function(getattr(made, name), *RIGHT[name](torch.float32), seed=seed)
    assert report.ok, str(report)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_gradient_is_flagged_and_only_it(name):
    inputs, guilty, words, kind = WRONG[name]
    report = hg.check_function(getattr(made, name), *inputs)
    bad = [row for row in report.rows if not row.verdict.good and row.name[0] == "d"]
    assert [row.name for row in bad] == guilty, str(report)
    assert report.exit_code == 1
    for row in bad:
        assert words in row.note, row.note
        assert (row.diagnosis.kind if row.diagnosis else None) == kind, row.diagnosis


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_whole_has_a_row_of_its_own(name):
    inputs, where, words, kind = FAULTS[name]
    report = hg.check_function(getattr(made, name), *inputs)
    row = rows(report)[where]
    assert row.verdict == "wrong"
    assert words in row.note, row.note
    assert (row.diagnosis.kind if row.diagnosis else None) == kind
    assert report.exit_code == 1


def test_a_mutated_upstream_leaves_the_value_right():
    report = rows(hg.check_function(made.DoubleInPlace, X))
    assert report["dx"].verdict == "correct"
    assert "upstream" in report["backward"].diagnosis.text


@pytest.mark.parametrize("name", ["SavedMutated", "SavedMutatedByData"])
def test_a_mutated_saved_tensor_is_named(name):
    note = rows(hg.check_function(getattr(made, name), X))["backward"].note
    assert "output" in note or "saved tensor 0" in note


def test_the_first_wrong_batch_is_named():
    row = rows(hg.check_function(made.CenterForgetsN, tensor(1, 4)))["dx"]
    assert "of" in row.note
    assert row.expected_shape != (1, 4)


def test_only_leading_size_one_right_is_said():
    row = rows(hg.check_function(made.MeanForgetsN, X))["dx"]
    assert row.diagnosis.text == "dx is x.shape[0] times the truth"
    assert row.line == "return 2 * x * dy"
    assert row.number > 0
    assert "seed 0" in row.note


def test_the_ratio_of_an_unbiased_estimate_is_named():
    row = rows(hg.check_function(made.VarianceBiased, X))["dx"]
    assert row.diagnosis.text == "dx is (x.shape[0] - 1)/x.shape[0] times the truth"


def test_the_missing_sum_is_written_out():
    row = rows(hg.check_function(made.ScaleUnreduced, X, tensor(1, 4)))["dw"]
    assert row.diagnosis.suggestion == "dw = dw.sum(dim=0, keepdim=True)"
    row = rows(hg.check_function(made.AddUnreduced, X, tensor(4)))["db"]
    assert row.diagnosis.suggestion == "db = db.sum(dim=0)"


def test_none_is_to_do():
    row = hg.check_function(made.SquareNone, X).rows[0]
    assert row.verdict == "to do"
    assert "requires_grad" in row.note


def test_only_inputs_that_require_a_gradient_are_judged_where_any_does():
    x = X.clone().requires_grad_()
    report = hg.check_function(made.AddUnreduced, x, tensor(4))
    assert [row.name for row in report.rows] == ["dx"]
    assert report.ok
    assert x.grad is None


def test_a_right_shape_with_the_right_values_has_a_verdict_of_its_own():
    row = rows(hg.check_function(made.LinearKeepdim, *BATCH))["db"]
    assert row.verdict == "right value, wrong shape"


def test_a_zero_gradient_is_untested():
    report = hg.check_function(made.ConstantZero, X)
    assert report.rows[0].verdict == "untested"
    assert report.exit_code == 5


def test_nan_inputs_are_untested_there_but_judged_elsewhere():
    x = X.clone()
    x[0, 0] = float("nan")
    assert hg.check_function(made.Square, x).ok
    assert not hg.check_function(made.SquareHalf, x).ok


def test_a_straight_through_estimator_is_judged_against_its_surrogate():
    identity = {"intent": "surrogate", "surrogate": lambda x: x}
    assert hg.check_function(made.Round, X, **identity).ok
    double = {"intent": "surrogate", "surrogate": lambda x: 2 * x}
    row = hg.check_function(made.Round, X, **double).rows[0]
    assert row.verdict == "wrong"
    assert row.diagnosis.text == "dx is 0.5 times the truth"


def test_a_straight_through_estimator_is_pointed_to_the_surrogate():
    row = hg.check_function(made.Round, X).rows[0]
    assert "intent='surrogate'" in row.diagnosis.suggestion


def test_half_a_derivative_that_autograd_agrees_with_is_not_confirmed():
    report = hg.check_function(made.HalfDetached, X)
    assert report.rows[0].verdict == "cannot confirm"
    assert "finite differences" in report.rows[0].note
    assert report.exit_code == 5


def test_a_forward_of_another_generator_is_said_to_be_random():
    report = hg.check_function(made.DropoutOwnGenerator, X, 0.5)
    assert report.rows[0].verdict == "cannot confirm"
    assert "random" in report.rows[0].note
    assert report.exit_code == 5


def test_another_subgradient_is_noted():
    row = hg.check_function(made.RowMaxOther, X).rows[0]
    assert row.verdict == "correct"
    assert "another subgradient" in row.note


def test_sizes_that_the_forward_refuses_are_said():
    class Needs4(made.Square):
        @staticmethod
        def forward(ctx, x):
            if x.shape[0] % 4:
                raise ValueError("multiples of 4 only")
            return made.Square.forward(ctx, x)

    row = hg.check_function(Needs4, tensor(8, 3)).rows[0]
    assert row.verdict == "correct"
    assert "ValueError" in row.note


def test_what_is_given_and_the_generators_stay_as_they_were():
    x, state = X.clone(), torch.get_rng_state()
    hg.check_function(made.ReluInPlace, x)
    hg.check_function(made.Dropout, x, 0.5)
    assert torch.equal(x, X)
    assert not x.requires_grad
    assert torch.equal(torch.get_rng_state(), state)


def test_same_seed_same_report():
    first, second = (hg.check_function(made.SortOnePair, tensor(9), seed=7) for _ in range(2))
    assert str(first) == str(second)
    assert "seed 7" in first.rows[0].note


def test_what_is_no_function_is_refused():
    with pytest.raises(BadInput, match=r"MyFunction\.apply"):
        hg.check_function(made.Exp.apply, X)
    with pytest.raises(BadInput, match="no input"):
        hg.check_function(made.Exp, torch.arange(3))
    with pytest.raises(BadInput, match="complex"):
        hg.check_function(made.Exp, torch.ones(3, dtype=torch.complex64))
    with pytest.raises(BadInput, match="belong together"):
        hg.check_function(made.Exp, X, intent="surrogate")
    with pytest.raises(BadInput, match="not known"):
        hg.check_function(made.Exp, X, intent="guess")


def test_a_forward_that_raises_is_the_users_failure():
    with pytest.raises(UserCodeFailed, match="forward raised"):
        hg.check_function(made.Linear, tensor(4, 3), tensor(4, 3), tensor(3))


def test_outputs_without_a_gradient_are_refused():
    class Argmax(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.argmax()

    with pytest.raises(BadInput, match="no output"):
        hg.check_function(Argmax, X)
