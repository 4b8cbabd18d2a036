-- What all migrations together leave, made by `npm run schema`. For reading; nothing runs it.

create table accounts (
  id uuid not null default gen_random_uuid(),
  tenant_id text not null,
  code text not null,
  currency text not null,
  floor bigint,
  posted_debits bigint not null default 0,
  posted_credits bigint not null default 0,
  held_debits bigint not null default 0,
  held_credits bigint not null default 0,
  version bigint not null default 0,
  created_at timestamp with time zone not null default now(),
  constraint accounts_code_check CHECK ((code = ANY (ARRAY['receivable'::text, 'payable'::text]))),
  constraint accounts_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
  constraint accounts_floor CHECK (((floor IS NULL) OR (((posted_credits - posted_debits) - held_debits) >= floor))),
  constraint accounts_held_credits_check CHECK ((held_credits >= 0)),
  constraint accounts_held_debits_check CHECK ((held_debits >= 0)),
  constraint accounts_posted_credits_check CHECK ((posted_credits >= 0)),
  constraint accounts_posted_debits_check CHECK ((posted_debits >= 0)),
  constraint accounts_pkey PRIMARY KEY (id),
  constraint accounts_id_currency_key UNIQUE (id, currency),
  constraint accounts_tenant_id_currency_code_key UNIQUE (tenant_id, currency, code)
);

create table api_keys (
  seq bigint not null generated always as identity,
  id text not null,
  token_hash bytea not null,
  tenant_id text not null,
  user_id text not null,
  scopes text[] not null,
  plan text not null,
  operator boolean not null,
  created_at timestamp with time zone not null default clock_timestamp(),
  revoked_at timestamp with time zone,
  constraint admin_scopes_are_for_operators CHECK ((operator OR (array_to_string(scopes, ','::text) !~~ '%:admin%'::text))),
  constraint api_keys_id_check CHECK ((id ~ '^[0-9a-f]{16}$'::text)),
  constraint api_keys_token_hash_check CHECK ((octet_length(token_hash) = 32)),
  constraint api_keys_pkey PRIMARY KEY (seq),
  constraint api_keys_id_key UNIQUE (id)
);

CREATE TRIGGER api_keys_stay_revoked BEFORE UPDATE ON public.api_keys FOR EACH ROW WHEN ((old.revoked_at IS NOT NULL)) EXECUTE FUNCTION key_stays_revoked();

create table audit_entries (
  id bigint not null generated always as identity,
  at timestamp with time zone not null default clock_timestamp(),
  actor text not null,
  why text not null,
  action text not null,
  subject text not null,
  before jsonb,
  after jsonb,
  constraint audit_entries_pkey PRIMARY KEY (id)
);

CREATE TRIGGER audit_entries_insert_only BEFORE DELETE OR UPDATE ON public.audit_entries FOR EACH ROW EXECUTE FUNCTION audit_altered();

CREATE TRIGGER audit_entries_never_emptied BEFORE TRUNCATE ON public.audit_entries FOR EACH STATEMENT EXECUTE FUNCTION audit_altered();

create table breaker_forces (
  dependency text not null,
  state text not null,
  reason text not null,
  forced_by text not null,
  forced_at timestamp with time zone not null,
  until timestamp with time zone not null,
  constraint a_force_ends_within_a_day CHECK (((until > forced_at) AND (until <= (forced_at + '24:00:00'::interval)))),
  constraint breaker_forces_dependency_check CHECK (((length(dependency) >= 1) AND (length(dependency) <= 300))),
  constraint breaker_forces_state_check CHECK ((state = ANY (ARRAY['open'::text, 'closed'::text]))),
  constraint breaker_forces_pkey PRIMARY KEY (dependency)
);

create table breaker_reports (
  process text not null,
  program text not null,
  dependency text not null,
  rank integer not null,
  snapshot jsonb not null,
  ended boolean not null default false,
  seen_at timestamp with time zone not null default clock_timestamp(),
  constraint breaker_reports_pkey PRIMARY KEY (process, dependency)
);

create table charges (
  id uuid not null,
  tenant_id text not null,
  state text not null default 'accepted'::text,
  amount bigint not null,
  currency text not null,
  source text not null,
  description text,
  order_id text,
  failure_code text,
  failure_message text,
  created_at timestamp with time zone not null default now(),
  settled_at timestamp with time zone,
  constraint charges_amount_check CHECK (((amount >= 1) AND (amount <= '9007199254740991'::bigint))),
  constraint charges_check CHECK (((state = 'failed'::text) = (failure_code IS NOT NULL))),
  constraint charges_state_check CHECK ((state = ANY (ARRAY['accepted'::text, 'unknown'::text, 'needs_review'::text, 'succeeded'::text, 'failed'::text]))),
  constraint charges_pkey PRIMARY KEY (id)
);

CREATE INDEX charges_of_tenant ON public.charges USING btree (tenant_id, id DESC);

CREATE UNIQUE INDEX charges_order_once ON public.charges USING btree (tenant_id, order_id) WHERE ((order_id IS NOT NULL) AND (state <> 'failed'::text));

create table event_log (
  topic text not null,
  partition integer not null,
  record_offset bigint not null,
  key text not null,
  headers jsonb not null,
  value bytea not null,
  appended_at timestamp with time zone not null,
  constraint event_log_pkey PRIMARY KEY (topic, partition, record_offset)
);

create table event_partitions (
  topic text not null,
  partition integer not null,
  next_offset bigint not null default 0,
  constraint event_partitions_partition_check CHECK ((partition >= 0)),
  constraint event_partitions_topic_check CHECK ((topic <> ''::text)),
  constraint event_partitions_pkey PRIMARY KEY (topic, partition)
);

create table event_streams (
  topic text not null,
  key text not null,
  last_seq bigint not null,
  published_seq bigint not null default 0,
  due_at timestamp with time zone not null,
  lease_owner text,
  lease_epoch bigint not null default 0,
  parked_seq bigint,
  parked_reason text,
  parked_at timestamp with time zone,
  ready_seq bigint not null generated always as (COALESCE((parked_seq - 1), last_seq)) stored,
  constraint event_streams_check CHECK (((published_seq >= 0) AND (published_seq <= last_seq))),
  constraint event_streams_check1 CHECK (((parked_seq >= (published_seq + 1)) AND (parked_seq <= last_seq))),
  constraint event_streams_check2 CHECK ((num_nulls(parked_seq, parked_reason, parked_at) = ANY (ARRAY[0, 3]))),
  constraint event_streams_key_check CHECK ((key <> ''::text)),
  constraint event_streams_topic_check CHECK ((topic <> ''::text)),
  constraint event_streams_pkey PRIMARY KEY (topic, key)
);

CREATE INDEX event_streams_due ON public.event_streams USING btree (due_at) WHERE (published_seq < ready_seq);

CREATE INDEX event_streams_parked ON public.event_streams USING btree (parked_at) WHERE (parked_at IS NOT NULL);

create table idempotency_keys (
  tenant_id text not null,
  key uuid not null,
  fingerprint bytea not null,
  charge_id uuid not null,
  outcome text,
  document text,
  created_at timestamp with time zone not null default now(),
  expires_at timestamp with time zone not null,
  constraint idempotency_keys_check CHECK (((outcome IS NULL) = (document IS NULL))),
  constraint idempotency_keys_fingerprint_check CHECK ((length(fingerprint) = 32)),
  constraint idempotency_keys_outcome_check CHECK ((outcome = ANY (ARRAY['succeeded'::text, 'failed'::text, 'refused'::text]))),
  constraint idempotency_keys_pkey PRIMARY KEY (tenant_id, key)
);

CREATE INDEX idempotency_keys_expiring ON public.idempotency_keys USING btree (expires_at) WHERE (outcome IS NOT NULL);

create table installations (
  id uuid not null default gen_random_uuid(),
  created_at timestamp with time zone not null default now(),
  constraint installations_pkey PRIMARY KEY (id)
);

create table limit_policies (
  version integer not null,
  document jsonb not null,
  set_by text not null,
  set_at timestamp with time zone not null default clock_timestamp(),
  constraint limit_policies_version_check CHECK ((version >= 1)),
  constraint limit_policies_pkey PRIMARY KEY (version)
);

create table migrations (
  id integer not null,
  file text not null,
  checksum text not null,
  applied_at timestamp with time zone not null default now(),
  constraint migrations_pkey PRIMARY KEY (id)
);

create table operations (
  id uuid not null,
  charge_id uuid not null,
  tenant_id text not null,
  key uuid not null,
  kind text not null,
  generation integer not null default 1,
  psp_key uuid not null,
  hold_id uuid not null,
  psp_ref text,
  first_sent_at timestamp with time zone,
  constraint operations_kind_check CHECK ((kind = 'charge'::text)),
  constraint operations_charge_id_fkey FOREIGN KEY (charge_id) REFERENCES charges(id),
  constraint operations_hold_id_fkey FOREIGN KEY (hold_id) REFERENCES transfers(id),
  constraint operations_pkey PRIMARY KEY (id),
  constraint operations_psp_key_key UNIQUE (psp_key),
  constraint operations_tenant_id_key_kind_key UNIQUE (tenant_id, key, kind)
);

CREATE INDEX operations_of_charge ON public.operations USING btree (charge_id);

create table outbox_events (
  topic text not null,
  key text not null,
  seq bigint not null,
  event_id uuid not null,
  type text not null,
  headers jsonb not null,
  payload text not null,
  staged_at timestamp with time zone not null,
  constraint outbox_events_pkey PRIMARY KEY (topic, key, seq)
);

create table psp_attempts (
  operation_id uuid not null,
  epoch bigint not null,
  generation integer not null,
  attempt integer not null,
  started_at timestamp with time zone not null default clock_timestamp(),
  finished_at timestamp with time zone,
  class text not null default 'started'::text,
  error text,
  psp_ref text,
  constraint psp_attempts_class_check CHECK ((class = ANY (ARRAY['started'::text, 'not_sent'::text, 'busy'::text, 'declined'::text, 'invalid'::text, 'captured'::text, 'unknown'::text]))),
  constraint psp_attempts_operation_id_fkey FOREIGN KEY (operation_id) REFERENCES operations(id),
  constraint psp_attempts_pkey PRIMARY KEY (operation_id, epoch)
);

create table psp_commands (
  operation_id uuid not null,
  tenant_id text not null,
  state text not null default 'ready'::text,
  available_at timestamp with time zone not null default now(),
  attempts integer not null default 0,
  owner text,
  epoch bigint not null default 0,
  uncertain boolean not null default false,
  traceparent text,
  last_class text,
  last_error text,
  buried_at timestamp with time zone,
  constraint psp_commands_check CHECK (((state = 'dead'::text) = (buried_at IS NOT NULL))),
  constraint psp_commands_state_check CHECK ((state = ANY (ARRAY['ready'::text, 'leased'::text, 'dead'::text]))),
  constraint psp_commands_operation_id_fkey FOREIGN KEY (operation_id) REFERENCES operations(id),
  constraint psp_commands_pkey PRIMARY KEY (operation_id)
);

CREATE INDEX psp_commands_dead ON public.psp_commands USING btree (operation_id DESC) WHERE (state = 'dead'::text);

CREATE INDEX psp_commands_due ON public.psp_commands USING btree (tenant_id, available_at) WHERE (state <> 'dead'::text);

create table tombstones (
  tenant_id text not null,
  key uuid not null,
  charge_id uuid,
  forget_at timestamp with time zone not null,
  constraint tombstones_pkey PRIMARY KEY (tenant_id, key)
);

CREATE INDEX tombstones_forgotten ON public.tombstones USING btree (forget_at);

create table transfers (
  id uuid not null,
  kind text not null,
  hold_id uuid,
  dr uuid not null,
  cr uuid not null,
  currency text not null,
  amount bigint not null,
  operation_id uuid not null,
  dr_version bigint not null,
  cr_version bigint not null,
  dr_balance bigint not null,
  cr_balance bigint not null,
  created_at timestamp with time zone not null default now(),
  constraint transfers_amount_check CHECK ((amount > 0)),
  constraint transfers_check CHECK ((dr <> cr)),
  constraint transfers_check1 CHECK (((kind = 'hold'::text) = (hold_id IS NULL))),
  constraint transfers_kind_check CHECK ((kind = ANY (ARRAY['hold'::text, 'post'::text, 'void'::text]))),
  constraint transfers_cr_currency_fkey FOREIGN KEY (cr, currency) REFERENCES accounts(id, currency),
  constraint transfers_dr_currency_fkey FOREIGN KEY (dr, currency) REFERENCES accounts(id, currency),
  constraint transfers_hold_id_fkey FOREIGN KEY (hold_id) REFERENCES transfers(id),
  constraint transfers_pkey PRIMARY KEY (id)
);

CREATE UNIQUE INDEX transfers_hold_ends_once ON public.transfers USING btree (hold_id) WHERE (hold_id IS NOT NULL);

CREATE INDEX transfers_of_operation ON public.transfers USING btree (operation_id);

CREATE TRIGGER transfers_insert_only BEFORE DELETE OR UPDATE ON public.transfers FOR EACH ROW EXECUTE FUNCTION transfer_altered();

CREATE TRIGGER transfers_never_emptied BEFORE TRUNCATE ON public.transfers FOR EACH STATEMENT EXECUTE FUNCTION transfer_altered();

create view accounts_astray as
 WITH legs AS (
         SELECT transfers.dr AS account_id,
            transfers.kind,
            transfers.amount AS debit,
            (0)::bigint AS credit
           FROM transfers
        UNION ALL
         SELECT transfers.cr,
            transfers.kind,
            0,
            transfers.amount
           FROM transfers
        ), folded AS (
         SELECT legs.account_id,
            sum(legs.debit) FILTER (WHERE (legs.kind = 'post'::text)) AS posted_debits,
            sum(legs.credit) FILTER (WHERE (legs.kind = 'post'::text)) AS posted_credits,
            sum(
                CASE legs.kind
                    WHEN 'hold'::text THEN legs.debit
                    ELSE (- legs.debit)
                END) AS held_debits,
            sum(
                CASE legs.kind
                    WHEN 'hold'::text THEN legs.credit
                    ELSE (- legs.credit)
                END) AS held_credits,
            count(*) AS version
           FROM legs
          GROUP BY legs.account_id
        )
 SELECT a.id,
    a.tenant_id,
    a.currency,
    a.code
   FROM (accounts a
     LEFT JOIN folded f ON ((f.account_id = a.id)))
  WHERE (((((a.posted_debits IS DISTINCT FROM (COALESCE(f.posted_debits, (0)::numeric))::bigint) OR (a.posted_credits IS DISTINCT FROM (COALESCE(f.posted_credits, (0)::numeric))::bigint)) OR (a.held_debits IS DISTINCT FROM (COALESCE(f.held_debits, (0)::numeric))::bigint)) OR (a.held_credits IS DISTINCT FROM (COALESCE(f.held_credits, (0)::numeric))::bigint)) OR (a.version IS DISTINCT FROM COALESCE(f.version, (0)::bigint)));

create view charge_statements as
 SELECT id,
    tenant_id,
    state,
    amount,
    currency,
    source,
    description,
    order_id,
    rfc3339(created_at) AS created_at,
    failure_code,
    failure_message
   FROM charges;

CREATE OR REPLACE FUNCTION public.accept_batch(p_items jsonb, p_ttl interval, p_key_wait interval)
 RETURNS TABLE(ix integer, verdict text, body jsonb)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
 SET lock_timeout TO '750ms'
AS $function$
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
end $function$;

CREATE OR REPLACE FUNCTION public.ack(p_items jsonb)
 RETURNS TABLE(ix integer, done boolean)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
AS $function$
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
end $function$;

CREATE OR REPLACE FUNCTION public.append_log(p_records jsonb)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
declare
  v_appended bigint;
begin
  -- Locks first, in one order for all appenders: the next statement then sees the newest offsets.
  perform from event_partitions p
  where (p.topic, p.partition) in (
    select r.topic, r.partition from jsonb_to_recordset(p_records) as r(topic text, partition int)
  )
  order by p.topic, p.partition for update;

  with given as materialized (
    select g.ord, r.* from jsonb_array_elements(p_records) with ordinality as g(record, ord)
    cross join lateral jsonb_to_record(g.record) as r(topic text, partition int, key text, headers jsonb, value text)
  ), moved as (
    update event_partitions p set next_offset = p.next_offset + c.records
    from (select g.topic, g.partition, count(*) as records from given g group by g.topic, g.partition) c
    where p.topic = c.topic and p.partition = c.partition
    returning p.topic, p.partition, p.next_offset - c.records as first_offset
  )
  insert into event_log (topic, partition, record_offset, key, headers, value, appended_at)
  select g.topic, g.partition,
    m.first_offset + row_number() over (partition by g.topic, g.partition order by g.ord) - 1,
    g.key, g.headers, decode(g.value, 'base64'), clock_timestamp()
  from given g join moved m on m.topic = g.topic and m.partition = g.partition;

  get diagnostics v_appended = row_count;
  if v_appended <> jsonb_array_length(p_records) then
    raise exception 'append_log: a record names a topic or partition that was never opened'
      using errcode = 'foreign_key_violation';
  end if;
  return v_appended;
end $function$;

CREATE OR REPLACE FUNCTION public.audit_altered()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  raise exception 'audit entries are never changed or removed' using errcode = 'restrict_violation';
end $function$;

CREATE OR REPLACE FUNCTION public.claim(p_owner text, p_limit integer, p_lease interval, p_window interval)
 RETURNS TABLE(operation_id uuid, epoch bigint, attempts integer, uncertain boolean, sendable boolean, traceparent text, tenant text, key uuid, psp_key uuid, charge jsonb)
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION public.claim_events(p_owner text, p_lease interval, p_streams integer, p_per_stream integer, p_events integer, p_bytes bigint)
 RETURNS TABLE(topic text, key text, epoch bigint, seq bigint, previous_seq bigint, event_id uuid, type text, headers jsonb, payload text, staged_at timestamp with time zone)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
begin
  return query
  with due as materialized (
    select s.topic, s.key, s.published_seq, s.ready_seq, s.due_at
    from event_streams s
    where s.published_seq < s.ready_seq and s.due_at <= clock_timestamp()
    order by s.due_at limit p_streams
    for update skip locked
  ), waiting as (
    -- Bounded by the row just locked, which may be newer than this statement's snapshot of the events.
    select d.due_at, o.*, coalesce(lag(o.seq) over (partition by o.topic, o.key order by o.seq), d.published_seq) as prev
    from due d cross join lateral (
      select * from outbox_events o
      where o.topic = d.topic and o.key = d.key and o.seq > d.published_seq and o.seq <= d.ready_seq
      order by o.seq limit p_per_stream
    ) o
  ), measured as (
    select w.*, row_number() over line as nth, sum(octet_length(w.payload)) over line as bytes
    from waiting w window line as (order by w.due_at, w.topic, w.key, w.seq rows unbounded preceding)
  ), taken as materialized (
    select * from measured m where m.nth <= p_events and (m.bytes <= p_bytes or m.nth = 1)
  ), leased as (
    update event_streams s
    set lease_owner = p_owner, lease_epoch = s.lease_epoch + 1, due_at = clock_timestamp() + p_lease
    from (select distinct t.topic, t.key from taken t) t
    where s.topic = t.topic and s.key = t.key
    returning s.topic, s.key, s.lease_epoch
  )
  select t.topic, t.key, l.lease_epoch, t.seq, t.prev, t.event_id, t.type, t.headers, t.payload, t.staged_at
  from taken t join leased l on l.topic = t.topic and l.key = t.key
  order by t.nth;
end $function$;

CREATE OR REPLACE FUNCTION public.end_hold(p_transfer uuid, p_hold uuid, p_kind text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'public', 'pg_temp'
AS $function$
declare
  h transfers;
  d accounts;
  c accounts;
  posted bigint;
begin
  select * into strict h from transfers where id = p_hold and kind = 'hold';
  posted := case p_kind when 'post' then h.amount else 0 end;
  update accounts set held_debits = held_debits - h.amount, posted_debits = posted_debits + posted,
    version = version + 1 where id = h.dr returning * into strict d;
  update accounts set held_credits = held_credits - h.amount, posted_credits = posted_credits + posted,
    version = version + 1 where id = h.cr returning * into strict c;
  insert into transfers (id, kind, hold_id, dr, cr, currency, amount, operation_id, dr_version, cr_version, dr_balance, cr_balance)
    values (p_transfer, p_kind, p_hold, h.dr, h.cr, h.currency, h.amount, h.operation_id, d.version, c.version,
      d.posted_credits - d.posted_debits, c.posted_credits - c.posted_debits);
end $function$;

CREATE OR REPLACE FUNCTION public.forget_events(p_owner text, p_published jsonb)
 RETURNS TABLE(topic text, key text, outcome text)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
begin
  return query
  with asked as materialized (
    select a.* from jsonb_to_recordset(p_published) as a(topic text, key text, epoch bigint, through bigint)
  ), held as materialized (
    select s.topic, s.key, a.through
    from asked a join event_streams s on s.topic = a.topic and s.key = a.key
    where s.lease_owner = p_owner and s.lease_epoch = a.epoch
    for update of s skip locked
  ), removed as (
    delete from outbox_events o using held h where o.topic = h.topic and o.key = h.key and o.seq <= h.through
  ), moved as (
    update event_streams s
    set published_seq = greatest(s.published_seq, h.through), lease_owner = null, due_at = clock_timestamp()
    from held h where s.topic = h.topic and s.key = h.key
  )
  select a.topic, a.key, case
    when h.topic is not null then 'forgotten'
    when s.lease_owner = p_owner and s.lease_epoch = a.epoch then 'busy'
    else 'fenced' end
  from asked a
  left join held h on h.topic = a.topic and h.key = a.key
  left join event_streams s on s.topic = a.topic and s.key = a.key;
end $function$;

CREATE OR REPLACE FUNCTION public.hold_funds(p_hold uuid, p_operation uuid, p_tenant text, p_currency text, p_amount bigint)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'public', 'pg_temp'
AS $function$
declare
  d accounts;
  c accounts;
begin
  select * into strict d from accounts where tenant_id = p_tenant and currency = p_currency and code = 'receivable';
  select * into strict c from accounts where tenant_id = p_tenant and currency = p_currency and code = 'payable';
  if d.posted_credits::numeric - d.posted_debits - d.held_debits - p_amount < d.floor then
    return jsonb_build_object('code', 'insufficient_funds',
      'short_by', d.floor + p_amount - (d.posted_credits - d.posted_debits - d.held_debits));
  end if;
  -- No sum that settling this hold could lead to leaves a 64-bit integer.
  if d.posted_debits::numeric + d.held_debits + p_amount > 9223372036854775807
    or c.posted_credits::numeric + c.held_credits + p_amount > 9223372036854775807 then
    return jsonb_build_object('code', 'account_limit');
  end if;
  update accounts set held_debits = held_debits + p_amount, version = version + 1 where id = d.id;
  update accounts set held_credits = held_credits + p_amount, version = version + 1 where id = c.id;
  insert into transfers (id, kind, dr, cr, currency, amount, operation_id, dr_version, cr_version, dr_balance, cr_balance)
    values (p_hold, 'hold', d.id, c.id, p_currency, p_amount, p_operation, d.version + 1, c.version + 1,
      d.posted_credits - d.posted_debits, c.posted_credits - c.posted_debits);
  return null;
end $function$;

CREATE OR REPLACE FUNCTION public.key_stays_revoked()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  raise exception 'key % is revoked and stays so', old.id using errcode = 'restrict_violation';
end $function$;

CREATE OR REPLACE FUNCTION public.lock_accounts(p_tenants text[], p_currencies text[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'public', 'pg_temp'
AS $function$
declare
  wanted int;
  locked int;
begin
  select 2 * count(*) into wanted from (select distinct * from unnest(p_tenants, p_currencies)) pairs;
  loop
    perform from accounts a
      where (a.tenant_id, a.currency) in (select * from unnest(p_tenants, p_currencies))
      order by a.tenant_id, a.currency, a.code
      for no key update;
    get diagnostics locked = row_count;
    exit when locked = wanted;
    insert into accounts (tenant_id, currency, code)
      select distinct p.tenant, p.currency, c.code
      from unnest(p_tenants, p_currencies) as p(tenant, currency), unnest(array['payable', 'receivable']) as c(code)
      order by 1, 2, 3
      on conflict do nothing;
  end loop;
end $function$;

CREATE OR REPLACE FUNCTION public.open_topic(p_topic text, p_partitions integer)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
begin
  perform pg_advisory_xact_lock(hashtextextended('cribwork event_partitions ' || p_topic, 0));
  if not exists (select from event_partitions where topic = p_topic) then
    insert into event_partitions (topic, partition) select p_topic, n from generate_series(0, p_partitions - 1) n;
  end if;
  return (select count(*) from event_partitions where topic = p_topic);
end $function$;

CREATE OR REPLACE FUNCTION public.park_event(p_owner text, p_topic text, p_key text, p_epoch bigint, p_seq bigint, p_reason text)
 RETURNS boolean
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
  with held as materialized (
    select s.topic, s.key from event_streams s
    where s.topic = p_topic and s.key = p_key and s.lease_owner = p_owner and s.lease_epoch = p_epoch
      and p_seq > s.published_seq and p_seq <= s.ready_seq
    for update of s skip locked
  ), parked as (
    update event_streams s set parked_seq = p_seq, parked_reason = p_reason, parked_at = clock_timestamp()
    from held h where s.topic = h.topic and s.key = h.key
    returning 1
  )
  select exists (select from parked)
$function$;

CREATE OR REPLACE FUNCTION public.reap(p_limit integer, p_tombstone interval)
 RETURNS integer
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION public.redrive(p_ids uuid[], p_limit integer, p_evidence boolean, p_window interval)
 RETURNS TABLE(operation_id uuid, redriven boolean)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
AS $function$
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
end $function$;

CREATE OR REPLACE FUNCTION public.redrive_events(p_topic text, p_key text)
 RETURNS boolean
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
  with freed as (
    update event_streams s
    set parked_seq = null, parked_reason = null, parked_at = null,
        due_at = case when s.lease_owner is null then clock_timestamp() else s.due_at end
    where s.topic = p_topic and s.key = p_key and s.parked_at is not null
    returning 1
  )
  select exists (select from freed)
$function$;

CREATE OR REPLACE FUNCTION public.release_events(p_owner text, p_leases jsonb, p_delay interval)
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
  with held as materialized (
    select s.topic, s.key
    from jsonb_to_recordset(p_leases) as a(topic text, key text, epoch bigint)
    join event_streams s on s.topic = a.topic and s.key = a.key
    where s.lease_owner = p_owner and s.lease_epoch = a.epoch
    for update of s skip locked
  )
  update event_streams s set lease_owner = null, due_at = clock_timestamp() + p_delay
  from held h where s.topic = h.topic and s.key = h.key
$function$;

CREATE OR REPLACE FUNCTION public.rfc3339(at timestamp with time zone)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
AS $function$ select to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') $function$;

CREATE OR REPLACE FUNCTION public.settle_batch(p_items jsonb)
 RETURNS TABLE(ix integer, told jsonb)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
AS $function$
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
end $function$;

CREATE OR REPLACE FUNCTION public.stage_command(p_operation uuid, p_tenant text, p_traceparent text)
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
AS $function$
  insert into psp_commands (operation_id, tenant_id, traceparent) values (p_operation, p_tenant, p_traceparent)
    on conflict do nothing
$function$;

CREATE OR REPLACE FUNCTION public.stage_event(p_topic text, p_key text, p_event_id uuid, p_type text, p_headers jsonb, p_payload text)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
declare
  v_seq bigint;
begin
  insert into event_streams as s (topic, key, last_seq, due_at)
  values (p_topic, p_key, 1, clock_timestamp())
  on conflict (topic, key) do update set
    last_seq = s.last_seq + 1,
    -- A stream that waits already keeps its place in the queue, or its lease.
    due_at = case when s.published_seq = s.last_seq then excluded.due_at else s.due_at end
  returning s.last_seq into v_seq;
  insert into outbox_events (topic, key, seq, event_id, type, headers, payload, staged_at)
  values (p_topic, p_key, v_seq, p_event_id, p_type, p_headers, p_payload, clock_timestamp());
  return v_seq;
end $function$;

CREATE OR REPLACE FUNCTION public.stage_events(p_events jsonb)
 RETURNS TABLE(ord bigint, seq bigint)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
begin
  return query
  with given as materialized (
    select g.ord, e.* from jsonb_array_elements(p_events) with ordinality as g(event, ord)
    cross join lateral jsonb_to_record(g.event) as e(topic text, key text, id uuid, type text, headers jsonb, payload text)
    order by e.topic collate "C", e.key collate "C", g.ord
  ), staged as materialized (
    select g.ord, stage_event(g.topic, g.key, g.id, g.type, g.headers, g.payload) as seq from given g
  )
  select s.ord, s.seq from staged s order by s.ord;
end $function$;

CREATE OR REPLACE FUNCTION public.store_epoch()
 RETURNS text
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
declare
  here text;
begin
  select id::text into here from public.installations;
  return here || '.' || (select system_identifier from pg_control_system()) || '.' ||
    (select timeline_id from pg_control_checkpoint());
exception when insufficient_privilege then
  return here; -- A hosted database that keeps this to itself.
end $function$;

CREATE OR REPLACE FUNCTION public.told_of(k idempotency_keys)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_object('outcome', k.outcome, 'document', k.document, 'fingerprint', encode(k.fingerprint, 'hex'),
    'charge', case when k.outcome <> 'refused' then k.charge_id end,
    'first_seen', rfc3339(k.created_at), 'expires', rfc3339(k.expires_at),
    'ttl_ms', greatest(0, floor(extract(epoch from k.expires_at - now()) * 1000)))
$function$;

CREATE OR REPLACE FUNCTION public.transfer_altered()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  raise exception 'transfers are history: correct one with another' using errcode = 'restrict_violation';
end $function$;

grant execute on function accept_batch(p_items jsonb, p_ttl interval, p_key_wait interval) to cribwork_app;

grant execute on function ack(p_items jsonb) to cribwork_app;

grant execute on function append_log(p_records jsonb) to cribwork_app;

grant execute on function audit_altered() to public;

grant execute on function claim(p_owner text, p_limit integer, p_lease interval, p_window interval) to cribwork_app;

grant execute on function claim_events(p_owner text, p_lease interval, p_streams integer, p_per_stream integer, p_events integer, p_bytes bigint) to cribwork_app;

grant execute on function forget_events(p_owner text, p_published jsonb) to cribwork_app;

grant execute on function key_stays_revoked() to public;

grant execute on function open_topic(p_topic text, p_partitions integer) to cribwork_app;

grant execute on function park_event(p_owner text, p_topic text, p_key text, p_epoch bigint, p_seq bigint, p_reason text) to cribwork_app;

grant execute on function reap(p_limit integer, p_tombstone interval) to cribwork_app;

grant execute on function redrive(p_ids uuid[], p_limit integer, p_evidence boolean, p_window interval) to cribwork_app;

grant execute on function redrive_events(p_topic text, p_key text) to cribwork_app;

grant execute on function release_events(p_owner text, p_leases jsonb, p_delay interval) to cribwork_app;

grant execute on function rfc3339(at timestamp with time zone) to public;

grant execute on function settle_batch(p_items jsonb) to cribwork_app;

grant execute on function stage_command(p_operation uuid, p_tenant text, p_traceparent text) to cribwork_app;

grant execute on function stage_event(p_topic text, p_key text, p_event_id uuid, p_type text, p_headers jsonb, p_payload text) to cribwork_app;

grant execute on function stage_events(p_events jsonb) to cribwork_app;

grant execute on function store_epoch() to public;

grant execute on function told_of(k idempotency_keys) to public;

grant execute on function transfer_altered() to public;

grant usage on schema public to cribwork_app;

grant usage on schema public to public;

grant select on table accounts to cribwork_app;

grant select on table accounts_astray to cribwork_app;

grant insert, select on table api_keys to cribwork_app;

grant update (revoked_at) on table api_keys to cribwork_app;

grant insert, select on table audit_entries to cribwork_app;

grant delete, insert, select, update on table breaker_forces to cribwork_app;

grant delete, insert, select, update on table breaker_reports to cribwork_app;

grant select on table charge_statements to cribwork_app;

grant select on table charges to cribwork_app;

grant select on table event_log to cribwork_app;

grant select on table event_partitions to cribwork_app;

grant select on table event_streams to cribwork_app;

grant select on table idempotency_keys to cribwork_app;

grant insert, select on table limit_policies to cribwork_app;

grant select on table migrations to cribwork_app;

grant select on table operations to cribwork_app;

grant select on table outbox_events to cribwork_app;

grant select on table psp_attempts to cribwork_app;

grant select on table psp_commands to cribwork_app;

grant select on table tombstones to cribwork_app;

grant select on table transfers to cribwork_app;
