"""What the packages of bounds export is what they say they export."""

import pytest

from certisolve_server.certifier import arithmetic, functions


@pytest.mark.parametrize("package", [arithmetic, functions])
def test_exported_names_agree_with_the_namespace(package):
    modules = {name for name, value in vars(package).items() if hasattr(value, "__spec__")}
    public = {name for name in vars(package) if not name.startswith("_")}
    assert public - modules == set(package.__all__)
    assert package.__all__ == sorted(package.__all__)
