-- Tells Redis what an instance admitted within its windows. Members are a set that only grows, and so do their
-- dates, so that telling it twice, or in any order, tells it once.
--
-- KEYS    the epoch, the expected instances, the restored instances, then sorted sets of units
-- ARGV    the instance; the epoch it restores into, nothing to begin, or `!` and the epoch whose clock was put
--         forward, to begin another; 1 with its last words;
--         milliseconds that an epoch is kept, 0 for ever; number of instances it saw, then these, each with the
--         last moment at which it can have admitted anything, 0 for those that lived; then for each sorted set:
--         window (microseconds), number of decisions, and of each: age, cost, member
-- answer  another epoch: 0, now
--         otherwise:     1, now, the epoch, when it began, 1 if it began with this, number of instances
--                        expected, these with their last moments, then those that have restored
--
-- An epoch is one life of one server and its clock: whoever counted in another must tell what it knows before it decides.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local instance, known, last, kept = ARGV[1], ARGV[2], ARGV[3] == '1', tonumber(ARGV[4])
-- For so long does it matter who has restored: no window is longer.
local settling = 86400000

local epoch, began = redis.call('GET', KEYS[1]), 0
if known == '' or string.sub(known, 1, 1) == '!' then
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  if not epoch or string.match(epoch, '^%w+') ~= run or known == '!' .. epoch then
    epoch, began = run .. ':' .. string.format('%.0f', now), 1
    redis.call('SET', KEYS[1], epoch)
    redis.call('DEL', KEYS[2], KEYS[3])
  end
  if kept > 0 then redis.call('PEXPIRE', KEYS[1], kept) end
elseif epoch ~= known then
  return { 0, now }
end

local since = tonumber(string.match(epoch, ':(%d+)$'))
local young = now - since < settling * 1000
local at = 6 + 2 * tonumber(ARGV[5])
if young then
  for seen = 6, at - 1, 2 do
    local moment = tonumber(ARGV[seen + 1])
    redis.call('ZADD', KEYS[2], 'NX', moment == 0 and now or moment, ARGV[seen])
  end
end

for place = 4, #KEYS do
  local window, decisions = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local units, latest = {}, now
  at = at + 2
  for _ = 1, decisions do
    -- An age was true when it was sent; by now the unit is older, and leaves later than it might.
    local score, cost, member = now - tonumber(ARGV[at]), tonumber(ARGV[at + 1]), ARGV[at + 2]
    at, latest = at + 3, math.max(latest, score)
    for unit = 1, cost do
      units[#units + 1] = score
      units[#units + 1] = unit == 1 and member or member .. '#' .. (unit - 1)
      if #units >= 2000 then
        redis.call('ZADD', KEYS[place], 'GT', unpack(units))
        units = {}
      end
    end
  end
  if #units > 0 then redis.call('ZADD', KEYS[place], 'GT', unpack(units)) end
  local wanted = math.ceil((latest - now + window) / 1000) + 1000
  if redis.call('PTTL', KEYS[place]) < wanted then redis.call('PEXPIRE', KEYS[place], wanted) end
end

if last and young then redis.call('SADD', KEYS[3], instance) end
for place = 2, 3 do redis.call('PEXPIRE', KEYS[place], settling) end

local expected = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
local answer = { 1, now, epoch, since, began, #expected / 2 }
for _, value in ipairs(expected) do answer[#answer + 1] = value end
for _, restored in ipairs(redis.call('SMEMBERS', KEYS[3])) do answer[#answer + 1] = restored end
return answer
