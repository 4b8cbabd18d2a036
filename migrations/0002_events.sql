-- Events leave in two steps. Whoever changes the truth stages its event in the same transaction
-- (stage_event); a relay leases streams, publishes what waits in them in order, and removes it after the
-- bus has answered (claim_events, forget_events). A stream is one key of one topic.
--
-- Programs reach these tables only through the functions, which run as the owner of the schema.
-- Relays never wait for a lock while they hold another (SKIP LOCKED everywhere), so that they can neither
-- deadlock with a business transaction nor be stopped by one that stays open.

create table event_streams (
  topic         text        not null check (topic <> ''),
  key           text        not null check (key <> ''),
  last_seq      bigint      not null,            -- of the newest staged event; the first is 1, none is left out
  published_seq bigint      not null default 0,  -- of the newest event that was published and removed
  due_at        timestamptz not null,            -- when a relay may take the stream; under a lease, its end
  lease_owner   text,
  lease_epoch   bigint      not null default 0,  -- grows with every lease; an older one removes nothing
  parked_seq    bigint,                          -- the event that cannot be published; it holds up what follows
  parked_reason text,
  parked_at     timestamptz,
  ready_seq     bigint      not null generated always as (coalesce(parked_seq - 1, last_seq)) stored,
  primary key (topic, key),
  check (published_seq between 0 and last_seq),
  check (parked_seq between published_seq + 1 and last_seq),
  check (num_nulls(parked_seq, parked_reason, parked_at) in (0, 3))
) with (fillfactor = 70);

-- What a relay scans: nothing but streams with something to publish, longest due first.
create index event_streams_due on event_streams (due_at) where published_seq < ready_seq;
create index event_streams_parked on event_streams (parked_at) where parked_at is not null;

create table outbox_events (
  topic     text        not null,
  key       text        not null,
  seq       bigint      not null,
  event_id  uuid        not null,
  type      text        not null,
  headers   jsonb       not null,
  payload   text        not null,
  staged_at timestamptz not null,
  primary key (topic, key, seq)
);

-- The number of the event in its stream. The row lock of the stream, held until the transaction ends, makes
-- the numbers gap-free: who reads n has seen n - 1 commit. Whoever stages in many streams in one transaction
-- does so in the order of (topic, key), or two of them may deadlock.
create function stage_event(p_topic text, p_key text, p_event_id uuid, p_type text, p_headers jsonb, p_payload text)
returns bigint language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $fn$
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
end $fn$;

-- Many at once, [{topic, key, id, type, headers, payload}]: locked in the order of (topic, key), answered in
-- the order given.
create function stage_events(p_events jsonb)
returns table (ord bigint, seq bigint)
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $fn$
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
end $fn$;

-- Leases up to p_streams streams and returns the oldest events of each: at most p_per_stream of one, and
-- p_events or about p_bytes of payload in all (one event always fits). A stream that gets no room in the
-- answer is not leased.
create function claim_events(
  p_owner text, p_lease interval, p_streams int, p_per_stream int, p_events int, p_bytes bigint
) returns table (
  topic text, key text, epoch bigint, seq bigint, previous_seq bigint, event_id uuid, type text, headers jsonb,
  payload text, staged_at timestamptz
) language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $fn$
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
end $fn$;

-- Removes what was published, [{topic, key, epoch, through}], and ends the leases. `forgotten`; `busy`, when
-- a transaction is staging in the stream right now (ask again); `fenced`, when the lease is not the caller's
-- any more, in which case nothing was removed.
create function forget_events(p_owner text, p_published jsonb)
returns table (topic text, key text, outcome text)
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $fn$
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
end $fn$;

-- Ends leases, [{topic, key, epoch}], with nothing removed. A busy stream keeps its lease until it runs out.
create function release_events(p_owner text, p_leases jsonb, p_delay interval) returns void
language sql security definer set search_path = pg_catalog, public, pg_temp as $fn$
  with held as materialized (
    select s.topic, s.key
    from jsonb_to_recordset(p_leases) as a(topic text, key text, epoch bigint)
    join event_streams s on s.topic = a.topic and s.key = a.key
    where s.lease_owner = p_owner and s.lease_epoch = a.epoch
    for update of s skip locked
  )
  update event_streams s set lease_owner = null, due_at = clock_timestamp() + p_delay
  from held h where s.topic = h.topic and s.key = h.key
$fn$;

-- Stops a stream before an event that cannot be published; what lies before it still leaves. The lease stays.
-- False when the lease is not the caller's, or the stream is busy.
create function park_event(p_owner text, p_topic text, p_key text, p_epoch bigint, p_seq bigint, p_reason text)
returns boolean language sql security definer set search_path = pg_catalog, public, pg_temp as $fn$
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
$fn$;

-- Lets a parked stream go on with the very event that stopped it. False when it was not parked.
create function redrive_events(p_topic text, p_key text) returns boolean
language sql security definer set search_path = pg_catalog, public, pg_temp as $fn$
  with freed as (
    update event_streams s
    set parked_seq = null, parked_reason = null, parked_at = null,
        due_at = case when s.lease_owner is null then clock_timestamp() else s.due_at end
    where s.topic = p_topic and s.key = p_key and s.parked_at is not null
    returning 1
  )
  select exists (select from freed)
$fn$;

-- The embedded event log: what a broker would keep. An offset is given under the lock of its partition, which
-- is held until the append commits, so offsets become visible in their order and without gaps: a reader that
-- asks for what follows the last offset it saw loses nothing.

create table event_partitions (
  topic       text   not null check (topic <> ''),
  partition   int    not null check (partition >= 0),
  next_offset bigint not null default 0,
  primary key (topic, partition)
) with (fillfactor = 50);

create table event_log (
  topic         text        not null,
  partition     int         not null,
  record_offset bigint      not null,
  key           text        not null,
  headers       jsonb       not null,
  value         bytea       not null,
  appended_at   timestamptz not null,
  primary key (topic, partition, record_offset)
);

-- Gives a topic its partitions when it has none, and answers how many it has: for life, since another count
-- would send a key to another partition.
create function open_topic(p_topic text, p_partitions int) returns int
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $fn$
begin
  perform pg_advisory_xact_lock(hashtextextended('cribwork event_partitions ' || p_topic, 0));
  if not exists (select from event_partitions where topic = p_topic) then
    insert into event_partitions (topic, partition) select p_topic, n from generate_series(0, p_partitions - 1) n;
  end if;
  return (select count(*) from event_partitions where topic = p_topic);
end $fn$;

-- Appends [{topic, partition, key, headers, value}], value in base64, in the order given within a partition:
-- all or none. Answers how many.
create function append_log(p_records jsonb) returns bigint
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $fn$
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
end $fn$;

revoke execute on function
  stage_event(text, text, uuid, text, jsonb, text), stage_events(jsonb),
  claim_events(text, interval, int, int, int, bigint), forget_events(text, jsonb),
  release_events(text, jsonb, interval), park_event(text, text, text, bigint, bigint, text),
  redrive_events(text, text), open_topic(text, int), append_log(jsonb)
from public;
grant execute on function
  stage_event(text, text, uuid, text, jsonb, text), stage_events(jsonb),
  claim_events(text, interval, int, int, int, bigint), forget_events(text, jsonb),
  release_events(text, jsonb, interval), park_event(text, text, text, bigint, bigint, text),
  redrive_events(text, text), open_topic(text, int), append_log(jsonb)
to cribwork_app;
grant select on event_streams, outbox_events, event_partitions, event_log to cribwork_app;
