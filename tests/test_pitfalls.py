"""Faults found in other optimizer benchmarks, each with the tests that would find it here.

The map is checked: a test that is renamed or removed is missed, and so is a fault that nothing covers.
"""

import ast
import sys
from pathlib import Path

import pytest

from clipbench import cli

TESTS = Path(__file__).parent

# fault: (what went wrong elsewhere, "file: test" here)
PITFALLS: dict[int, tuple[str, tuple[str, ...]]] = {
    1: (
        "a clip that never runs on the default path",
        (
            "clipping/test_hook.py: test_a_clipped_optimizer_differs_from_its_twin",
            "clipping/test_hook.py: test_single_foreach_and_fused_forms_agree",
            "running/test_liveness.py: test_a_clip_that_changes_nothing_against_its_twin_is_found",
            "judging/checks/test_seeds.py: test_arms_that_are_secretly_one_are_exposed_by_their_weights",
        ),
    ),
    2: (
        "a model left in eval mode by a measurement",
        ("running/test_train.py: test_the_curve_with_and_without_probes_is_bit_identical",),
    ),
    3: (
        "a score that is the minimum over names",
        (
            "judging/test_compare.py: test_the_final_loss_is_the_mean_over_seeds_with_its_error",
            "judging/test_compare.py: test_the_difference_is_paired_by_seed",
            "test_quantities.py: test_the_final_loss_is_the_last_evaluation",
        ),
    ),
    4: (
        "trials that share a seed unawares",
        (
            "planning/test_runs.py: test_seeds_that_are_none_repeated_or_negative_are_refused",
            "planning/test_runs.py: test_seeds_that_tuned_an_arm_cannot_be_reported",
        ),
    ),
    5: (
        "seeds from the salted hash()",
        ("test_records.py: test_the_key_is_the_same_in_another_process_with_another_hash_seed",),
    ),
    6: (
        "a NaN read as 0",
        (
            "test_quantities.py: test_a_target_is_reached_at_the_first_of_so_many_evaluations_in_a_row",
            "test_store.py: test_not_a_number_stays_visible",
            "test_cli.py: test_divergence_is_a_result_and_is_counted",
        ),
    ),
    7: (
        "a file rewritten at each row",
        (
            "running/test_supervisor.py: test_twenty_five_kills_at_random_points_lose_nothing",
            "test_store.py: test_a_kill_while_run_json_is_replaced_leaves_it_whole",
        ),
    ),
    8: (
        "documents that drift from the code",
        ("report/test_readme.py: test_a_page_shows_what_the_reference_runs_and_the_shelves_say",),
    ),
    9: (
        "the lowest index in place of the least time",
        ("test_quantities.py: test_a_target_is_reached_at_the_first_of_so_many_evaluations_in_a_row",),
    ),
    10: (
        "a second seed that resumes the first one's run",
        ("test_store.py: test_another_seed_is_another_folder",),
    ),
    11: (
        "a flag that reads False as true",
        ("spec/test_structure.py: test_whatever_stands_under_a_key_is_read_or_refused_and_never_a_crash",),
    ),
    12: (
        "a GPU timed without waiting for it",
        ("test_budget.py: test_the_stopwatch_waits_for_the_device_before_it_reads_the_clock",),
    ),
    13: (
        "steps that were timed and moved nothing",
        (
            "running/test_liveness.py: test_parameters_that_do_not_move_are_found",
            "optimizers/test_contract.py: test_every_tensor_of_parameters_moves",
        ),
    ),
    14: (
        "a log of options that were never applied",
        ("running/test_liveness.py: test_an_option_that_runs_with_another_value_is_found",),
    ),
    15: (
        "a folder named by the difference from the defaults",
        ("test_store.py: test_the_same_label_with_other_options_is_another_folder",),
    ),
    16: (
        "a likelihood of what is no log-probability",
        (
            "tasks/test_code_lm.py: test_the_first_loss_is_the_logarithm_of_256",
            "tasks/test_digits.py: test_the_first_loss_is_the_logarithm_of_ten",
            "tasks/test_heavy_tail.py: test_the_first_loss_is_the_logarithm_of_the_number_of_classes",
            "tasks/test_number_translation.py: test_the_first_loss_is_the_logarithm_of_the_number_of_words",
        ),
    ),
    17: (
        "one task's learning rate for every optimizer",
        (
            "spec/test_catalogue.py: test_no_optimizer_of_the_real_shelf_has_a_learning_rate_of_its_own",
            "test_bad_input.py: test_a_fault_in_the_spec_is_shown_at_its_place_and_nothing_is_run",
        ),
    ),
    18: (
        "a seed overwritten by a constant",
        ("tasks/test_contract.py: test_another_seed_gives_other_weights",),
    ),
    19: (
        "options that are dropped unread",
        (
            "running/test_liveness.py: test_an_option_that_was_dropped_is_found",
            "test_bad_input.py: "
            "test_an_option_that_an_optimizer_of_torchs_own_lacks_is_refused_before_anything_runs",
        ),
    ),
    20: ("runs that share a GPU while they are timed", ("running/test_supervisor.py: test_one_timed_run_a_gpu",)),
    21: (
        "a NaN run filled with its first loss",
        (
            "judging/test_compare.py: test_a_diverged_seed_is_counted_and_in_no_mean",
            "judging/test_compare.py: test_a_diverged_run_keeps_its_row_when_nothing_else_is_left",
        ),
    ),
    22: (
        "one exit code for nothing measured and for worse",
        ("judging/test_compare.py: test_no_runs_are_undecided_and_not_a_finding",),
    ),
    23: (
        "a dispatch mode after which torch never compiles what it saw again",
        (
            "test_pitfalls_record.py: test_compiled_steps_run_compiled_though_operations_are_counted",
            "test_pitfalls_record.py: test_a_users_own_compiled_model_stays_compiled_when_a_step_of_it_is_measured",
        ),
    ),
    24: (
        "an optimizer with two states that is evaluated at its training point",
        (
            "test_pitfalls_record.py: "
            "test_an_optimizer_with_two_states_is_evaluated_at_the_weights_it_is_to_be_used_at",
        ),
    ),
    25: (
        "state that no state_dict holds, or that loading casts",
        ("test_pitfalls_record.py: test_an_interruption_loses_nothing_wherever_the_state_lies",),
    ),
    26: (
        "generators of Python and NumPy that no seed decides",
        (
            "test_pitfalls_record.py: test_draws_from_python_and_numpy_are_the_seeds",
            "test_pitfalls_record.py: test_an_interruption_loses_nothing_wherever_the_state_lies",
        ),
    ),
    27: (
        "results of other inputs that are shown as present ones",
        (
            "test_pitfalls_record.py: test_an_edit_of_a_file_that_decides_the_numbers_is_another_run",
            "test_pitfalls_record.py: test_an_edit_of_a_tasks_data_is_another_run",
        ),
    ),
    28: (
        "a seed that changes nothing and counts as evidence",
        ("test_pitfalls_record.py: test_seeds_that_change_nothing_are_one_observation",),
    ),
    29: (
        "a forward pass that writes to the weights",
        ("test_pitfalls_record.py: test_how_often_one_looks_changes_no_weight_that_a_forward_pass_writes_to",),
    ),
    30: (
        "complex numbers taken for constants",
        ("test_pitfalls_record.py: test_a_complex_number_is_a_missing_rule_and_not_a_constant",),
    ),
    33: (
        "a floor that makes another optimizer of a rule where gradients are small",
        ("test_pitfalls_record.py: test_an_arm_is_its_published_rule_whatever_the_gradients_size",),
    ),
}  # fmt: skip


def test_every_fault_is_on_the_map() -> None:
    assert list(PITFALLS) == [*range(1, 31), 33]
    assert all(tests for _, tests in PITFALLS.values())


@pytest.mark.parametrize("number", PITFALLS)
def test_a_fault_found_elsewhere_has_its_test_here(number: int) -> None:
    for entry in PITFALLS[number][1]:
        file, name = entry.split(": ")
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_nothing_to_compare_is_neither_a_finding_nor_a_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pitfall 22, end to end: exit 3, could not decide."""
    monkeypatch.setattr(sys, "argv", ["clipbench", "compare", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert ended.value.code == 3
    assert out == ""
    assert err.startswith(f"error: no runs to compare in {tmp_path}")
