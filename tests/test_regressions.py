"""What source-to-source tools are known to get silently wrong, each by the name of its fault."""

import pytest
import torch
import torch.nn.functional as F

import handgrad as hg
from agree import agree, double


def test_repeated_indices_in_a_gather_accumulate():
    def forward(C, Xb, W):
        emb = C[Xb]
        loss = (emb * W).sum()
        return loss

    Xb = torch.tensor([[0, 2, 2], [2, 0, 4]])
    agree(forward, C=double(5, 3), Xb=Xb, W=double(2, 3, 3, seed=1))


def test_broadcast_division_sums_over_the_stretched_axis():
    def forward(e):
        probs = e / e.sum(1, keepdims=True)
        loss = (probs * probs).sum()
        return loss

    agree(forward, e=double(3, 5).exp())


def test_broadcast_division_by_a_column():
    def forward(x, s):
        y = x / s
        loss = (y**2).mean()
        return loss

    agree(forward, x=double(3, 5), s=double(3, 1, seed=1).exp())


def test_users_own_n_mask_and_s_are_not_captured():
    def forward(x, n, mask, s):
        shifted = x + n
        kept = shifted * mask
        scaled = kept * s
        total = scaled.sum(0)
        loss = (total.mean() * n) + (s * n).sum()
        return loss

    backward = agree(
        forward, x=double(3, 5), n=double(seed=1), mask=double(3, 5, seed=2), s=double(5, seed=3)
    )
    assert set(backward.run()) >= {"dx", "dn", "dmask", "ds"}


def test_scalar_named_like_a_size_keeps_its_value():
    def forward(x, n):
        y = x * n
        loss = y.mean(0).sum()
        return loss

    agree(forward, x=double(3, 5), n=7)


def test_weight_gradient_of_a_3d_times_2d_product_has_the_weights_shape():
    def forward(x, W, b):
        out = x @ W + b
        loss = (out**2).sum()
        return loss

    backward = agree(forward, x=double(2, 3, 5), W=double(5, 7, seed=1), b=double(7, seed=2))
    assert backward.run()["dW"].shape == (5, 7)


def test_indexed_assignment_in_place_blocks_the_old_entries():
    def forward(scores, y):
        margins = (scores - scores[range(5), y].unsqueeze(1) + 1).clamp(min=0)
        margins[range(5), y] = 0
        loss = margins.sum() / 5
        return loss

    agree(forward, scores=double(5, 4), y=torch.tensor([0, 3, 1, 1, 2]))


def test_slice_assignment_in_place_passes_gradient_to_what_was_written():
    def forward(x, v):
        y = x * 2
        y[:, 1:3] = v
        y[0] = y[0] * 3
        loss = (y**2).sum()
        return loss

    agree(forward, x=double(4, 5), v=double(4, 2, seed=1))


def test_augmented_assignment_is_a_new_version():
    def forward(x, y):
        h = x * y
        h += x
        h *= 2.0
        loss = (h**2).mean()
        return loss

    agree(forward, x=double(4, 5), y=double(4, 5, seed=1))


def test_augmented_assignment_of_a_part():
    def forward(x, y):
        h = x * 2
        h[1] += y
        h[:, 0] *= 3
        loss = (h**3).sum()
        return loss

    agree(forward, x=double(4, 5), y=double(5, seed=1))


def test_name_used_twice_is_two_versions():
    def forward(x):
        x = x.relu()
        x = x * x
        loss = x.sum()
        return loss

    assert len(agree(forward, x=double(4, 5)).trace.lines) == 3


def test_max_and_amax_follow_torch_at_ties():
    tied = torch.tensor([[1.0, 2.0, 2.0], [3.0, 3.0, 3.0]], dtype=torch.float64)

    def picked(x):
        m = x.max(1, keepdim=True).values
        loss = (m * m).sum()
        return loss

    def shared(x):
        m = x.amax(1)
        loss = (m * m).sum()
        return loss

    agree(picked, x=tied)
    agree(shared, x=tied)


def test_values_of_a_name_do_not_leak_between_helper_calls():
    def block(h, W):
        out = torch.tanh(h @ W)
        return out

    def forward(x, W1, W2):
        a = block(x, W1)
        b = block(a, W2)
        loss = F.mse_loss(b, x)
        return loss

    agree(forward, x=double(4, 3), W1=double(3, 5, seed=1), W2=double(5, 3, seed=2))


def test_a_gradient_that_autograd_has_no_number_for_is_no_mismatch():
    x = torch.tensor([0.0, 1.0, -2.0], requires_grad=True)
    trace = hg.trace(lambda x: ((2 * x) ** 2).pow(0.5).sum(), x=x)
    assert trace.grads["x"].isnan().tolist() == [True, False, False]
    backward = hg.derive(trace)
    assert backward.run()["dx"].tolist()[1:] == [2, -2]
    assert hg.simplify(backward).run()["dx"].tolist()[1:] == [2, -2]


@pytest.mark.parametrize("shape", [(0, 4), (0, 4, 3), (0, 4, 0)])
def test_a_group_norm_of_nothing_has_gradients_of_nothing(shape):
    def forward(x, w):
        y = F.group_norm(x, 2, w)
        loss = y.sum() + w.sum()
        return loss

    found = hg.derive(hg.trace(forward, torch.zeros(shape), torch.ones(4))).run()
    assert found["dx"].shape == shape
    assert torch.equal(found["dw"], torch.ones(4))


NOTHING = {
    "flip": lambda x: x.flip(()),
    "permute": lambda x: x.sum().permute(()),
    "expand": lambda x: x.sum().expand(()),
    "repeat": lambda x: x.sum().repeat(()),
    "reshape": lambda x: x[:1, :1].reshape(()),
    "view": lambda x: x[:1, :1].view(()),
    "zeros": lambda x: x + torch.zeros((), dtype=torch.float64),
    "new_ones": lambda x: x * x.new_ones(()),
}


@pytest.mark.parametrize("way", NOTHING)
def test_no_size_at_all_is_an_empty_tuple(way):
    def forward(x):
        y = NOTHING[way](x)
        loss = (y**2).sum()
        return loss

    agree(forward, x=double(2, 3))


CHOICES = {
    "variance": lambda x: x.var(dim=None, correction=None),
    "deviation": lambda x: x.std(1, correction=None),
    "both": lambda x: torch.var_mean(x, 0, correction=None)[0],
}


@pytest.mark.parametrize("way", CHOICES)
def test_a_correction_that_is_not_given_is_one(way):
    def forward(x):
        loss = (CHOICES[way](x) ** 2).sum()
        return loss

    agree(forward, strict=False, x=double(4, 3))


def test_a_rule_that_has_no_row_at_a_shape_asks_autograd():
    def forward(x, y):
        z = x.index_add(0, torch.tensor(0), y, alpha=-1)  # of a number
        loss = z * x
        return loss

    assert agree(forward, strict=False, x=double(), y=double()).opaque


MASKS_OF_A_NUMBER = {
    "number": lambda x, m: x[0, 0][m],
    "vector": lambda x, m: x[0][m],
    "among others": lambda x, m: x[m, 0],
    "select": lambda x, m: x[0, 0].masked_select(m),
    "select from more": lambda x, m: x.masked_select(m),
}


@pytest.mark.parametrize("holds", [True, False])
@pytest.mark.parametrize("way", MASKS_OF_A_NUMBER)
def test_a_mask_that_is_a_number_indexes_no_axis(way, holds):
    def forward(x):
        y = MASKS_OF_A_NUMBER[way](x, torch.tensor(holds))
        loss = (y**2).sum() + x.sum()
        return loss

    agree(forward, strict=False, x=double(2, 3))


WITH_INTEGERS = {
    "outer": lambda a, b: torch.outer(a[0], b[0]),
    "outer, turned": lambda a, b: torch.outer(b[0], a[0]),
    "cosine": torch.cosine_similarity,
    "power": lambda a, b: (b + 1) ** a,
    "root": lambda a, b: (a * a) ** b,
    "quotient": lambda a, b: b / (a * a + 1),
    "maximum": torch.maximum,
    "angle": lambda a, b: torch.atan2(a, b + 1),
    "sum of products": lambda a, b: torch.addcmul(a, b, a),
    "joined": lambda a, b: torch.cat([a, b]),
    "entropy": lambda a, b: torch.xlogy(b, a.exp()),
}


@pytest.mark.parametrize("name", WITH_INTEGERS)
def test_whole_numbers_beside_floats(name: str):
    torch.manual_seed(0)
    a = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    b = torch.randint(0, 3, (3, 3))
    backward = hg.derive(hg.trace(lambda a, b: (WITH_INTEGERS[name](a, b) ** 2).sum(), a, b))
    assert [each.name for each in backward.lines][-1] == "da"
