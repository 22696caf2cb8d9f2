"""Tests that are slow: each is one of several that hold a law, or a whole run.

`pytest -m slow` runs them, and those that are marked where they stand. They were chosen
by the processor time that they took from an empty compilation cache; where a test has
cases, a few of them stay.
"""

SLOW = {
    "analysis/barriers_test.py": (
        "test_by_recomputed_statistics_a_network_does_what_it_does_in_training[flax]",
    ),
    "channels/smaller_test.py": (
        "test_a_compact_network_computes_what_the_masked_one_does[lenet5]",
        "test_a_compact_network_computes_what_the_masked_one_does[vgg11]",
    ),
    "configs_test.py": (
        "test_a_config_shrunk_takes_two_steps_and_a_level[digits.py]",
        "test_what_pruning_imagenet_is_compared_with_steps_too[gradual-0.1]",
    ),
    "devices/cpu_convolutions_test.py": (
        "test_every_derivative_and_batch_equals_jax_s_own[depthwise multiplied]",
        "test_every_derivative_and_batch_equals_jax_s_own[strided]",
    ),
    "devices/meshes_test.py": (
        "test_a_run_over_a_mesh_is_the_run_of_one_device[mlp-mesh1]",
        "test_what_happens_to_an_image_does_not_depend_on_where_it_lies",
    ),
    "dynamic/carrying_test.py": (
        "test_a_dense_network_trains_as_with_the_plain_optimizer[rigl-injected]",
        "test_a_key_of_either_kind_draws_the_same_and_another_key_other_masks",
        "test_it_goes_into_a_train_state_of_flax",
        "test_pruned_weights_are_zero_after_every_update_that_moves_masks[gradual-clipped]",
        "test_pruned_weights_are_zero_after_every_update_that_moves_masks[rigl-masked]",
        "test_pruned_weights_are_zero_after_every_update_that_moves_masks[set-clipped]",
        "test_under_vmap_with_one_step_members_are_separate_runs_and_a_change_a_branch[rigl]",
        "test_where_no_change_is_due_it_is_keep_with_constant_masks[gradual-clipped]",
        "test_where_no_change_is_due_it_is_keep_with_constant_masks[rigl-nesterov]",
        "test_where_no_change_is_due_it_is_keep_with_constant_masks[set-clipped]",
        "test_without_a_step_the_state_counts_by_itself_and_schedules_move_it",
    ),
    "dynamic/dense_to_sparse_test.py": (
        "test_it_keeps_the_largest_weights_of_those_kept_after_the_step",
        "test_it_may_begin_at_a_sparsity_and_never_prunes_below_a_denser_target",
        "test_layers_may_have_targets_of_their_own[gradual-0.9-layer-expected0]",
        "test_layers_may_have_targets_of_their_own[gradual-sparsity1-global-expected1]",
        "test_layers_may_have_targets_of_their_own[straight_through-0.9-layer-expected0]",
    ),
    "dynamic/sparse_to_sparse_test.py": (
        "test_at_a_change_rigl_pauses_all_but_the_schedules[0.7-0]",
        "test_counts_stay_through_a_thousand_steps_with_momentum_and_decay[set]",
        "test_masks_change_at_multiples_of_every_after_step_0_and_before_the_end[set]",
        "test_set_by_hand",
        "test_without_a_fraction_the_masks_stay[rigl]",
        "test_without_a_fraction_the_masks_stay[set]",
    ),
    "face_test.py": (
        "test_nothing_is_loaded_before_it_is_touched_and_no_chapter_loads_more_than_jax",
    ),
    "forward_selection/neurons_test.py": (
        "test_all_candidates_are_the_exhaustive_search_and_few_stay_among_the_open_ones",
        "test_all_engines_agree[options0]",
        "test_many_networks_at_once_are_each_selected_alone",
    ),
    "forward_selection/precision_test.py": (
        "test_bytes_are_selected_as_the_numbers_they_are_and_nan_is_not_hidden",
        "test_in_float32_the_losses_are_those_of_float64",
    ),
    "main_test.py": ("test_another_config_is_refused_by_key_with_both_values",),
    "models/by_name_test.py": (
        "test_every_network_keeps_the_contract[mobilenet_v2]",
        "test_parameters_are_as_many_as_published[mobilenet_v2-10-2236682]",
    ),
    "program/build/by_channels_test.py": (
        "test_a_forward_run_prunes_channels_to_a_smaller_network",
    ),
    "program/build/by_gates_test.py": (
        "test_doubtful_rounds_are_said_to_be",
        "test_every_method_in_rounds_runs_through_the_same_loop[continued]",
    ),
    "program/build/criterion_test.py": (
        "test_a_minimum_keeps_every_layer_alive",
        "test_channels_and_blocks_go_whole_and_n_of_m_is_exact",
        "test_every_corruption_changes_what_snip_keeps_and_not_how_much",
        "test_every_score_prunes_to_the_count_and_is_a_function_of_its_key[force]",
        "test_every_score_prunes_to_the_count_and_is_a_function_of_its_key[grasp]",
        "test_every_score_prunes_to_the_count_and_is_a_function_of_its_key[iterative_snip]",
        "test_every_score_prunes_to_the_count_and_is_a_function_of_its_key[snip]",
        "test_every_score_prunes_to_the_count_and_is_a_function_of_its_key[synflow]",
        "test_synflow_by_name_is_the_function_on_one_image[conv2]",
        "test_ties_at_the_cut_are_said_and_one_score_for_all_is_refused",
        "test_ties_of_groups_are_those_of_their_means",
    ),
    "program/build/retraining_test.py": (
        "test_what_is_deployed_is_plain_masked_and_as_accurate_as_recorded",
        "test_a_run_killed_while_ghosts_live_ends_with_the_same_bits",
        "test_every_arm_is_recorded_at_every_level_asked_for",
        "test_tweaks_at_the_identity_are_the_vanilla_run_bit_for_bit",
    ),
    "program/run/damage_test.py": (
        "test_a_curve_that_is_lost_inside_a_training_is_made_again",
        "test_records_that_are_lost_are_made_again[curves.jsonl-<lambda>]",
        "test_records_that_are_lost_are_made_again[results.jsonl-empty]",
    ),
    "program/run/errors_test.py": (
        "test_a_damaged_checkpoint_falls_back_to_the_one_before[training/level_01]",
        "test_a_damaged_ticket_is_written_again",
        "test_a_full_disk_leaves_what_was_saved_and_the_run_goes_on[9]",
        "test_a_torn_last_record_is_made_again",
    ),
    "program/run/experiment_test.py": (
        "test_a_population_equals_its_members_run_alone[changes0]",
        "test_every_restart_trains_over_its_steps[fine_tune-4-7]",
    ),
    "program/run/objectives_test.py": (
        "test_a_regression_is_planned",
        "test_a_run_learns_and_its_records_have_the_columns_of_its_measures[letters]",
        "test_a_run_that_is_interrupted_goes_on_with_the_same_bits[letters]",
        "test_figures_and_tables_are_of_the_measure[letters]",
        "test_perplexity_is_the_exponential_of_the_mean_loss[letters]",
        "test_studies_are_of_the_measure",
    ),
    "program/sweep/jobs_test.py": (
        "test_slurm_ends_a_job_itself_which_goes_on_until_then",
    ),
    "program/sweep/marks_test.py": (
        "test_runs_are_finished_one_after_the_other_and_marked",
    ),
    "pruning/choose_test.py": (
        "test_for_every_k_the_set_is_that_of_a_stable_sort[29-constant]",
        "test_for_every_k_the_set_is_that_of_a_stable_sort[29-tied]",
        "test_scores_and_masks_may_be_batched_too",
    ),
    "pruning/overflow_free_test.py": (
        "test_beyond_the_range_of_floats_only_the_exponent_changes[relu]",
        "test_deep_products_have_derivatives_in_range",
        "test_results_and_derivatives_are_those_of_the_function[maximum with zero on the left]",  # noqa: E501
        "test_results_and_derivatives_are_those_of_the_function[relu]",
        "test_what_no_signal_reaches_has_derivative_zero_however_deep",
    ),
    "pruning/patterns_test.py": (
        "test_groups_with_the_highest_means_stay_whole_and_the_others_go[blocks-full]",
        "test_groups_with_the_highest_means_stay_whole_and_the_others_go[blocks-part]",
        "test_groups_with_the_highest_means_stay_whole_and_the_others_go[inputs-full]",
        "test_groups_with_the_highest_means_stay_whole_and_the_others_go[outputs-full]",
        "test_groups_with_the_highest_means_stay_whole_and_the_others_go[outputs-part]",
        "test_patterns_are_the_same_under_jit_and_vmap_and_inside_the_masks[blocks]",
        "test_patterns_are_the_same_under_jit_and_vmap_and_inside_the_masks[n of m]",
    ),
    "pruning/scores_test.py": (
        "test_in_filters_that_are_normalised_grasp_sums_to_minus_their_gradient_norm",
        "test_scores_are_the_same_under_jit_and_vmap[grasp]",
        "test_scores_are_the_same_under_jit_and_vmap[magnitude]",
        "test_scores_are_the_same_under_jit_and_vmap[snip]",
        "test_scores_are_the_same_under_jit_and_vmap[synflow]",
        "test_snip_is_the_derivative_by_the_mask_of_kept_and_of_pruned_weights",
    ),
    "pruning/synflow_test.py": (
        "test_in_many_rounds_synflow_keeps_every_layer_where_the_others_lose_some",
        "test_negative_flows_are_refused_outside_of_jit",
        "test_synflow_is_conserved_through_batch_norm_and_pools",
        "test_the_degree_of_a_flow_is_one_where_the_network_is_linear[normalised-0]",
    ),
    "pruning/views_test.py": (
        "test_a_run_refuses_a_layer_of_ones_own_where_axes_matter_until_it_is_ruled[changes2]",
        "test_a_run_refuses_a_layer_of_ones_own_where_axes_matter_until_it_is_ruled[changes3]",
    ),
    "retraining/ghosts_test.py": (
        "test_a_branch_whose_norm_is_zero_changes_nothing",
        "test_a_branch_whose_norm_starts_at_zero_learns_by_its_norm_first",
        "test_a_constant_branch_is_the_same_in_all_channels",
        "test_an_absent_branch_learns_nothing_and_a_whole_one_everywhere",
        "test_at_the_end_the_network_is_the_plain_one_exactly[vgg11]",
        "test_every_3x3_convolution_but_the_stem_has_a_branch[mobilenet_v2]",
        "test_every_3x3_convolution_but_the_stem_has_a_branch[resnet50]",
        "test_ghosts_are_in_no_mask_and_stay_when_everything_else_is_pruned",
    ),
    "retraining/steps_test.py": (
        "test_a_step_is_compiled_once_for_all_phases",
        "test_a_teacher_is_followed_until_its_step_and_never_moved",
        "test_every_preset_learns_a_few_examples_with_a_twentieth_of_the_weights[tost_code]",
        "test_from_its_end_on_the_ghosts_step_is_the_plain_networks",
        "test_pruned_weights_stay_zero_and_what_they_were_does_not_matter[all]",
        "test_pruned_weights_stay_zero_and_what_they_were_does_not_matter[ghosts]",
        "test_vanilla_is_ordinary_training_bit_for_bit",
    ),
    "saving/pytorch_test.py": (
        "test_a_network_is_the_same_function_in_the_layout_of_pytorch[conv2]",
        "test_a_network_is_the_same_function_in_the_layout_of_pytorch[resnet]",
    ),
    "training/every_optimizer_test.py": (
        "test_a_schedule_moves_and_zero_is_zero_or_there_is_a_sentence[MultiSteps]",
    ),
    "training/losses_test.py": (
        "test_the_least_smoothed_loss_is_the_entropy_of_the_labels[10]",
    ),
    "training/optimizers_test.py": (
        "test_masking_the_forward_pass_is_the_same_as_keep_alone[lamb]",
        "test_masking_the_forward_pass_is_the_same_as_keep_alone[lbfgs]",
        "test_masking_the_forward_pass_is_the_same_as_keep_alone[noisy]",
        "test_pruned_weights_are_zero_from_the_first_step_also_when_masks_change[lbfgs]",
        "test_pruned_weights_are_zero_from_the_first_step_also_when_masks_change[sgd]",
    ),
    "training/members_test.py": (
        "test_a_population_at_once_has_the_numbers_of_separate_runs[2]",
        "test_a_population_one_by_one_has_the_bits_of_separate_runs",
    ),
    "training/steps_test.py": (
        "test_each_point_holds_the_mean_loss_since_the_last_and_what_was_measured[0-8]",
        "test_each_point_holds_the_mean_loss_since_the_last_and_what_was_measured[2-10]",
        "test_whether_validation_is_due_stays_a_branch_for_a_population",
    ),
    "channels/low_rank_test.py": ("test_two_thin_layers_compute_what_one_did[False]",),
    "federated/rounds_test.py": (
        "test_clients_at_once_equal_clients_one_by_one[cell]",
        "test_clients_at_once_equal_clients_one_by_one[lottery_fl]",
        "test_clients_at_once_equal_clients_one_by_one[standalone]",
        "test_a_mesh_gives_the_numbers_of_one_device[lottery_fl]",
        "test_one_client_that_never_prunes_trains_as_plain_sgd_does",
        "test_who_is_lost_is_a_function_of_the_key_and_the_others_count_in_full",
    ),
    "program/federated/experiment_test.py": (
        "test_a_run_that_is_killed_goes_on_with_the_same_bits[1000000000.0]",
        "test_a_finished_run_is_not_trained_again_and_takes_more_rounds",
        "test_accuracies_are_those_of_the_networks_there_are",
    ),
    "program/build/by_admm_test.py": (
        "test_levels_do_not_build_on_one_another",
        "test_cut_in_a_round_it_ends_with_the_same_bits",
    ),
    "program/build/coefficients_test.py": (
        "test_a_longer_search_goes_on_from_a_shorter_one_with_the_same_bits",
    ),
    "program/run/neighbours_test.py": (
        "test_fewer_seeds_than_there_are_records_of_are_studied_alone",
        "test_rows_are_the_run_s_own_and_those_of_runs_inside_it",
        "test_the_report_names_the_rate_and_a_neighbour_that_is_better",
    ),
    "program/run/starts_test.py": (
        "test_without_rewinding_the_first_weights_are_the_tickets_bit_for_bit",
    ),
    "program/run/recognition_test.py": (
        "test_a_round_of_gates_is_measured_on_whole_sets_as_its_ticket_is",
        "test_each_way_takes_what_it_says_and_keeps_the_rest[ticket-1]",
        "test_each_way_takes_what_it_says_and_keeps_the_rest[ticket-2]",
        "test_masked_weights_stay_zero_and_heads_dense[ticket]",
        "test_each_way_takes_what_it_says_and_keeps_the_rest[mask-1]",
        "test_each_way_takes_what_it_says_and_keeps_the_rest[mask-2]",
        "test_each_way_takes_what_it_says_and_keeps_the_rest[task-1]",
        "test_each_way_takes_what_it_says_and_keeps_the_rest[task-2]",
        "test_masked_weights_stay_zero_and_heads_dense[mask]",
        "test_masked_weights_stay_zero_and_heads_dense[task]",
        "test_a_run_of_tickets_taken_over_goes_on_with_the_same_bits[ticket]",
    ),
    "program/run/every_program_test.py": (
        "test_every_program_of_a_run_lowers_for_a_tpu_and_a_gpu[synflow]",
    ),
    "program/build/by_elastic_test.py": (
        "test_a_run_goes_on_where_it_stood",
        "test_it_is_planned_without_numbers_that_only_the_tickets_know",
        "test_levels_of_the_source_may_be_named",
    ),
    "program/run/transformers_test.py": (
        "test_whole_heads_are_gone_and_the_ticket_trains",
    ),
    "program/run/streamed_test.py": (
        "test_a_streamed_run_has_the_numbers_of_the_resident_one",
    ),
    "program/run/own_training_test.py": (
        "test_a_run_that_is_interrupted_goes_on_with_the_same_bits",
    ),
    "program/run/search_progress_test.py": (
        "test_a_chain_that_loses_everything_ends_alone",
    ),
}

# The first so many cases of a test run with the rest of its file; the others are slow.
FEW = {
    "devices/cpu_convolutions_test.py": {"test_dtypes_are_those_of_jax": 2},
    "dynamic/carrying_test.py": {
        "test_masks_move_under_strict_promotion_with_64_bits_too": 2
    },
    "forward_selection/channels_test.py": {
        "test_padding_in_pixels_may_be_written_in_any_way": 2
    },
    "forward_selection/precision_test.py": {
        "test_an_offset_of_all_answers_changes_no_pick": 2
    },
    "models/by_name_test.py": {"test_parameters_are_as_many_as_published": 5},
    "program/build/arm_settings_test.py": {
        "test_an_arm_s_own_setting_trains_as_the_config_s_bit_for_bit": 1
    },
    "program/build/by_elastic_test.py": {
        "test_every_level_is_the_sources_ticket_with_its_layer_copied": 1
    },
    "program/build/methods_test.py": {
        "test_every_key_that_a_method_does_not_read_is_refused_when_it_is_set": 4
    },
    "program/report/page_test.py": {
        "test_a_damaged_note_is_said_once_and_not_shown": 2
    },
    "program/run/damage_test.py": {"test_records_that_are_lost_are_made_again": 2},
    "program/run/dry_run_test.py": {"test_what_a_run_accepts_is_planned": 2},
    "program/run/starts_test.py": {
        "test_in_a_learnt_basis_the_first_weights_are_the_tickets_bit_for_bit": 1
    },
    "pruning/bases_test.py": {
        "test_complex_weights_come_back_and_keep_their_length": 2,
        "test_the_gradient_of_coefficients_is_the_gradients_coefficients": 2,
        "test_the_transform_is_orthonormal": 2,
        "test_weights_come_back_and_keep_their_length": 4,
        "test_with_all_coefficients_sgd_is_the_plain_run_and_adam_is_not": 2,
    },
    "pruning/places_test.py": {
        "test_on_explicit_axes_all_is_as_without_and_lies_where_the_weights_do": 6
    },
    "pruning/precision_test.py": {
        "test_counts_of_int32_give_floats_of_32_bits_under_strict_promotion_too": 2,
        "test_of_any_types_a_function_gives_what_it_gives_of_float32": 6,
        "test_of_float32_nothing_changes_where_64_bits_are_enabled": 2,
    },
    "pruning/scores_test.py": {"test_scores_are_mapped_and_derived_outside_of_jit": 2},
    "pruning/stacked_test.py": {
        "test_each_layer_keeps_its_minimum_of_groups": 2,
        "test_each_layer_of_a_stack_keeps_its_best_and_the_rest_is_ranked": 2,
    },
    "tickets/contract_test.py": {"test_a_saved_state_finds_the_same_ticket": 3},
    "tickets/controls_test.py": {
        "test_the_key_decides_and_compiling_changes_nothing": 2
    },
    "training/optax_names_test.py": {
        "test_an_optimizer_by_its_name_keeps_zeros_and_starts_anywhere": 6
    },
    "training/optimizers_test.py": {
        "test_masking_the_forward_pass_is_the_same_as_keep_alone": 2,
        "test_pruned_weights_are_zero_from_the_first_step_also_when_masks_change": 3,
    },
}


def is_slow(place, name, nth):
    """Returns whether the `nth` case, from 1, of a test of the file `place` is slow."""
    few = FEW.get(place, {}).get(name.partition("[")[0], nth)
    return name in SLOW.get(place, ()) or nth > few
