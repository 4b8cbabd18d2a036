-- The ledger: accounts that carry their balances, and the transfers that explain them. A transfer names one
-- account to debit and one to credit and holds one amount, so no sum over the ledger can be out of balance.

create table accounts (
  id uuid primary key default gen_random_uuid(),
  tenant_id text not null,
  code text not null check (code in ('receivable', 'payable')),
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  -- What may never be undercut by posted credits - posted debits - held debits. Null: no floor.
  floor bigint,
  posted_debits bigint not null default 0 check (posted_debits >= 0),
  posted_credits bigint not null default 0 check (posted_credits >= 0),
  held_debits bigint not null default 0 check (held_debits >= 0),
  held_credits bigint not null default 0 check (held_credits >= 0),
  version bigint not null default 0,
  created_at timestamptz not null default now(),
  unique (tenant_id, currency, code),
  unique (id, currency),
  constraint accounts_floor check (floor is null or posted_credits - posted_debits - held_debits >= floor)
) with (fillfactor = 40); -- Balances change in place: room on the page keeps the updates off the indexes.

create table transfers (
  id uuid primary key,
  kind text not null check (kind in ('hold', 'post', 'void')),
  hold_id uuid references transfers,
  dr uuid not null,
  cr uuid not null,
  currency text not null,
  amount bigint not null check (amount > 0),
  operation_id uuid not null,
  -- The accounts' versions and balances (posted credits - posted debits) after this transfer.
  dr_version bigint not null,
  cr_version bigint not null,
  dr_balance bigint not null,
  cr_balance bigint not null,
  created_at timestamptz not null default now(),
  check (dr <> cr),
  check ((kind = 'hold') = (hold_id is null)),
  foreign key (dr, currency) references accounts (id, currency),
  foreign key (cr, currency) references accounts (id, currency)
);
-- A hold ends once.
create unique index transfers_hold_ends_once on transfers (hold_id) where hold_id is not null;
create index transfers_of_operation on transfers (operation_id);

create function transfer_altered() returns trigger language plpgsql as $$
begin
  raise exception 'transfers are history: correct one with another' using errcode = 'restrict_violation';
end $$;
create trigger transfers_insert_only before update or delete on transfers
  for each row execute function transfer_altered();
create trigger transfers_never_emptied before truncate on transfers
  for each statement execute function transfer_altered();

-- Locks the two accounts of each (tenant, currency) in one order everywhere, and opens those that are new.
create function lock_accounts(p_tenants text[], p_currencies text[]) returns void
language plpgsql set search_path = public, pg_temp as $$
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
end $$;

-- Promises `p_amount`: debit the receivable, credit the payable. The accounts are locked. Null when it was
-- done; else why the ledger refuses, and nothing is written.
create function hold_funds(p_hold uuid, p_operation uuid, p_tenant text, p_currency text, p_amount bigint) returns jsonb
language plpgsql set search_path = public, pg_temp as $$
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
end $$;

-- Ends a hold: posts all of it, or gives it back. The accounts are locked.
create function end_hold(p_transfer uuid, p_hold uuid, p_kind text) returns void
language plpgsql set search_path = public, pg_temp as $$
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
end $$;

-- Accounts whose balances or versions are not the fold of their transfers. Empty, or money was made or lost.
create view accounts_astray as
  with legs as (
    select dr as account_id, kind, amount as debit, 0::bigint as credit from transfers
    union all
    select cr, kind, 0, amount from transfers
  ), folded as (
    select account_id,
      sum(debit) filter (where kind = 'post') as posted_debits,
      sum(credit) filter (where kind = 'post') as posted_credits,
      sum(case kind when 'hold' then debit else -debit end) as held_debits,
      sum(case kind when 'hold' then credit else -credit end) as held_credits,
      count(*) as version
    from legs group by account_id
  )
  select a.id, a.tenant_id, a.currency, a.code
  from accounts a left join folded f on f.account_id = a.id
  where (a.posted_debits, a.posted_credits, a.held_debits, a.held_credits, a.version) is distinct from
    (coalesce(f.posted_debits, 0)::bigint, coalesce(f.posted_credits, 0)::bigint,
     coalesce(f.held_debits, 0)::bigint, coalesce(f.held_credits, 0)::bigint, coalesce(f.version, 0));

-- Programs read the ledger; only the functions that accept and settle charges write it, as its owner.
grant select on accounts, transfers, accounts_astray to cribwork_app;
revoke execute on function lock_accounts, hold_funds, end_hold from public;
