"""Templates in which the graph is not that of the lines: constants, custom backwards, transforms, hooks."""

from __future__ import annotations

CONSTANTS = {
    "no_grad": [
        "with torch.no_grad():\n    $0 = $x.tanh() * 0.5\n$1 = ($x - $0) ** 2",
        "with torch.no_grad():\n    $0 = $v @ $w_v\n$1 = $v @ $w_v - 0.9 * $0",
        "with torch.no_grad():\n    $0 = 0.9 * $x + 0.1 * $s_x\n    $1 = $0.mean()\n$2 = $x * $1 + $0",
        "@torch.no_grad()\ndef $f(a):\n    b = a.exp()\n    return b / (1 + b)\n---\n$0 = $f($x)\n$1 = $x * $0",
        "with torch.no_grad():\n    $0 = $q.argmax(1)\n$1 = $q[range($q.shape[0]), $0]",
        "with torch.no_grad():\n    $0 = $q.max(1).values\n$1 = ($q[:, 0] - (1 + 0.99 * $0)) ** 2",
    ],
    "inference_mode": [
        "with torch.inference_mode():\n    $0 = float($x.mean())\n$1 = $x * $0",
        "with torch.inference_mode():\n    $0 = $x.sigmoid()\n$1 = $x + $0.clone()",
    ],
    "set_grad_enabled": [
        "with torch.set_grad_enabled(False):\n    $0 = $x.cos()\n$1 = $x * $0",
        "torch.set_grad_enabled(False)\n$0 = $x.sin() * $s_x\ntorch.set_grad_enabled(True)\n$1 = $x + $0 * $x",
        "with torch.no_grad():\n    with torch.enable_grad():\n        $0 = $x.sin()\n    $1 = $x.cos()\n$2 = $0 * $1",
    ],
    "detach": [
        "$0 = $x.detach()\n$1 = ($x - $0) * $s_x",
        "$0 = $x - $x.max().detach()",
        "$0 = $x + ($x.round() - $x).detach()",
        "$0 = ($x.sign() - $x).detach() + $x",
        "$0 = $x.data * 2\n$1 = $x * $0",
        "$0 = 0.99 * $s_x.data + 0.01 * $x.data\n$1 = ($x - $0).pow(2)",
        "$0 = $v.detach().clone()\n$0[0] = 0.5\n$1 = $v * $0",
    ],
    "requires_grad_inside": [
        "$0 = $x.detach().clone().requires_grad_()\n$1 = $0 * $x",
        "$0 = torch.ones(3, dtype=torch.float64, requires_grad=True)\n$1 = $x.sum() * $0",
    ],
}

FUNCTIONS = {
    "straight_through": [
        "class $C(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, a):\n        return a.sign()\n\n"
        "    @staticmethod\n    def backward(ctx, g):\n        return g\n---\n$0 = $C.apply($x)\n$1 = $0 * $s_x",
        "class $C(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, a):\n"
        "        ctx.save_for_backward(a)\n        return (a > 0).to(a.dtype)\n\n"
        "    @staticmethod\n    def backward(ctx, g):\n        (a,) = ctx.saved_tensors\n"
        "        return g / (1 + a.abs()) ** 2\n---\n$0 = $C.apply($x - 0.1)\n$1 = $0 + $x",
    ],
    "gradient_reversal": [
        "class $C(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, a, scale):\n"
        "        ctx.scale = scale\n        return a.view_as(a)\n\n    @staticmethod\n"
        "    def backward(ctx, g):\n        return -ctx.scale * g, None\n---\n"
        "$0 = $C.apply($x, 0.5)\n$1 = $0.tanh()",
        "class $C(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, a):\n"
        "        return a.clone()\n\n    @staticmethod\n    def backward(ctx, g):\n        return g.neg()\n---\n"
        "$0 = $C.apply($x.sin())",
    ],
    "scaled_function": [
        "class $C(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, a, b):\n"
        "        ctx.save_for_backward(a, b)\n        return a * b\n\n    @staticmethod\n"
        "    def backward(ctx, g):\n        a, b = ctx.saved_tensors\n        return 3 * g * b, g * a\n---\n"
        "$0 = $C.apply($x, $s_x)",
        "class $C(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, a):\n"
        "        ctx.save_for_backward(a)\n        return a.exp(), a * 2\n\n    @staticmethod\n"
        "    def backward(ctx, g, h):\n        (a,) = ctx.saved_tensors\n"
        "        return (g * a.exp()).clamp(-1, 1) + h\n---\n$0, $1 = $C.apply($x)\n$2 = $0 * $1",
        "class $C(torch.autograd.Function):\n    @staticmethod\n    def forward(a):\n        return a * a\n\n"
        "    @staticmethod\n    def setup_context(ctx, inputs, output):\n"
        "        ctx.save_for_backward(inputs[0])\n\n    @staticmethod\n    def backward(ctx, g):\n"
        "        return g * ctx.saved_tensors[0]\n---\n$0 = $C.apply($x)",
    ],
    "gradient_inside": [
        "$0 = $s_x * $x.tanh() + $x**3\n$1 = torch.autograd.grad($0.sum(), $x, create_graph=True)[0]\n$2 = ($1**2).sum()",
        "$0 = $q.detach().clone().requires_grad_()\n$1 = ($0 @ $w_q).tanh().sum()\n"
        "($2,) = torch.autograd.grad($1, $0, create_graph=True)\n$3 = (($2.norm(dim=1) - 1) ** 2).mean()",
        "$0 = ($x * 2).sigmoid()\n$1 = torch.autograd.grad($0, $x, grad_outputs=torch.ones_like($0), create_graph=True)\n"
        "$2 = $1[0] * $x",
        "$0 = $x.sin()\n$1 = torch.autograd.grad($0.sum(), $x)[0]\n$2 = $1 * $x",
        "$0 = $v.exp() * 0.1\n$1, $2 = torch.autograd.grad(($0 * $s_v).sum(), [$v, $s_v], create_graph=True)\n$3 = $1 * $2",
    ],
    "func_grad": [
        "$0 = torch.func.grad(lambda a: (a.tanh() * $s_x).sum())($x)",
        "$0 = torch.func.grad(lambda a: (a**3).sum())($x) * $x",
        "$0, $1 = torch.func.grad_and_value(lambda a: a.sin().sum())($x)\n$2 = $0 * $1",
    ],
    "func_jvp": [
        "$0, $1 = torch.func.jvp(lambda a: a.tanh() * a, ($x,), ($s_x,))\n$2 = $0 + $1",
        "$0, $1 = torch.func.jvp(torch.sin, ($x,), (torch.ones_like($x),))\n$2 = $1 * $x",
    ],
    "func_vjp": [
        "$0, $1 = torch.func.vjp(lambda a: a.exp() * 0.1, $x)\n($2,) = $1($s_x)\n$3 = $0 * $2",
    ],
    "vmap": [
        "$0 = torch.vmap(torch.sin)($v)",
        "$0 = torch.func.vmap(lambda a: a * a.sum())($v)",
        "$0 = torch.vmap(lambda a: a @ $w_q)($q)",
        "$0 = torch.vmap(torch.dot)($q, $s_q)",
        "$0 = torch.func.jacrev(lambda a: a.tanh() * a.sum())($a{n})",
        "$0 = torch.func.hessian(lambda a: (a**3).sum())($a{n})",
    ],
    "jit_script": [
        "@torch.jit.script\ndef $f(a, b):\n    return torch.tanh(a * b) + a\n---\n$0 = $f($x, $s_x)",
        "@torch.jit.script\ndef $f(a):\n    return a * torch.sigmoid(1.5 * a)\n---\n$0 = $f($x) * $x",
    ],
    "tensor_hook": [
        "$0 = $x * 2\n$0.register_hook(lambda g: g * 10)\n$1 = $0.sin()",
        "$0 = $x.tanh()\n$0.register_hook(lambda g: g.clamp(-0.01, 0.01))",
        "$0 = $x * $s_x\n$0.register_hook(lambda g: None)\n$1 = $0 + $x",
        "$0 = $x.exp() * 0.1\n$0.retain_grad()\n$1 = $0 * $x",
        "seen = []\n$0 = $x * 3\n$0.register_hook(seen.append)\n$1 = $0.cos()",
    ],
    "module_hook": [
        "module $N = nn.Linear($size_n, 3).double()\n\n"
        "def $f(m, given, made):\n    return made * 2\n---\n"
        "handle = $N.register_forward_hook($f)\n$0 = $N($a{2,n})\nhandle.remove()",
        "module $N = nn.Linear($size_n, 2).double()\n\n"
        "def $f(m, given):\n    return (given[0] + 1,)\n---\n"
        "handle = $N.register_forward_pre_hook($f)\n$0 = $N($a{3,n})\nhandle.remove()",
        "module $N = nn.Linear($size_n, 2).double()\n\n"
        "def $f(m, gin, gout):\n    return tuple(None if g is None else g * 3 for g in gin)\n---\n"
        "handle = $N.register_full_backward_hook($f)\n$0 = $N($a{3,n} * 1)",
    ],
    "checkpoint": [
        "$0 = checkpoint(lambda a: (a.tanh() * $c).exp(), $x, use_reentrant=False)",
        "$0 = checkpoint(lambda a, b: a.sin() * b, $x, $s_x, use_reentrant=False) + $x",
        "$0 = checkpoint(lambda a: a.sigmoid() * a, $x * 1, use_reentrant=True)",
        "def $f(a, b):\n    h = a * b\n    return h.relu() + a\n---\n$0 = checkpoint($f, $x * 1, $s_x, use_reentrant=True)\n$1 = $0 * 2",
        "module $N = nn.Linear($size_n, 3).double()\n---\n$0 = checkpoint($N, $a{2,n}, use_reentrant=False)",
    ],
}
