"""HistFactory models in pure JAX: a pyhf specification, bound to numbers that may be traced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import EllipsisType
from typing import Any

import numpy as np

from diffea.errors import SpecError
from diffea.notebook import tables
from diffea.statistics.bound import BoundModel
from diffea.statistics.config import ModelConfig, refuse_several_pois
from diffea.statistics.formats import datacard_read
from diffea.statistics.formats.datacard_write import write_datacard
from diffea.statistics.formats.hs3_read import read_hs3
from diffea.statistics.formats.hs3_write import write_hs3
from diffea.statistics.layout import Layout, make_layout
from diffea.statistics.pieces import FIELDS, Pieces, pieces_of, places
from diffea.statistics.settings import Settings, interpolation_codes
from diffea.statistics.spec import Key, read_spec, read_workspace, with_measurement
from diffea.statistics.workspace import measurement_name, write_workspace
from diffea.statistics.yields import Yields, check_shapes, check_yields, count_bins, gather, is_concrete

_DEFAULT_POI = "mu"


class HistFactory:
    """A HistFactory model from a pyhf specification in which numbers may be template names.

    ``model(templates)`` binds it. A list of numbers may be ``"ztt"`` (the template of that sample in the same channel)
    or ``"ztt:tes_up"`` (a variation of it); for staterror and shapesys the square root of the template's variances.

    >>> spec = {"channels": [{"name": "sr", "samples": [
    ...     {"name": "signal", "data": [5.0, 10.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
    ...     {"name": "background", "data": [50.0, 60.0], "modifiers": [
    ...         {"name": "norm", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}]}]}]}
    >>> bound = diffea.HistFactory(spec)()
    >>> bound.config.par_names
    ['mu', 'norm']
    >>> bound.expected_data([1.0, 0.0], include_auxdata=False).tolist()
    [55.0, 70.0]

    Args:
        spec: dict with ``channels`` and ``parameters``, pyhf's schema ``model.json``; if it has ``measurements``, the first
            one's parameters count too.
        poi_name: parameter of interest, None or "" for none; by default that of the first measurement, or without any
            ``"mu"``, if there is one.
        modifier_settings: interpolation codes as in pyhf, ``{"normsys": {"interpcode": "code4"}, "histosys":
            {"interpcode": "code4p"}}`` by default. As in pyhf a code that given settings leave out is 1 or 0.

    Raises:
        SpecError: where pyhf refuses the specification; with the place in it.
    """

    def __init__(
        self,
        spec: Mapping[str, Any],
        *,
        poi_name: str | EllipsisType | None = ...,
        modifier_settings: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self._source, measured = with_measurement(spec)
        self.spec = read_spec(self._source)
        names = self.spec.modifier_names
        if isinstance(poi_name, EllipsisType):
            poi_name = measured if measured is not None or _DEFAULT_POI not in names else _DEFAULT_POI
        if poi_name and poi_name not in names:
            msg = f"the parameter of interest {poi_name!r} is not one of the modifiers {names}"
            raise SpecError(msg)
        codes = interpolation_codes(modifier_settings)
        self.settings = Settings(codes["normsys"], codes["histosys"], poi_name or None)
        self.observations: dict[str, list[float]] | None = None
        self._measurement = measurement_name(spec)
        self._structures: dict[tuple[int, ...], tuple[Layout, Pieces]] = {}
        if not self.template_keys:
            self._structure(count_bins(self.spec, None))

    @classmethod
    def from_workspace(
        cls,
        workspace: Mapping[str, Any],
        *,
        patches: Sequence[Any] = (),
        measurement: str | None = None,
        modifier_settings: Mapping[str, Mapping[str, str]] | None = None,
    ) -> HistFactory:
        """The model of a finished pyhf workspace; its observations stay aside until asked for by name.

        Args:
            workspace: the workspace (its JSON, read).
            patches: JSON patches (lists of operations), or patches of a `pyhf.PatchSet` by name
                (``pyhf.PatchSet(json.load(file))["its name"]``), applied in turn.
            measurement: name of the measurement; the first by default.
            modifier_settings: see `HistFactory`.

        Raises:
            SpecError: where pyhf refuses it.
        """
        spec, poi, observations = read_workspace(workspace, patches, measurement)
        model = cls(spec, poi_name=poi, modifier_settings=modifier_settings)
        absent = sorted({channel.name for channel in model.spec.channels} - set(observations))
        if absent:
            msg = f"the workspace has no observations for channel(s) {absent}"
            raise SpecError(msg)
        model.observations = observations
        model._measurement = measurement or measurement_name(workspace)
        if not model.template_keys:
            bins = count_bins(model.spec, None)
            for name, n in bins.items():
                if len(observations[name]) != n:
                    msg = f"observations of {name!r}: expected {n} bins, got {len(observations[name])}"
                    raise SpecError(msg)
        return model

    @classmethod
    def from_hs3(cls, document: Mapping[str, Any], *, analysis: str | None = None) -> HistFactory:
        """The model of an HS3 document (its JSON, read) whose distributions are ``histfactory_dist``, with its observations.

        Args:
            document: the document.
            analysis: name of the analysis; the first by default.

        Raises:
            FormatError: if a part is missing, or pyhf has no counterpart; with the place.
        """
        workspace, codes = read_hs3(document, analysis)
        return cls.from_workspace(workspace, modifier_settings=codes)

    @classmethod
    def from_datacard(cls, path: str | Path) -> HistFactory:
        """The model of a text datacard of CMS' Combine with TH1 histograms or none, with its observations.

        `diffea.statistics.formats.datacard_read` says what each of its lines becomes; the parameter of interest is ``r``.

        Args:
            path: of the card; its ROOT files lie relative to it.

        Raises:
            FormatError: for what has no counterpart in HistFactory; with the file, the line and what to do.
        """
        return cls.from_workspace(datacard_read.read_datacard(path), modifier_settings=datacard_read.CODES)

    @property
    def modifier_settings(self) -> dict[str, dict[str, str]]:
        """The interpolation codes, as pyhf takes them."""
        return {kind: {"interpcode": getattr(self.settings, kind)} for kind in ("normsys", "histosys")}

    @property
    def template_keys(self) -> tuple[Key, ...]:
        """The (channel, sample, variation) of all templates that the specification names."""
        return tuple(dict.fromkeys(source.key for *_, source in self.spec.sources() if source.key is not None))

    @property
    def yields(self) -> Yields:
        """All numbers of a specification without template names, as a pytree.

        Raises:
            YieldError: if the specification names templates.
        """
        _, pieces = self._structure(count_bins(self.spec, None))
        return gather(pieces, None)

    @property
    def places(self) -> dict[str, list[str]]:
        """For every field of `yields`, where each entry stands in the specification."""
        _, pieces = self._structure(count_bins(self.spec, None))
        return {name: places(pieces, name) for name in FIELDS}

    @property
    def config(self) -> ModelConfig:
        """``pyhf.Model.config`` of a specification without template names."""
        return self().config

    def __call__(self, numbers: Any = None) -> BoundModel:
        """Bind the model.

        Args:
            numbers: templates by (channel, sample, variation), each with ``.values`` and ``.variances``; or the
                `Yields` of a specification without template names; or None for the specification's own numbers.

        Raises:
            YieldError: if a number is NaN, an uncertainty negative, or a length wrong; with the place. Numbers that
                are being traced are checked when a fit uses them.
            UnknownTemplateError: if a template is named that is not there.
        """
        if isinstance(numbers, Yields):
            layout, pieces = self._structure(count_bins(self.spec, None))
            yields = numbers
            check_shapes(pieces, yields)
        else:
            layout, pieces = self._structure(count_bins(self.spec, numbers))
            yields = gather(pieces, numbers)
        if is_concrete(yields):
            check_yields(pieces, yields)
        observed = None
        if self.observations is not None:
            observed = np.concatenate([self.observations[channel] for channel in layout.channels])
        return BoundModel(layout, self.settings, yields, observed)

    def workspace(self, numbers: Any = None, observations: Any = None) -> dict[str, Any]:
        """A pyhf workspace with numbers in the place of template names.

        Args:
            numbers: as for calling the model.
            observations: events of all bins (flat, or by channel); the background-only Asimov data by default.

        Raises:
            YieldError, UnknownTemplateError: as for calling the model.
        """
        bound = self(numbers)
        if observations is None:
            pars = np.array(bound.config.suggested_init())
            if bound.config.poi_index is not None:
                pars[bound.config.poi_index] = 0.0
            main = bound.expected_data(pars, include_auxdata=False)
        else:
            main = bound.data(observations)[: bound.layout.nbins_total]
        measurement = {"name": self._measurement, "poi": self.settings.poi_name or ""}
        layout, pieces = self._structure(bound.layout.nbins)
        return write_workspace(self._source, self.spec, layout, pieces, bound.yields, measurement, np.asarray(main))

    def hs3(self, numbers: Any = None, observations: Any = None) -> dict[str, Any]:
        """An HS3 document of the model: the same likelihood in the HEP Statistics Serialization Standard.

        Args:
            numbers, observations: as for `workspace`.

        Raises:
            FormatError: if HS3 has no counterpart; with the parameter.
            YieldError, UnknownTemplateError: as for calling the model.
        """
        return write_hs3(self.workspace(numbers, observations), self(numbers).config)

    def datacard(self, folder: str | Path, numbers: Any = None, observations: Any = None) -> Path:
        """Write a datacard of CMS' Combine with its histograms, ``datacard.txt`` and ``shapes.root``; the path of the first.

        Warns (`InterpolationWarning`) of parameters that Combine interpolates otherwise; `from_datacard` reads what it makes of them.

        Args:
            folder: where, made if it is not there.
            numbers, observations: as for `workspace`.

        Raises:
            FormatError: if a datacard has no counterpart (lumi, shapesys, shapefactor, fixed parameters); with its name.
            YieldError, UnknownTemplateError: as for calling the model.
        """
        return write_datacard(folder, self.workspace(numbers, observations), self(numbers).config)

    def _repr_html_(self) -> str:
        return tables.of_model(self)

    def _structure(self, nbins: Mapping[str, int]) -> tuple[Layout, Pieces]:
        key = tuple(nbins.values())
        if key not in self._structures:
            pieces = pieces_of(self.spec, nbins)
            layout = make_layout(self.spec, nbins, pieces)
            refuse_several_pois(layout, self.settings)
            self._structures[key] = layout, pieces
        return self._structures[key]
