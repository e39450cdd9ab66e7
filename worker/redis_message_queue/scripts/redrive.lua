-- Give dead letters another life: each goes to the head of pending in an envelope of its own.
-- KEYS  1 dead letters, 2 pending, 3 replay record of this call
-- ARGV  1 replay TTL ms, then pairs of a payload, as it was read from the tail, oldest first, and its new stored form
-- reply how many were moved; it stops where somebody else changed the tail meanwhile
-- cost  O(1) for each
local wrong = check({ KEYS[1], 'list', KEYS[2], 'list', KEYS[3], 'string' })
if wrong then return wrong end
local before = call('GET', KEYS[3])
if before then return tonumber(before) end
local moved = 0
for i = 2, #ARGV, 2 do
  if call('LINDEX', KEYS[1], -1) ~= ARGV[i] then break end
  call('LPUSH', KEYS[2], ARGV[i + 1])
  or_undo(pcall_redis('RPOP', KEYS[1]), 'LPOP', KEYS[2])
  moved = moved + 1
end
call('SET', KEYS[3], moved, 'PX', ARGV[1])
return moved
