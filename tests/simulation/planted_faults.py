"""The bugs that are put into the dispatcher on purpose, each with the scenario in which it shows."""

from dispatcher.agents import connections, registry
from dispatcher.commands import claims, conversation, deadlines, delivery, late_reports, reports, submission
from dispatcher.events import feed
from tests.simulation import fault_scenarios as scenarios
from tests.simulation.planted_fault import Edit, PlantedFault, SqlEdit

PLANTED_FAULTS = (
    PlantedFault(
        "a command is accepted before its commit",
        "I1",
        scenarios.offline_agent,
        Edit(
            submission,
            "_submit",
            "    return Accepted(",
            """    conn.execute("delete from agent_commands where attempt = 0")
    return Accepted(""",
        ),
    ),
    PlantedFault(
        "overdue commands do not expire",
        "I1",
        scenarios.expiry,
        Edit(deadlines, "expire", "deliver_by <= now()", "deliver_by <= '-infinity'"),
    ),
    PlantedFault(
        "an orphan of a deleted agent waits for ever",
        "I1",
        scenarios.orphan,
        Edit(deadlines, "end_orphans", "or (a.incarnation > 1 and a.created_at > now() - interval '1 hour')", ""),
    ),
    PlantedFault(
        "a refused command counts as completed",
        "I2",
        scenarios.refused_post,
        SqlEdit(
            "commands/release",
            """            else 'pending'
        end,
        moves""",
            """            else 'completed'
        end,
        moves""",
        ),
    ),
    PlantedFault(
        "attempts are not counted",
        "I3",
        scenarios.missing_ack,
        SqlEdit(
            "commands/claim", "            attempt = c.attempt + 1,", "            attempt = greatest(1, c.attempt),"
        ),
    ),
    PlantedFault(
        "a post without an answer counts as not sent",
        "I3",
        scenarios.post_without_answer,
        Edit(
            delivery,
            "_send_commands",
            """                messages.popleft()
                cause = f"command {first.command_id}""",
            """                cause = f"command {first.command_id}""",
        ),
    ),
    PlantedFault(
        "a refused post counts as an attempt",
        "I3",
        scenarios.refused_post,
        SqlEdit(
            "commands/release",
            "attempt = case when reached then c.attempt else c.attempt - 1 end",
            "attempt = c.attempt",
        ),
    ),
    PlantedFault(
        "an attempt is given back twice",
        "I3",
        scenarios.release_without_answer,
        SqlEdit(
            "commands/release",
            "      and (c.status = 'sent' and c.moves = ended.moves",
            "      and (c.status = 'sent' and c.moves >= ended.moves",
        ),
    ),
    PlantedFault(
        "the age of a claim is measured too late",
        "I3",
        scenarios.frozen_after_claim,
        Edit(delivery, "_is_late", "time.monotonic() - claim.begun", "0.0"),
    ),
    PlantedFault(
        "a new connection ends a last attempt that is being posted",
        "I3",
        scenarios.reconnection_during_the_last_post,
        SqlEdit("agents/connect", "s.attempt >= s.max_attempts", "false"),
    ),
    PlantedFault(
        "attempts follow each reconnect at once",
        "I3",
        scenarios.reconnects,
        SqlEdit(
            "commands/release",
            "        retry_at = case when reached then {f}.paced_until(c) else c.retry_at end,",
            "        retry_at = c.retry_at,",
        ),
    ),
    PlantedFault(
        "a retry comes at once",
        "I3",
        scenarios.retryable_failure,
        SqlEdit(
            "commands/settle",
            """                    retry_at = clock_timestamp()
                        + least(2.0 ^ least(c.attempt, 16), 300) * (0.5 + random()) * interval '1 second'""",
            "                    retry_at = null",
        ),
    ),
    PlantedFault(
        "a mute agent gets its commands again and again",
        "I3",
        scenarios.mute_agent,
        SqlEdit(
            "commands/can_be_posted",
            """       and not {f}.is_mute(a)
""",
            "",
        ),
    ),
    PlantedFault(
        "the order is reversed",
        "I4",
        scenarios.backlog,
        SqlEdit(
            "commands/claim",
            """                order by c.priority desc, c.seq
                limit 1""",
            """                order by c.priority, c.seq desc
                limit 1""",
        ),
    ),
    PlantedFault(
        "a command comes before the welcome",
        "I4",
        scenarios.lost_flush,
        SqlEdit("commands/can_be_posted", "a.dialect <> 'batching' and a.connected_at", "a.connected_at"),
    ),
    PlantedFault(
        "the lease is ignored",
        "I5",
        scenarios.submission_during_post,
        SqlEdit("commands/can_be_posted", "(a.lease_expires_at is null or a.lease_expires_at <= now())", "true"),
    ),
    PlantedFault(
        "the window is ignored",
        "I5",
        scenarios.backlog_of_batch,
        SqlEdit(
            "commands/can_be_posted",
            """when agent.refusals > 0 then 1 else agent.delivery_window end,
            agent.delivery_window - (""",
            """when agent.refusals > 0 then 1 else 5 end,
            5 + agent.delivery_window - (""",
        ),
    ),
    PlantedFault(
        "a command does not wait for the one in flight",
        "I5",
        scenarios.submission_before_ack,
        SqlEdit(
            "commands/claim",
            "and not exists (select from agent_commands f where f.agent_id = p_agent_id and f.status = 'sent')",
            "",
        ),
    ),
    PlantedFault(
        "an ack is accepted in every status",
        "I6",
        scenarios.repeated_reports,
        SqlEdit(
            "commands/settle",
            """                  and c.status in ('pending', 'sent')
                  and c.attempt > coalesce(c.answered_attempt, 0)
""",
            "",
        ),
    ),
    PlantedFault(
        "a result replaces a cancel that the agent has confirmed",
        "I6",
        scenarios.confirmed_cancel,
        SqlEdit(
            "commands/settle",
            """                  and not c.cancel_confirmed
                  and c.attempt > 0
                returning""",
            """                  and c.attempt > 0
                returning""",
        ),
    ),
    PlantedFault(
        "the epoch of an ack is ignored",
        "I7",
        scenarios.late_ack,
        SqlEdit(
            "commands/settle",
            """                  and c.attempt > coalesce(c.answered_attempt, 0)
                  and {f}.is_of_attempt(c, said.attempt, p_epoch)""",
            """                  and c.attempt > coalesce(c.answered_attempt, 0)
                  and (said.attempt is null or c.attempt = said.attempt)""",
        ),
    ),
    PlantedFault(
        "the attempt of an ack is ignored",
        "I7",
        scenarios.ack_of_older_attempt,
        SqlEdit(
            "commands/settle",
            """                  and c.attempt > coalesce(c.answered_attempt, 0)
                  and {f}.is_of_attempt(c, said.attempt, p_epoch)
""",
            """                  and c.attempt > coalesce(c.answered_attempt, 0)
                  and (said.attempt is not null or c.epoch <= p_epoch)
""",
        ),
    ),
    PlantedFault(
        "a result does not replace an end that was only guessed",
        "I7",
        scenarios.late_result,
        SqlEdit(
            "commands/settle",
            """                  and said.kind = 'complete'
""",
            """                  and said.kind = 'complete'
                  and c.status in ('pending', 'sent', 'acknowledged')
""",
        ),
    ),
    PlantedFault(
        "an agent that resumes keeps what it has lost",
        "I7",
        scenarios.crash_and_resume,
        SqlEdit("commands/receive", "      and c.command_id <> all(ids);", "      and false;"),
    ),
    PlantedFault(
        "an old $disconnect forgets the newer connection",
        "I8",
        scenarios.late_disconnect,
        Edit(
            connections,
            "forget",
            """        where agent_id = %(agent_id)s
          and connection_id = %(connection_id)s""",
            "        where agent_id = %(agent_id)s",
        ),
    ),
    PlantedFault(
        "a request to stop is posted for ever to a connection that is gone",
        "I8",
        scenarios.stop_to_closed_connection,
        Edit(
            delivery,
            "_send",
            "        if posted is not Posted.TAKEN:",
            """        if posted is not Posted.TAKEN:
            continue
        if False:""",
        ),
    ),
    PlantedFault(
        "an agent can complete another agent's command",
        "I9",
        scenarios.forged_report,
        SqlEdit(
            "commands/settle",
            """                  and said.kind = 'complete'
                  and c.command_id = said.command_id
                  and c.agent_id = p_agent_id
""",
            """                  and said.kind = 'complete'
                  and c.command_id = said.command_id
""",
        ),
    ),
    PlantedFault(
        "a report that changes nothing is logged as success",
        "I9",
        scenarios.repeated_reports,
        Edit(reports, "_log", "if moved:", "if True:"),
    ),
    PlantedFault(
        "an idempotency key stands for any request",
        "I10",
        scenarios.reused_key,
        SqlEdit(
            "commands/submit",
            "case when command.request_hash = p_hash then 'replayed' else 'key_reused' end",
            "'replayed'",
        ),
    ),
    PlantedFault(
        "a row makes a pass of the sweep fail",
        "I11",
        scenarios.missing_result,
        Edit(
            deadlines,
            "time_out",
            "order by c.execution_deadline",
            "and 1 / (c.priority - c.priority) = 1 order by c.execution_deadline",
        ),
    ),
    PlantedFault(
        "a time comes from another clock",
        "I12",
        scenarios.missing_ack,
        SqlEdit("commands/claim", "sent_at = clock_timestamp()", "sent_at = clock_timestamp() - interval '1 hour'"),
    ),
    PlantedFault(
        "a transaction stays open during the posts",
        "I13",
        scenarios.missing_ack,
        Edit(
            delivery,
            "deliver",
            "        taken, outcome = _send(conn, gateway, claim, deadline)",
            """        with conn.transaction():
            conn.execute("select 1")
            taken, outcome = _send(conn, gateway, claim, deadline)""",
        ),
    ),
    PlantedFault(
        "a claim ignores deliver_by",
        "I14",
        scenarios.connection_after_expiry,
        SqlEdit(
            "commands/can_be_posted",
            """       and (c.deliver_by is null or c.deliver_by > now())
""",
            "",
        ),
        SqlEdit(
            "commands/claim",
            "extract(epoch from c.deliver_by - clock_timestamp())::double precision",
            "null::double precision",
        ),
    ),
    PlantedFault(
        "a cancelled command is sent again",
        "I14",
        scenarios.cancel_without_ack,
        SqlEdit(
            "commands/release",
            """            when c.cancel_requested_at is not null then 'cancelled'
""",
            "",
        ),
    ),
    PlantedFault(
        "a holder of the lease does not look again",
        "I15",
        scenarios.submission_during_post,
        Edit(
            delivery, "deliver", "look_again=outcome.posted is Posted.TAKEN and _has_time(deadline)", "look_again=False"
        ),
    ),
    PlantedFault(
        "the sweep delivers nothing",
        "I15",
        scenarios.inserted_row,
        Edit(claims, "_DUE_AGENTS", "limit %(limit)s", "limit least(0, %(limit)s)"),
    ),
    PlantedFault(
        "a lease never expires",
        "I15",
        scenarios.killed_lease_holder,
        SqlEdit("commands/can_be_posted", "or a.lease_expires_at <= now())", "or false)"),
    ),
    PlantedFault(
        "a returned command leaves no history",
        "I16",
        scenarios.refused_post,
        SqlEdit(
            "commands/release",
            "            unsent_ids, unsent_moves, array_fill(unsent_cause, array[cardinality(unsent_ids)]), false);",
            """            unsent_ids, unsent_moves, array_fill(unsent_cause, array[cardinality(unsent_ids)]), false);
        delete from command_history where from_status = 'sent' and to_status = 'pending';""",
        ),
    ),
    PlantedFault(
        "what is said while the database is away is lost",
        "I17",
        scenarios.database_away,
        Edit(
            conversation,
            "handle",
            """        late_reports.keep(said, event_id)
""",
            "",
        ),
    ),
    PlantedFault(
        "what was kept is settled in another order",
        "I17",
        scenarios.database_away_again,
        Edit(late_reports, "settle_kept", "if message.group in waiting:", "if False:"),
    ),
    PlantedFault(
        "late progress replaces newer progress",
        "I17",
        scenarios.late_progress,
        SqlEdit("commands/settle", "                  and (c.said_at is null or c.said_at <= p_said_at)\n", ""),
    ),
    PlantedFault(
        "a message is confirmed before the welcome",
        "I17",
        scenarios.report_before_the_welcome,
        Edit(conversation, "answer", "received.unwelcomed is not None", "False"),
    ),
    PlantedFault(
        "a message is confirmed before it is settled",
        "I17",
        scenarios.database_away_from_batch,
        Edit(
            conversation,
            "handle",
            """        late_reports.keep(said, event_id)
""",
            """        late_reports.keep(said, event_id)
        gateway.post(said.connection_id, received_message(__import__("json").loads(said.text)["id"]))
""",
        ),
    ),
    PlantedFault(
        "an answer settles the next command of its session too",
        "I17",
        scenarios.answer_without_commit_answer,
        SqlEdit("commands/receive", "          and p_event <> all(k.answered);", "          and p_event is not null;"),
    ),
    PlantedFault(
        "an agent is asked to stop over its first connection only",
        "I18",
        scenarios.cancel_and_reconnect,
        SqlEdit(
            "commands/can_be_posted", "(c.stop_epoch is null or c.stop_epoch < agent.epoch)", "c.stop_epoch is null"
        ),
    ),
    PlantedFault(
        "an ack that is said again takes a command out of the queue",
        "I17",
        scenarios.retry_said_again,
        SqlEdit(
            "commands/settle",
            """                  and c.status in ('pending', 'sent')
                  and c.attempt > coalesce(c.answered_attempt, 0)
""",
            """                  and c.status in ('pending', 'sent')
""",
        ),
    ),
    PlantedFault(
        "an agent is not told that a command has timed out",
        "I18",
        scenarios.time_out_of_batch,
        Edit(deadlines, "time_out", "stop_wanted = true", "stop_wanted = false"),
    ),
    PlantedFault(
        "a deleted agent leaves its commands pending",
        "I19",
        scenarios.deleted_agent,
        Edit(
            registry,
            "delete",
            "and status in ('pending', 'sent', 'acknowledged')",
            "and status in ('sent', 'acknowledged')",
        ),
    ),
    PlantedFault(
        "a new agent gets the commands of the deleted one",
        "I19",
        scenarios.orphan,
        SqlEdit(
            "commands/can_be_posted",
            """       and (c.incarnation is null or c.incarnation = incarnation)
""",
            "",
        ),
    ),
    PlantedFault(
        "a new agent is asked to stop the commands of the deleted one",
        "I19",
        scenarios.stop_for_new_agent,
        SqlEdit("commands/can_be_posted", "and (c.incarnation is null or c.incarnation = agent.incarnation)", ""),
    ),
    PlantedFault(
        "a new agent settles the commands of the deleted one",
        "I7",
        scenarios.report_of_new_agent,
        SqlEdit(
            "commands/settle",
            """                  and said.kind = 'complete'
                  and c.command_id = said.command_id
                  and c.agent_id = p_agent_id
                  and (c.incarnation is null or c.incarnation = p_incarnation)
""",
            """                  and said.kind = 'complete'
                  and c.command_id = said.command_id
                  and c.agent_id = p_agent_id
""",
        ),
    ),
    PlantedFault(
        "a page of the feed goes on past an event",
        "I20",
        scenarios.missing_ack,
        Edit(feed, "_rows", '"limit": limit,', '"limit": limit - 1,'),
    ),
)
