import pytest
from made_testbed import make_testbed, write_source

from longtake.testbed.folder import open_testbed


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """The folder that walks were rendered into, and their rows."""
    root = tmp_path_factory.mktemp("rendered")
    return root, write_source(root)


@pytest.fixture(scope="session")
def folder(source, tmp_path_factory):
    return make_testbed(source, tmp_path_factory.mktemp("testbed"))


@pytest.fixture(scope="session")
def testbed(folder):
    return open_testbed(folder)
