"""Files of whole runs: minutes in all, beside the pieces that the other files hold.

`pytest -m thorough` runs them, as `.ci/run` does; the command of the README does not.
"""

FILES = (
    "devices/processes_test.py",
    "export_test.py",
    "federated/rounds_test.py",
    "program/build/arm_settings_test.py",
    "program/build/by_admm_test.py",
    "program/build/by_channels_test.py",
    "program/build/by_gates_test.py",
    "program/build/by_elastic_test.py",
    "program/build/coefficients_test.py",
    "program/build/criterion_test.py",
    "program/build/methods_test.py",
    "program/build/objective_test.py",
    "program/build/optimizer_test.py",
    "program/build/recipes_test.py",
    "program/build/retraining_test.py",
    "program/build/source_draws_test.py",
    "program/federated/experiment_test.py",
    "program/report/page_costs_test.py",
    "program/report/page_test.py",
    "program/report/studies/study_files_test.py",
    "program/report/studies/study_test.py",
    "program/run/damage_test.py",
    "program/run/dry_run_test.py",
    "program/run/errors_test.py",
    "program/run/given_weights_test.py",
    "program/run/measures_test.py",
    "program/run/neighbours_test.py",
    "program/run/objectives_test.py",
    "program/run/own_training_test.py",
    "program/run/pools_test.py",
    "program/run/recognition_test.py",
    "program/run/resume_test.py",
    "program/run/search_progress_test.py",
    "program/run/starts_test.py",
    "program/run/streamed_test.py",
    "program/run/transformers_test.py",
    "program/run/writers_test.py",
    "program/sweep/jobs_test.py",
    "program/workdir/sittings_test.py",
    "retraining/frozen_test.py",
    "saving/torch_source_test.py",
    "training/streamed_test.py",
)
# What takes seconds among the pieces of other files: whole runs, processes, or much to
# compile.
TESTS = {
    "analysis/barriers_test.py": (
        "test_by_recomputed_statistics_a_network_does_what_it_does_in_training",
        "test_recomputed_statistics_are_the_mean_of_those_of_the_batches",
    ),
    "analysis/correlation_test.py": (
        "test_a_tree_overlaps_with_itself_wholly",
        "test_correlations_are_those_of_scipy_layer_by_layer",
        "test_independent_trees_overlap_by_the_part_that_is_taken",
        "test_infinity_has_a_rank_and_no_magnitude_to_correlate",
        "test_of_what_is_no_number_nothing_correlates",
        "test_one_tiny_step_changes_nothing_that_is_seen",
        "test_scale_by_layer_signs_and_one_order_of_both_make_no_difference",
    ),
    "analysis/curvature_test.py": (
        "test_power_iteration_finds_the_largest_eigenvalue",
        "test_pruned_weights_do_not_matter",
        "test_the_gradients_norm_is_of_kept_coordinates",
    ),
    "channels/layers_of_test.py": (
        "test_a_layer_of_flax_or_with_another_default_is_cut",
    ),
    "channels/low_rank_test.py": ("test_two_thin_layers_compute_what_one_did",),
    "channels/slimming_test.py": ("test_a_pruned_channel_has_no_say",),
    "channels/smaller_norms_test.py": (
        "test_a_norm_over_channels_without_parameters_is_refused_too",
    ),
    "channels/smaller_test.py": (
        "test_a_compact_network_computes_what_the_masked_one_does",
        "test_counts_above_one_are_weights_on_what_the_next_layer_reads",
    ),
    "data/array_files_test.py": ("test_maps_of_labels_go_where_their_images_go",),
    "data/augmentations_test.py": (
        "test_a_square_is_cut_out_around_any_pixel",
        "test_the_share_of_a_mixture_is_of_a_beta_distribution",
    ),
    "data/batches_test.py": (
        "test_a_population_sees_the_batches_of_its_members_alone",
    ),
    "data/objects_test.py": ("test_labels_go_where_the_pixels_go",),
    "data/read_ahead_test.py": ("test_processes_that_read_give_what_threads_give",),
    "devices/cpu_convolutions_test.py": (
        "test_every_derivative_and_batch_equals_jax_s_own",
        "test_narrow_floats_are_convolved_under_strict_promotion",
        "test_results_of_no_pixels_are_those_of_jax",
    ),
    "devices/memory_test.py": (
        "test_the_derivative_keeps_only_what_goes_from_block_to_block",
        "test_what_is_computed_again_has_the_same_derivative",
    ),
    "dynamic/carrying_test.py": (
        "test_masks_move_under_strict_promotion_with_64_bits_too",
        "test_what_gradual_pruning_takes_away_leaves_no_moments",
    ),
    "dynamic/dense_to_sparse_test.py": ("test_layers_may_have_targets_of_their_own",),
    "dynamic/multipliers_test.py": (
        "test_cut_anywhere_it_goes_on_with_the_same_bits",
        "test_the_projection_keeps_exactly_so_many_the_largest",
    ),
    "dynamic/sparse_to_sparse_test.py": (
        "test_at_a_change_rigl_pauses_all_but_the_schedules",
        "test_counts_stay_through_a_thousand_steps_with_momentum_and_decay",
        "test_rigl_grows_where_the_dense_gradient_is_largest",
        "test_what_grew_trains_although_the_masks_change_at_every_step",
    ),
    "federated/evaluation_test.py": (
        "test_accuracy_on_own_classes_is_that_of_their_examples",
    ),
    "federated/flower_test.py": ("test_payloads_average_as_stacked_clients_do",),
    "federated/traffic_test.py": (
        "test_bytes_of_a_round_equal_the_closed_form_and_what_is_really_sent",
    ),
    "forward_selection/channels_test.py": (
        "test_every_pick_is_the_best_of_all_candidates_forwarded",
        "test_padding_in_pixels_may_be_written_in_any_way",
    ),
    "forward_selection/neurons_test.py": (
        "test_all_engines_agree",
        "test_rows_kept_in_blocks_change_no_pick_among_random_candidates",
    ),
    "forward_selection/precision_test.py": (
        "test_an_offset_of_all_answers_changes_no_pick",
    ),
    "forward_selection/two_layer_test.py": (
        "test_a_step_of_gradient_descent_contracts_along_the_kernel_as_linearised",
        "test_a_wide_network_contracts_about_as_its_kernel_says",
        "test_the_network_is_the_mean_of_its_neurons_and_trains_on_the_first_examples",
    ),
    "interceptors_test.py": ("test_nothing_is_left_where_python_leaves_asserts_out",),
    "layers_test.py": ("test_nothing_has_a_second_address_but_in_a_face",),
    "models/by_name_test.py": ("test_every_network_keeps_the_contract",),
    "models/functions_test.py": (
        "test_a_network_is_told_its_mode_by_the_name_it_knows",
    ),
    "models/layers_test.py": (
        "test_a_classifier_starts_as_released_codes_have_it",
        "test_batch_norm_is_that_of_flax_in_value_derivative_and_statistics",
    ),
    "models/recognition_test.py": (
        "test_maps_have_the_stride_and_the_channels_of_the_heads",
        "test_the_mean_of_a_trunks_maps_is_what_the_head_reads",
    ),
    "models/resnet_test.py": (
        "test_a_relu_after_the_pool_of_a_stem_has_the_values_and_derivatives_of_one_before",  # noqa: E501
    ),
    "models/transformer_test.py": (
        "test_a_place_sees_no_token_that_comes_after_it",
        "test_patches_are_told_apart_by_their_positions_alone",
    ),
    "one_program_test.py": (
        "test_the_whole_loop_of_eight_keys_at_once_equals_eight_separate_runs",
    ),
    "program/build/data_test.py": (
        "test_a_batch_is_augmented_as_a_whole_after_it_is_moved",
    ),
    "program/config/validate_test.py": (
        "test_a_number_is_refused_outside_of_its_range_and_where_it_is_none",
    ),
    "program/run/check_test.py": ("test_what_trains_the_wrong_thing_is_refused",),
    "program/run/early_bird_test.py": (
        "test_a_queue_that_is_never_full_takes_no_room_of_its_own",
    ),
    "program/run/experiment_test.py": (
        "test_a_layer_that_collapses_is_warned_of_and_recorded",
        "test_every_way_to_say_how_much_keeps_exactly_that",
        "test_levels_and_late_rewinding_compile_nothing_and_controls_once",
        "test_there_is_a_record_for_every_level_seed_and_arm",
    ),
    "pruning/bases_test.py": (
        "test_rows_of_singular_vectors_are_the_best_of_a_rank_as_two_thin_layers",
        "test_the_gradient_of_coefficients_is_the_gradients_coefficients",
        "test_the_transform_is_orthonormal",
        "test_weights_come_back_and_keep_their_length",
    ),
    "pruning/highest_test.py": ("test_behind_an_update_as_many_stay_as_are_asked_for",),
    "pruning/overflow_free_test.py": (
        "test_results_and_derivatives_are_those_of_the_function",
    ),
    "pruning/patterns_test.py": (
        "test_a_block_lies_in_one_group_of_a_convolution",
        "test_groups_are_counted_in_all_or_by_layer",
        "test_of_every_m_neighbours_the_n_best_stay",
    ),
    "pruning/places_test.py": (
        "test_on_explicit_axes_all_is_as_without_and_lies_where_the_weights_do",
    ),
    "pruning/precision_test.py": (
        "test_counts_of_int32_give_floats_of_32_bits_under_strict_promotion_too",
        "test_of_any_types_a_function_gives_what_it_gives_of_float32",
        "test_of_float32_nothing_changes_where_64_bits_are_enabled",
    ),
    "pruning/rounds_test.py": (
        "test_rounds_equal_scoring_and_pruning_by_turns",
        "test_rounds_may_be_mapped_over_their_scores",
    ),
    "pruning/score_batches_test.py": (
        "test_the_mean_over_batches_is_the_loss_of_one_large_batch",
    ),
    "pruning/scores_test.py": (
        "test_grasp_is_the_weight_times_the_explicit_hessian_times_the_gradient",
    ),
    "pruning/shard_map_test.py": (
        "test_what_loops_is_mapped_over_devices_without_checks",
    ),
    "pruning/stacked_test.py": (
        "test_a_run_keeps_a_weight_of_each_layer_or_warns_of_it",
        "test_each_layer_of_a_stack_keeps_its_best_and_the_rest_is_ranked",
    ),
    "pruning/synflow_test.py": (
        "test_synflow_equals_the_published_score_over_its_sum_with_skips",
    ),
    "retraining/ghosts_test.py": (
        "test_a_faded_neuron_is_relu_with_finite_gradients",
        "test_the_optimizer_forgets_the_ghosts_and_nothing_else",
    ),
    "retraining/pools_test.py": (
        "test_it_is_never_worth_less_and_keeps_exactly_as_many",
    ),
    "retraining/rescaling_test.py": (
        "test_derivatives_by_the_factors_are_finite_differences",
        "test_floors_hold_and_biases_may_vanish",
        "test_tensors_are_multiples_of_what_they_were_and_zeros_stay",
        "test_the_bound_decides_what_an_iteration_does",
        "test_the_released_codes_norm_is_larger_for_it_sees_pruned_weights",
    ),
    "retraining/steps_test.py": (
        "test_an_arm_without_smoothing_minimises_the_goal_s_own_loss",
    ),
    "tickets/elastic_test.py": ("test_what_is_stretched_fits_the_deeper_network",),
    "training/centre_points_test.py": (
        "test_an_image_without_an_object_has_a_finite_loss_and_gradient",
        "test_points_move_to_the_peaks_of_their_heat_maps",
    ),
    "training/every_optimizer_test.py": (
        "test_a_schedule_moves_and_zero_is_zero_or_there_is_a_sentence",
    ),
    "training/extras_test.py": (
        "test_an_average_changes_nothing_of_what_is_trained_and_is_what_is_measured",
        "test_an_average_is_the_recursion_over_the_steps_and_zero_where_they_are",
        "test_batch_norm_of_a_part_is_the_same_on_any_mesh",
        "test_batch_statistics_move_with_every_part",
        "test_each_member_of_a_population_stops_by_itself",
    ),
    "training/losses_test.py": (
        "test_the_least_smoothed_loss_is_the_entropy_of_the_labels",
    ),
    "training/members_test.py": (
        "test_a_population_at_once_has_the_numbers_of_separate_runs",
    ),
    "training/optax_names_test.py": (
        "test_a_schedule_by_its_name_is_of_the_rate_and_the_steps",
        "test_an_optimizer_by_its_name_keeps_zeros_and_starts_anywhere",
    ),
    "training/optimizers_test.py": (
        "test_pruned_weights_are_zero_from_the_first_step_also_when_masks_change",
    ),
    "training/precision_counts_test.py": (
        "test_overlaps_and_similarities_are_those_of_the_analysis",
        "test_where_each_find_has_a_bin_the_precision_is_exact_and_counts_add_up",
    ),
    "training/recognition_test.py": (
        "test_boxes_are_found_whether_or_not_objects_have_points",
        "test_pixels_of_no_class_count_for_nothing",
    ),
    "training/steps_test.py": (
        "test_by_local_norms_a_device_s_gradients_are_by_its_own_rows",
        "test_one_device_equals_four",
    ),
}
