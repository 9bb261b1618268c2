"""The mutants: lines of the guard, each with a change that a test must notice. CONTRIBUTING.md says how to add one."""

from tests.mutants.mutant import Mutant

FAULT = "tests/din/release/gates/test_gate_faults.py::test_a_fault_closes_its_gates_alone[{}]".format
MODEL = "tests/din/release/gates/test_judged_models.py::test_a_gate_reads_the_model_that_it_states[{}]".format
ONE_BY_ONE = "tests/din/release/gates/test_gates_one_by_one.py::{}".format
GATE = "tests/din/release/gates/test_gate.py::{}".format
LAST_STEP = "tests/din/release/gates/test_last_step.py::{}".format
PROPERTIES = "tests/din/featurize/test_featurize_properties.py::"
TWIN = "tests/din/featurize/test_featurize_twin.py::test_everything_equals_the_twin[{}-0]".format
HISTORY = (PROPERTIES + "test_nothing_at_or_after_an_impression_changes_its_history[{}]").format
TIES = PROPERTIES + "test_ties_follow_prior_history_and_then_the_sequence"
HELD_OUT = (PROPERTIES + "test_held_out_rows_change_nothing_that_training_sees[{}]").format
DELTA = "tests/din/release/gates/test_delta.py::{}".format
LOOKS = "tests/din/metrics/test_noninferiority.py::{}".format
RANKING = "tests/din/metrics/test_ranking.py::{}".format
PARITY = "tests/din/bundle/test_parity.py::{}".format
SERVER = "tests/din_loop/server/test_deployment.py::{}".format
LESSON = "tests/din/train/test_champion_start.py::test_a_lesson_is_judged_from_the_champion_on"
CROSSFIT = "tests/din/train/test_crossfit.py::test_each_row_is_scored_by_a_model_that_never_saw_its_user"
SKEW = "tests/din_loop/replay/test_skew.py::test_a_planted_mistake[{}]".format
STORE = "tests/din/release/registry/test_registry.py"
SPREAD = "tests/din_loop/watch/test_spread.py::{}".format
NEEDED = "tests/examples/test_example_kinds.py::test_a_bundle_is_refused_without_its_plugin"
ENCODER = "tests/examples/test_example_kinds.py::test_no_request_is_encoded_without_the_plugin"
CLOSED = "tests/validation/test_validation_run.py::test_what_cannot_be_evaluated_is_closed"

CANDIDATE, COMPARISONS, SLICES = (
    "din/release/gates/candidate.py",
    "din/release/gates/comparisons.py",
    "din/release/gates/slices.py",
)
AGREEMENT = "din/bundle/agreement.py"
BLEND = "din/train/blend.py"
BLENDED = "tests/din/train/test_blend.py::{}".format
BUDGETS, LOG = "din/release/gates/budgets.py", "din/release/gates/promotion_log.py"
OF_GATES = (
    Mutant(
        "made_from", CANDIDATE, "(dict(facts.params.data), params.data.window())", "(0, 0)", FAULT("another window")
    ),
    Mutant(
        "validation_raw",
        "din/contracts/expectations.py",
        'if report.verdict != "open"',
        "if False",
        FAULT("a closed suite"),
    ),
    Mutant(
        "validation_features",
        "din/contracts/expectations.py",
        "expected(suite, params) - {",
        "set() - {",
        FAULT("a failed expectation, called a warning"),
    ),
    Mutant(
        "validation_predictions",
        "din/contracts/expectations.py",
        "if report.input != digest",
        "if False",
        FAULT("later predictions"),
    ),
    Mutant("evaluation", CANDIDATE, "decide(gap <= _TOLERANCE", "decide(gap <= 1", FAULT("another AUC")),
    Mutant("min_auc", CANDIDATE, '"auc", case.limits.min_auc', '"auc", 0.5', FAULT("a low AUC")),
    Mutant("min_gauc", CANDIDATE, '"gauc", case.limits.min_gauc', '"gauc", 0.5', FAULT("a low GAUC")),
    Mutant(
        "min_auc", CANDIDATE, "rows = case.evidence.shipped_sample", "rows = case.evidence.sample", MODEL("min_auc")
    ),
    Mutant("{metric}_over_popularity", CANDIDATE, 'against="popularity"', 'against="lr"', FAULT("good popularity")),
    Mutant("{metric}_over_lr", CANDIDATE, 'against="lr"', 'against="popularity"', FAULT("a good LR")),
    Mutant("parity", AGREEMENT, "diff <= ATOL_PROBABILITY", "diff <= 1", FAULT("paths that are far apart")),
    Mutant("parity", AGREEMENT, "self.paths in (PATHS, PORTABLE)", "self.paths", FAULT("a path that was left out")),
    Mutant("parity", AGREEMENT, "self.cases > 0", "self.cases >= 0", FAULT("no case that was compared")),
    Mutant("parity", AGREEMENT, "self.std >= MIN_STD", "self.std >= 0", FAULT("outputs that are all alike")),
    Mutant("parity", CANDIDATE, "if report.bundle != version", "if False", FAULT("parity of another bundle")),
    Mutant(
        "refit",
        CANDIDATE,
        "(facts.inputs.shipped, report.shipped)",
        "(report.shipped, report.shipped)",
        FAULT("another shipped model in the report"),
    ),
    Mutant("shipped", CANDIDATE, "gain.upper >= -permitted and ", "", FAULT("a shipped model that forgot")),
    Mutant("shipped", CANDIDATE, " and loss.lower <= 0", "", FAULT("a shipped model that overshot")),
    Mutant(
        "shipped", CANDIDATE, 'not_outside(calibration) == "closed"', "False", FAULT("a shipped model that is too low")
    ),
    Mutant(
        "no_earlier_champion",
        LOG,
        "if version != case.evidence.version",
        "if not version",
        "tests/din/base/test_artifacts.py::test_a_deleted_log_is_not_a_first_run",
    ),
    Mutant("data_until", LOG, "decide(candidate >= champion", "decide(candidate <= champion", FAULT("an older log")),
    Mutant(
        "not_rolled_back",
        LOG,
        "rolled_back(case.history).get(case.evidence.version)",
        "rolled_back(case.history).get(case.history[-1].version)",
        FAULT("a bundle that was rolled back"),
    ),
    Mutant(
        "champion_today",
        "din/release/gates/champion_today.py",
        "value=auc.value - recorded",
        "value=auc.value",
        ONE_BY_ONE("test_a_log_that_changed_its_meaning_is_closed"),
    ),
    Mutant(
        "champion_today",
        "din/release/gates/champion_today.py",
        "gain.lower > 0 and ",
        "",
        ONE_BY_ONE("test_only_a_candidate_that_learned_the_days_since_shows_that_the_champion_is_stale"),
    ),
    Mutant(
        "last_step",
        "din/release/gates/last_step.py",
        'verdict="closed" if starts else "open"',
        'verdict="open"',
        LAST_STEP("test_a_candidate_that_continues_a_harmful_champion_is_closed"),
    ),
    Mutant(
        "champion_delta_{metric}",
        "din/release/gates/earlier_champion.py",
        "rows = self._evidence.crossfit",
        "rows = self._evidence.rows",
        MODEL("champion_delta_{metric}"),
        quick=True,
    ),
    Mutant(
        "champion_delta_{metric}",
        COMPARISONS,
        "candidate_of(rows) not in removed",
        "True",
        DELTA("test_the_look_of_a_removed_candidate_counts_and_tells_nothing"),
    ),
    Mutant(
        "the reason of a comparison",
        COMPARISONS,
        "Claim(outcome.today, -margin)",
        "Claim(outcome.today, margin)",
        DELTA("test_a_reason_tells_what_today_shows_against_the_pooled_days[certain]"),
    ),
    Mutant(
        "the reason of a comparison",
        COMPARISONS,
        "-WORST * margin)",
        "-margin)",
        DELTA("test_a_reason_tells_what_today_shows_against_the_pooled_days[possible]"),
    ),
    Mutant(
        "lesson_delta_{metric}",
        COMPARISONS,
        'evidence.rows["prediction"]',
        'rows["prediction"]',
        FAULT("a lesson that harms"),
        quick=True,
    ),
    Mutant(
        "anchor_delta_{metric}",
        COMPARISONS,
        "against=anchor.scores",
        'against="prediction"',
        GATE("test_small_permitted_losses_do_not_add_up"),
    ),
    Mutant("prediction_drift", COMPARISONS, "if observed <= limit", "if observed", FAULT("squeezed predictions")),
    Mutant("slice_auc", SLICES, 'measured("auc", rows), 0.5', 'measured("auc", rows), 0.0', FAULT("a reversed slice")),
    Mutant("slice_delta", SLICES, "-case.limits.slice_margin", "-1.0", FAULT("a worse slice")),
    Mutant("calibration", SLICES, "bounds = limits.calibration", "bounds = (0.0, 9.0)", FAULT("high predictions")),
    Mutant(
        "slice_calibration",
        SLICES,
        "bounds = case.limits.slice_calibration",
        "bounds = (0.0, 9.0)",
        FAULT("a low slice"),
        quick=True,
    ),
    Mutant(
        "slice_calibration",
        SLICES,
        "return candidate < champion",
        "return True",
        ONE_BY_ONE("test_a_worse_calibrated_champion_excuses"),
    ),
    Mutant(
        "implausible_gain",
        "din/release/gates/plausibility.py",
        "if value > most",
        "if value > 1",
        FAULT("a high AUC"),
    ),
    Mutant(
        "bundle_mb",
        BUDGETS,
        'observed <= limit, observed, limit, "the',
        'observed, observed, limit, "the',
        FAULT("a large bundle"),
    ),
    Mutant(
        "bundle_ratio",
        BUDGETS,
        "_megabytes(case.champion.bundle)",
        "_megabytes(case.evidence.bundle)",
        FAULT("a grown bundle"),
    ),
    Mutant(
        "latency_ms",
        BUDGETS,
        "NOMINAL_MS * _measured(case, None)",
        "_measured(case, None)",
        ONE_BY_ONE("test_a_time_beyond_its_limit_closes_alone[limits1-latency_ms]"),
    ),
    Mutant(
        "latency_ratio",
        BUDGETS,
        "_measured(case, case.champion.bundle)",
        "_measured(case, None)",
        ONE_BY_ONE("test_a_time_beyond_its_limit_closes_alone[limits0-latency_ratio]"),
    ),
    Mutant(
        "an error closes",
        "din/release/gates/case.py",
        'Finding("closed", None',
        'Finding("open", None',
        FAULT("no shipped score"),
        quick=True,
    ),
)
"""At least one for each gate. The others guard a rule that several gates share."""

OF_COMPARISONS = (
    Mutant(
        "learned rows",
        "din/release/gates/earlier_champion.py",
        "rows.filter(pa.array(fair))",
        "rows",
        GATE("test_rows_that_the_champion_learned_are_left_out"),
    ),
    Mutant(
        "learned rows",
        "din/metrics/unseen.py",
        "timestamps > microseconds",
        "timestamps >= microseconds",
        "tests/din/metrics/test_unseen.py",
    ),
    Mutant(
        "learned rows",
        "din/metrics/unseen.py",
        "earlier.seen_until > today.seen_until",
        "earlier.seen_until < today.seen_until",
        "tests/din/metrics/test_unseen.py",
        quick=True,
    ),
    Mutant(
        "a champion's scores",
        "din/release/gates/earlier_champion.py",
        "if not np.isfinite(scores).all()",
        "if False",
        "tests/din/release/gates/test_gate_faults.py::test_a_champion_that_cannot_score_closes_what_needs_its_scores",
    ),
    Mutant(
        "looks",
        "din/metrics/noninferiority.py",
        "(look * (look + 1))",
        "look",
        LOOKS("test_the_spent_levels_add_up_to_the_level"),
        quick=True,
    ),
    Mutant(
        "looks",
        "din/metrics/noninferiority.py",
        " and today.lower > -WORST * margin",
        "",
        LOOKS("test_good_days_do_not_let_a_bad_candidate_through"),
    ),
    Mutant(
        "looks",
        "din/metrics/noninferiority.py",
        " or today.upper < -margin",
        "",
        LOOKS("test_a_certain_loss_of_today_closes"),
    ),
    Mutant(
        "looks",
        "din/metrics/noninferiority.py",
        " or math.isnan(pooled.value)",
        "",
        LOOKS("test_an_undefined_difference_closes"),
    ),
    Mutant(
        "looks",
        "din/metrics/noninferiority.py",
        "if retries else level",
        "if False else level",
        LOOKS("test_retries_of_a_day_do_not_let_a_bad_candidate_through"),
    ),
    Mutant(
        "pooled days",
        "din/release/gates/pooling.py",
        "days.isdisjoint(view.days)",
        "True",
        "tests/din/release/gates/test_pooling.py::test_a_day_is_pooled_once_from_the_newest_comparison_that_holds_it",
    ),
    Mutant("folds", "din/train/crossfit.py", "of_shard != fold", "of_shard >= 0", CROSSFIT),
    Mutant("folds", "din/train/crossfit.py", "(fold + 1) % len(scores)", "fold", CROSSFIT),
    Mutant(
        "the start of a lesson",
        "din/train/refit.py",
        "champion if champion.exists() else workspace.model",
        "workspace.model",
        LESSON,
    ),
    Mutant(
        "the start of a lesson",
        "din/train/refit.py",
        "features, start, settings",
        "features, workspace.model, settings",
        LESSON,
    ),
    Mutant("AUC", "din/metrics/ranking.py", '"left") +', '"right") +', RANKING("test_auc_equals_all_pairs")),
    Mutant(
        "GAUC",
        "din/metrics/ranking.py",
        "before + n / 2",
        "before + n",
        RANKING("test_gauc_equals_a_loop_over_users"),
        quick=True,
    ),
    Mutant(
        "GAUC",
        "din/metrics/ranking.py",
        "np.where(defined, per_user.impressions, 0)",
        "per_user.impressions",
        RANKING("test_gauc_equals_a_loop_over_users"),
    ),
    Mutant(
        "GAUC",
        "din/metrics/estimates.py",
        "np.where(defined, impressions, 0)",
        "impressions",
        "tests/din/metrics/test_estimates.py",
    ),
)

TIMELINE, COUNTS, ENTITIES = "din/featurize/timeline.py", "din/featurize/counts.py", "din/featurize/entities.py"
OF_FEATURES = (
    Mutant("histories: a tie", TIMELINE, "range=(None, -1)", "range=(None, 0)", HISTORY("strict"), quick=True),
    Mutant("histories: the own row", TIMELINE, "preceding=(None, 1)", "preceding=(None, 0)", TWIN("temporal-sequence")),
    Mutant("histories: the order of ties", TIMELINE, '"is_event", "sequence")', '"is_event")', TIES),
    Mutant("histories: the order of ties", TIMELINE, '"is_event", "sequence")', '"sequence", "is_event")', TIES),
    Mutant("histories: a later row", TIMELINE, 'if order == "daily"', "if False", HISTORY("daily")),
    Mutant("vocabularies", COUNTS, "present.filter(present.day == 0)", "present", HELD_OUT("temporal-changes0")),
    Mutant(
        "vocabularies",
        COUNTS,
        "self.candidates.filter(self.candidates.day == 0)",
        "self.candidates",
        HELD_OUT("temporal-changes0"),
    ),
    Mutant("vocabularies", "din/featurize/coders.py", "if since <= day", "if True", HELD_OUT("temporal-changes0")),
    Mutant(
        "splits: temporal",
        "din/featurize/splits.py",
        "(rows[TIMESTAMP] >= valid, 1)",
        "(rows[TIMESTAMP] >= valid, 0)",
        TWIN("temporal-sequence"),
    ),
    Mutant("splits: by_user", ENTITIES, "(drawn < test, 2)", "(drawn < valid, 2)", TWIN("by_user-strict")),
    Mutant(
        "splits: leave_last_out",
        "din/featurize/splits.py",
        "(nth == clicks, _TEST)",
        "(nth == 2, _TEST)",
        TWIN("leave_last_out-sequence"),
    ),
    Mutant("n_j", COUNTS, "ibis.greatest(spans.low, covered)", "spans.low", TWIN("temporal-sequence")),
    Mutant("n_j", COUNTS, "self.visible.filter(~self.visible.shown)", "self.visible", TWIN("temporal-sequence")),
    Mutant("n_j", TIMELINE, "lead(max_history)", "lead(max_history + 1)", TWIN("by_user-strict")),
    Mutant(
        "negatives",
        "din/featurize/negatives.py",
        "(rows.split == TRAIN) & (",
        "(",
        "tests/din/featurize/test_featurize_twin.py::test_a_log_that_was_sampled_is_reported",
    ),
    Mutant(
        "negatives",
        "din/featurize/negatives.py",
        '.anti_join(pairs, ["user", "item"])',
        "",
        TWIN("leave_last_out-sequence"),
    ),
)

OF_LEARNED_ROWS = (
    Mutant(
        "a blend that reads judged behaviours",
        BLEND,
        "np.minimum.at(first, impressions.user, impressions.history_end)",
        "pass",
        BLENDED("test_no_statistic_reads_a_judged_row"),
    ),
    Mutant(
        "a blend fitted on test rows",
        BLEND,
        'predict(trained, features, "valid", compute',
        'predict(trained, features, "test", compute',
        BLENDED("test_weights_read_validation_rows_alone"),
    ),
    Mutant(
        "a blend that reads users without training rows",
        BLEND,
        'first[features.shard(number, "train").impressions.user]',
        'first[features.shard(number, "valid").impressions.user]',
        BLENDED("test_no_statistic_reads_a_user_without_training_rows"),
    ),
    Mutant(
        "a continued blend that reads new days",
        "din/train/champion_start.py",
        "statistics(features, self.seen_until)",
        "statistics(features)",
        "tests/din/train/test_champion_start.py::test_a_blend_goes_on_with_the_items_of_today",
    ),
    Mutant(
        "a continued blend that reads new days",
        BLEND,
        "features.training_counts(None if until is None else microseconds(until))",
        "features.training_counts(None)",
        BLENDED("test_statistics_until_a_time_leave_later_rows_out[6e-05]"),
    ),
    Mutant(
        "a continued blend that reads new days",
        BLEND,
        "known & (behaviours.time <= microseconds(until))",
        "known",
        BLENDED("test_statistics_until_a_time_leave_later_rows_out[-72000]"),
    ),
    Mutant(
        "a blend judged on the rows that it was fitted on",
        "din/train/evaluate.py",
        '_predict(before, "valid", compute, blend=False)',
        '_predict(before, "valid", compute)',
        BLENDED("test_a_blend_from_training_to_the_shipped_model[False]"),
    ),
    Mutant(
        "a blend of days that nothing records",
        "din/train/learned.py",
        "(goes_on or not features.by_time)",
        "True",
        BLENDED("test_without_passes_held_out_days_are_not_read"),
    ),
    Mutant(
        "rows of a log that was split otherwise",
        "din/metrics/unseen.py",
        'if earlier.protocol != "temporal":',
        "if False:",
        "tests/din/metrics/test_unseen.py::test_a_comparison_leaves_learned_rows_out",
    ),
)
OF_SERVING = (
    Mutant("plugins", "din/plugins.py", "if loaded != digest", "if not loaded", NEEDED),
    Mutant("plugins", "din/bundle/encode.py", "require(self.signature.plugins,", "require({},", ENCODER),
    Mutant(
        "parity",
        "din/bundle/agreement.py",
        "MIN_STD = 1e-4",
        "MIN_STD = 0.0",
        PARITY("test_closed_on_constant_outputs"),
    ),
    Mutant(
        "parity",
        "din/bundle/parity.py",
        "probabilities.max() <= ATOL_PROBABILITY",
        "not probabilities.max() > ATOL_PROBABILITY",
        PARITY("test_closed_on_logits_that_differ"),
    ),
    Mutant(
        "parity",
        "din/bundle/parity.py",
        "(logits / scale).max() <= ATOL_LOGIT",
        "True",
        PARITY("test_closed_on_logits_that_differ"),
    ),
    Mutant(
        "parity",
        "din/bundle/parity.py",
        '(measured["reason"], *differences, codes)',
        '(measured["reason"], codes)',
        PARITY("test_closed_on_other_golden_requests"),
    ),
    Mutant(
        "golden requests",
        "din_loop/server/trial.py",
        "difference(new, golden, _PAUSE)",
        "None",
        SERVER("test_golden_requests"),
    ),
    Mutant(
        "golden requests",
        "din/bundle/golden.py",
        "rtol=0, atol=ATOL_PROBABILITY",
        "rtol=0, atol=9e-5",
        SERVER("test_golden_requests"),
    ),
    Mutant("swap", "din_loop/server/trial.py", "far > ATOL_PROBABILITY", "far > 1", SERVER("test_graphs_that_differ")),
    Mutant(
        "swap", "din_loop/server/trial.py", "ratio > MOST_TIMES_SLOWER", "ratio > 99", SERVER("test_a_slower_bundle")
    ),
    Mutant(
        "swap",
        "din_loop/server/deployment.py",
        "if serving and serving.record.version == champion.version",
        "if serving",
        SERVER("test_a_promotion_and_a_rollback"),
    ),
    Mutant(
        "replay",
        "din_loop/replay/again.py",
        "distance > TOLERANCE",
        "distance > 1",
        "tests/din_loop/server/test_loop.py::test_any_size_and_refusals",
    ),
    Mutant("replay", "din_loop/replay/skew.py", "pair.as_sent(pair.past)", "pair.past", SKEW("reversed")),
    Mutant(
        "watch",
        "din_loop/watch/spread.py",
        "FALSE_ALARMS = 0.002",
        "FALSE_ALARMS = 0.05",
        SPREAD("test_a_sound_day_rarely_alarms"),
        quick=True,
    ),
    Mutant(
        "watch",
        "din_loop/watch/spread.py",
        "share * at / len(judged)",
        "share",
        SPREAD("test_false_alarms_are_bounded_as_scipy_does"),
    ),
    Mutant(
        "watch",
        "din_loop/watch/spread.py",
        "np.isfinite(self.shifts) & self.usual",
        "np.isfinite(self.shifts)",
        SPREAD("test_a_fault_that_lasts_goes_on_to_alarm"),
    ),
)

OF_PROMOTIONS = (
    Mutant(
        "put-if-absent",
        "din/release/registry/objects.py",
        ', content, mode="create")',
        ", content)",
        "tests/din/release/registry/test_registry.py::test_an_object_is_created_once",
        quick=True,
    ),
    Mutant(
        "the champion's number",
        "din/release/promote.py",
        "if report.champion != today",
        "if False",
        "tests/din/release/test_promote.py::test_a_gate_that_saw_another_champion_is_stale",
    ),
    Mutant(
        "the champion's number",
        "din/release/registry/registry.py",
        "if len(log.entries) >= number",
        "if False",
        "tests/din/release/registry/test_registry.py",
    ),
    Mutant(
        "a report is not trusted", "din/release/promote.py", "if differing or", "if", "tests/din/base/test_artifacts.py"
    ),
    Mutant(
        "a verdict is bound",
        "din/release/gates/bound.py",
        "and bound.read_bytes() == _hash(evidence, registry, champion)",
        "",
        "tests/din/release/test_bound.py::test_a_change_after_the_gate_is_judged_again[another hash]",
    ),
    Mutant(
        "a verdict is bound to plugins",
        "din/release/gates/bound.py",
        "{str(path): sha256_file(path) for path in plugins}",
        "{}",
        "tests/din/release/test_bound.py::test_a_change_after_the_gate_is_judged_again[a plugin]",
    ),
    Mutant(
        "a verdict is bound to packages",
        "din/release/gates/bound.py",
        'sorted(path.name for place in sys.path for path in Path(place).glob("*-info"))',
        "[]",
        "tests/din/release/test_bound.py::test_a_change_after_the_gate_is_judged_again[a package]",
    ),
    Mutant(
        "a verdict is bound to its report",
        "din/release/gates/bound.py",
        "sha256_file(workspace.gate)",
        "None",
        "tests/din/release/test_bound.py::test_a_change_after_the_gate_is_judged_again[a report that says the same]",
    ),
    Mutant(
        "a verdict is bound to the registry",
        "din/release/gates/bound.py",
        'registry.objects.keys(f"looks/{champion.version}") if champion else registry.without_log()',
        "[]",
        "tests/din/release/test_bound.py::test_a_lost_log_is_judged_again",
    ),
    Mutant(
        "an older verdict is removed",
        "din/release/gates/gate.py",
        "for older in (workspace.gate, workspace.bound)",
        "for older in (workspace.gate,)",
        "tests/din/release/test_bound.py::test_a_closed_gate_does_not_open_by_an_older_verdict",
    ),
    Mutant(
        "suites: closed",
        "validation/run.py",
        'blocking = _failed(entries, "critical")',
        "blocking = []",
        CLOSED,
    ),
    Mutant(
        "suites: an exception",
        "validation/run.py",
        'severity="critical",\n        success=False',
        'severity="warning",\n        success=False',
        CLOSED,
    ),
    Mutant(
        "suites: an exception",
        "validation/run.py",
        "[*judge(expected, tables), _not_evaluated(name, error)]",
        "judge(expected, tables)",
        CLOSED,
    ),
    Mutant(
        "timer",
        "benchmarks/checks.py",
        "abs(1 - share) > _GAP",
        "False",
        "tests/benchmarks/test_benchmarks.py::test_parts_that_miss_a_tenth_of_the_time_are_refused",
        quick=True,
    ),
    Mutant(
        "timer",
        "benchmarks/checks.py",
        '"validation", "rest"',
        '"validation"',
        "tests/benchmarks/test_benchmarks.py::test_parts_that_miss_a_tenth_of_the_time_are_refused",
    ),
)

REGISTRY = "din/release/registry/registry.py"
DRAWN = (
    Mutant("n_j", COUNTS, "is Group.ITEM and field.form.has_vocabulary", "is Group.ITEM", TWIN("temporal-sequence")),
    Mutant("n_j", TIMELINE, "trained = joined.low < ibis", "trained = joined.low <= ibis", TWIN("temporal-sequence")),
    Mutant(
        "a lost log",
        REGISTRY,
        "if not (records or damage) and (bundles",
        "if False and (bundles",
        "tests/din/base/test_artifacts.py::test_a_deleted_log_is_not_a_first_run",
    ),
    Mutant(
        "an override",
        "din/contracts/verdicts.py",
        "(gate.compares and not gate.evaluated)",
        "not gate.evaluated",
        "tests/din/release/test_override.py::test_a_person_may_override_only_what_is_in_doubt",
    ),
    Mutant("a bundle", REGISTRY, "put(key, directory / name)", "put(key, directory / MANIFEST)", STORE),
    Mutant(
        "a version's beginning",
        REGISTRY,
        "if len(matches) != 1:\n            listing",
        "if not matches:\n            listing",
        STORE,
    ),
    Mutant(
        "a comparison's size",
        "din/release/registry/stored_comparisons.py",
        " and file.metadata.num_rows <= MOST_ROWS",
        "",
        "tests/din/release/registry/test_stored_comparisons.py",
    ),
    Mutant(
        "p-values",
        "din/metrics/estimates.py",
        "self.effective_users - 1, beyond / error",
        "self.effective_users - 1, -beyond / error",
        FAULT("a low slice"),
    ),
    Mutant(
        "implausible_gain",
        "din/release/gates/plausibility.py",
        " - rolled_back(case.history).keys()",
        "",
        ONE_BY_ONE("test_a_leap_of_the_gain_over_lr_is_held[True]"),
    ),
    Mutant(
        "a first run without LR",
        CANDIDATE,
        'if "lr" not in rows',
        "if None in rows",
        ONE_BY_ONE("test_a_first_run_needs_lr"),
    ),
    Mutant(
        "half an interval",
        "din/release/gates/findings.py",
        "math.isnan(lower) or math.isnan(upper)",
        "math.isnan(lower) and math.isnan(upper)",
        "tests/din/release/gates/test_findings.py::test_a_bound_that_is_missing_shows_nothing",
    ),
    Mutant(
        "suites: a day without a figure",
        "validation/trailing.py",
        "finite = excess[np.isfinite(excess)]",
        "finite = excess",
        "tests/validation/test_validation_trailing.py::test_an_older_day_without_a_figure_hides_no_extreme_day",
    ),
    Mutant(
        "suites: few judged rows",
        "validation/meaning.py",
        "late.thinned(len(part))",
        "late",
        "tests/validation/test_validation_meaning.py::test_few_judged_rows_lose_no_order",
    ),
    Mutant(
        "replay",
        "din_loop/replay/replay.py",
        'con.register("asked", requests)',
        'con.register("asked", requests.slice(1))',
        "tests/din_loop/server/test_loop.py::test_a_replay",
    ),
)
"""Lines that were drawn at random, to see how many mutants the suite misses."""

MUTANTS = (*DRAWN, *OF_GATES, *OF_COMPARISONS, *OF_FEATURES, *OF_LEARNED_ROWS, *OF_SERVING, *OF_PROMOTIONS)
