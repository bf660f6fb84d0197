"""What the httpx adapters are tested for holds for httpx as it is: the same tests, with its own transports."""

from __future__ import annotations

from tests.adapters import test_httpx, test_httpx_errors, test_httpx_extensions
from tests.compat.unmodified import unmodified

pytestmark = unmodified

# What is for the adapters alone: how they are made, and what their errors are called.
_LEFT_OUT = {
    "test_given_pool_is_used_and_closed_with_the_client",
    "test_context_managers_close",
    "test_pool_and_its_arguments_exclude_each_other",
    "test_pool_of_the_other_kind_is_refused",
    "test_unknown_argument_is_refused",
    "test_arguments_are_those_of_the_pool",
    "test_core_is_imported_without_any_adapter",
    "test_total_timeout_of_the_pool_is_kept",
    "test_timeouts_of_the_pool_hold_for_a_request_without",
    "test_url_that_the_client_lets_pass",
    "test_pool_that_was_closed",
    "test_response_that_the_pool_aborts",
    "test_cancelled_request_leaves_nothing",
    "test_total_timeout_is_the_one_of_its_phase",
    "test_every_error_has_one_of_the_clients",
    "test_content_is_read_once",
}

_TESTS = {
    name: test
    for module in (test_httpx, test_httpx_errors, test_httpx_extensions)
    for name, test in vars(module).items()
    if name.startswith("test_")
}
assert _TESTS.keys() >= _LEFT_OUT
globals().update({name: test for name, test in _TESTS.items() if name not in _LEFT_OUT})
