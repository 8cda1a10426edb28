"""What of an analysis's text is copied, and what is refused, with file and line."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from diffea.errors import ExportError
from diffea.export.slicing import Slice, import_lines

HEAD = """
from __future__ import annotations

import functools
from typing import Any

import hist
import jax
import jax.numpy as jnp
import numpy as np

from diffea import DifferentiableProcessor, Fill, Ragged, soft
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Import a module of this text."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text: str, name: str = "sliced_analysis"):
        (tmp_path / f"{name}.py").write_text(HEAD + textwrap.dedent(text))
        monkeypatch.delitem(sys.modules, name, raising=False)
        module = __import__(name)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return write


def processor(fill: str, *, body: str = "", before: str = "") -> str:
    """The text of a processor whose ``fill`` ends with these lines."""
    lines = textwrap.indent(textwrap.dedent(fill).strip(), " " * 8)
    return (
        f"{textwrap.dedent(before)}\n\nclass Search(DifferentiableProcessor):\n"
        "    channels = {'c': hist.axis.Regular(2, 0, 1, name='x')}\n"
        f"{textwrap.indent(textwrap.dedent(body), ' ' * 4)}\n"
        "    def columns(self, events):\n        return {'x': events.x}\n\n"
        f"    def fill(self, params, columns):\n{lines}\n        yield Fill('c', columns['x'])\n"
    )


def sliced(module) -> str:
    """The text of the file."""
    found = Slice()
    found.need_processor(module.Search)
    imports, body = found.source()
    return f"from __future__ import annotations\n{imports}\n\n{body}\n"


@pytest.mark.parametrize(
    ("fill", "names"),
    [
        ("x = jax.lax.scan(lambda a, b: (a, b), 0.0, columns['x'])", "jax.lax.scan"),
        ("x = columns['x'].at[0].set(1.0)", "`.at[…]`"),
        ("x = jax.tree.map(abs, params)", "jax.tree.map"),
        ("x = jnp.vectorize", None),
        ("x = jnp.iscomplexobj", None),
        ("x = jnp.bfloat16(3)", "jax.numpy.bfloat16|jnp.bfloat16"),
        ("import optax as o\nx = soft.reweight", "soft.reweight"),
        ("from jax.scipy.special import erf", "jax.scipy.special"),
    ],
)
def test_what_numpy_has_not_is_refused_with_its_line(written, fill: str, names: str | None) -> None:
    module = written(processor(fill))
    if names is None:
        assert "jnp" not in sliced(module)
        return
    with pytest.raises(ExportError) as refused:
        sliced(module)
    message = str(refused.value)
    lines = Path(module.__file__).read_text().splitlines()
    line = next(int(word.rstrip(":,")) for word in message.split("line ")[1].split() if word.rstrip(":,").isdigit())
    assert any(name in message for name in names.split("|")), message
    assert f"`{lines[line - 1].strip()}`" in message
    assert module.__file__ in message


def test_only_what_is_needed_is_copied(written) -> None:
    module = written(
        processor(
            "x = self.used() + helper(2) + TABLE['b']",
            body="def used(self):\n    return self.limit\n\nlimit = 3\n\ndef unused(self):\n    return jax.devices()\n",
            before="""
            # what counts
            TABLE = {"a": 1}
            TABLE["b"] = 2
            '''By name.'''
            UNUSED = jax.devices()

            def helper(x: jax.Array) -> Any:
                return jnp.sqrt(x) + deeper(x) + sum(y for y in range(3))

            @functools.cache
            def deeper(jnp):
                return jnp  # a name of its own
            """,
        )
    )
    text = sliced(module)
    scope: dict = {}
    exec(compile(text, "processor.py", "exec"), scope)
    assert scope["helper"](4) == 2 + 4 + 3
    assert scope["TABLE"] == {"a": 1, "b": 2}
    assert "UNUSED" not in text
    assert "unused" not in text
    assert "# what counts\nTABLE" in text
    assert "np.sqrt(x) + deeper(x)" in text
    assert "def deeper(jnp):\n    return jnp  # a name of its own" in text
    assert "def helper(x: Any) -> Any" in text
    assert "jax." not in text.replace("jax.numpy is", "")


def test_code_of_another_module_comes_along_under_its_name(written) -> None:
    written("SCALE = 2.0\n\ndef scaled(x):\n    return SCALE * x\n", "sliced_helper")
    module = written(
        processor(
            "x = scaled_by_two(3) + sliced_helper.SCALE",
            before="import sliced_helper\nfrom sliced_helper import scaled as scaled_by_two\n",
        )
    )
    text = sliced(module)
    scope: dict = {}
    exec(compile(text, "processor.py", "exec"), scope)
    assert scope["scaled"](3) == 6
    assert "x = scaled(3) + SCALE" in text
    assert "sliced_helper" not in text


def test_what_is_changed_in_place_is_an_array_of_its_own(written) -> None:
    module = written(
        processor(
            """
            both = columns["x"]
            both *= (params["a"]
                     + 1)
            both = helper(both, [])
            names = ["a"]
            names += ["b"]
            self.kept = both, columns["x"], names
            """,
            before="""
            def helper(x, more):
                same = x
                x -= jnp.sqrt(4.0) ; more += x.shape
                x = x[jnp.argsort(-x)]
                return x + same * 0 + len(more)
            """,
        )
    )
    text = sliced(module)
    scope: dict = {}
    exec(compile(text, "processor.py", "exec"), scope)
    found, x = scope["Search"]({"params": [], "edges": {}, "split": None}), np.array([1.0, 5.0, 3.0])
    list(found.fill({"a": 1.0}, {"x": x}))
    both, column, names = found.kept
    np.testing.assert_array_equal(column, [1.0, 5.0, 3.0])
    np.testing.assert_array_equal(both, [9.0, 5.0, 1.0])
    assert names == ["a", "b"]
    assert 'names += ["b"]' in text


def test_a_name_whose_place_is_not_known_is_replaced_rightly_or_refused(written) -> None:
    module = written(processor("x = f'{jnp.pi:.2f} and {jnp.sqrt(4.0)}'\nself.kept = x"))
    try:
        text = sliced(module)
    except ExportError as refused:
        assert "out of an f-string" in str(refused)  # noqa: PT017
    else:
        assert "f'{np.pi:.2f} and {np.sqrt(4.0)}'" in text
    with pytest.raises(ExportError, match="write it on one line"):
        sliced(written(processor("x = (jnp\n.sqrt(4.0))")))


def test_two_things_of_one_name_are_refused(written) -> None:
    written("SCALE = 2.0\n\ndef scaled(x):\n    return SCALE * x\n", "sliced_helper")
    module = written(processor("x = scaled(SCALE)", before="from sliced_helper import scaled\nSCALE = 3.0\n"))
    with pytest.raises(ExportError, match="'SCALE' is one thing here and another"):
        sliced(module)


def test_a_class_within_a_function_and_code_without_a_file_are_refused(written) -> None:
    text = "def make():\n" + textwrap.indent(processor("x = 1"), "    ") + "    return Search\n\nSearch = make()\n"
    with pytest.raises(ExportError, match="is not at the top level of"):
        sliced(written(text))
    scope = {"__name__": "__main__"}
    exec(HEAD + processor("x = 1"), scope)
    module = type(sys)("cell")
    module.Search = scope["Search"]  # type: ignore[attr-defined]
    module.Search.__module__ = "a_cell_of_a_notebook"
    with pytest.raises(ExportError, match="has no file"):
        sliced(module)


def test_imports_are_in_two_groups() -> None:
    lines = {
        "import numpy as np",
        "from typing import Any",
        "from typing import ClassVar",
        "import json",
        "from x import y as z",
    }
    assert import_lines(lines) == (
        "import json\nfrom typing import Any, ClassVar\n\nimport numpy as np\nfrom x import y as z"
    )


def test_every_twin_is_one_of_diffea_or_jax_and_gives_the_same() -> None:
    import jax

    from diffea import Ragged, soft
    from diffea.export.plain import cuts, functions
    from diffea.export.plain.ragged import Ragged as Plain

    rng = np.random.default_rng(1)
    mask = rng.uniform(size=(50, 4)) < 0.6
    mask = np.sort(mask, axis=1)[:, ::-1]
    values, others = rng.normal(size=(2, 50, 4))
    x = rng.normal(size=50)
    logits = np.array([0.1, 2.0, 0.3])

    def both(kind):
        return kind(values, mask), kind(others, mask)

    def calls(module, prefix, kind):
        name = lambda one: getattr(module, f"{prefix}{one}" if prefix else {"not": "not_"}.get(one, one))
        a, b = both(kind)
        n = kind(np.rint(4 * values).astype(int), mask)
        cut = name("above")(a, 0.1, width=1.0)
        yield from (cut, name("below")(b, x, width=1.0), name("between")(a, -0.5, 0.5, width=1.0))
        yield from (
            name("outside")(x, -0.5, 0.5, width=1.0),
            name("not")(cut),
            name("any_of")(cut, name("above")(b, 0.0, width=1.0)),
            name("any_of")(cut, name("above")(kind(others, mask & (values < 0)), 0.0, width=1.0), x > 1),
        )
        yield from (name("all_of")(cut, x > 0), name("count")(cut), name("sum")(a, cut), name("sum")(a))
        for n in (0, 2, 5):
            yield from (name(kind_of)(n, cut) for kind_of in ("at_least", "at_most", "exactly"))
        yield from (
            name("leading")(2, a, cut, by=b, default=-1.0),
            name("nth")(1, cut, b),
            name("max")(a),
            name("min")(a, cut),
        )
        yield from (
            name("choice")(logits, values[:3]),
            *name("pairs")(a),
            *name("pairs")(kind(values[:, :1], mask[:, :1])),
        )
        yield from (name("rank")(a, strength=1.0), name("sort")(a, strength=1.0))
        yield from (
            a / (b + 3.0),
            2 - a,
            a**2,
            -a,
            abs(a),
            ~(a > 0) & (b < 1),
            (n & 2) | ~(n ^ 5),
            a.keep(b > 0).num(),
            (a * x).sum(),
            a.apply(np.hypot, b),
        )

    with soft.hard():
        theirs = list(calls(soft, "", Ragged))
    ours = list(calls(cuts, "hard_", Plain))
    assert len(ours) == len(theirs) > 35
    for here, there in zip(ours, theirs, strict=True):
        if isinstance(here, Plain):
            np.testing.assert_array_equal(here.mask, there.mask)
            here, there = here.where(0), there.where(0)
        np.testing.assert_array_equal(here, np.asarray(there))
    for name in ("sigmoid", "relu", "softplus", "softmax"):
        np.testing.assert_allclose(
            getattr(functions, name)(30 * x), getattr(jax.nn, name)(30 * x), rtol=1e-12, atol=1e-300
        )
    np.testing.assert_array_equal(functions.one_hot([0, 2], 3), jax.nn.one_hot(np.array([0, 2]), 3))
