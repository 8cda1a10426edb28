"""The cross-entropy of a classifier on events, as sums over events that add up like templates."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import hist
import jax
import jax.numpy as jnp

from diffea import runtime
from diffea.errors import FillError, UnknownTemplateError, YieldError
from diffea.events.ragged import Ragged
from diffea.processor import DifferentiableProcessor, Fill
from diffea.processor.fill import fills_in
from diffea.statistics.yields import is_concrete
from diffea.templates import TemplateSet
from diffea.templates.layout import NOMINAL
from diffea.types import AnyArray, Events, Params, PyTree

SUMS = hist.axis.IntCategory([0, 1, 2], name="sums", label="loss as background, as signal; weight")


@dataclasses.dataclass(frozen=True)
class CrossEntropy:
    r"""Cross-entropy of a score that a processor histograms, from all of its events or a mini-batch: an objective to pretrain with.

    $$-\tfrac12\Big[\frac{\sum_s w \ln p}{\sum_s w} + \frac{\sum_b w \ln(1 - p)}{\sum_b w}\Big]$$

    with the weights of the fills, soft cuts included: both classes count alike, whatever their yields. It needs ``processor.fill``
    to fill the score p, within 0 and 1, into the channel, and nothing else: ``of`` makes the processor that sums up the rest.

    ::

        entropy = learning.CrossEntropy("score", signal=["ggH", "qqH"])
        with diffea.distribute(entropy.of(processor), fileset) as sums:
            first = diffea.optimise(diffea.Composite(sums, entropy), params, optimizer=optax.adam(1e-3), steps=500, batches=10)

    Args:
        channel: whose observable is the score.
        signal: the sample that is signal, or several.
        background: likewise; by default all others.
        balance: without it every event counts by its weight alone, $-\sum w [y \ln p + (1-y) \ln(1-p)] / \sum w$.

    Raises:
        UnknownTemplateError: for templates without one of the samples, or without any background.
        YieldError: if the total weight of signal or background is not positive.
    """

    channel: str
    signal: str | Sequence[str]
    background: str | Sequence[str] | None = None
    balance: bool = True

    @property
    def sums(self) -> str:
        """The channel of the sums."""
        return f"cross-entropy of {self.channel}"

    def of(self, processor: DifferentiableProcessor, *, beside: bool = False) -> DifferentiableProcessor:
        """The processor that sums up the cross-entropy.

        Args:
            processor: which fills the score.
            beside: whether to fill the channels of ``processor`` too, so that its events need not be read again for what follows; a
                step of pretraining then costs the histograms as well.

        Raises:
            FillError: if the processor has no such channel of one axis.
        """
        axes = processor.channels.get(self.channel)
        if axes is None or (isinstance(axes, tuple | list) and len(axes) != 1):
            msg = f"a cross-entropy needs a channel of one axis, the score; {self.channel!r} is none of {type(processor).__name__}.channels"
            raise FillError(msg)
        return WithCrossEntropy(processor, self.channel, self.sums, beside=beside)

    def __call__(self, templates: TemplateSet) -> jax.Array:
        """The cross-entropy, of templates of the processor that ``of`` makes."""
        signal = _several(self.signal)
        known = [sample for channel, sample, variation in templates if (channel, variation) == (self.sums, NOMINAL)]
        background = (
            tuple(sample for sample in known if sample not in signal)
            if self.background is None
            else _several(self.background)
        )
        if not (signal and background):
            msg = f"a cross-entropy tells signal from background; of {known} in {self.sums!r} {signal} are signal and {background} background"
            raise UnknownTemplateError(msg)
        of_signal, of_background = (
            jnp.sum(jnp.stack([templates[self.sums, sample].values for sample in samples]), axis=0)
            for samples in (signal, background)
        )
        _check({"signal": of_signal[..., 2], "background": of_background[..., 2]})
        if not self.balance:
            return (of_signal[..., 1] + of_background[..., 0]) / (of_signal[..., 2] + of_background[..., 2])
        return 0.5 * (of_signal[..., 1] / of_signal[..., 2] + of_background[..., 0] / of_background[..., 2])


class WithCrossEntropy(DifferentiableProcessor):
    """A processor that sums up the cross-entropy of a score of another one, see ``CrossEntropy.of``."""

    def __init__(self, processor: DifferentiableProcessor, channel: str, sums: str, *, beside: bool) -> None:
        self._processor, self._channel, self._sums, self._beside = processor, channel, sums, beside
        self.channels = {**(processor.channels if beside else {}), sums: SUMS}  # type: ignore[misc]
        self.variations = processor.variations if beside else {}  # type: ignore[misc]

    def columns(self, events: Events) -> Mapping[str, PyTree]:
        """Those of the other one."""
        return self._processor.columns(events)

    def edges(self, params: Params) -> Mapping[str, AnyArray]:
        """Those of the other one."""
        return self._processor.edges(params) if self._beside else {}

    def fill(self, params: Params, columns: Mapping[str, PyTree]) -> Iterator[Fill]:
        """For each nominal fill of the score three sums: what the event loses as background and as signal, and its weight."""
        where = f"{type(self._processor).__name__}.fill"
        for fill in fills_in(self._processor.fill(params, columns), where):
            if self._beside:
                yield fill
            if (fill.channel, fill.variation) == (self._channel, NOMINAL):
                yield from self._summands(fill, where)

    def _summands(self, fill: Fill, where: str) -> Iterable[Fill]:
        if any(isinstance(column, Ragged) for column in (*fill.observables, fill.weight)):
            msg = f"{where} fills {self._channel!r} with objects; a cross-entropy needs one score an event"
            raise FillError(msg)
        score = jnp.asarray(fill.observables[0])
        tiny = jnp.finfo(
            score.dtype
        ).tiny  # where a score of exactly 0 or 1 is wrong, the loss is −ln of it, and no gradient
        summands = -jnp.log(jnp.maximum(1 - score, tiny)), -jnp.log(jnp.maximum(score, tiny)), jnp.ones_like(score)
        for number, summand in enumerate(summands):
            weight = summand if fill.weight is None else fill.weight * summand
            yield Fill(self._sums, jnp.full(score.shape, number), weight, sample=fill.sample)


def _several(samples: str | Sequence[str]) -> tuple[str, ...]:
    return (samples,) if isinstance(samples, str) else tuple(samples)


def _check(weights: Mapping[str, jax.Array]) -> None:
    """See that total weights are positive.

    Raises:
        YieldError: naming the class whose is not.
    """

    def complain(weights: Mapping[str, AnyArray]) -> None:
        for name, weight in weights.items():
            if not (jnp.asarray(weight) > 0).all():
                msg = f"the total weight of {name} is {weight} in a cross-entropy: expected a positive number; a mini-batch may be too small"
                raise YieldError(msg)

    if is_concrete(weights):
        complain(weights)
        return
    bad = jnp.any(jnp.stack([jnp.any(~(weight > 0)) for weight in weights.values()]))
    tell = runtime.keep_error(complain)
    jax.lax.cond(bad, lambda known: jax.debug.callback(tell, known), lambda _: None, dict(weights))
