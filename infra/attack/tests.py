"""Which test of the project holds each promise at every change; the attacks try it on what is built, now and then."""

from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[2] / "tests"
HELD_BY = {
    "a form of another page": "test_no_form_can_switch",
    "a name that leads here": "test_no_route_answers_under_a_name_of_others",
    "a page that reads": "test_no_route_answers_a_page_from_elsewhere_or_a_proxy",
    "a proxy in front": "test_no_route_answers_a_page_from_elsewhere_or_a_proxy",
    "a frame around the page": "test_the_files_are_served_open_with_types_and_a_strict_policy",
    "trailers": "test_headers_and_trailers_share_a_limit",
    "headers without end": "test_what_has_no_end_is_refused_and_fills_no_memory",
    "one header without end": "test_what_has_no_end_is_refused_and_fills_no_memory",
    "chunk extensions": "test_what_has_no_end_is_refused_and_fills_no_memory",
    "a body without end": "test_bodies_without_an_end_are_refused_and_fill_no_memory",
    "a body after its refusal": "test_bodies_without_an_end_are_refused_and_fill_no_memory",
    "slow senders": "test_slow_senders_are_ended_and_hold_nobody_up",
    "answers that nobody reads": "test_who_does_not_take_an_answer_is_given_up",
    "requests in a pipeline": "test_what_has_no_end_is_refused_and_fills_no_memory",
    "many connections": "test_where_there_are_too_many_connections_who_waits_longest_goes",
    "nonsense in the log": "test_what_fails_in_masses_fills_no_log_whoever_writes_it",
    "callers who leave": "test_who_leaves_early_fills_no_log",
    "an end under attack": "test_the_end_of_the_service_drops_no_request",
    "batches of one key": "test_a_lane_behind_another_lets_it_go_first",
    "work that nobody waits for": "test_work_stops_where_nobody_waits_for_it_any_more",
    "orders with explanations": "test_keys_share_alike_however_small_their_questions_are",
    "large filters": "test_a_bad_request_is_explained",
    "texts of one key": "test_texts_are_encoded_a_few_at_a_time",
    "many events": "test_a_body_that_takes_long_to_parse_is_refused_before",
    "names of nothing": "test_keys_share_alike_however_small_their_questions_are",
    "open routes at once": "test_numbers_are_made_once_for_all_who_ask_at_once",
    "files of a new home": "test_every_file_has_the_mode_of_its_kind",
    "files of the home": "test_a_database_that_everybody_could_read_is_closed_to_them",
    "a home that was changed": "test_what_stands_on_a_rewritten_snapshot_is_refused",
    "what an unready service says": "test_only_the_last_part_of_a_path_is_said",
    "a file cut short": "test_a_worker_survives_files_that_are_cut_short",
    "generations in turn": "test_what_is_named_in_turn_is_not_loaded_in_turn",
    "texts of generations in turn": "test_what_serves_is_never_refused_for_what_was_named",
    "smuggled requests": "test_a_request_names_one_host_and_a_path",
    "who is meant": "test_a_request_names_one_host_and_a_path",
    "a redirect elsewhere": "test_no_answer_sends_elsewhere",
    "paths that climb": "test_generations_are_named_by_ids_alone",
    "what is not described": "test_bentoml_answers_nothing_by_itself",
    "a header in an answer": "test_an_id_can_stand_in_a_header_and_a_line_whatever_was_sent",
    "open routes": "test_numbers_are_made_once_for_all_who_ask_at_once",
    "guessing keys": "test_every_route_asks_for_its_scope",
    "a websocket": "test_no_other_protocol_is_spoken",
    "bodies that are hard to read": "test_a_bad_request_is_explained",
    "bodies that are none": "test_bodies_that_are_no_request",
    "a page that plants": "test_the_ui_of_the_page_takes_nothing_from_a_foreign_page",
    "one question about one item": "test_a_key_without_admin_cannot_ask_for_one_item_whether_a_user_has_seen_it",
    "who has seen an item": "test_a_key_without_admin_cannot_ask_for_one_item_whether_a_user_has_seen_it",
    "a list without a trace": "test_every_list_of_a_user_is_written_down_with_the_key_that_asked",
    "an order that tells": "test_every_list_of_a_user_is_written_down_with_the_key_that_asked",
    "explanations that name": "test_what_a_user_did_is_not_told_by_explanations_either",
    "routes of others": "test_what_a_person_did_needs_the_admin_scope",
    "event ids of others": "test_a_key_is_told_of_its_own_events_alone",
    "open sockets": "test_nothing_listens_but_the_port_of_http",
    "open sockets as another user": "test_nothing_listens_but_the_port_of_http",
    "a command to the supervisor": "test_nor_where_bentoml_starts_it_by_hand",
    "calls home": "test_the_service_and_its_encoder_ask_nobody",
    "a signed url": "test_no_error_repeats_a_credential",
    "an inner address": "test_an_inner_host_is_not_asked_unless_it_is_named",
    "a redirect inwards": "test_no_error_repeats_a_credential",
    "a parquet bomb": "test_bombs_are_refused_before_memory_is_taken",
    "a gzip bomb": "test_bombs_are_refused_before_memory_is_taken",
    "a line without end": "test_bombs_are_refused_before_memory_is_taken",
    "a package in the place of another": "test_every_release_is_pinned_by_hash_and_nothing_else_is_said",
    "an image in the place of another": "test_every_image_is_pinned_by_digest_beside_its_tag",
    "a board without a password": "test_grafana_wants_a_password_and_nobody_looks_without_one",
    "a wish for many": "test_what_a_batch_asks_for_is_stored_once",
    "a wish of filters": "test_of_what_is_too_large_the_hash_is_kept",
    "histories of nothing": "test_a_record_is_bounded_whatever_its_ids_are",
    "answers that wait to be written": "test_the_oldest_go_where_they_are_too_much",
    "items of megabytes": "test_an_item_has_as_many_bytes_as_are_promised_and_no_more",
    "items that nobody is offered": "test_events_and_reading_wait_for_no_item",
    "times at the ends": "test_any_value_in_any_place_of_a_body",
    "a key that reads what it writes": "test_every_route_asks_for_its_scope",
}


@cache
def places() -> dict[str, Path]:
    """Return where each of these tests stands, relative to ``TESTS``, by its name; those that there are."""
    found: dict[str, Path] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text()
        for name in HELD_BY.values():
            if f"def {name}(" in text:
                found[name] = path.relative_to(TESTS)
    return found
