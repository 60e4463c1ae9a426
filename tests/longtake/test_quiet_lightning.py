"""A warning about Lightning's own code, which a user cannot mend, is not shown; others are."""

import warnings

from lightning.pytorch.utilities import _pytree

from longtake.compat.lightning import quiet


def test_only_the_warning_of_leafspec_is_hidden():
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        quiet()
        _pytree._tree_flatten(1)
        warnings.warn("another thing is deprecated", FutureWarning, stacklevel=1)
    assert [str(each.message) for each in shown] == ["another thing is deprecated"]
