"""Compiled kernel in C++ for CPUs: its calls, and the pure JAX form that replaces it elsewhere.

The sources are in solvers/native. A call is one JAX primitive. On a CPU with the kernel, the
primitive lowers to a custom call. Elsewhere it lowers to a pure form in JAX, which is traced only
then. A batch stays one call: the threads of XLA share its systems, and each system is solved as if
alone.
"""

import ctypes
import os
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir
from jaxtyping import Array

LIBRARY = "solvers/native/kernel.so"
TARGETS = "read", "solve", "turn", "judge", "islands", "kinds"
DTYPES = {"float32": "f32", "float64": "f64"}


@cache
def _library() -> ctypes.CDLL | None:
    path = _path()
    if path is None or os.environ.get("XBARJAX_NATIVE") == "0":
        return None
    library = ctypes.CDLL(str(path))
    for name in TARGETS:
        for dtype in DTYPES.values():
            target = f"xbarjax_{name}_{dtype}"
            handler = jax.ffi.pycapsule(getattr(library, target))
            jax.ffi.register_ffi_target(target, handler, platform="cpu")
    return library


def _path() -> Path | None:
    """Path of the compiled kernel, or None.

    `XBARJAX_KERNEL` in the environment names one. Otherwise the kernel is in this package or, in an
    editable installation, where the installed package would be."""
    if named := os.environ.get("XBARJAX_KERNEL"):
        return Path(named)
    places = [Path(__file__).parent / LIBRARY]
    try:
        places.append(Path(str(distribution("xbarjax").locate_file("xbarjax"))) / LIBRARY)
    except PackageNotFoundError:
        pass  # sources that were never installed
    return next((path for path in places if path.exists()), None)


def built() -> bool:
    """Whether the kernel was built when xbarjax was installed."""
    return _path() is not None


def available() -> bool:
    """Whether the kernel was built and `XBARJAX_NATIVE=0` in the environment does not switch it
    off."""
    return _library() is not None


def width() -> str | None:
    """Vector width of the kernel here, `plain`, `avx2` or `avx512`; None without the kernel.

    `XBARJAX_WIDTH` in the environment sets an upper limit."""
    if (library := _library()) is None:
        return None
    library.xbarjax_width.restype = ctypes.c_char_p
    return library.xbarjax_width().decode()


def call(
    name: str,
    operands: Sequence[Array | None],
    results: Sequence[tuple[tuple[int, ...], Any]],
    pure: Callable[..., Sequence[Array]],
    dtype: Any,
    *,
    written: int = 0,
    **attributes: Any,
) -> list[Array]:
    """Results of a call of the kernel.

    **Arguments:**

    - `name`: function of the kernel, called in its form for `dtype`.
    - `operands`: inputs; those that are None are left out.
    - `results`: shape and dtype of each result.
    - `pure`: the same function in JAX, from all operands to the results; hashable.
    - `written`: number of last operands whose memory the first results take over.
    - `attributes`: numbers and flags for the kernel.
    """
    given = sum(1 << k for k, x in enumerate(operands) if x is not None)
    return _call.bind(
        *(x for x in operands if x is not None),
        target=f"xbarjax_{name}_{DTYPES[str(np.dtype(dtype))]}",
        results=tuple((tuple(shape), np.dtype(kind)) for shape, kind in results),
        lead=0,
        given=given,
        count=len(operands),
        pure=pure,
        written=written,
        attributes=tuple(sorted(attributes.items())),
    )


_call = Primitive("xbarjax_kernel")
_call.multiple_results = True


@_call.def_abstract_eval
def _(*operands, results, lead, **_):
    # size 1 is shared by the batch; any other size, even 0, is the batch's own
    leading = zip(*(x.shape[:lead] for x in operands), strict=True)
    batch = tuple(next((n for n in sizes if n != 1), 1) for sizes in leading)
    return [jax.core.ShapedArray((*batch, *shape), dtype) for shape, dtype in results]


@partial(jax.jit, static_argnames="params")
def _jitted(*operands, params):
    return _call.bind(*operands, **dict(params))


_call.def_impl(lambda *operands, **params: _jitted(*operands, params=tuple(params.items())))


def _batched(operands, axes, *, lead, **params):
    front = [
        jnp.expand_dims(x, 0) if axis is None else jnp.moveaxis(x, axis, 0)
        for x, axis in zip(operands, axes, strict=True)
    ]
    found = _call.bind(*front, lead=lead + 1, **params)
    return found, [0] * len(found)


batching.primitive_batchers[_call] = _batched


def _without(*operands, lead: int, **params):
    """Pure form of a call, over all `lead` batch axes."""
    if lead:
        axes = [None if x.shape[0] == 1 else 0 for x in operands]
        if all(axis is None for axis in axes):
            axes = [0] * len(operands)
        parts = [x[0] if axis is None else x for x, axis in zip(operands, axes, strict=True)]
        return jax.vmap(partial(_without, lead=lead - 1, **params), axes)(*parts)
    given, parts = params["given"], iter(operands)
    every = (next(parts) if given >> k & 1 else None for k in range(params["count"]))
    found = zip(params["pure"](*every), params["results"], strict=True)
    return [x.astype(dtype) for x, (_, dtype) in found]


_purely = mlir.lower_fun(_without, multiple_results=True)


def _as_call(ctx, *operands, **params):
    if ctx.module_context.lowering_parameters.for_export:
        return _purely(ctx, *operands, **params)  # the kernel may be absent where the export runs
    return _by_kernel(ctx, *operands, **params)


def _by_kernel(ctx, *operands, target, lead, given, written, attributes, **_):
    values = {name: _attribute(x) for name, x in attributes}
    values |= {"lead": np.int64(lead), "given": np.int64(given)}
    first = len(operands) - written
    fits = lambda k: ctx.avals_in[first + k].shape == ctx.avals_out[k].shape  # no shared operand
    aliases = {first + k: k for k in range(written) if fits(k)}
    lower = jax.ffi.ffi_lowering(target, operand_output_aliases=aliases)
    return lower(ctx, *operands, **values)


def _attribute(x: Any) -> Any:
    if isinstance(x, bool):
        return x
    return np.int64(x) if isinstance(x, int) else np.float64(x)


mlir.register_lowering(_call, _purely)
mlir.register_lowering(_call, _as_call, platform="cpu")
