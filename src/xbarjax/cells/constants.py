"""Constants of nature (SI, exact since 2019; CODATA 2018, doi:10.1103/RevModPhys.93.025010)."""

BOLTZMANN = 1.380649e-23  # [J/K]
CHARGE = 1.602176634e-19  # [C]
ROOM = 300.15  # [K] 27 C, the nominal temperature of circuit simulators


def thermal_voltage(temperature):
    """Thermal voltage `k T / q` [V] at a temperature [K]."""
    return BOLTZMANN / CHARGE * temperature
