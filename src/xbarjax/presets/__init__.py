"""Published device numbers as parts of a circuit, with sources: starting points, not truths.

`xbarjax presets` lists them. Every function returns an ordinary cell, readout, wires,
perturbation or pulse response, whose numbers can be replaced and differentiated.
"""

from .devices import (
    cco_hermes as cco_hermes,
    copper_wires as copper_wires,
    ecram_pulses_lithium as ecram_pulses_lithium,
    ecram_pulses_metal_oxide as ecram_pulses_metal_oxide,
    ecram_response_lithium as ecram_response_lithium,
    ecram_response_metal_oxide as ecram_response_metal_oxide,
    hfox_bake as hfox_bake,
    pcm_drift as pcm_drift,
    pcm_programming as pcm_programming,
    pcm_programming_hermes as pcm_programming_hermes,
    pcm_response as pcm_response,
    rram_milo as rram_milo,
    rram_programming_falcone as rram_programming_falcone,
    rram_programming_milo as rram_programming_milo,
    rram_programming_wan as rram_programming_wan,
    rram_relaxation_falcone as rram_relaxation_falcone,
    rram_response_array as rram_response_array,
    rram_response_gong as rram_response_gong,
    sonos_programming as sonos_programming,
    sonos_read_noise as sonos_read_noise,
    yakopcic_jo as yakopcic_jo,
    yakopcic_miao as yakopcic_miao,
    yakopcic_oblea as yakopcic_oblea,
)

__all__ = [
    "cco_hermes",
    "copper_wires",
    "ecram_pulses_lithium",
    "ecram_pulses_metal_oxide",
    "ecram_response_lithium",
    "ecram_response_metal_oxide",
    "hfox_bake",
    "pcm_drift",
    "pcm_programming",
    "pcm_programming_hermes",
    "pcm_response",
    "rram_milo",
    "rram_programming_falcone",
    "rram_programming_milo",
    "rram_programming_wan",
    "rram_relaxation_falcone",
    "rram_response_array",
    "rram_response_gong",
    "sonos_programming",
    "sonos_read_noise",
    "yakopcic_jo",
    "yakopcic_miao",
    "yakopcic_oblea",
]


def __dir__() -> list[str]:
    return __all__
