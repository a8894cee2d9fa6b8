from xdist.scheduler import LoadFileScheduling


class NotebooksAreOne(LoadFileScheduling):
    """One worker runs all notebooks: kernels that start together can choose the same ports.

    Groups of pytest-xdist 3.8 say the same, and do nothing with pytest 9.2."""

    def _split_scope(self, nodeid):
        return "notebooks" if ".ipynb" in nodeid else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config, log):
    return NotebooksAreOne(config, log)
