-- Programs connect as (or become) cribwork_app, which may read and write rows but owns nothing: it cannot
-- change the schema, and it holds no UPDATE or DELETE where history must stand. Roles belong to the whole
-- cluster, so another database of it, or a concurrent start, may have made this one already.
do $$
begin
  if not exists (select from pg_roles where rolname = 'cribwork_app') then
    create role cribwork_app nologin;
  end if;
exception when duplicate_object or unique_violation then null;
end $$;

-- Where the owner is no superuser and programs use the owner's URL (one user, as many hosts give), that user
-- must be able to become cribwork_app. Where they may not grant it, programs have a user of their own.
do $$
begin
  if not (select rolsuper from pg_roles where rolname = current_user) then
    execute format('grant cribwork_app to %I', current_user);
  end if;
exception when insufficient_privilege then null;
end $$;

grant usage on schema public to cribwork_app;
revoke create on schema public from public;

-- Every program checks, before it works, that the database is at its version.
grant select on migrations to cribwork_app;
