"""What all tests share: one thread, no deadlines, and the option that rewrites golden files."""

from collections import Counter

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)  # small tensors, and as many workers as cores with -n auto
settings.register_profile("handgrad", deadline=None)  # the first call of an op may take long
settings.load_profile("handgrad")

# Cases of one kind that take long together: each n-th is run by default, `-m slow` runs the rest.
NTH = {
    "test_mistake_in_a_whole_backward_pass_turns_one_line_red": 3,
    "test_mistake_is_flagged_and_its_variable_named": 2,
    "test_right_version_draws_no_alarm": 4,
    "test_suggested_line_makes_it_right": 3,
    "test_an_argument_is_left_out_only_if_it_changes_nothing": 8,
    "test_index_notation_equals_the_op": 6,
    "test_second_order_equals_autograd": 6,
    "test_spellings_agree_and_are_recognised": 6,
    "test_a_right_function_draws_no_alarm": 4,
    "test_a_wrong_gradient_is_flagged_and_only_it": 2,
    "test_example": 5,
    "test_check_function_finds_nothing": 5,
    "test_emitted_file_runs_by_itself": 5,
    "test_simplified_example_does_less_and_equals_autograd": 5,
    "test_every_textbook_case": 5,
    "test_without_a_fact_it_is_longer_and_right": 6,
    "test_simplified_is_right_at_all_sizes": 4,
    "test_textbook_form_is_right": 4,
    "test_derived_is_right_at_all_sizes": 4,
    "test_a_process_that_is_ended_goes_on": 3,
    "test_words_of_every_model": 2,
    "test_a_crash_at_every_call_of_a_save_leaves_the_one_or_the_other": 4,
    "test_kill_9_at_random_moments_loses_nothing": 2,
    "test_a_resumed_run_is_the_unbroken_one": 2,
    "test_a_signal_ends_it_after_the_step_with_a_checkpoint": 2,
    "test_a_model_of_the_benchmark_equals_autograd": 3,
    "test_native_code_of_every_example_equals_torch": 4,
    "test_random_program_equals_autograd": 2,
    "test_random_program": 2,
    "test_a_random_program_that_failed_once": 2,
    "test_difference_from_the_mean_of_equal_entries_multiplied_out": 2,
    "test_a_mistake_far_up_is_named_where_it_is": 2,
    "test_what_a_statement_changes_is_changed_for_the_next": 2,
    "test_printed_text_runs_to_the_same": 3,
    "test_every_optimiser_and_schedule_goes_on_as_it_was": 4,
    "test_another_run_is_refused_field_by_field": 4,
    "test_every_example": 4,
    "test_one_row": 3,
    "test_a_source_line_in_a_terminal": 2,
    "test_depth_and_length_need_no_recursion": 2,
    "test_nearly_equal_factors_that_cancel_over_equal_entries": 2,
    "test_native_code_goes_on_to_the_same_bits_and_is_near_eager": 2,
    "test_file": 3,
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    seen: Counter[tuple[str, str]] = Counter()
    for item in items:
        name = getattr(item, "originalname", item.name)
        every = NTH.get(name, 1)
        if seen[str(item.path), name] % every:
            item.add_marker("slow")
        seen[str(item.path), name] += 1


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite tests/golden from what is emitted now"
    )


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return request.config.getoption("--update-golden")
