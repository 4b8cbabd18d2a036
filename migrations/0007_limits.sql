-- The policies that other services may ask for, one document a version: the highest holds, and none is ever changed.
create table limit_policies (
  version int primary key check (version >= 1),
  document jsonb not null,
  set_by text not null,
  set_at timestamptz not null default clock_timestamp()
);
grant select, insert on limit_policies to cribwork_app;
