"""SSLConfig, TimeoutConfig, PoolLimits and HTTP2Config: values, defaults, what they refuse, and that they are keys."""

from __future__ import annotations

import dataclasses
import math
import ssl
from pathlib import Path

import pytest

from httpcore import ConnectionPool, HTTP2Config, PoolLimits, SSLConfig, TimeoutConfig

TIMEOUTS = ["connect_timeout", "read_timeout", "write_timeout", "pool_timeout"]


# TimeoutConfig


def values(config: TimeoutConfig) -> list[float | None]:
    return [getattr(config, name) for name in [*TIMEOUTS, "total_timeout"]]


def test_timeout_without_arguments_sets_no_deadline() -> None:
    assert values(TimeoutConfig()) == [None] * 5
    assert TimeoutConfig().continue_timeout == 1.0


def test_positional_timeout_sets_all_but_the_total() -> None:
    assert values(TimeoutConfig(3)) == [3, 3, 3, 3, None]


@pytest.mark.parametrize("name", TIMEOUTS)
@pytest.mark.parametrize("seconds", [1, 0.5, None])
def test_named_timeout_goes_before_the_general_one(name: str, seconds: float | None) -> None:
    config = TimeoutConfig(3, **{name: seconds})  # type: ignore[arg-type]
    assert [getattr(config, other) for other in TIMEOUTS] == [seconds if other == name else 3 for other in TIMEOUTS]


def test_total_and_continue_timeout_are_set_by_name() -> None:
    config = TimeoutConfig(total_timeout=60, continue_timeout=0.25)
    assert values(config) == [None] * 4 + [60]
    assert config.continue_timeout == 0.25


def test_infinite_timeout_is_a_timeout() -> None:
    assert TimeoutConfig(math.inf).read_timeout == math.inf


@pytest.mark.parametrize("name", [*TIMEOUTS, "total_timeout", "continue_timeout"])
@pytest.mark.parametrize("seconds", [0, -1, -0.5, math.nan, -math.inf])
def test_timeout_not_above_zero_is_refused_by_name(name: str, seconds: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be above zero"):
        TimeoutConfig(**{name: seconds})


@pytest.mark.parametrize("seconds", ["1", True, (1, 2), b"1"])
def test_timeout_of_another_type_is_refused(seconds: object) -> None:
    with pytest.raises(TypeError, match="connect_timeout takes seconds or None, not"):
        TimeoutConfig(seconds)  # type: ignore[arg-type]


def test_continue_timeout_of_none_is_refused() -> None:
    with pytest.raises(TypeError, match="continue_timeout takes seconds"):
        TimeoutConfig(continue_timeout=None)  # type: ignore[arg-type]


def test_second_positional_timeout_is_refused() -> None:
    with pytest.raises(TypeError, match="positional"):
        TimeoutConfig(1, 2)  # type: ignore[call-arg]


def test_timeouts_compare_and_hash_by_value() -> None:
    assert TimeoutConfig(5) == TimeoutConfig(5.0, connect_timeout=5)
    assert TimeoutConfig(5) != TimeoutConfig(5, total_timeout=5)
    assert len({TimeoutConfig(5), TimeoutConfig(5), TimeoutConfig(6)}) == 2


def test_timeout_repr_names_every_deadline() -> None:
    assert repr(TimeoutConfig(5, read_timeout=None)) == (
        "TimeoutConfig(connect_timeout=5, read_timeout=None, write_timeout=5, pool_timeout=5, total_timeout=None, "
        "continue_timeout=1.0)"
    )


def test_timeouts_can_be_replaced_but_not_changed() -> None:
    config = TimeoutConfig(5)
    assert dataclasses.replace(config, read_timeout=1) == TimeoutConfig(5, read_timeout=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.read_timeout = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    "value, expected",
    [
        (None, TimeoutConfig(9)),
        (3, TimeoutConfig(3)),
        (0.5, TimeoutConfig(0.5)),
        (TimeoutConfig(total_timeout=1), TimeoutConfig(total_timeout=1)),
    ],
)
def test_number_is_taken_for_a_timeout_config(value: TimeoutConfig | float | None, expected: TimeoutConfig) -> None:
    assert TimeoutConfig.of(value, TimeoutConfig(9)) == expected


def test_pool_refuses_a_timeout_of_another_type() -> None:
    with pytest.raises(TypeError, match="connect_timeout takes seconds"):
        ConnectionPool(timeout="5")  # type: ignore[arg-type]


# PoolLimits

COUNTS = {"soft_limit": 0, "hard_limit": 1, "per_origin_limit": 1, "max_waiters": 0}


def test_default_limits() -> None:
    assert dataclasses.asdict(PoolLimits()) == {
        "soft_limit": 100,
        "hard_limit": 100,
        "per_origin_limit": None,
        "keepalive_expiry": 60.0,
        "max_age": None,
        "max_waiters": None,
    }


@pytest.mark.parametrize("name, least", COUNTS.items())
def test_least_limit_is_taken_and_one_less_is_refused(name: str, least: int) -> None:
    assert getattr(PoolLimits(**{name: least}), name) == least
    with pytest.raises(ValueError, match=f"^{name} must be at least {least}, not {least - 1}$"):
        PoolLimits(**{name: least - 1})


@pytest.mark.parametrize("name", [*COUNTS, "keepalive_expiry", "max_age"])
def test_limit_of_none_sets_none(name: str) -> None:
    assert getattr(PoolLimits(**{name: None}), name) is None


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [1.5, "1", True])
def test_limit_that_is_no_whole_number_is_refused(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"^{name} takes a whole number or None, not {type(value).__name__}$"):
        PoolLimits(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["keepalive_expiry", "max_age"])
def test_limit_in_seconds_is_checked_as_a_timeout_is(name: str) -> None:
    assert getattr(PoolLimits(**{name: 0.5}), name) == 0.5  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"^{name} must be above zero"):
        PoolLimits(**{name: 0})
    with pytest.raises(TypeError, match=f"^{name} takes seconds or None"):
        PoolLimits(**{name: "60"})  # type: ignore[arg-type]


def test_limits_compare_hash_and_show_themselves() -> None:
    assert PoolLimits(hard_limit=5) == PoolLimits(hard_limit=5) != PoolLimits(hard_limit=6)
    assert len({PoolLimits(), PoolLimits(), PoolLimits(max_age=1)}) == 2
    assert "hard_limit=5" in repr(PoolLimits(hard_limit=5))


def test_limits_are_given_by_name_only() -> None:
    with pytest.raises(TypeError, match="positional"):
        PoolLimits(10)  # type: ignore[call-arg]


def test_pool_refuses_limits_of_another_type() -> None:
    with pytest.raises(TypeError, match="limits takes a PoolLimits, not int"):
        ConnectionPool(limits=10)  # type: ignore[arg-type]


# SSLConfig


def test_default_ssl_config_verifies_and_has_no_certificate() -> None:
    assert (SSLConfig().cert, SSLConfig().verify) == (None, True)


@pytest.mark.parametrize(
    "cert",
    [None, "client.pem", Path("client.pem"), ("c.pem", "k.pem"), (Path("c.pem"), "k.pem"), ("c.pem", "k.pem", "pw")],
)
def test_every_kind_of_certificate_is_taken_by_position(cert: str | Path | tuple[str, str] | None) -> None:
    assert SSLConfig(cert, False) == SSLConfig(cert=cert, verify=False)


@pytest.mark.parametrize(
    "cert",
    [
        1,
        b"client.pem",
        ["c.pem", "k.pem"],
        (),
        ("c.pem",),
        (None, "k.pem"),
        ("c.pem", None),
        ("c.pem", "k.pem", None),
        ("c.pem", "k.pem", Path("pw")),
        ("c.pem", "k.pem", "pw", "more"),
    ],
)
def test_certificate_of_another_type_is_refused(cert: object) -> None:
    with pytest.raises(TypeError, match="cert takes a path, or a tuple"):
        SSLConfig(cert)  # type: ignore[arg-type]


@pytest.mark.parametrize("verify", [None, 1, b"ca.pem", ["ca.pem"]])
def test_verify_of_another_type_is_refused(verify: object) -> None:
    with pytest.raises(
        TypeError, match=f"verify takes a bool, a path or an ssl.SSLContext, not {type(verify).__name__}"
    ):
        SSLConfig(verify=verify)  # type: ignore[arg-type]


def test_empty_path_to_verify_with_is_refused() -> None:
    with pytest.raises(ValueError, match="verify is an empty path"):
        SSLConfig(verify="")


def test_certificate_beside_a_ready_context_is_refused() -> None:
    with pytest.raises(TypeError, match=r"load the client certificate into the ssl.SSLContext"):
        SSLConfig("client.pem", verify=ssl.create_default_context())


def test_ssl_configs_compare_and_hash_by_value() -> None:
    context = ssl.create_default_context()
    configs = [
        SSLConfig(),
        SSLConfig("c.pem"),
        SSLConfig(("c.pem", "k.pem")),
        SSLConfig(("c.pem", "k.pem", "one")),
        SSLConfig(("c.pem", "k.pem", "two")),
        SSLConfig(verify=False),
        SSLConfig(verify="ca.pem"),
        SSLConfig(verify=context),
        SSLConfig(verify=ssl.create_default_context()),
    ]
    assert len(set(configs)) == len(configs)
    assert SSLConfig(verify=context) == SSLConfig(verify=context)
    assert hash(SSLConfig(("c.pem", "k.pem"))) == hash(SSLConfig(("c.pem", "k.pem")))


def test_ssl_config_repr_hides_the_password_alone() -> None:
    config = SSLConfig(("c.pem", "k.pem", "hunter2"), verify="ca.pem")
    assert repr(config) == "SSLConfig(cert=('c.pem', 'k.pem', '[secret]'), verify='ca.pem')"
    assert "hunter2" not in f"{config} {[config]}"
    assert repr(SSLConfig(("c.pem", "k.pem"))) == "SSLConfig(cert=('c.pem', 'k.pem'), verify=True)"
    assert repr(SSLConfig("c.pem", False)) == "SSLConfig(cert='c.pem', verify=False)"


def test_ssl_config_is_made_of_what_a_pool_takes() -> None:
    context = ssl.create_default_context()
    config = SSLConfig(verify=False)
    assert SSLConfig.of(None) == SSLConfig()
    assert SSLConfig.of(config) is config
    assert SSLConfig.of(context).verify is context


@pytest.mark.parametrize("value", [True, False, "ca.pem"])
def test_pool_refuses_ssl_of_another_type(value: object) -> None:
    with pytest.raises(TypeError, match=r"ssl takes an SSLConfig or an ssl.SSLContext, not"):
        ConnectionPool(value)  # type: ignore[arg-type]


def test_pool_takes_ssl_timeout_and_limits_by_position() -> None:
    pool = ConnectionPool(SSLConfig(verify=False), TimeoutConfig(1), PoolLimits(hard_limit=1))
    assert pool.num_connections == 0


# HTTP2Config

WINDOWS = {"stream_window": 1, "max_stream_window": 1024 * 1024, "connection_window": 65_535}


def test_default_http2_config() -> None:
    assert dataclasses.asdict(HTTP2Config()) == {
        "stream_window": 1024 * 1024,
        "max_stream_window": 16 * 1024 * 1024,
        "connection_window": 16 * 1024 * 1024,
        "ping_interval": 15.0,
        "ping_timeout": 5.0,
    }


@pytest.mark.parametrize("name, least", WINDOWS.items())
def test_window_out_of_its_range_is_refused(name: str, least: int) -> None:
    # The stream's own maximum goes with what it begins with, which is to be no larger.
    most = {"stream_window": 16 * 1024 * 1024}.get(name, 2**31 - 1)
    for value in (least, most):
        assert getattr(HTTP2Config(**{name: value}), name) == value
    with pytest.raises(ValueError, match=f"^{name} must be from {least} to 2147483647, not {least - 1}$"):
        HTTP2Config(**{name: least - 1})
    with pytest.raises(ValueError, match=f"^{name} must be from {least} to 2147483647, not 2147483648$"):
        HTTP2Config(**{name: 2**31})


def test_largest_stream_window_may_be_what_it_begins_with_but_not_less() -> None:
    assert HTTP2Config(stream_window=100, max_stream_window=100).max_stream_window == 100
    with pytest.raises(ValueError, match=r"^max_stream_window must be from 100 to 2147483647, not 99$"):
        HTTP2Config(stream_window=100, max_stream_window=99)


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("value", [1.5, "1", True, None])
def test_window_that_is_no_whole_number_is_refused(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"^{name} takes a whole number of bytes, not {type(value).__name__}$"):
        HTTP2Config(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["ping_interval", "ping_timeout"])
def test_ping_times_are_checked_as_timeouts_are(name: str) -> None:
    assert getattr(HTTP2Config(**{name: 0.5}), name) == 0.5  # type: ignore[arg-type]
    for seconds in (0, -1, math.nan):
        with pytest.raises(ValueError, match=f"^{name} must be above zero"):
            HTTP2Config(**{name: seconds})  # type: ignore[arg-type]
    for other in ("1", True):
        with pytest.raises(TypeError, match=f"^{name} takes seconds or None"):
            HTTP2Config(**{name: other})  # type: ignore[arg-type]


def test_ping_interval_of_none_never_asks_and_ping_timeout_of_none_is_refused() -> None:
    assert HTTP2Config(ping_interval=None).ping_interval is None
    with pytest.raises(TypeError, match="ping_timeout takes seconds, and None would wait for ever"):
        HTTP2Config(ping_timeout=None)  # type: ignore[arg-type]


def test_http2_configs_compare_hash_show_themselves_and_cannot_be_changed() -> None:
    config = HTTP2Config(stream_window=5)
    assert config == HTTP2Config(stream_window=5) != HTTP2Config()
    assert len({HTTP2Config(), HTTP2Config(), config}) == 2
    assert "stream_window=5" in repr(config)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.stream_window = 6  # type: ignore[misc]
    with pytest.raises(TypeError, match="positional"):
        HTTP2Config(10)  # type: ignore[call-arg]


def test_unset_shows_itself_in_signatures() -> None:
    import inspect

    assert "read_timeout: 'float | None | _Unset' = <unset>" in str(inspect.signature(TimeoutConfig))
