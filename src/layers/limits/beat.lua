-- Says that an instance lives, and who else does or did.
--
-- KEYS    the instances (a sorted set: members are instances, scores the microsecond of their last beat), the alarm
-- ARGV    the instance; how long one is believed to live after a beat (microseconds); 1 with its last beat; how
--         many are remembered, and for how long (microseconds); then whom it last saw and when they last beat,
--         0 for those that lived
-- answer  how it stands, now, the alarm, then each instance and its last beat
--         stands: 0 as before, 1 it is new here or was believed dead, 2 it is the first: the set was gone
--
-- The first one after a loss carries over whom it saw alive, as if they had beaten now: they could not.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local instance, believed, leaving, kept = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1', tonumber(ARGV[5])

local stands = 0
local last = redis.call('ZSCORE', KEYS[1], instance)
if not last then
  stands = redis.call('ZCARD', KEYS[1]) == 0 and 2 or 1
  for seen = 6, #ARGV, 2 do
    local at = tonumber(ARGV[seen + 1])
    redis.call('ZADD', KEYS[1], 'NX', at == 0 and now or at, ARGV[seen])
  end
elseif tonumber(last) <= now - believed then
  stands = 1
end
redis.call('ZADD', KEYS[1], leaving and now - believed or now, instance)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - kept)
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[4]))
redis.call('PEXPIRE', KEYS[1], math.ceil(kept / 1000))

local answer = { stands, now, redis.call('GET', KEYS[2]) or '' }
for _, value in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')) do answer[#answer + 1] = value end
return answer
