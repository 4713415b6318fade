-- The trace that a command belongs to: 32 hexadecimal digits, the trace id of the request that submitted it (W3C Trace Context).
-- It is written once, when the command is accepted; null: the row was written by hand or by older code.
alter table agent_commands add column correlation_id text;
