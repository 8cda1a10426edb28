"""Every error that diffea raises, each with what was expected, what was got, where, and what to do."""

from __future__ import annotations


class DiffeaError(Exception):
    """Base of every error of diffea."""


class UnknownTemplateError(DiffeaError, KeyError):
    """Raised when a template is asked for that no fill made, or by a name that is none."""

    __str__ = Exception.__str__


class RemoteFileError(DiffeaError):
    """Raised when the description of a downloadable file has no checksum, a malformed one, or an unsafe name."""


class DownloadError(DiffeaError):
    """Raised when a file to download cannot be reached or breaks off."""


class ChecksumError(DiffeaError):
    """Raised when a downloaded file differs from the published size or checksum."""


class WorkerMismatchError(DiffeaError):
    """Raised when a worker's versions or 64-bit setting differ from the driver's."""


class FilesetError(DiffeaError, ValueError):
    """Raised when a fileset is not of coffea's form, or holds no events."""


class MissingExtraError(DiffeaError, ImportError):
    """Raised when something needs an optional dependency that is not installed."""


class BudgetError(DiffeaError, ValueError):
    """Raised when a memory budget is not a number of bytes."""


class StrategyError(DiffeaError, ValueError):
    """Raised when a way to the gradient, or a derivative, is asked for that there is not."""


class FileReadError(DiffeaError, OSError):
    """Raised when a file or its tree cannot be read."""


class MissingBranchError(DiffeaError, AttributeError):
    """Raised when ``columns`` asks for a branch that the file does not have."""


class ColumnError(DiffeaError, ValueError):
    """Raised when a column is not one entry an event, or of a type that JAX cannot hold."""


class NotFiniteError(DiffeaError, ValueError):
    """Raised when a column, a weight, a template or a gradient is NaN or infinite."""


class FillError(DiffeaError, ValueError):
    """Raised when a processor's ``fill`` yields what is not a fill of one of its channels."""


class ParameterError(DiffeaError, ValueError):
    """Raised when a parameter is not a finite number, or outside of its bounds."""


class MissingPackageError(DiffeaError, ImportError):
    """Raised when something is asked for that takes an optional package which is not installed."""


class SplitError(DiffeaError, ValueError):
    """Raised when the parts of a split are not fractions of the events."""


class ReportError(DiffeaError):
    """Raised when a folder does not hold the files that the report is made of."""


class WidthError(DiffeaError, ValueError):
    """Raised when a soft cut's width, order of thresholds or shape makes no sense."""


class CountError(DiffeaError, TypeError):
    """Raised when objects are counted that are none, or a number of them is asked for that is not whole."""


class HistogramError(DiffeaError, ValueError):
    """Raised when a kernel, bandwidth, edges or arrays given to a histogram make no sense."""


class SpecError(DiffeaError, ValueError):
    """Raised when a model specification or workspace is not one that pyhf takes, or does not fit together."""


class YieldError(DiffeaError, ValueError):
    """Raised when the numbers of a model make its likelihood meaningless: NaN, negative, of a wrong length, no background."""


class DataError(DiffeaError, ValueError):
    """Raised when data given to a likelihood have a wrong length, or are NaN or negative."""


class FitError(DiffeaError, RuntimeError):
    """Raised when a fit did not converge."""


class MethodError(DiffeaError, ValueError):
    """Raised when a test statistic, calculator, confidence level, number of toys or way to fit is none that there is."""


class OptionError(DiffeaError, ValueError):
    """Raised when an option of ``distribute`` is none of those that there are."""


class TemplateError(DiffeaError, ValueError):
    """Raised when templates that do not add up are added: on unlike bins, or varied ones of some of a sample's events."""


class ClosedError(DiffeaError, RuntimeError):
    """Raised when templates are asked for after the end of their ``with`` block, when the workers have let go of the columns."""


class LedgerError(DiffeaError):
    """Raised when a sum over the data misses events, or counts some twice."""


class CheckpointError(DiffeaError):
    """Raised when a checkpoint is truncated, or belongs to another run."""


class OutputError(DiffeaError, OSError):
    """Raised when a file or folder of results cannot be written: no room, or no right to."""


class LockedError(DiffeaError):
    """Raised when another run works, or may work, in the same folder."""


class LossError(DiffeaError, ValueError):
    """Raised when what is to be minimised is not one finite number."""


class FlatLossError(LossError):
    """Raised when the loss does not change around the start, so that no gradient leads anywhere."""


class JudgementError(DiffeaError, RuntimeError):
    """Raised when pyhf cannot judge a workspace: its fits fail or end elsewhere than diffea's, or no limit exists."""


class AnalysisError(DiffeaError):
    """Raised when a file holds no analysis, or an analysis no such variant."""


class ChoiceError(DiffeaError, ValueError):
    """Raised when a soft choice has not as many options as logits."""


class ClusterError(DiffeaError, RuntimeError):
    """Raised when the scheduler is lost, or workers keep dying under the same work."""


class CorrectionError(DiffeaError, ValueError):
    """Raised when a scale factor's table, file or inputs do not fit together."""


class ExchangeError(DiffeaError, ValueError):
    """Raised when a file of templates or cotangents is not whole, of another version, or does not fit the parameters."""


class FormatError(DiffeaError, ValueError):
    """Raised when an HS3 document or a datacard is not one, or when it and a HistFactory model cannot say the same thing."""


class VariationError(DiffeaError, KeyError):
    """Raised when a systematic variation shifts a column that there is not, or is made twice."""

    __str__ = Exception.__str__


class ConstraintWarning(UserWarning):
    """Warned of when an optimisation ends where one of its constraints does not hold."""


class InterpolationWarning(UserWarning):
    """Warned of when another program will interpolate the systematics of a model otherwise than the model itself does."""


class SoftHardGapWarning(UserWarning):
    """Warned of when the templates that were optimised are far from those that exact cuts give."""


class ReplicaError(DiffeaError, ValueError):
    """Raised when replicas of the events cannot be made, judged or compared: events without identity, none asked for, too many failed."""


class ObservationError(DiffeaError, ValueError):
    """Raised when observed data are none: nothing is marked as such, or what is has weights, or is a template of the model."""


class UnblindError(DiffeaError):
    """Raised when observed data are asked for of a run whose analysis, or data, changed since."""


class UnblindedWarning(UserWarning):
    """Warned when parameters changed after observed data were looked at."""


class UnmarkedDataWarning(UserWarning):
    """Warned of when a dataset that is not marked as data looks like observed events."""


class ExportError(DiffeaError):
    """Raised when a result cannot be handed on in the form that is asked for."""
