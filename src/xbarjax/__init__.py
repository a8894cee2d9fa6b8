"""Exact, fast and differentiable simulation of analog crossbar circuits in JAX."""

from importlib import import_module as _import_module
from typing import Any as _Any

__version__ = "0.1.0"

from . import (
    elements as elements,
    nn as nn,
    presets as presets,
    systems as systems,
    variability as variability,
)
from ._units import UnitWarning as UnitWarning
from .analyses import (
    feeding as feeding,
    schemes as schemes,
)
from .analyses.circuit_noise import CircuitNoise as CircuitNoise
from .analyses.cost import (
    Cost as Cost,
    cost as cost,
)
from .analyses.dc import (
    CircuitSolution as CircuitSolution,
    solve as solve,
)
from .analyses.equilibrium_propagation import (
    EquilibriumPropagation as EquilibriumPropagation,
    equilibrium_propagation as equilibrium_propagation,
)
from .analyses.integrate import integrate as integrate
from .analyses.methods import (
    Admittance as Admittance,
    NewtonKrylov as NewtonKrylov,
)
from .analyses.noise import (
    Noise as Noise,
    noise as noise,
)
from .analyses.poles import poles as poles
from .analyses.ports import (
    Ports as Ports,
    ports as ports,
)
from .analyses.read import read as read
from .analyses.response import (
    Response as Response,
    response as response,
)
from .analyses.switching import (
    settle_switches as settle_switches,
    switched as switched,
)
from .analyses.transfer import transfer as transfer
from .cells import (
    TEAM as TEAM,
    VTEAM as VTEAM,
    AbstractCell as AbstractCell,
    AbstractGatedCell as AbstractGatedCell,
    AbstractRangedCell as AbstractRangedCell,
    AntiparallelDiodes as AntiparallelDiodes,
    BackToBackDiodes as BackToBackDiodes,
    Diffusive as Diffusive,
    Diode as Diode,
    DynamicMemristor as DynamicMemristor,
    Ecram as Ecram,
    JartVCM as JartVCM,
    Level1Mosfet as Level1Mosfet,
    LinearIonDrift as LinearIonDrift,
    Messaris as Messaris,
    Mosfet as Mosfet,
    Ohmic as Ohmic,
    Parallel as Parallel,
    PChannel as PChannel,
    Polynomial as Polynomial,
    PooleFrenkel as PooleFrenkel,
    Rectifying as Rectifying,
    Schottky as Schottky,
    Series as Series,
    Sinh as Sinh,
    StanfordPKU as StanfordPKU,
    ThermalSwitch as ThermalSwitch,
    ThresholdSwitch as ThresholdSwitch,
    Yakopcic as Yakopcic,
    pairs as pairs,
    windows as windows,
)
from .crossbar import Crossbar as Crossbar
from .drive import (
    Bias as Bias,
    Drive as Drive,
    encoding as encoding,
    waveform as waveform,
)
from .drive.waveform import BiasWaveform as BiasWaveform, Waveform as Waveform
from .elements.circuit import Circuit as Circuit
from .identification.commission import (
    Chip as Chip,
    Commissioned as Commissioned,
    commission as commission,
)
from .identification.dataset import measured_from as measured_from, to_dataset as to_dataset
from .identification.identify import identify as identify
from .identification.measured import Measured as Measured
from .identification.next_reads import NextReads as NextReads, next_reads as next_reads
from .identification.table import load_measured as load_measured, save_measured as save_measured
from .identification.twin import Twin as Twin
from .identification.unknown import Unknown as Unknown
from .kirchhoff.advice import explain as explain
from .kirchhoff.solution import (
    Solution as Solution,
    Status as Status,
)
from .programming.calibration import (
    Calibration as Calibration,
    calibrate as calibrate,
    quantised as quantised,
)
from .programming.compensation import (
    Compensation as Compensation,
    Descent as Descent,
    FixedPoint as FixedPoint,
    compensate as compensate,
)
from .programming.fit import (
    Fit as Fit,
    fit as fit,
)
from .programming.gradient import GradientProgramming as GradientProgramming
from .programming.mapping import (
    AbstractMapping as AbstractMapping,
    ConstantSumPair as ConstantSumPair,
    DifferentialPair as DifferentialPair,
    DigitalOffset as DigitalOffset,
    InterleavedPair as InterleavedPair,
    OffsetColumn as OffsetColumn,
)
from .programming.open_loop import OpenLoop as OpenLoop
from .programming.pulse_fit import (
    PulseFit as PulseFit,
    fit_pulses as fit_pulses,
)
from .programming.pulses import Pulses as Pulses, Staircase as Staircase
from .programming.refresh import Refresh as Refresh
from .programming.selection import (
    SelectCells as SelectCells,
    SelectCrosspoints as SelectCrosspoints,
    SelectRows as SelectRows,
)
from .programming.target import InverseLoop as InverseLoop, Report as Report
from .programming.write_verify import WriteVerify as WriteVerify
from .programming.writing import Programmed as Programmed, program as program
from .readout import (
    AbstractConverter as AbstractConverter,
    AbstractReadout as AbstractReadout,
    Adc as Adc,
    Ammeter as Ammeter,
    Cco as Cco,
    CurrentConveyor as CurrentConveyor,
    Flash as Flash,
    Integrator as Integrator,
    Ramp as Ramp,
    SampleHold as SampleHold,
    Sar as Sar,
    Tia as Tia,
    VirtualGround as VirtualGround,
    VoltageSense as VoltageSense,
)
from .solvers import (
    AutoLadder as AutoLadder,
    BlockElimination as BlockElimination,
    Dense as Dense,
    LadderBiCGStab as LadderBiCGStab,
    LadderCG as LadderCG,
    Newton as Newton,
    TwinLadders as TwinLadders,
)
from .sweeps import (
    Die as Die,
    Sweep as Sweep,
    results as results,
    sweep as sweep,
)
from .systems import cam as cam
from .transient.circuits import CircuitTransient as CircuitTransient
from .transient.settled_lines import settled_lines as settled_lines
from .transient.settling import (
    elmore_delay as elmore_delay,
    settling_time as settling_time,
    slowest_mode as slowest_mode,
)
from .transient.simulate import (
    Transient as Transient,
    simulate as simulate,
)
from .variability import Levels as Levels, Spread as Spread
from .wires import Wires as Wires

_WHEN_USED = ("plot", "spice")  # slow to import, or with optional dependencies


def __getattr__(name: str) -> _Any:
    if name in _WHEN_USED:
        return _import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
