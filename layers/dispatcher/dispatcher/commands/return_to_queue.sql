-- End attempts that had no effect: the command is pending again; cancelled, if an operator requested that meanwhile; dead,
-- if no attempt is left.
with attempts as (
{attempts}
)
update agent_commands c
set status = case
        when c.cancel_requested_at is not null then 'cancelled'
        when c.attempt < c.max_attempts then 'pending'
        else 'dead'
    end,
    moves = c.moves + 1,
    cause = case
        when c.cancel_requested_at is null and c.attempt = c.max_attempts
        then attempts.cause || '; no attempt is left of ' || c.max_attempts
        else attempts.cause
    end,
    error_message = case
        when c.cancel_requested_at is null and c.attempt = c.max_attempts
        then attempts.cause || '; no attempt is left of ' || c.max_attempts
        else c.error_message
    end,
    completed_at = case
        when c.cancel_requested_at is null and c.attempt < c.max_attempts then null
        else clock_timestamp()
    end,
    ack_deadline = null
from attempts
where c.command_id = attempts.command_id
  and c.attempt = attempts.attempt
  and c.status = 'sent'
