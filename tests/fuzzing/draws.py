"""Templates with randomness, state and values read out of tensors."""

from __future__ import annotations

DRAWS = {
    "dropout": [
        "$0 = F.dropout($x, 0.3)",
        "$0 = F.dropout($x, 0.5, training=True) + $x",
        "$0 = F.dropout($x, p=0.3, training=False) * $x",
        "module $N = nn.Dropout(0.4)\n---\n$0 = $N($x) * 2",
        "module $N = nn.Sequential(nn.Linear($size_n, 4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 2)).double()\n---\n"
        "$0 = $N($a{3,n})",
        "$0 = F.dropout2d($a{2,3,2,2}, 0.5)",
        "$0 = F.alpha_dropout($x, 0.3, training=True)",
        "$0 = F.feature_alpha_dropout($a{2,3,4}, 0.3, training=True)",
    ],
    "noise": [
        "$0 = $x + 0.1 * torch.randn_like($x)",
        "$0 = $x * torch.rand_like($x)",
        "$0 = $x + torch.randn($x.shape, dtype=torch.float64)",
        "$0 = torch.randn_like($x)\n$1 = $x + $0 * ($s_x * 0.1).exp()",
        "$0 = $v * torch.randint(0, 3, ($n_v,))",
        "$0 = $v[torch.randperm($v.shape[0])]",
        "$0 = torch.normal($x, 0.5) * $x",
        "$0 = torch.normal(0.0, 1.0, size=(3,), dtype=torch.float64)\n$1 = $x.sum() * $0",
    ],
    "bernoulli": [
        "$0 = torch.bernoulli($x.sigmoid())\n$1 = $0 * $x",
        "$0 = torch.bernoulli(torch.full_like($x, 0.5)) * $x",
        "$0 = (torch.rand_like($x) < 0.7).double()\n$1 = $x * $0 / 0.7",
        "$0 = torch.multinomial($q.softmax(1), 1)\n$1 = $q.gather(1, $0)",
        "$0 = torch.poisson($x.abs() + 1) * $x",
    ],
    "reparameterised": [
        "$0 = torch.distributions.Normal($x, ($s_x * 0.2).exp()).rsample()",
        "$0 = torch.distributions.Normal($x, 1.0)\n$1 = $0.rsample()\n$2 = $0.log_prob($1)",
        "$0 = torch.distributions.Normal($x, F.softplus($s_x) + 0.1)\n$1 = $0.sample()\n$2 = $0.log_prob($1) + $0.entropy()",
        "$0 = torch.distributions.Categorical(logits=$q)\n$1 = $0.sample()\n$2 = $0.log_prob($1) * 0.5",
        "$0 = torch.distributions.kl_divergence(torch.distributions.Normal($x, 0.5), torch.distributions.Normal(0.0, 1.0))",
        "$0 = torch.distributions.Uniform($x, $x + 1).rsample() * $x",
    ],
    "gumbel": [
        "$0 = F.gumbel_softmax($v, tau=0.7)",
        "$0 = F.gumbel_softmax($v, tau=1.0, hard=True)\n$1 = $0 * $s_v",
        "$0 = F.gumbel_softmax($v, hard=False, dim=0) + $v",
    ],
    "drawn_in_place": [
        "$0 = torch.empty_like($x).uniform_(0, 1)\n$1 = $x * $0",
        "$0 = torch.zeros_like($x)\n$0.normal_()\n$1 = $x + $0",
        "$0 = torch.empty($x.shape, dtype=torch.float64).bernoulli_(0.6)\n$1 = $x * $0",
        "$0 = torch.empty_like($x).exponential_()\n$1 = $x - 0.1 * $0.log()",
        "$0 = $x * 1\n$0.data.add_(torch.rand_like($0))\n$1 = $0 * 2",
        "$0 = $x.new_empty($x.shape).uniform_(-1, 1)\n$1 = $x + $0",
    ],
    "rrelu": ["$0 = F.rrelu($x, training=True)", "$0 = F.rrelu($x, 0.1, 0.3, training=False)"],
}

STATE = {
    "batch_norm": [
        "module $N = nn.BatchNorm1d($size_n).double()\n---\n$0 = $N($a{4,n})",
        "module $N = nn.BatchNorm2d($size_c, momentum=0.3).double()\n---\n$0 = $N($a{3,c,2,2}).relu()",
        "module $N = nn.BatchNorm1d($size_n, affine=False).double()\n---\n$0 = $N($a{5,n})\n$1 = $N($a1{4,n})",
        "module $N = nn.BatchNorm1d($size_n).double().eval()\n---\n$0 = $N($a{3,n})",
        "$0 = F.batch_norm($a{4,n}, torch.zeros($size_n).double(), torch.ones($size_n).double(), $a{n}, None, True)",
        "module $N = nn.BatchNorm1d($size_n, track_running_stats=False).double()\n---\n$0 = $N($a{4,n})",
    ],
    "item": [
        "$0 = $x.sum().item()\n$1 = $x * $0",
        "$0 = $x * float($x.max())",
        "$0 = $a{n}.tolist()\n$1 = $x * $0[0]",
        "$0 = $x / $x.detach().abs().max().item()",
        "$0 = int($i{n|3}[0])\n$1 = $x * ($0 + 1)",
        "$0 = $x.detach().numpy().mean()\n$1 = $x - $0",
    ],
    "branch": [
        "if $x.sum() > 0:\n    $0 = $x * 2\nelse:\n    $0 = $x.tanh()",
        "$0 = $x.exp() if ($x < 1).all() else $x.sin()",
        "$0 = $x\nfor _ in range(3):\n    if $0.abs().mean() > 0.1:\n        $0 = $0 * 0.5\n$1 = $0 + 1",
        "$0 = $x\nwhile $0.norm() > 1:\n    $0 = $0 / 2\n$1 = $0 * $x",
        "if $v.shape[0] > 2 and bool($v[0].sum() < 5):\n    $0 = $v[:1] * 3\nelse:\n    $0 = $v",
        "$0 = $x[$mask_x]\n$1 = $0.sum() if len($0) else $x.sum()",
        "assert not $x.isnan().any()\n$0 = $x.cos()",
    ],
}
