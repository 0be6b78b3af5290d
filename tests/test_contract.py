"""What the API promises about sending, sentence by sentence, each with the test that holds it to its word.

The tests themselves are where their names lead; here it is only checked that they are there.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

PROMISES = {
    # Ground rules
    "Everything under /v1 needs a key": "rest/test_auth.py::test_only_the_listed_paths_answer_without_a_key",
    "A live key sees all live mail": "rest/test_whole_message.py::test_every_live_key_sees_all_live_mail",
    "Neither mode sees the other's": "rest/test_auth.py::test_neither_mode_sees_the_others_resources",
    "A key is stored hashed": "core/test_keys.py::test_only_a_digest_is_stored",
    "Errors are problems, with pointers": "rest/test_problems.py::"
    "test_every_failure_of_a_use_case_has_a_status_and_a_title",
    "Every wrong field is named": "rest/bad_input/test_notification_fields.py::test_every_wrong_field_is_named_at_once",
    "405 keeps Allow": "rest/test_problems.py::test_another_method_is_405_and_told_which_there_are",
    "401 keeps WWW-Authenticate, one answer for all": "rest/test_auth.py::"
    "test_all_bad_keys_get_the_same_answer_for_the_same_work",
    "No error tells of the inside": "rest/test_problems.py::test_what_goes_wrong_inside_is_500_without_a_word_about_it",
    "400 is unparsable": "rest/bad_input/test_bodies.py::test_an_unreadable_body_is_400_and_leaves_nothing",
    "413 is too large": "rest/bad_input/test_bodies.py::test_a_body_over_the_limit_is_413_before_it_is_read",
    "415 is not JSON in UTF-8": "rest/bad_input/test_bodies.py::test_another_media_type_is_415_and_leaves_nothing",
    "429 is the rate, with Retry-After": "rest/test_limits.py::"
    "test_what_is_over_the_rate_is_refused_until_the_time_it_was_told",
    "503 is what cannot be stored now": "rest/test_problems.py::test_what_cannot_be_stored_is_503_and_not_half_stored",
    "503 is a full queue": "rest/test_limits.py::test_accepts_are_turned_away_and_all_else_goes_on",
    "Unknown fields are refused": "rest/bad_input/test_notification_fields.py::test_an_unknown_field_is_refused",
    "Duplicate keys, NaN, depth: refused": "rest/test_strict_json.py::test_what_parsers_disagree_about_is_refused",
    "Answers may gain fields": "test_openapi.py::"
    "test_requests_refuse_what_they_do_not_know_and_answers_may_gain_fields",
    "X-Request-Id is the client's": "rest/test_headers.py::test_a_sane_request_id_comes_back",
    "A list has 50 unless asked": "rest/test_lists.py::test_fifty_come_on_a_page_unless_asked_otherwise",
    "A limit is from 1 to 100": "rest/bad_input/test_queries.py::test_a_wrong_query_is_422_with_the_parameter",
    "Lists have next and Link": "rest/test_lists.py::test_a_list_is_walked_by_its_links_without_a_gap_or_a_double",
    "An altered cursor is 400": "rest/bad_input/test_queries.py::"
    "test_a_cursor_that_was_altered_or_comes_from_another_list_is_400",
    "Newest first": "rest/test_notification_search.py::test_newest_comes_first",
    "Links come from the public URL": "rest/test_links.py::"
    "test_every_link_begins_with_the_public_url_whatever_the_request_says",
    # Users
    "A new user is 202 with Location": "rest/test_users.py::test_the_location_is_the_status_of_the_notice",
    "With nothing to send 201": "rest/test_users.py::test_a_new_user_is_answered_201",
    "Again is 200, no mail": "rest/test_users.py::test_the_same_again_is_200_known_and_no_mail",
    "Somebody else's is 409": "rest/test_users.py::test_what_belongs_to_somebody_else_is_409_with_the_pointer",
    "User and notices in one transaction": "rest/test_users.py::test_nothing_is_stored_when_the_notices_cannot_be",
    "Deleting cancels queued mail": "rest/test_user_changes.py::test_a_user_is_gone_and_their_queued_mail_is_cancelled",
    # Sending
    "202 with the status, Location, Retry-After": "rest/test_notifications.py::"
    "test_a_message_is_answered_202_with_its_status",
    "Every field": "rest/test_whole_message.py::test_every_field_at_once_is_taken_and_told",
    "One may stand for a list": "rest/test_notifications.py::test_one_may_stand_for_a_list_and_an_address_counts_once",
    "A template, or a subject with text or HTML": "rest/bad_input/test_notification_fields.py::"
    "test_a_message_has_one_content_that_can_be_rendered",
    "Overrides the template's subject": "rest/test_notifications.py::test_the_subject_may_override_the_templates",
    "One recipient at least": "rest/bad_input/test_notification_fields.py::test_a_message_to_nobody_is_refused",
    "cc or bcc will do": "rest/test_notifications.py::test_cc_or_bcc_alone_is_enough",
    "Fifty at most": "rest/bad_input/test_notification_fields.py::test_more_than_fifty_recipients_are_refused",
    "A user as recipient": "rest/test_recipients.py::test_mail_goes_to_the_users_address_and_name",
    "from is on the list": "rest/test_notifications.py::test_a_sender_that_is_not_is_403",
    "An unknown template is 422": "core/test_notifications.py::test_an_unknown_template_is_a_wrong_field",
    "Every missing variable is named": "rest/test_notifications.py::test_every_missing_variable_is_named_at_once",
    "Headers of one's own": "rest/test_lifecycle.py::test_headers_of_the_callers_own_are_frozen",
    "Attachments": "delivery/test_attachments.py::test_files_and_headers_arrive_whole_and_in_their_places",
    # Idempotency
    "The first answer again": "rest/test_idempotency.py::test_the_same_key_and_body_get_the_first_answer_again",
    "Another body is 422": "rest/test_idempotency.py::test_the_same_key_with_another_body_is_422",
    "A running twin is 409": "rest/test_idempotency.py::test_a_twin_of_a_running_request_is_told_to_come_back",
    "Kept for a day": "rest/test_idempotency.py::test_a_receipt_is_kept_for_a_day_and_then_purged",
    "Per API key": "rest/test_idempotency.py::test_a_key_is_the_callers_own",
    "Survives a restart": "rest/test_idempotency.py::test_the_first_answer_survives_a_restart",
    "A refused request does not use it up": "rest/test_idempotency.py::test_a_refused_request_does_not_use_the_key_up",
    "Quoted or not": "rest/test_idempotency.py::test_the_quoted_and_the_bare_form_are_one_key",
    "1 to 255 printable characters": "rest/test_idempotency.py::test_a_key_that_is_none_is_400_and_leaves_nothing",
    # Status
    "The status resource's fields": "rest/test_whole_message.py::"
    "test_the_status_resource_has_every_field_that_clients_rely_on",
    "The history": "rest/test_notification_status.py::test_it_tells_each_attempt_and_what_the_relay_said",
    "ETag and If-None-Match": "rest/test_notification_status.py::"
    "test_the_etag_changes_with_the_status_and_with_nothing_else",
    "The words": "rest/test_whole_message.py::test_the_words_for_a_status_are_these_and_delivered_is_none_of_them",
    "sent is the relay's 2xx": "delivery/test_dispatch.py::test_what_is_accepted_is_sent_once_with_the_relays_reply",
    "partial": "rest/test_notification_status.py::test_recipients_that_end_differently_make_it_partial",
    "The least finished": "core/test_notifications.py::test_a_status_is_that_of_the_least_finished_recipient",
    "scheduled": "rest/test_lifecycle.py::test_before_send_at_it_is_scheduled",
    "possible_duplicate": "rest/test_notification_status.py::test_a_possible_duplicate_is_owned_up_to",
    "Prefer: wait": "rest/test_waiting.py::test_the_answer_comes_with_the_change",
    "Bounded waiters": "rest/test_waiting.py::test_past_the_bound_the_answer_comes_at_once",
    "Events": "rest/test_events.py::test_each_change_is_an_event_and_the_end_ends_the_stream",
    "Filters": "rest/test_notification_search.py::test_by_tag_and_template_together",
    "By batch": "rest/test_batches.py::test_the_list_is_filtered_by_batch",
    "A status token reads its own": "rest/test_whole_message.py::test_it_opens_its_own_notification_without_a_key",
    "And nothing else": "rest/test_whole_message.py::test_it_opens_nothing_else",
    "For a day": "rest/test_whole_message.py::test_it_is_good_for_a_day",
    # Steering
    "Cancel is 200": "rest/test_lifecycle.py::test_what_waits_is_cancelled_200",
    "Or 409 while sending": "rest/test_lifecycle.py::test_once_it_is_sending_it_is_409",
    "Or 409 once finished": "rest/test_lifecycle.py::test_once_it_is_finished_it_is_409",
    "Retry is 202 for failed ones": "rest/test_lifecycle.py::test_a_failed_recipient_is_queued_again_202",
    "And for expired ones": "rest/test_lifecycle.py::test_an_expired_one_is_queued_again",
    "Retry is else 409": "rest/test_lifecycle.py::test_anything_else_is_409",
    "PATCH send_at is 200": "rest/test_lifecycle.py::test_what_waits_is_moved_200",
    "PATCH is else 409": "rest/test_lifecycle.py::test_once_anything_was_tried_it_is_409",
    "The frozen content": "rest/test_lifecycle.py::test_it_is_what_was_frozen",
    "410 once purged": "rest/test_lifecycle.py::test_once_purged_it_is_410",
    # Batches
    "A batch is 202": "rest/test_batches.py::test_a_batch_is_answered_202_with_its_location_counts_and_results",
    "A thousand": "rest/test_batches.py::test_a_thousand_messages_with_a_template_are_accepted_within_two_seconds",
    "reject_all": "rest/test_batches.py::test_one_bad_message_is_422_naming_every_bad_index_and_nothing_is_queued",
    "is the default": "rest/test_batches.py::test_it_is_the_default",
    "accept_valid": "rest/test_batches.py::test_the_good_ones_are_queued_and_the_bad_ones_are_told_of",
    "Shared data": "rest/test_batches.py::test_shared_data_is_laid_under_the_messages_own",
    "Counts and progress": "rest/test_batches.py::test_counts_and_progress_follow_the_deliveries",
    "Cancel a batch": "rest/test_batches.py::test_what_waits_is_cancelled_and_what_is_finished_stays",
    # Templates, scopes, keys, inbox
    "A preview is what would be sent": "rest/test_templates.py::test_a_preview_is_what_would_be_sent_and_sends_nothing",
    "Or the same 422": "rest/test_templates.py::test_a_preview_fails_just_as_sending_does",
    "Each operation has its scope": "rest/test_auth.py::test_each_operation_takes_its_own_scope_and_admin_and_no_other",
    "The secret is shown once": "rest/test_keys.py::test_a_key_is_made_and_its_secret_told_once",
    "The form of a key": "core/test_keys.py::test_a_key_has_the_form_that_scanners_look_for",
    "Test mail is captured": "delivery/test_dispatch.py::"
    "test_test_mail_goes_to_the_captured_inbox_and_never_to_the_relay",
    "The captured inbox": "rest/test_inbox.py::test_a_mail_is_shown_with_its_envelope_headers_and_bodies",
    # Limits
    "So many requests of a key": "rest/test_limits.py::test_of_many_at_once_exactly_so_many_get_through",
    "So many messages to a recipient": "rest/test_limits.py::test_who_has_had_enough_gets_no_more_from_any_key",
    "off switches one off": "rest/test_limits.py::test_nothing_is_limited_and_nothing_is_told",
    # Clients
    "Examples": "e2e/test_examples.py::test_it_sends_a_mail_and_follows_it_to_its_end",
    "The explorer": "rest/test_docs_browser.py::test_whoever_sends_a_mail_from_the_page_can_open_its_status_link",
    "Chains of requests": "test_schemathesis_stateful.py::test_what_an_answer_leads_to_is_answered_as_documented",
}


@cache
def names(path: str) -> frozenset[str]:
    tree = ast.parse((TESTS / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("promise", PROMISES)
def test_a_promise_has_the_test_that_it_names(promise):
    path, _, name = PROMISES[promise].partition("::")

    assert name in names(path)
