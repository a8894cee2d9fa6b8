"""Figure of the time of one exact read over size, with other solvers and the time of a copy."""

from matplotlib.figure import Figure


def draw(result: dict) -> Figure:
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    uniform = [r for r in result["superlu"] if r["wires"] == "uniform"]
    lu = [r["superlu_factor_s"] + r["superlu_solve_s"] for r in uniform]
    left.loglog([r["n"] for r in uniform], lu, "k--s", label="SuperLU, symmetric ordering")
    for name, key, style, label in (
        ("klu", "klu_s", "-.D", "KLU"),
        ("ngspice", "ngspice_process_s", ":^", "ngspice, whole process"),
    ):
        if result[name]:
            n, s = zip(*((r["n"], r[key]) for r in result[name]), strict=True)
            left.loglog(n, s, style, color="0.4", label=label)

    def reads(dtype, r_g):
        rows = [r for r in result["read"] if r["dtype"] == dtype and r["r_g"] == r_g]
        return [r["n"] for r in rows], [r["read_s"] for r in rows]

    left.loglog(*reads("float64", 1e-4), "k-o", label="xbarjax, float64")
    left.loglog(*reads("float32", 1e-4), "-o", color="0.4", mfc="w", label="xbarjax, float32")
    n, _ = reads("float64", 1e-4)
    speed = result["bandwidth"][0]["copy_bytes_a_second"]
    left.loglog(n, [16 * k**2 / speed for k in n], color="0.6", lw=1, label="copy of one array")
    left.set_title("r Gmax = 1e-4")
    left.set_ylabel("one exact read [s]")
    shades = ("0.75", "0.6", "0.4", "0.2", "0.0")
    for r_g, shade, mark in zip((1e-5, 1e-4, 1e-3, 1e-2, 1e-1), shades, "ovs^D", strict=True):
        right.loglog(*reads("float64", r_g), marker=mark, color=shade, label=f"{r_g:g}")
    right.set_title("xbarjax, float64")
    right.legend(title="r Gmax")
    left.legend(fontsize=8)
    for axis in (left, right):
        axis.set_xlabel("rows = columns")
        axis.set_xticks(n, labels=[str(k) for k in n], minor=False)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    return figure
