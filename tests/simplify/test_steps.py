"""The worked derivation: small steps in words, each run at two sets of sizes."""

import pytest
import torch

import handgrad as hg
from handgrad.errors import Mismatch
from handgrad.models import character_mlp
from handgrad.simplify import sized
from handgrad.simplify.facts import Facts
from handgrad.simplify.normal import number
from handgrad.simplify.program import Reading
from handgrad.simplify.steps import Step, checked, proved


@pytest.fixture(scope="module")
def seed():
    g = torch.Generator().manual_seed(1)
    given = character_mlp.parameters(27, g, n_hidden=11)
    batch = {
        "Xb": torch.randint(27, (13, 3), generator=g),
        "Yb": torch.randint(27, (13,), generator=g),
    }
    return hg.derive(hg.trace(character_mlp.small_steps, **given, **batch, n=13))


@pytest.fixture(scope="module")
def short(seed):
    return hg.simplify(seed)


def steps_of(short, name):
    found = [step for step in short.steps if step.name == name]
    return [found[0].before, *(step.after for step in found)], [step.because for step in found]


def test_each_step_goes_on_where_the_last_one_ended(short):
    for one, other in zip(short.steps, short.steps[1:], strict=False):
        if one.name == other.name:
            assert one.after == other.before
    derived = {each.line.text for each in short.before.lines}
    firsts = {step.name: step for step in reversed(short.steps)}
    assert all(step.before in derived for step in firsts.values())


def test_all_steps_were_run_at_two_sets_of_sizes(short):
    assert {step.sets for step in short.steps} == {2}
    assert checked(short.steps) == "Each step was checked with numbers at two sets of sizes."


def test_what_is_put_in_and_which_fact_is_used_are_steps_of_their_own(short):
    hot = "F.one_hot(Yb, num_classes=W2.shape[1])"
    texts, why = steps_of(short, "dcounts_sum_inv")
    assert texts == [
        "dcounts_sum_inv = (dprobs * counts).sum(dim=1, keepdim=True)",
        f"dcounts_sum_inv = (-1 / n * {hot} / probs * counts).sum(dim=1, keepdim=True)",
        f"dcounts_sum_inv = -1/n * counts_sum * {hot}.sum(dim=1, keepdim=True)",
        "dcounts_sum_inv = -1/n * counts_sum",
    ]
    assert why == [
        "put in dprobs",
        "counts_sum_inv = counts_sum**-1; probs = counts * counts_sum_inv",
        "each one-hot row of Yb sums to 1",
    ]


def test_the_maxima_get_nothing_because_both_row_sums_are_one(short):
    texts, why = steps_of(short, "dlogit_maxes")
    assert texts[-1] == "dlogit_maxes = 0"
    assert why[-1] == (
        "the sums of the one-hot of Yb and probs over dim 1 are both 1 and cancel: "
        "each one-hot row of Yb sums to 1; counts_sum is the sum of counts over dim 1"
    )
    assert steps_of(short, "dlogits")[1][-1] == "a product with 0 is 0"


def test_what_is_centred_sums_to_nothing_and_it_is_said_why(short):
    _, why = steps_of(short, "dbnmeani")
    assert why[-1] == (
        "bndiff sums to 0 over dim 0, because bnmeani is the mean of hprebn over dim 0; "
        "bnraw = bndiff * bnvar_inv"
    )


def test_facts_are_said_in_words(short):
    assert {
        "bnmeani is the mean of hprebn over dim 0",
        "counts_sum is the sum of counts over dim 1",
        "each one-hot row of Yb sums to 1",
    } <= set(short.facts)


def test_steps_are_plain_data(short):
    (first, *_) = short.to_dict()["steps"]
    assert set(first) == {"name", "before", "after", "because", "sets"}


def test_a_wrong_step_is_a_bug_and_never_shown(seed, monkeypatch):
    def wrong(self, name):
        before = self.add
        self.add = lambda pattern, value, text: before(pattern, number(2), text)
        right(self, name)
        self.add = before

    right = Facts.learn_one_hot
    sound = hg.simplify(seed, start="logits", to="loss")
    monkeypatch.setattr(Facts, "learn_one_hot", wrong)
    with pytest.raises(Mismatch, match="a step of the derivation of dcounts_sum_inv does not hold"):
        _ = sound.steps
    assert hg.simplify(seed, start="logits", to="loss").refused  # the line is not written either


def test_two_sides_that_agree_today_and_not_at_other_sizes_are_refused(seed):
    places = [sized.own(Reading(seed)), sized.elsewhere(Reading(seed))]
    step = Step("db2", "db2 = db2 / n", "db2 = db2 / 13", "13 is no n")
    with pytest.raises(Mismatch):
        proved(step, places)
    assert proved(step, places[:1]).sets == 1


# Other sizes


def test_other_sizes_follow_the_program(seed):
    place = sized.elsewhere(Reading(seed))
    assert place is not None
    shapes = {n: tuple(v.shape) for n, v in place.scope.items() if isinstance(v, torch.Tensor)}
    assert place.scope["n"] == shapes["logits"][0] != 13
    assert shapes["W1"][0] == shapes["Xb"][1] * shapes["C"][1]
    assert shapes["C"] != (27, 10)


def test_a_program_with_its_sizes_in_the_text_is_checked_at_one_set():
    def forward(x):
        y = x.reshape(5, 3)
        c = y - y.mean(1, keepdim=True)
        z = c * c.exp()
        loss = z.sum()
        return loss

    short = hg.simplify(hg.derive(hg.trace(forward, x=torch.randn(15))))
    assert {step.sets for step in short.steps} <= {1}


def test_a_number_that_a_size_happens_to_be_stays_that_number():
    def forward(x):
        c = x - x.sum(0, keepdim=True) / 5
        loss = (c**2 * x).sum()
        return loss

    short = hg.simplify(hg.derive(hg.trace(forward, x=torch.randn(5, 3, dtype=torch.float64))))
    place = sized.elsewhere(Reading(short.before))
    assert place is not None
    assert place.scope["x"].shape[0] != 5
    assert all(step.sets == 2 for step in short.steps)


def test_drawn_numbers_stay_in_their_range():
    def forward(p, y):
        loss = -(p.log()[range(4), y]).mean()
        return loss

    p = torch.rand(4, 3) + 0.1
    reading = Reading(hg.derive(hg.trace(forward, p=p, y=torch.tensor([0, 2, 1, 2]), wrt=["p"])))
    place = sized.elsewhere(reading)
    if place is not None:
        assert float(place.scope["p"].min()) >= 0.1
    assert sized.own(reading).scope["p"].dtype is torch.float64


def test_a_notebook_shows_lines_and_steps(short):
    html = short._repr_html_()
    assert "<details><summary>" in html
    assert "both 1 and cancel" in html
    assert repr(short).startswith("Simplified backward of loss: ")


def test_there_are_no_steps_where_nothing_changes():
    def forward(x, W):
        loss = (x @ W).sum()
        return loss

    short = hg.simplify(hg.derive(hg.trace(forward, torch.randn(3, 2), torch.randn(2, 4))))
    assert all(step.before != step.after or step.because for step in short.steps)
