"""The derivation as LaTeX: a document that is whole, in index notation."""

import re
import shutil
import subprocess

import pytest
import torch
from matplotlib.mathtext import MathTextParser

import handgrad as hg
from handgrad.models import character_mlp
from handgrad.simplify.tex import escaped
from simplify.cases import CASES
from simplify.running import backward_of

FIRST = [pytest.param(c.spellings[0], id=c.name) for c in CASES]


@pytest.fixture(scope="module")
def seed():
    g = torch.Generator().manual_seed(1)
    given = character_mlp.parameters(27, g, n_hidden=11)
    Xb, Yb = torch.randint(27, (13, 3), generator=g), torch.randint(27, (13,), generator=g)
    return hg.derive(hg.trace(character_mlp.small_steps, **given, Xb=Xb, Yb=Yb, n=13))


def rows(document):
    """Return the formulas, one each."""
    bodies = re.findall(r"\\begin\{align\*\}\n(.*?)\n\\end\{align\*\}", document, re.DOTALL)
    return [row for body in bodies for row in body.split(" \\\\\n") if "parbox" not in row]


def whole(document):
    """Assert that the document is one that LaTeX takes."""
    depth = 0
    for character in re.sub(r"\\[\\{}%$#&_]", "", document):
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    assert depth == 0
    assert document.isascii()
    assert document.count(r"\left") == document.count(r"\right")
    assert document.count(r"\begin{") == document.count(r"\end{")
    plain = re.sub(
        r"\\begin\{align\*\}.*?\\end\{align\*\}|\$[^$]*\$", "", document, flags=re.DOTALL
    )
    body = plain.split(r"\begin{document}")[1]
    assert not re.search(r"(?<!\\)[_&#^~%]", body)
    for row in rows(document):
        assert row.count("&") == 1


def test_cross_entropy_in_index_notation(seed):
    document = hg.simplify(seed, start="logits", to="loss").latex()
    assert document.startswith("\\documentclass{article}\n% Written by handgrad")
    assert (
        r"\frac{\partial L}{\partial \mathrm{logits}_{ij}} &= "
        r"\frac{\mathrm{probs}_{ij} - \mathbf{1}[\mathrm{Yb}_{i} = j]}{n}"
    ) in document
    assert (
        r"&= \sum_{j} \frac{\partial L}{\partial \mathrm{probs}_{ij}}\, \mathrm{counts}_{ij}"
        in document
    )
    assert r"counts\_sum is the sum of counts over dim 1" in document
    assert "two sets of sizes" in document
    assert "mathtt" not in document


def test_batch_norm_in_index_notation(seed):
    document = hg.simplify(seed, start="hprebn", to="hpreact").latex()
    assert r"\frac{1}{n}\, \sum_{k} \frac{\partial L}{\partial \mathrm{hpreact}_{kj}}" in document
    assert r"$L$ is any scalar made of it" in document


def test_the_whole_seed(seed):
    document = hg.simplify(seed).latex()
    whole(document)
    assert r"\sum_{k} h_{ki}\, \frac{\partial L}{\partial \mathrm{logits}_{kj}}" in document
    assert r"\sum_{k,l} \mathbf{1}[\mathrm{Xb}_{kl} = i]" in document
    assert r"\operatorname{argmax}_{k} \mathrm{logits}_{ik} = j" in document


@pytest.mark.parametrize("spelling", FIRST)
def test_every_textbook_case(spelling):
    _, after = backward_of(spelling.file)
    document = after.latex()
    whole(document)
    parser = MathTextParser("path")
    for row in rows(document):
        # what matplotlib has no word for
        formula = row.replace("&", "").replace(r"\linewidth", "")
        parser.parse(f"${formula}$")


@pytest.mark.parametrize("engine", ["pdflatex", "tectonic"])
def test_it_compiles(engine, seed, tmp_path):
    if not shutil.which(engine):
        pytest.skip(f"there is no {engine} here")
    path = tmp_path / "out.tex"
    path.write_text(hg.simplify(seed).latex(), encoding="utf-8")
    arguments = ["-interaction=nonstopmode"] if engine == "pdflatex" else []
    subprocess.run([engine, *arguments, path.name], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "out.pdf").stat().st_size > 1000


def test_plain_text_is_escaped():
    assert escaped("a_b & 5% of {x} #1 ^ ~ $ \\") == (
        r"a\_b \& 5\% of \{x\} \#1 \textasciicircum{} \textasciitilde{} \$ \textbackslash{}"
    )
