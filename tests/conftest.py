import jax
import pytest

jax.config.update("jax_enable_x64", True)


@pytest.fixture(autouse=True, scope="module")
def _compilations_go_with_their_module():
    """Each keeps tens of memory maps, of which a process may have 65530."""
    yield
    jax.clear_caches()
