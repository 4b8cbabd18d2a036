-- Decides a batch of asks, in their order, over sliding windows: of one ask all keys are charged, or none is.
--
-- KEYS    the epoch, then the distinct keys of all asks, one sorted set each: members are units, scores the
--         microsecond of their admission
-- ARGV    the epoch that the caller knows; the latest time that this can be (microseconds), 0 if it cannot tell;
--         for each key its limit, its window (microseconds), 1 if it only
--         observes, and for how long it is lent (microseconds); then for each ask: id, kind, cost, number of
--         keys, and their places (from 1)
--         kinds: 0 charge under an id that was never sent before, 1 charge under one that may have been, 2 look,
--         3 lend: charge it all, dated at its last possible use
-- answer  another epoch:   0, now
--         a later time:    2, now: this clock was put forward, and units would leave too soon
--         otherwise:       1, now, and for each ask one of
--           admitted       1, then remaining and reset for each key (remaining -1: only observed, and full)
--           charged before 2, then as above
--           denied         0, number of violated keys, then place and retry after of each
--
-- Time is this server's. Scores are passed as numbers: concatenated, one would keep 14 digits of its 16.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return { 0, now } end
local latest = tonumber(ARGV[2])
if latest > 0 and now > latest then return { 2, now } end

-- ZADD takes score and member by unpack, whose stack ends below 8,000 values.
local valuesMax = 2000
-- What has left its window is not counted and lies there until it is worth a call of its own to drop it.
local staleMax = 64

local keys = #KEYS - 1
local limits, windows, observed, lent = {}, {}, {}, {}
local counts, live, stale, oldest, units, lastAsk = {}, {}, {}, {}, {}, {}
for place = 1, keys do
  local key = KEYS[place + 1]
  local window = tonumber(ARGV[4 * place])
  limits[place], windows[place] = tonumber(ARGV[4 * place - 1]), window
  observed[place], lent[place] = ARGV[4 * place + 1] == '1', tonumber(ARGV[4 * place + 2])
  local all = redis.call('ZCARD', key)
  local count = 0
  if all > 0 then
    count = redis.call('ZCOUNT', key, string.format('(%.0f', now - window), '+inf')
    if all - count > count + staleMax then
      redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
      all = count
    end
    if count > 0 then
      oldest[place] = tonumber(redis.call('ZRANGE', key, all - count, all - count, 'WITHSCORES')[2])
    end
  end
  counts[place], live[place], stale[place], units[place] = count, count, all - count, {}
end

local function write(place)
  if #units[place] == 0 then return end
  redis.call('ZADD', KEYS[place + 1], unpack(units[place]))
  units[place] = {}
end

-- A caller's id is marked, so that it can never be one that an instance is still to make.
local mine = {}
local function chargedBefore(id, place)
  local key = KEYS[place + 1]
  if mine[key .. id] then return true end
  local at = redis.call('ZSCORE', key, '=' .. id) or redis.call('ZSCORE', key, id)
  return at and tonumber(at) > now - windows[place]
end

local answer = { 1, now }
local function say(value) answer[#answer + 1] = value end

local at, ask = 4 * keys + 3, 0
while at <= #ARGV do
  local id, kind, cost, asked = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local first = at + 4
  at, ask = first + asked, ask + 1
  local before = kind == '1' and chargedBefore(id, tonumber(ARGV[first]))

  -- Check all before any is changed.
  local violated, waits = {}, {}
  if not before then
    for named = first, at - 1 do
      local place = tonumber(ARGV[named])
      local excess = counts[place] + cost - limits[place]
      if excess > 0 and not observed[place] then
        local leaves = now
        if excess <= live[place] then
          local rank = stale[place] + excess - 1
          leaves = tonumber(redis.call('ZRANGE', KEYS[place + 1], rank, rank, 'WITHSCORES')[2])
        end
        violated[#violated + 1] = named - first + 1
        waits[#waits + 1] = leaves + windows[place] - now
      end
    end
  end

  if #violated > 0 then
    say(0)
    say(#violated)
    for n = 1, #violated do
      say(violated[n])
      say(waits[n])
    end
  else
    say(before and 2 or 1)
    local member = kind == '1' and '=' .. id or id
    for named = first, at - 1 do
      local place = tonumber(ARGV[named])
      local full = false
      if not before and lastAsk[place] ~= ask then -- A key that is named twice is charged once.
        full = counts[place] + cost > limits[place]
        if kind ~= '2' and not full then
          local list, last = units[place], now
          if kind == '3' then last = now + lent[place] end
          list[#list + 1] = last
          list[#list + 1] = member
          for unit = 2, cost do
            list[#list + 1] = last
            list[#list + 1] = member .. '#' .. (unit - 1)
            if #list >= valuesMax then
              write(place)
              list = units[place]
            end
          end
          if #list >= valuesMax then write(place) end
          if kind == '1' then mine[KEYS[place + 1] .. id] = true end
          counts[place] = counts[place] + cost
          oldest[place] = oldest[place] or now
        end
        lastAsk[place] = ask
      end
      say(full and -1 or math.max(0, limits[place] - counts[place]))
      say(oldest[place] and oldest[place] + windows[place] - now or 0)
    end
  end
end

for place = 1, keys do
  if counts[place] > live[place] then
    write(place)
    -- Longer than the window: a key that counts outlives its newest unit, and never for long.
    redis.call('PEXPIRE', KEYS[place + 1], math.ceil((windows[place] + lent[place]) / 1000) + 1000)
  end
end
return answer
