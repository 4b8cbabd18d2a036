-- One decision of a sliding window over several keys: all are charged, or none is.
--
-- KEYS    one sorted set a key: members are units, scores the microsecond of their admission
-- ARGV    id of the decision, 1 if a caller brought it, cost, 1 to only look; then for each key limit, window
--         (microseconds), and 1 if it only observes
-- answer  admitted: 1, now, then remaining and reset for each key
--         denied:   0, now, retry after, then the places (from 1) of every key without room
--
-- Time is this server's. Scores are passed as numbers: concatenated, one would keep 14 digits of its 16.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local id, brought, cost, looking = ARGV[1], ARGV[2] == '1', tonumber(ARGV[3]), ARGV[4] == '1'

-- ZADD takes score and member by unpack, whose stack ends below 8,000 values.
local pairsMax = 1000

-- A decision that is asked again, since its answer was lost, was charged already. An id that a caller brought
-- is marked, so that it can never be one that an instance is still to make.
local charged = false
if brought and not looking then
  local at = redis.call('ZSCORE', KEYS[1], '=' .. id) or redis.call('ZSCORE', KEYS[1], id)
  charged = at and tonumber(at) > now - tonumber(ARGV[6])
end
if brought then id = '=' .. id end

-- Check all before any is changed; what has left its window is dropped, which changes no answer.
local counts, violated, retry = {}, {}, 0
for place, key in ipairs(KEYS) do
  local limit, window = tonumber(ARGV[2 + 3 * place]), tonumber(ARGV[3 + 3 * place])
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
  local count = redis.call('ZCARD', key)
  local excess = count + cost - limit
  counts[place] = count
  if excess > 0 and not charged and ARGV[4 + 3 * place] == '0' then
    violated[#violated + 1] = place
    local leaving = redis.call('ZRANGE', key, excess - 1, excess - 1, 'WITHSCORES')
    retry = math.max(retry, tonumber(leaving[2]) + window - now)
  end
end
if #violated > 0 then return { 0, now, retry, unpack(violated) } end

local answer = { 1, now }
for place, key in ipairs(KEYS) do
  local limit, window = tonumber(ARGV[2 + 3 * place]), tonumber(ARGV[3 + 3 * place])
  local count = counts[place]
  if not looking and not charged and count + cost <= limit then
    local units = { now, id }
    for unit = 2, cost do
      units[#units + 1] = now
      units[#units + 1] = id .. '#' .. (unit - 1)
      if #units >= 2 * pairsMax then
        redis.call('ZADD', key, unpack(units))
        units = {}
      end
    end
    if #units > 0 then redis.call('ZADD', key, unpack(units)) end
    -- A second beyond the window: a key that counts outlives its newest unit, and never for long.
    redis.call('PEXPIRE', key, math.ceil(window / 1000) + 1000)
    count = count + cost -- Also for a key that is named twice: its members are the same.
  end
  local oldest = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  answer[#answer + 1] = math.max(0, limit - count)
  answer[#answer + 1] = oldest[2] and tonumber(oldest[2]) + window - now or 0
end
return answer
