-- What an operator who has logged in may do, and what has ended the log-in since.  No row: there is no such operator.
create function {f}.by_log_in(p_username text, p_issued_at double precision)
returns table (username text, role text, labels jsonb, is_disabled boolean, is_changed boolean, is_ended boolean)
language sql stable
as $$
    select
        o.username,
        o.role,
        o.labels,
        o.disabled_at is not null,
        o.valid_after > to_timestamp(p_issued_at),
        exists (select from ended_log_ins e where e.username = o.username and e.issued_at = p_issued_at)
    from operators o
    where o.username = p_username
$$;

-- What an API token allows; `at_most` is the token's own role, `token_ids` are the tokens that it was made with, and itself.
-- No row: it is not valid, or not any more.
create function {f}.by_api_token(p_token_hash bytea)
returns table (
    username text, at_most text, role text, labels jsonb, token_ids uuid[], created_at double precision, expires_at timestamptz)
language sql stable
as $$
    select
        t.username,
        t.role,
        o.role,
        o.labels,
        t.made_with || t.token_id,
        extract(epoch from t.created_at)::double precision,
        t.expires_at
    from api_tokens t
    join operators o using (username)
    where t.token_hash = p_token_hash
      and t.revoked_at is null
      and t.expires_at > now()
      and o.disabled_at is null
      and t.created_at >= o.valid_after
      and cardinality(t.made_with) = (
        select count(*)
        from api_tokens p
        where p.token_id = any (t.made_with)
          and p.revoked_at is null)
$$;

-- The operator who may submit commands, for the statement that submits one: it fails with insufficient_privilege for everybody
-- else, and submits nothing.  Without a hash of an API token it is a log-in.
create function {f}.sender(p_username text, p_issued_at double precision, p_token_hash bytea)
returns table (username text, labels jsonb)
language plpgsql stable
as $$
begin
    if p_token_hash is null then
        return query
        select o.username, o.labels
        from {f}.by_log_in(p_username, p_issued_at) o
        where o.role in ('sender', 'admin')
          and not (o.is_disabled or o.is_changed or o.is_ended);
    else
        return query
        select t.username, t.labels
        from {f}.by_api_token(p_token_hash) t
        where t.role in ('sender', 'admin')
          and t.at_most in ('sender', 'admin');
    end if;
    if not found then
        raise insufficient_privilege using message = 'the caller may not submit commands';
    end if;
end $$;
