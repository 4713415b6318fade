"""NULL, JSON, the schema and its way into the database."""

from tests.regressions.mutation import Mutation
from tests.regressions.table.paths import (
    CLOCKS,
    DATABASE,
    DELIVERY,
    LAYER,
    PROMISES,
    REGRESSIONS,
    SAMPLES,
    SCHEMA,
    STATES,
    STORE,
)

NULLS = (REGRESSIONS + "test_null_in_any_nullable_column_stops_no_command",)

MUTATIONS = (
    Mutation(
        name="null-error-message-breaks-reading",
        puts_back="R1: a NULL error_message fails the answer to an accepted command",
        file=LAYER + "api/documents.py",
        old="    error_message: str | None\n",
        new="    error_message: str\n",
        caught_by=(SAMPLES + "test_the_sample_command_is_stored_as_it_was_sent",),
    ),
    Mutation(
        name="null-error-message-breaks-insert",
        puts_back="R1, R2: a row without an error_message cannot be written",
        file=SCHEMA,
        old="    error_message      text,",
        new="    error_message      text not null,",
        caught_by=NULLS,
    ),
    Mutation(
        name="null-session-breaks-insert",
        puts_back="R3, R4: a row without a session cannot be written",
        file=SCHEMA,
        old="    session_id         text,\n    action",
        new="    session_id         text not null,\n    action",
        caught_by=NULLS,
    ),
    Mutation(
        name="null-session-is-no-session",
        puts_back="R3: NULL equals no NULL, so that a silent agent gets two commands without a session at a time",
        file=STORE + "delivery.py",
        old="and f.session_id is not distinct from c.session_id",
        new="and f.session_id = c.session_id",
        caught_by=(REGRESSIONS + "test_a_silent_agent_has_one_command_without_a_session_at_a_time",),
    ),
    Mutation(
        name="null-payload-is-sent-as-null",
        puts_back="R4: a NULL payload reaches agents as null, which their decoders drop",
        file=SCHEMA,
        old="'payload', coalesce(payload, '{}')))::text;",
        new="'payload', payload))::text;",
        caught_by=(REGRESSIONS + "test_a_null_payload_reaches_agents_of_the_first_protocol_as_an_empty_object",),
    ),
    Mutation(
        name="null-takes-no-default",
        puts_back="I11: the trigger that turns NULL into the default is gone",
        file=SCHEMA,
        old="create trigger agent_commands_admit before insert on agent_commands"
        " for each row execute function agent_commands_admit();",
        new="",
        caught_by=(DELIVERY + "test_a_sweep_delivers_around_what_cannot_be_read",),
    ),
    Mutation(
        name="unknown-status-is-not-set-aside",
        puts_back="I11: a status that is none is an error of whoever inserts",
        file=SCHEMA,
        old="    if new.status not in (",
        new="    if false and new.status not in (",
        caught_by=(DELIVERY + "test_a_sweep_delivers_around_what_cannot_be_read",),
    ),
    Mutation(
        name="payload-is-not-encoded",
        puts_back="R5: the payload is handed to the driver as a map",
        file=STORE + "commands.py",
        old="else Jsonb(new.payload, dumps=dumps)",
        new="else new.payload",
        caught_by=(SAMPLES + "test_the_sample_command_is_stored_as_it_was_sent",),
    ),
    Mutation(
        name="body-is-decoded-through-float",
        puts_back="I11: an integer above 2^53 loses digits on its way in",
        file=LAYER + "platform/json_text.py",
        old="parse_constant=_refuse_constant,",
        new="parse_constant=_refuse_constant, parse_int=float,",
        caught_by=(PROMISES + "test_a_payload_comes_back_with_every_digit_that_it_was_sent_with",),
    ),
    Mutation(
        name="payload-is-read-through-float",
        puts_back="I11: an integer above 2^53 loses digits on its way out",
        file=LAYER + "platform/json_text.py",
        old="parse_int=_integer_or_text,",
        new="parse_int=float,",
        caught_by=(PROMISES + "test_a_payload_comes_back_with_every_digit_that_it_was_sent_with",),
    ),
    Mutation(
        name="what-cannot-be-stored-is-lost",
        puts_back="I2: a result with U+0000 in it is an error, and gone",
        file=LAYER + "platform/json_text.py",
        old="    if isinstance(value, str):\n        return value.replace(",
        new="    if isinstance(value, str):\n        return value if value else value.replace(",
        caught_by=(REGRESSIONS + "test_a_result_that_postgresql_cannot_store_is_kept_as_well_as_it_goes",),
    ),
    Mutation(
        name="frame-is-built-by-formatting",
        puts_back="security: JSON by string formatting, which a quote in an action breaks",
        file=SCHEMA,
        old="""    return jsonb_build_object('type', 'command', 'payload', jsonb_build_object(
        'commandId', command_id, 'action', action, 'payload', coalesce(payload, '{}')))::text;""",
        new="""    return '{"type": "command", "payload": {"commandId": "' || command_id || '", "action": "' || action
        || '", "payload": ' || coalesce(payload, '{}')::text || '}}';""",
        caught_by=(REGRESSIONS + "test_each_frame_is_one_json_document_whatever_the_command_holds",),
    ),
    Mutation(
        name="timestamp-in-the-frame",
        puts_back="R23's other side: a timestamp in a command, for which docker-agents drop it",
        file=SCHEMA,
        old="    return jsonb_build_object('type', 'command', 'payload',",
        new="    return jsonb_build_object('type', 'command', 'timestamp', '2026-11-23T10:00:00Z', 'payload',",
        caught_by=(DELIVERY + "test_a_row_of_plain_sql_is_delivered_once_its_agent_connects",),
    ),
    Mutation(
        name="two-frames-joined-by-a-newline",
        puts_back="R18: agents drop both",
        file=LAYER + "protocol/frames.py",
        old="""        for command in claim.commands:
            yield Message(text=command.frame, commands=(command,))
        return""",
        new="""        yield Message(text="\\n".join(command.frame for command in claim.commands), commands=claim.commands)
        return""",
        caught_by=(REGRESSIONS + "test_each_frame_is_one_json_document_whatever_the_command_holds",),
    ),
    Mutation(
        name="column-is-missing",
        puts_back="R6: every status update fails on a fresh installation",
        file=SCHEMA,
        old="""    details         jsonb,
    created_at      moment not null default now(),
    updated_at      moment not null default now()
""",
        new="""    details         jsonb,
    created_at      moment not null default now()
""",
        caught_by=(REGRESSIONS + "test_a_fresh_installation_has_what_its_statements_name",),
    ),
    Mutation(
        name="schema-files-are-not-run",
        puts_back="R7: the schema lies in files that nothing applies",
        file=LAYER + "platform/migrations.py",
        old='if file.name.endswith(".sql")',
        new='if file.name.endswith(".nothing")',
        caught_by=(REGRESSIONS + "test_a_fresh_installation_has_what_its_statements_name",),
    ),
    Mutation(
        name="schema-is-applied-again",
        puts_back="R7: a second migration does not see the first",
        file=LAYER + "platform/migrations.py",
        old="            if name not in applied:",
        new="            if True:",
        caught_by=(DATABASE + "test_the_schema_is_applied_once_and_again_changes_nothing",),
    ),
    Mutation(
        name="changed-schema-file-is-accepted",
        puts_back="R7: two installations with the same files differ",
        file=LAYER + "platform/migrations.py",
        old="elif applied[name] != checksum:",
        new="elif False:",
        caught_by=(DATABASE + "test_a_schema_file_that_was_changed_after_it_had_been_applied_is_refused",),
    ),
    Mutation(
        name="no-lock-timeout",
        puts_back="lock and statement timeouts: a function hangs until it is killed",
        file=LAYER + "platform/migrations.py",
        old='        _settle(conn, sql.SQL("current_user"))\n',
        new="",
        caught_by=(DATABASE + "test_a_migration_sees_to_the_roles_timeouts",),
    ),
    Mutation(
        name="clock-of-whoever-inserts",
        puts_back="I12: a command is created after it was sent",
        file=SCHEMA,
        old="least(coalesce(new.created_at, now()), now())",
        new="coalesce(new.created_at, now())",
        caught_by=(REGRESSIONS + "test_a_command_from_the_future_is_created_when_it_comes",),
    ),
    Mutation(
        name="infinity-is-a-moment",
        puts_back="I11: a point in time that Python cannot read stops a reader",
        file=SCHEMA,
        old=" and value < '9999-01-01 00:00:00+00')",
        new=")",
        caught_by=(CLOCKS + "test_what_no_client_could_decode_is_refused_where_it_is_inserted",),
    ),
    Mutation(
        name="no-history-of-inserts",
        puts_back="I16: what was accepted is not recorded",
        file=SCHEMA,
        old="""create trigger agent_commands_record_insert after insert on agent_commands
    referencing new table as added for each statement execute function agent_commands_record_insert();""",
        new="",
        caught_by=(STATES + "[claim-pending]",),
    ),
    Mutation(
        name="no-history-of-updates",
        puts_back="I16: a transition leaves nothing behind",
        file=SCHEMA,
        old="""create trigger agent_commands_record_update after update on agent_commands
    referencing old table as before_update new table as after_update
    for each statement execute function agent_commands_record_update();""",
        new="",
        caught_by=(STATES + "[claim-pending]",),
    ),
    Mutation(
        name="backlog-of-others-is-walked",
        puts_back="load: the claim reads what lies there for agents that are away",
        file=SCHEMA,
        old="on agent_commands (agent_id, priority desc, seq) where status = 'pending';",
        new="on agent_commands (priority desc, seq) where status = 'pending';",
        caught_by=(CLOCKS + "test_the_claim_walks_the_agents_own_queue_and_nobody_elses",),
    ),
)
