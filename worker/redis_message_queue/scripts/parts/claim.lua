-- Lease the message that LMOVE has put to the head of processing: its token, and how often it was delivered (0 where
-- nobody counts); nil and that number when it is beyond the limit; or nil, the number so far (nil: not counted) and
-- why a write was refused.
local function lease(keys, stored, want)
  local count = want.counted and pcall_redis('HINCRBY', keys.counts, stored, 1) or 0
  if type(count) == 'table' then return nil, nil, 'delivery count: ' .. count.err end
  if want.limit > 0 and count > want.limit then return nil, count end
  local number = pcall_redis('INCR', keys.counter)
  if type(number) == 'table' then return nil, count, 'lease token: ' .. number.err end
  -- Lua numbers are doubles: beyond 2^53 only the stored text of the counter is exact.
  local token = number < 9007199254740992 and text(number) or call('GET', keys.counter)
  local written = pcall_redis('ZADD', keys.deadlines, want.deadline, stored)
  if type(written) ~= 'table' then
    written = pcall_redis('HSET', keys.tokens, stored, token)
    if type(written) ~= 'table' then return token, count end
    call('ZREM', keys.deadlines, stored)
  end
  pcall_redis('DECR', keys.counter)
  return nil, count, 'lease token: ' .. written.err
end

-- The next message, at the head of processing now. What is to be cancelled is taken out on the way.
local function next_pending(keys, want)
  local stored
  repeat
    stored, want.first = want.first or call('LMOVE', keys.pending, keys.processing, 'RIGHT', 'LEFT'), nil
  until not (stored and want.cancelled and want.cancelled(stored))
  return stored
end

-- Claim the oldest of pending: { stored, token, delivery } each, and why one could not be stored, if so. `want` says how:
-- count, deadline; counted (whether deliveries are), limit (0: none), dead (the list of dead letters); delayed (a set, or
-- nil); unique (a text that no other claim has); first (what is at the head of processing already, if anything). Of its
-- functions buried(stored, deliveries) is told of each dead letter; those claimed together have the same care(stored);
-- granted(claim, care) says whether none may follow; and what is cancelled(stored) is out, what is strange(stored) is left
-- where it is, with all behind it.
local function claim(keys, want)
  local claims, refusal, before = {}, nil, nil
  for _ = 1, want.count + 100 do
    local at = #claims + 1
    local stored = at <= want.count and next_pending(keys, want)
    if not stored then break end
    if want.strange and want.strange(stored) then
      call('LMOVE', keys.processing, keys.pending, 'LEFT', 'RIGHT')
      break
    end
    local care = want.care and want.care(stored)
    if at > 1 and care ~= before then
      call('LMOVE', keys.processing, keys.pending, 'LEFT', 'RIGHT')
      break
    end
    before = care
    local token, delivery, refused
    if string.sub(stored, 1, #PREFIX) ~= PREFIX
        and (call('HEXISTS', keys.tokens, stored) == 1 or want.delayed and call('ZSCORE', want.delayed, stored)) then
      --#include own_envelope
      stored, refused = own_envelope(keys.processing, stored, want.unique .. at)
    end
    if not refused then token, delivery, refused = lease(keys, stored, want) end
    if token then
      claims[at] = { stored, token, delivery }
      if want.granted and want.granted(claims[at], care) then break end
    else
      --#include without_lease
      local others
      refused, others = without_lease(keys, stored, delivery, refused, want.dead)
      refusal = refused or refusal
      if refused and not others then break end
      if not refused then want.buried(stored, delivery - 1) end
    end
  end
  return claims, refusal
end
