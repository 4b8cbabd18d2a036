-- API keys, known by the hash of their token, and the log of what people with power did.

create table api_keys (
  seq bigint generated always as identity primary key,
  id text not null unique check (id ~ '^[0-9a-f]{16}$'),
  token_hash bytea not null check (octet_length(token_hash) = 32),
  tenant_id text not null,
  user_id text not null,
  scopes text[] not null,
  plan text not null,
  operator boolean not null,
  created_at timestamptz not null default clock_timestamp(),
  revoked_at timestamptz,
  constraint admin_scopes_are_for_operators check (operator or array_to_string(scopes, ',') not like '%:admin%')
);

-- What a key may do is settled when it is made: programs may only revoke it, and a trigger keeps a revocation.
grant select, insert, update (revoked_at) on api_keys to cribwork_app;

create function key_stays_revoked() returns trigger language plpgsql as $$
begin
  raise exception 'key % is revoked and stays so', old.id using errcode = 'restrict_violation';
end $$;
create trigger api_keys_stay_revoked before update on api_keys
  for each row when (old.revoked_at is not null) execute function key_stays_revoked();

create table audit_entries (
  id bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  actor text not null,
  why text not null,
  action text not null,
  subject text not null,
  before jsonb,
  after jsonb
);

-- Insert-only by rights, and by trigger for the owner too.
grant select, insert on audit_entries to cribwork_app;

create function audit_altered() returns trigger language plpgsql as $$
begin
  raise exception 'audit entries are never changed or removed' using errcode = 'restrict_violation';
end $$;
create trigger audit_entries_insert_only before update or delete on audit_entries
  for each row execute function audit_altered();
create trigger audit_entries_never_emptied before truncate on audit_entries
  for each statement execute function audit_altered();
