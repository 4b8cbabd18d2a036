-- Gives back what one decision charged, under all of its keys at once.
--
-- KEYS    one sorted set a key
-- ARGV    id of the decision, its cost
-- answer  units given back a key: the most that any key held
local id, cost = ARGV[1], tonumber(ARGV[2])

-- ZREM takes members by unpack, whose stack ends below 8,000 values.
local membersMax = 2000

local most = 0
for _, key in ipairs(KEYS) do
  local removed = 0
  for _, name in ipairs({ id, '=' .. id }) do
    local members = { name }
    for unit = 2, cost do
      members[#members + 1] = name .. '#' .. (unit - 1)
      if #members >= membersMax then
        removed = removed + redis.call('ZREM', key, unpack(members))
        members = {}
      end
    end
    if #members > 0 then removed = removed + redis.call('ZREM', key, unpack(members)) end
  end
  most = math.max(most, removed)
end
return most
