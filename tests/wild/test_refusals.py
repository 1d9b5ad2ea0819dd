"""What public code does and handgrad refuses: by name, with the line, never by another error."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import handgrad as hg
from agree import double as real
from steps import Cases

refused = Cases()
WORDS = {
    "StackedLstm": "draws numbers that it does not show",
    "TurnedByComplex": "handgrad works on real tensors",
    "Spectrum": "handgrad works on real tensors",
    "CutOff": "does not depend on any leaf",
}


@refused(real(5, 2, 4))
class StackedLstm(nn.Module):
    """Dropout between the layers of a library LSTM."""

    def __init__(self):
        super().__init__()
        self.l = nn.LSTM(4, 3, num_layers=2, dropout=0.5)

    def forward(self, x):
        return self.l(x)[0].pow(2).sum()


@refused(real(2, 3, 4))
class TurnedByComplex(nn.Module):
    """Rotary positions by complex numbers."""

    def __init__(self):
        super().__init__()
        self.q = nn.Linear(4, 4, bias=False)

    def forward(self, x):
        turn = torch.polar(torch.ones(3, 2), torch.outer(torch.arange(3.0), torch.ones(2)))
        q = torch.view_as_complex(self.q(x).reshape(2, 3, 2, 2))
        return torch.view_as_real(q * turn).flatten(2).pow(3).sum()


@refused(real(3, 8))
class Spectrum(nn.Module):
    """Periods found by the Fourier transform of a layer's output."""

    def __init__(self):
        super().__init__()
        self.l = nn.Linear(8, 8)

    def forward(self, x):
        return torch.fft.rfft(self.l(x), dim=-1).abs().mean(0).topk(2).values.sum()


@refused(real(3, 4))
class CutOff(nn.Module):
    """A loss of detached values alone."""

    def __init__(self):
        super().__init__()
        self.l = nn.Linear(4, 1)

    def forward(self, x):
        return F.mse_loss(self.l(x).detach(), x[:, :1].detach())


@pytest.mark.parametrize("name", refused.every)
def test_it_is_refused_by_name(name):
    net, *batch = refused.made(name)
    with pytest.raises(hg.HandgradError, match=WORDS[name]) as caught:
        hg.derive(hg.trace(net, *batch))
    assert caught.value.exit_code != 4  # a bug in handgrad
    assert "test_refusals.py" in caught.value.message
