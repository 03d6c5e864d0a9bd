import types

import profilekit
from profilekit import amplitude, bulk, errors, live, observer, otel, outbox, ray, shared, userflux

MODULES = (profilekit, errors, amplitude, bulk, live, observer, otel, outbox, ray, shared, userflux)


def test_all_is_what_is_public():
    for module in MODULES:
        names = set(module.__all__)
        assert len(module.__all__) == len(names)
        defined = {
            name
            for name, value in vars(module).items()
            if not name.startswith("_")
            and getattr(value, "__module__", module.__name__) == module.__name__
            and isinstance(value, type | types.FunctionType)
        }
        assert names >= defined - {"classify"}


def test_the_public_names_of_the_design():
    assert {
        "Account",
        "Endpoint",
        "Failed",
        "Ok",
        "Outcome",
        "ProfileClient",
        "Rate",
        "Request",
        "Retry",
        "Vendor",
        "amplitude",
        "errors",
        "userflux",
    } <= set(profilekit.__all__)


def test_what_is_public_is_documented():
    for module in MODULES:
        assert module.__doc__
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, type):
                assert value.__doc__, name
                for method, function in vars(value).items():
                    if isinstance(function, types.FunctionType) and not method.startswith("_"):
                        assert function.__doc__, f"{name}.{method}"
