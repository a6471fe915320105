"""What the tests of table files share: reading columns, and reading what has to be refused."""

import numpy as np
import pytest

from popinfer.data.catalog_io import read_columns
from popinfer.errors import InputError


def values(path, *names, **options):
    """The values of some columns, by name."""
    return {name: column.values for name, column in read_columns(path, names, **options).items()}


def refusal(path, *names, **options):
    """The message that a file is refused with, after checking its form."""
    with pytest.raises(InputError) as caught:
        read_columns(path, names, **options)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 900
    assert "TypeCheckError" not in message  # a wrong annotation of the readers, which catch everything
    assert path.name[:40] in message
    return message


def assert_columns(path, expected, **options):
    """The file holds these columns, exactly."""
    found = values(path, *expected, **options)
    for name, numbers in expected.items():
        assert found[name].dtype == np.float64 and found[name].dtype.isnative
        np.testing.assert_array_equal(found[name], np.asarray(numbers, float), err_msg=name)
