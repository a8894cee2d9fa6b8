"""`xbarjax info`: what is installed, and what it computes on."""

import importlib.metadata
import platform

import jax
import typer

from .. import _native


def info_command() -> None:
    """Versions, devices, and whether the kernel for CPUs was built and which vectors it uses."""
    version = importlib.metadata.version
    typer.echo(f"xbarjax     {version('xbarjax')}")
    typer.echo(f"Python      {platform.python_version()}, {platform.platform()}")
    for name in ("jax", "jaxlib", "equinox", "lineax", "optimistix"):
        typer.echo(f"{name:<12}{version(name)}")
    for device in jax.devices():
        typer.echo(f"device      {device.platform}:{device.id}, {device.device_kind}")
    typer.echo(f"kernel      {_kernel()}")


def _kernel() -> str:
    if not _native.built():
        return (
            "not built: install a C++ compiler and xbarjax again. Until then everything runs as"
            " programs of JAX, which take longer to compile and to run on a CPU."
        )
    if not _native.available():
        return "built, and switched off by XBARJAX_NATIVE=0"
    return f"built, with {_native.width()} vectors"
