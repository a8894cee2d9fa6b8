"""Constants of nature (SI, exact since 2019; CODATA 2018, doi:10.1103/RevModPhys.93.025010)."""

BOLTZMANN = 1.380649e-23  # [J/K]
CHARGE = 1.602176634e-19  # [C]
ROOM = 300.15  # [K] 27 C, where circuit simulators take their parameters to hold


def thermal_voltage(temperature):
    """`k T / q` [V]."""
    return BOLTZMANN / CHARGE * temperature
