-- Undo the claims of `usual`, the last write first. What the server refuses even of that stays: nothing else can be done.
if stage > 2 then pcall_redis('HDEL', KEYS[4], unpack(claims)) end
if stage > 1 then pcall_redis('ZREM', KEYS[3], unpack(claims)) end
for i = 1, stage > 0 and #claims or 0 do
  local left = pcall_redis('HINCRBY', KEYS[6], claims[i], -1)
  if type(left) == 'table' or left <= 0 then pcall_redis('HDEL', KEYS[6], claims[i]) end
end
for _ = 1, moved == 'LPUSH' and #claims or 0 do pcall_redis('LPOP', KEYS[2]) end
if moved == 'LMOVE' then pcall_redis('LMOVE', KEYS[2], KEYS[1], 'LEFT', 'RIGHT') end
