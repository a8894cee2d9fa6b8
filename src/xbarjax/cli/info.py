"""`xbarjax info`: installed versions, devices and the state of the kernel."""

import importlib.metadata
import platform

import jax
import typer

from .. import _native


def info_command() -> None:
    """Show versions and devices, whether the CPU kernel was built, and its vector width."""
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
            "not built: install a C++ compiler and xbarjax again. Without the kernel everything"
            " runs in JAX, which takes longer to compile and to run on a CPU."
        )
    if not _native.available():
        return "built, and switched off by XBARJAX_NATIVE=0"
    return f"built, with {_native.width()} vectors"
