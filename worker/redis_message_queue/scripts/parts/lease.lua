-- Lease the message that LMOVE has put to the head of processing: its token and how often it was delivered, which is
-- counted where `counted`; nil and that number when it is beyond `limit` (0: there is none); or nil, the number so far
-- (nil: not counted) and why a write was refused. Without a token there is no lease: see unleased.
local function lease(L, stored, deadline, counted, limit)
  local count = counted and pcall_redis('HINCRBY', L.counts, stored, 1) or 0
  if type(count) == 'table' then return nil, nil, 'delivery count: ' .. count.err end
  if limit > 0 and count > limit then return nil, count end
  local number = pcall_redis('INCR', L.counter)
  if type(number) == 'table' then return nil, count, 'lease token: ' .. number.err end
  -- Lua numbers are doubles: beyond 2^53 only the stored text of the counter is exact.
  local token = number < 9007199254740992 and text(number) or call('GET', L.counter)
  local written = pcall_redis('ZADD', L.deadlines, deadline, stored)
  if type(written) ~= 'table' then
    written = pcall_redis('HSET', L.tokens, stored, token)
    if type(written) ~= 'table' then return token, count end
    call('ZREM', L.deadlines, stored)
  end
  pcall_redis('DECR', L.counter)
  return nil, count, 'lease token: ' .. written.err
end
