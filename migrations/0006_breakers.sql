-- What operators order of breakers, and what each process tells of its own.

-- One order a dependency, obeyed by every process until `until`. Earlier ones are in the audit log. A name has room
-- for that of a host, which has 253 characters at most (RFC 1035).
create table breaker_forces (
  dependency text primary key check (length(dependency) between 1 and 300),
  state text not null check (state in ('open', 'closed')),
  reason text not null,
  forced_by text not null,
  forced_at timestamptz not null,
  until timestamptz not null,
  constraint a_force_ends_within_a_day check (until > forced_at and until <= forced_at + interval '24 hours')
);
grant select, insert, update, delete on breaker_forces to cribwork_app;

-- The breakers of each process as it saw them last. Written every few seconds, so room is left for updates in
-- place, and `seen_at` has no index: there are a few rows a process.
create table breaker_reports (
  process text not null,
  program text not null,
  dependency text not null,
  -- The process' own order: an open breaker with no open one below it comes first.
  rank int not null,
  snapshot jsonb not null,
  -- It said that it ends; kept for a while, so that its dependencies are still known by name.
  ended boolean not null default false,
  seen_at timestamptz not null default clock_timestamp(),
  primary key (process, dependency)
) with (fillfactor = 50);
grant select, insert, update, delete on breaker_reports to cribwork_app;
