"""Which tests count towards coverage; and the fixtures, where tests are run."""

import os

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before the libraries of the fixtures read it

collect_ignore = ["verl"]  # `make test-verl`, in an environment of its own


# Those that reach the rooms of which `make test` asks how much is covered.
COVERING = (
    "tests/unit/stages/",
    "tests/unit/rewards/",
    "tests/unit/training/",
    "tests/unit/models/test_packing",
    "tests/integration/test_judge",
    "tests/integration/test_omni_scorer",
    "tests/integration/test_reward",
)
# Of these, each test with its first parameters alone.
COVERING_AT_FIRST = "tests/unit/stages/"


@pytest.hookimpl(trylast=True)  # when coverage has begun: it counts the lines of imports, too
def pytest_sessionstart(session: pytest.Session) -> None:
    """The process that only hands out tests to others needs none of the libraries of fixtures.

    They take seconds to import, for which its workers would wait.
    """
    config = session.config
    if hasattr(config, "workerinput") or config.getoption("dist", "no") == "no":
        config.pluginmanager.import_plugin("tests.fixtures")


@pytest.hookimpl(trylast=True)  # when slow tests are gone
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """All other tests run without coverage, which makes pure Python two to three times slower.

    So do most parameters of some tests: the others hardly reach another line.
    """
    met: set[str] = set()
    for item in items:
        path = item.path.relative_to(config.rootpath).as_posix()
        test = item.nodeid.partition("[")[0]
        again = test in met and path.startswith(COVERING_AT_FIRST)
        if again or not path.startswith(COVERING):
            item.add_marker(pytest.mark.no_cover)
        met.add(test)
