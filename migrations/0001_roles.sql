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

grant usage on schema public to cribwork_app;
revoke create on schema public from public;
