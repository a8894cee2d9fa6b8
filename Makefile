# Each target does all the set-up it needs on a machine that has only Python and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export JAX_PLATFORMS ?= cpu

.PHONY: demo test test-slow package sanitize lint golden constraints clean

demo: $(VENV)/ready
	$(BIN)/python -m experiments.digits.run --out out

# Most of the time goes into compiling. Tests and notebooks do here without what makes code faster
# but not other, which is two thirds of it, and share what they compiled; experiments and slow tests
# compile as users do. Two workers on two cores leave one thread for the algebra of each. A worker
# takes all tests of a file, in the order of files, after notebooks: they take longest.
QUICK := OPENBLAS_NUM_THREADS=1 JAX_COMPILATION_CACHE_DIR=$(CURDIR)/$(VENV)/compiled \
	JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 \
	XLA_FLAGS="--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true \
	--xla_cpu_use_fusion_emitters=false $(XLA_FLAGS)"

test: $(VENV)/ready lint
	$(QUICK) $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow" \
		--durations=30 --nbmake --nbmake-timeout=600 notebooks tests

test-slow: $(VENV)/ready
	$(BIN)/python -m pytest -n 2 -m slow

# A source distribution, a wheel made from it, and one made as if there were no compiler, each tried
# in an environment that has nothing else.
TRY := import jax.numpy as jnp, xbarjax as xb; from xbarjax import _native; \
	assert abs(float(xb.read(xb.Crossbar(xb.Ohmic(jnp.full((2, 3), 1e-5))), jnp.ones(2)).i_out[0]) \
	- 2e-5) < 1e-10; assert _native.available() ==

package:
	rm -rf build/bare dist
	$(PYTHON) -m venv build/bare
	build/bare/bin/python -m pip install --quiet build
	build/bare/bin/python -m build --outdir dist .
	build/bare/bin/python -m pip install --quiet dist/xbarjax-*.whl
	cd build && bare/bin/python -c '$(TRY) True'
	CXX=/nowhere build/bare/bin/python -m build --wheel --outdir dist/pure dist/xbarjax-*.tar.gz
	build/bare/bin/python -m pip install --quiet --force-reinstall --no-deps dist/pure/*.whl
	cd build && bare/bin/python -c '$(TRY) False'

# The kernel's tests on a kernel that stops at a wrong address and at undefined behaviour (gcc, Linux).
sanitize: $(VENV)/ready
	$(BIN)/python -m pip install --quiet cmake
	$(BIN)/cmake -S . -B build/sanitize -DXBARJAX_SANITIZE=ON -DSKBUILD_PROJECT_NAME=xbarjax \
		-DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python
	$(BIN)/cmake --build build/sanitize
	XBARJAX_KERNEL=$(CURDIR)/build/sanitize/kernel.so ASAN_OPTIONS=detect_leaks=0 \
		LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so)" \
		$(QUICK) $(BIN)/python -m pytest -m "not slow" tests/solvers/test_native.py

lint: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

golden: $(VENV)/ready
	cd tests && ../$(BIN)/python -m golden

KERNEL := CMakeLists.txt $(wildcard src/xbarjax/solvers/native/*.[cih]*)

$(VENV)/ready: pyproject.toml constraints.txt $(KERNEL)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

# Pins what is installed now; run it after an upgrade that passes the tests.
constraints: $(VENV)/ready
	$(BIN)/python -m pip freeze --exclude-editable | grep -v '^xbarjax' > constraints.txt

clean:
	rm -rf $(VENV) build dist out
