-- Charges, the keys that name them, and the commands to the provider. One call accepts, one call settles;
-- each is one transaction. All are written for READ COMMITTED: an insert that lost a race must see, in the
-- next statement, the row it lost to. Only the database's clock is asked.

create function rfc3339(at timestamptz) returns text
language sql immutable as $$ select to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') $$;

create table charges (
  id uuid primary key,
  tenant_id text not null,
  state text not null default 'accepted'
    check (state in ('accepted', 'unknown', 'needs_review', 'succeeded', 'failed')),
  amount bigint not null check (amount between 1 and 9007199254740991),
  currency text not null,
  source text not null,
  description text,
  order_id text,
  failure_code text,
  failure_message text,
  created_at timestamptz not null default now(),
  settled_at timestamptz,
  check ((state = 'failed') = (failure_code is not null))
);
create index charges_of_tenant on charges (tenant_id, id desc);
create unique index charges_order_once on charges (tenant_id, order_id) where order_id is not null and state <> 'failed';

-- What the provider is asked to do for a charge. `generation` goes up only with proof of not charged.
create table operations (
  id uuid primary key,
  charge_id uuid not null references charges,
  tenant_id text not null,
  key uuid not null,
  kind text not null check (kind = 'charge'),
  generation int not null default 1,
  psp_key uuid not null unique,
  hold_id uuid not null references transfers,
  psp_ref text,
  -- When a send that may have been executed was first possible; the provider's window counts from here.
  first_sent_at timestamptz,
  unique (tenant_id, key, kind)
);
create index operations_of_charge on operations (charge_id);

create table idempotency_keys (
  tenant_id text not null,
  key uuid not null,
  fingerprint bytea not null check (length(fingerprint) = 32),
  -- The charge this key made. A refusal by the ledger makes none, but the key keeps its name.
  charge_id uuid not null,
  outcome text check (outcome in ('succeeded', 'failed', 'refused')),
  document text,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  primary key (tenant_id, key),
  check ((outcome is null) = (document is null))
);
-- What is not settled is never reaped.
create index idempotency_keys_expiring on idempotency_keys (expires_at) where outcome is not null;

-- What is told under a settled key, the first time and every time after.
create function told_of(k idempotency_keys) returns jsonb
language sql stable as $$
  select jsonb_build_object('outcome', k.outcome, 'document', k.document, 'fingerprint', encode(k.fingerprint, 'hex'),
    'charge', case when k.outcome <> 'refused' then k.charge_id end,
    'first_seen', rfc3339(k.created_at), 'expires', rfc3339(k.expires_at),
    'ttl_ms', greatest(0, floor(extract(epoch from k.expires_at - now()) * 1000)))
$$;

-- What stays of a key when its answer is gone: enough to refuse a second charge.
create table tombstones (
  tenant_id text not null,
  key uuid not null,
  charge_id uuid,
  forget_at timestamptz not null,
  primary key (tenant_id, key)
);
create index tombstones_forgotten on tombstones (forget_at);

create table psp_commands (
  operation_id uuid primary key references operations,
  tenant_id text not null,
  state text not null default 'ready' check (state in ('ready', 'leased', 'dead')),
  -- When it may be claimed: due, or the end of a lease. Dead letters are due never.
  available_at timestamptz not null default now(),
  attempts int not null default 0,
  owner text,
  epoch bigint not null default 0,
  -- An attempt may have been executed.
  uncertain boolean not null default false,
  traceparent text,
  last_class text,
  last_error text,
  buried_at timestamptz,
  check ((state = 'dead') = (buried_at is not null))
) with (fillfactor = 50);
create index psp_commands_due on psp_commands (tenant_id, available_at) where state <> 'dead';
create index psp_commands_dead on psp_commands (operation_id desc) where state = 'dead';

-- One row an attempt, committed before the first byte leaves. Evidence is never dropped.
create table psp_attempts (
  operation_id uuid not null references operations,
  epoch bigint not null,
  generation int not null,
  attempt int not null,
  started_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  class text not null default 'started'
    check (class in ('started', 'not_sent', 'busy', 'declined', 'invalid', 'captured', 'unknown')),
  error text,
  psp_ref text,
  primary key (operation_id, epoch)
);

-- Stages the command of an operation, unless it has one.
create function stage_command(p_operation uuid, p_tenant text, p_traceparent text) returns void
language sql security definer set search_path = public, pg_temp as $$
  insert into psp_commands (operation_id, tenant_id, traceparent) values (p_operation, p_tenant, p_traceparent)
    on conflict do nothing
$$;

-- Items: {tenant, key, fingerprint (hex), charge, operation, hold, psp_key, amount, currency, source,
-- description, order_id, traceparent}. Verdicts, one an item, in order:
--   accepted {created_at, expires}     refused | settled {told}     open {charge}
--   mismatch                  expired {charge}             order_taken {charge}        busy
-- A key whose first use is still being accepted is waited for; after `p_key_wait`, lock_not_available.
create function accept_batch(p_items jsonb, p_ttl interval, p_key_wait interval) returns table (ix int, verdict text, body jsonb)
language plpgsql security definer set search_path = public, pg_temp set lock_timeout = '750ms' as $$
declare
  item record;
  k record;
  refusal jsonb;
  taken uuid;
  tenants text[];
  currencies text[];
begin
  perform set_config('lock_timeout', (extract(epoch from p_key_wait) * 1000)::int::text, true);
  -- Sorted, so that two batches with keys in common wait for each other in one direction only.
  insert into idempotency_keys (tenant_id, key, fingerprint, charge_id, expires_at)
    select i.tenant, i.key, decode(i.fingerprint, 'hex'), i.charge, now() + p_ttl
    from jsonb_to_recordset(p_items) as i(tenant text, key uuid, fingerprint text, charge uuid)
    order by i.tenant, i.key
    on conflict do nothing;
  if found then
    -- Accounts are busy, not in progress: wait as long as the statement may.
    perform set_config('lock_timeout', '0', true);
    select array_agg(i.tenant), array_agg(i.currency) into tenants, currencies
      from jsonb_to_recordset(p_items) as i(tenant text, key uuid, charge uuid, currency text)
      join idempotency_keys own on own.tenant_id = i.tenant and own.key = i.key and own.charge_id = i.charge;
    perform lock_accounts(tenants, currencies);
  end if;

  for item in
    select * from rows from (jsonb_to_recordset(p_items) as (
      tenant text, key uuid, fingerprint text, charge uuid, operation uuid, hold uuid, psp_key uuid,
      amount bigint, currency text, source text, description text, order_id text, traceparent text
    )) with ordinality as i(tenant, key, fingerprint, charge, operation, hold, psp_key, amount, currency, source,
      description, order_id, traceparent, n)
  loop
    ix := item.n;
    body := null;
    select o.fingerprint, o.charge_id, o.outcome, o.document, o.created_at, o.expires_at,
        -- The tombstone, or when even that is gone the operation itself: its key rules while its row lives.
        t.key is not null or p.charge_id is distinct from item.charge and p.id is not null as buried,
        coalesce(t.charge_id, p.charge_id) as buried_charge,
        -- By an earlier call, or by this very item, sent twice.
        o.charge_id <> item.charge or p.charge_id is not distinct from item.charge as known,
        o.outcome is not null and o.expires_at <= now() as expired
      into k
      from (select item.tenant as tenant_id, item.key as key) named
      left join idempotency_keys o using (tenant_id, key)
      left join tombstones t using (tenant_id, key)
      left join operations p on (o.charge_id is null or o.charge_id = item.charge)
        and p.tenant_id = named.tenant_id and p.key = named.key and p.kind = 'charge';

    if k.expired then
      verdict := 'expired';
      body := jsonb_build_object('charge', case when k.outcome <> 'refused' then k.charge_id end);
    elsif k.buried then
      verdict := 'expired';
      body := jsonb_build_object('charge', k.buried_charge);
      delete from idempotency_keys where tenant_id = item.tenant and key = item.key and charge_id = item.charge;
    elsif k.charge_id is null then
      verdict := 'busy'; -- Was there when we inserted, is gone now: whoever asks again will see why.
    elsif k.known and k.fingerprint <> decode(item.fingerprint, 'hex') then
      verdict := 'mismatch';
    elsif k.known and k.outcome is not null then
      verdict := 'settled';
      select told_of(o) into body from idempotency_keys o where o.tenant_id = item.tenant and o.key = item.key;
    elsif k.known then
      verdict := 'open';
      select to_jsonb(s) || jsonb_build_object('first_seen', rfc3339(k.created_at), 'expires', rfc3339(k.expires_at))
        into body from charge_statements s where s.id = k.charge_id;
    else
      taken := null;
      if item.order_id is not null then
        select c.id into taken from charges c
          where c.tenant_id = item.tenant and c.order_id = item.order_id and c.state <> 'failed';
      end if;
      if taken is not null then
        verdict := 'order_taken';
        body := jsonb_build_object('charge', taken);
        delete from idempotency_keys where tenant_id = item.tenant and key = item.key;
        return next;
        continue;
      end if;
      refusal := hold_funds(item.hold, item.operation, item.tenant, item.currency, item.amount);
      if refusal is not null then
        verdict := 'refused';
        update idempotency_keys o set outcome = 'refused', document = refusal::text
          where o.tenant_id = item.tenant and o.key = item.key
          returning told_of(o) into body;
        return next;
        continue;
      end if;
      insert into charges (id, tenant_id, amount, currency, source, description, order_id)
        values (item.charge, item.tenant, item.amount, item.currency, item.source, item.description, item.order_id)
        on conflict (tenant_id, order_id) where order_id is not null and state <> 'failed' do nothing;
      if not found then -- Lost a race for the order against another currency: the next try sees the winner.
        raise exception 'order % was charged a moment ago', item.order_id using errcode = 'serialization_failure';
      end if;
      insert into operations (id, charge_id, tenant_id, key, kind, psp_key, hold_id)
        values (item.operation, item.charge, item.tenant, item.key, 'charge', item.psp_key, item.hold);
      perform stage_command(item.operation, item.tenant, item.traceparent);
      verdict := 'accepted';
      body := jsonb_build_object('created_at', rfc3339(now()), 'expires', rfc3339(k.expires_at));
    end if;
    return next;
  end loop;
end $$;

-- A charge as it is told; `statement` of the domain puts it into words.
create view charge_statements as
  select id, tenant_id, state, amount, currency, source, description, order_id, rfc3339(created_at) as created_at,
    failure_code, failure_message
  from charges;

-- One row a command: SKIP LOCKED, the oldest due of each tenant before the second of any. Every claim is an
-- attempt, written here, before a byte leaves.
create function claim(p_owner text, p_limit int, p_lease interval, p_window interval)
returns table (operation_id uuid, epoch bigint, attempts int, uncertain boolean, sendable boolean, traceparent text,
  tenant text, key uuid, psp_key uuid, charge jsonb)
language sql security definer set search_path = public, pg_temp as $$
  with recursive tenants as (
    (select c.tenant_id from psp_commands c where c.state <> 'dead' and c.available_at <= now()
      order by c.tenant_id limit 1)
    union all
    select (select c.tenant_id from psp_commands c where c.state <> 'dead' and c.available_at <= now()
      and c.tenant_id > t.tenant_id order by c.tenant_id limit 1)
    from tenants t where t.tenant_id is not null
  ), heads as (
    select h.operation_id, row_number() over (partition by t.tenant_id order by h.available_at) as place
    from tenants t cross join lateral (
      select c.operation_id, c.available_at from psp_commands c
      where c.tenant_id = t.tenant_id and c.state <> 'dead' and c.available_at <= now()
      order by c.available_at limit p_limit
    ) h
  ), picked as (
    select c.operation_id, c.state = 'leased' as abandoned
    from psp_commands c join heads h on h.operation_id = c.operation_id
    where c.state <> 'dead' and c.available_at <= now()
    order by h.place, c.available_at limit p_limit
    for update of c skip locked
  ), leased as (
    -- A lease that ended without a word may have sent.
    update psp_commands c set state = 'leased', owner = p_owner, epoch = c.epoch + 1, attempts = c.attempts + 1,
      available_at = now() + p_lease, uncertain = c.uncertain or p.abandoned
    from picked p where p.operation_id = c.operation_id
    returning c.*
  ), marked as (
    update operations o set first_sent_at = case when l.uncertain then coalesce(o.first_sent_at, now()) else now() end
    from leased l where o.id = l.operation_id
    returning o.*
  ), started as (
    insert into psp_attempts (operation_id, epoch, generation, attempt)
    select l.operation_id, l.epoch, m.generation, l.attempts
    from leased l join marked m on m.id = l.operation_id
  )
  select l.operation_id, l.epoch, l.attempts, l.uncertain,
    -- An hour is longer than any request of ours can be on its way.
    not l.uncertain or now() < m.first_sent_at + p_window - interval '1 hour',
    l.traceparent, m.tenant_id, m.key, m.psp_key, to_jsonb(s)
  from leased l join marked m on m.id = l.operation_id join charge_statements s on s.id = m.charge_id
$$;

-- Items: {operation, epoch, act: retry|bury|park, class, error, delay_ms}. False: the lease was lost; only
-- the evidence was kept.
create function ack(p_items jsonb) returns table (ix int, done boolean)
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  item record;
  became text;
begin
  for item in
    select * from rows from (jsonb_to_recordset(p_items) as (
      operation uuid, epoch bigint, act text, class text, error text, delay_ms double precision
    )) with ordinality as i(operation, epoch, act, class, error, delay_ms, n) order by i.operation
  loop
    ix := item.n;
    -- The charge first: settling locks in this order too.
    perform from charges c join operations o on o.charge_id = c.id where o.id = item.operation for no key update of c;
    if item.act = 'park' then
      update psp_commands c set state = 'ready', owner = null, attempts = c.attempts - 1,
        available_at = now() + make_interval(secs => item.delay_ms / 1000)
      where c.operation_id = item.operation and c.epoch = item.epoch and c.state = 'leased';
      done := found;
      update psp_attempts a set finished_at = clock_timestamp(), class = 'not_sent', error = 'parked'
        where a.operation_id = item.operation and a.epoch = item.epoch and a.finished_at is null;
    else
      update psp_commands c set owner = null,
        state = case item.act when 'bury' then 'dead' else 'ready' end,
        buried_at = case item.act when 'bury' then now() end,
        available_at = case item.act when 'bury' then 'infinity'
          else now() + make_interval(secs => item.delay_ms / 1000) end,
        uncertain = c.uncertain or item.class = 'unknown', last_class = item.class, last_error = item.error
      where c.operation_id = item.operation and c.epoch = item.epoch and c.state = 'leased';
      done := found;
      update psp_attempts a set finished_at = clock_timestamp(), class = item.class, error = item.error
        where a.operation_id = item.operation and a.epoch = item.epoch and a.finished_at is null;
      became := case when item.act = 'bury' then 'needs_review' when item.class = 'unknown' then 'unknown' end;
      if done and became is not null then
        update charges c set state = became from operations o
          where o.id = item.operation and c.id = o.charge_id and c.state <> became;
      end if;
    end if;
    return next;
  end loop;
end $$;

-- Items: {operation, epoch, transfer, event, outcome: succeeded|failed, code, message, psp_ref, document,
-- payload}. Answers what is told from now on when it was this call that settled the charge; null when the
-- lease was lost or the charge had settled: then nothing changed but the evidence kept.
create function settle_batch(p_items jsonb) returns table (ix int, told jsonb)
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  item record;
  op operations;
  ch charges;
  trace text;
begin
  for item in
    select * from rows from (jsonb_to_recordset(p_items) as (
      operation uuid, epoch bigint, transfer uuid, event uuid, outcome text, code text, message text, psp_ref text,
      document text, payload text
    )) with ordinality as i(operation, epoch, transfer, event, outcome, code, message, psp_ref, document, payload, n)
    order by i.operation
  loop
    ix := item.n;
    told := null;
    select * into strict op from operations where id = item.operation;
    select * into strict ch from charges where id = op.charge_id for no key update;
    update psp_attempts a set finished_at = clock_timestamp(), psp_ref = item.psp_ref, error = item.code,
      class = case item.outcome when 'succeeded' then 'captured' else 'declined' end
      where a.operation_id = op.id and a.epoch = item.epoch and a.finished_at is null;
    delete from psp_commands c
      where c.operation_id = op.id and c.epoch = item.epoch and c.state = 'leased'
        and ch.state not in ('succeeded', 'failed')
      returning c.traceparent into trace;
    if found then
      perform lock_accounts(array[ch.tenant_id], array[ch.currency]);
      perform end_hold(item.transfer, op.hold_id, case item.outcome when 'succeeded' then 'post' else 'void' end);
      update charges set state = item.outcome, settled_at = now(), failure_code = item.code,
        failure_message = item.message where id = ch.id;
      update operations set psp_ref = item.psp_ref where id = op.id;
      update idempotency_keys k set outcome = item.outcome, document = item.document
        where k.tenant_id = op.tenant_id and k.key = op.key
        returning told_of(k) into told;
      perform stage_event('payments.v1', ch.id::text, item.event, 'charge.' || item.outcome,
        case when trace is null then '{}' else jsonb_build_object('traceparent', trace) end, item.payload);
    end if;
    return next;
  end loop;
end $$;

-- Brings dead letters back, named by operation or charge (null: all), key and generation unchanged. Refuses what may have been executed once the
-- provider no longer dedupes on its key, unless someone vouches for it.
create function redrive(p_ids uuid[], p_limit int, p_evidence boolean, p_window interval)
returns table (operation_id uuid, redriven boolean)
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  dead record;
begin
  for dead in
    select c.operation_id as id, c.uncertain, o.charge_id,
      p_evidence or not c.uncertain or now() < o.first_sent_at + p_window - interval '1 hour' as safe
    from psp_commands c join operations o on o.id = c.operation_id join charges ch on ch.id = o.charge_id
    where c.state = 'dead' and (p_ids is null or c.operation_id = any (p_ids) or o.charge_id = any (p_ids))
    order by c.operation_id limit p_limit
    for no key update of ch
  loop
    operation_id := dead.id;
    redriven := dead.safe;
    if dead.safe then
      update psp_commands c set state = 'ready', buried_at = null, available_at = now(), attempts = 0,
        -- Someone vouched: the next send opens the provider's window anew.
        uncertain = c.uncertain and not p_evidence
        where c.operation_id = dead.id and c.state = 'dead';
      redriven := found;
      update charges set state = case when dead.uncertain then 'unknown' else 'accepted' end
        where id = dead.charge_id and state = 'needs_review' and redriven;
    end if;
    return next;
  end loop;
end $$;

-- Ends replay, not dedupe. How many rows went.
create function reap(p_limit int, p_tombstone interval) returns int
language sql security definer set search_path = public, pg_temp as $$
  with expired as (
    select tenant_id, key from idempotency_keys where outcome is not null and expires_at <= now()
    order by expires_at limit p_limit for update skip locked
  ), gone as (
    delete from idempotency_keys k using expired e where k.tenant_id = e.tenant_id and k.key = e.key
    returning k.*
  ), buried as (
    insert into tombstones (tenant_id, key, charge_id, forget_at)
    select tenant_id, key, case when outcome <> 'refused' then charge_id end, expires_at + p_tombstone from gone
    on conflict do nothing
  ), forgotten as (
    delete from tombstones where (tenant_id, key) in (
      select tenant_id, key from tombstones where forget_at <= now() order by forget_at limit p_limit
      for update skip locked)
    returning 1
  )
  select (select count(*) from gone)::int + (select count(*) from forgotten)::int
$$;

-- Which database this is: one that was restored, or made anew, or promoted in another's place has another name.
create table installations (id uuid primary key default gen_random_uuid(), created_at timestamptz not null default now());
insert into installations default values;

create function store_epoch() returns text
language plpgsql stable security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  here text;
begin
  select id::text into here from public.installations;
  return here || '.' || (select system_identifier from pg_control_system()) || '.' ||
    (select timeline_id from pg_control_checkpoint());
exception when insufficient_privilege then
  return here; -- A hosted database that keeps this to itself.
end $$;

-- Programs read everything and write nothing but through these functions, which run as the owner.
grant select on charges, operations, idempotency_keys, tombstones, psp_commands, psp_attempts, charge_statements
  to cribwork_app;
revoke execute on function stage_command, accept_batch, claim, ack, settle_batch, redrive, reap from public;
grant execute on function stage_command, accept_batch, claim, ack, settle_batch, redrive, reap to cribwork_app;
