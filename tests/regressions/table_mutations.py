"""Mutations of the tables, of what is stored and of what is read."""

from tests.regressions.mutation import Mutation

NULLS = "test_null_in_any_nullable_column_does_not_stop_commands"
FRESH = "test_a_fresh_installation_has_the_indexes_and_columns_that_it_needs"

MUTATIONS = (
    Mutation(
        name="null-error-message-breaks-insert",
        puts_back="A command without an error message cannot be inserted.",
        stands_for=("R1", "R2"),
        find="error_message text,",
        replace="error_message text not null,",
        caught_by=NULLS,
    ),
    Mutation(
        name="null-error-message-breaks-reading",
        puts_back="The answer to an accepted command is an error while its error message is NULL.",
        stands_for=("R1", "I11"),
        find="status: str error_message: ShownText | None",
        replace="status: str\nerror_message: ShownText",
        caught_by="test_the_sample_command_is_stored_as_it_was_sent",
    ),
    Mutation(
        name="null-session-breaks-insert",
        puts_back="A command without a session cannot be inserted.",
        stands_for=("R3", "R4"),
        find="session_id text, action text not null",
        replace="session_id text not null, action text not null",
        caught_by=NULLS,
    ),
    Mutation(
        name="null-takes-no-default",
        puts_back="A row inserted with NULL in a required column is an error, not a command with defaults.",
        stands_for=("R4", "I11"),
        find="create trigger agent_commands_admit before insert on agent_commands"
        " for each row execute function agent_commands_admit();",
        replace="",
        caught_by="test_a_sweep_sets_unreadable_rows_aside_and_delivers_the_others",
    ),
    Mutation(
        name="payload-is-not-encoded",
        puts_back="The payload goes to the database driver as a dictionary.",
        stands_for=("R5",),
        find="else Jsonb(new.payload, dumps=dumps)",
        replace="else str(new.payload)",
        caught_by="test_a_payload_keeps_every_digit",
    ),
    Mutation(
        name="column-is-missing",
        puts_back="A fresh installation lacks a column that a statement names.",
        stands_for=("R6",),
        find="created_at moment not null default now(), updated_at moment not null default now()",
        replace="created_at moment not null default now()",
        caught_by=FRESH,
    ),
    Mutation(
        name="migrations-are-not-run",
        puts_back="The schema is in files that nothing applies.",
        stands_for=("R7",),
        find='if file.name.endswith(".sql")',
        replace='if file.name.endswith(".none")',
        caught_by=FRESH,
    ),
    Mutation(
        name="frames-are-joined-by-a-newline",
        puts_back="Two commands go out in one frame, and the agent drops both.",
        stands_for=("R18",),
        find="for command in commands: yield Message(text=command.frame, commands=(command,))",
        replace='yield Message(text="\\n".join(command.frame for command in commands), commands=tuple(commands))',
        caught_by="test_each_frame_is_one_json_document_for_any_command",
    ),
    Mutation(
        name="frame-is-built-by-formatting",
        puts_back="A quote in an action breaks the frame's JSON.",
        stands_for=("S9",),
        find="return jsonb_build_object('type', 'command', 'payload', jsonb_build_object("
        "'commandId', command_id, 'action', action, 'payload', coalesce(payload, '{}')))::text",
        replace='return \'{"type": "command", "payload": {"commandId": "\' || command_id || \'", "action": "\' || action\n'
        "    || '\", \"payload\": ' || coalesce(payload, '{}')::text || '}}'",
        caught_by="test_each_frame_is_one_json_document_for_any_command",
    ),
    Mutation(
        name="clock-of-the-client",
        puts_back="A client's clock decides when a command was created: after it was sent.",
        stands_for=("I12",),
        find="new.status := coalesce(new.status, 'pending'); new.created_at := "
        "least(coalesce(new.created_at, now()), now()); ... new.moves :=",
        replace="new.status := coalesce(new.status, 'pending');\nnew.created_at := "
        "coalesce(new.created_at, now());\n...\nnew.moves :=",
        caught_by="test_a_created_at_in_the_future_is_replaced_by_the_time_of_the_insert",
    ),
    Mutation(
        name="transition-leaves-no-history",
        puts_back="A command changes its status without a row of history.",
        stands_for=("I16",),
        find="if new.status is not distinct from old.status then return null;",
        replace="if new.moves > old.moves then\n        return null;",
        caught_by="test_a_move_is_made_only_from_its_source_statuses",
    ),
    Mutation(
        name="own-history-counts-for-a-change-by-hand",
        puts_back="Somebody changes the status of a command with psql, and the history does not tell it.",
        stands_for=("I16",),
        find="new.recorded is distinct from new.moves or new.moves <> old.moves + 1 or new.recorded = old.recorded)",
        replace="new.recorded is distinct from new.moves)",
        caught_by="test_a_change_by_hand_is_recorded_after_any_move",
    ),
    Mutation(
        name="pruned-too-early",
        puts_back="A command that ended yesterday is deleted.",
        stands_for=("I2",),
        find="completed_at < now() - %s * interval '1 day'",
        replace="completed_at < now() + %s * interval '1 day'",
        caught_by="test_commands_that_ended_long_ago_are_pruned_with_their_history",
    ),
)
