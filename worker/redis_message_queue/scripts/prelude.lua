-- Shared by every script: it is put in front of each of them when they are loaded.
-- L is a table of key names: pending, processing, deadlines, tokens, counter, counts, refs, ids, backrefs, dead.

local call, pcall_redis = redis.call, redis.pcall
local PREFIX = '\30RMQ1:'
local SHORT = 64 -- a list that is searched without asking from which end

-- An error reply unless every key is missing or of the type that follows it in the list. Runs before any write.
local function check(list)
  for i = 1, #list, 2 do
    local actual = call('TYPE', list[i])['ok']
    if actual ~= 'none' and actual ~= list[i + 1] then
      return redis.error_reply('WRONGTYPE ' .. list[i] .. ' is a ' .. actual .. ', expected a ' .. list[i + 1])
    end
  end
end

local function check_leases(L)
  return check({ L.pending, 'list', L.processing, 'list', L.deadlines, 'zset', L.tokens, 'hash', L.counter, 'string',
    L.counts, 'hash', L.refs, 'hash', L.ids, 'hash', L.backrefs, 'hash' })
end

local function problem_of(failure)
  return type(failure) == 'table' and failure.err or tostring(failure)
end

-- Run `body`, and `wrong` only if it fails: to name the key that has another type than it should. Nearly every call
-- is spared the checks that way; `body` has to read what it relies on before it writes, or undo what it wrote.
local function guarded(wrong, body)
  local ok, reply = pcall(body)
  if ok then return reply end
  return wrong() or redis.error_reply(problem_of(reply))
end

-- The full check for what a guarded script does rarely: before it writes to more than the message that it takes.
local function ensure(L)
  local wrong = L.wrong and L.wrong()
  if wrong then error(wrong.err, 0) end
end

-- At maxmemory the server refuses a script's first command that may grow memory, and no later one once the script
-- has written. Taking work out must always be possible, so such scripts begin with a write that frees: they remove
-- the records of earlier calls, KEYS from `first` on, which nobody needs any more.
local function admit(L, first)
  if first and KEYS[first] then
    call('DEL', unpack(KEYS, first))
  else
    call('HDEL', L.refs, '')
  end
end

-- What a script wrote before a refused command stays, and an ACL may refuse any command. So the second of two writes
-- that belong together is sent by pcall_redis: if its reply is an error, undo the first by the command given, and raise.
local function or_undo(reply, ...)
  if type(reply) ~= 'table' then return reply end
  call(...)
  error(reply.err, 0)
end

local function text(number)
  return string.format('%.0f', number)
end

local function now_ms()
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Lua numbers are doubles: beyond 2^53 only the stored text of the counter is exact.
local function next_token(L)
  local number = pcall_redis('INCR', L.counter)
  if type(number) == 'table' then return nil, number.err end
  if number < 9007199254740992 then return text(number) end
  return call('GET', L.counter)
end

local function next_tokens(L, most)
  local first, problem = next_token(L)
  if not first then return nil, problem end
  local tokens, number = { first }, tonumber(first)
  if most > 1 and number + most < 9007199254740992 then
    local advanced = pcall_redis('INCRBY', L.counter, most - 1)
    if type(advanced) == 'table' then return nil, advanced.err end
    for i = 2, most do
      tokens[i] = text(number + i - 1)
    end
  end
  while #tokens < most do
    tokens[#tokens + 1], problem = next_token(L)
    if problem then return nil, problem end
  end
  return tokens
end

-- message id and payload of a stored message; nil and the value itself when it is no envelope.
local function unwrap(stored)
  if string.sub(stored, 1, #PREFIX) ~= PREFIX then return nil, stored end
  local ok, content = pcall(cjson.decode, string.sub(stored, #PREFIX + 1))
  if not ok or type(content) ~= 'table' or type(content.id) ~= 'string' then return nil, stored end
  if type(content.payload) == 'string' then return content.id, content.payload end
  if type(content.payload_hex) == 'string' and #content.payload_hex % 2 == 0
      and not string.find(content.payload_hex, '%X') then
    return content.id, (string.gsub(content.payload_hex, '%x%x', function(byte)
      return string.char(tonumber(byte, 16))
    end))
  end
  return nil, stored
end

-- The id alone, without decoding the payload where the envelope is written as this library writes it. '' without one,
-- and for one that is not ASCII: it is only told, and must not make a reply unreadable for a decoding client.
local function id_of(stored)
  local id = string.match(stored, '^' .. PREFIX .. '{"id":"([^"\\]+)"') or unwrap(stored) or ''
  return string.find(id, '[\128-\255]') and '' or id
end

-- Remove one list entry. The newest claim is at the head, and at most (counter - token) claims came after this one:
-- that tells which end is nearer, and keeps the search short in a long list. Where the message already has its next
-- place, the command behind the token undoes that, if the entry is not there or the removal is refused.
local function take_out(L, stored, token, ...)
  local count = 1
  L.length = L.length or call('LLEN', L.processing)
  if token and L.length > SHORT then
    L.newest = L.newest or tonumber(call('GET', L.counter)) or 0
    if L.newest - (tonumber(token) or 0) >= L.length / 2 then count = -1 end
  end
  local removed = pcall_redis('LREM', L.processing, count, stored)
  if removed ~= 1 and ... then call(...) end
  if type(removed) == 'table' then error(removed.err, 0) end
  return removed
end

-- Drop the claim record that a peer may keep for a lease; where there are none of them (L.records), nobody has to look.
-- The record's name is data, so in a cluster it may be out of reach: then its own expiry removes it.
local function forget_records(L, token)
  if L.records == nil then L.records = call('EXISTS', L.refs, L.ids, L.backrefs) > 0 end
  if not token or not L.records then return end
  local record = call('HGET', L.refs, token)
  if record then
    pcall_redis('DEL', record)
    call('HDEL', L.refs, token)
  end
  local claim = call('HGET', L.backrefs, token)
  if claim then
    call('HDEL', L.ids, claim)
    call('HDEL', L.backrefs, token)
  end
end

-- Drop the lease. The deadline goes last: what a refused command leaves behind is reclaimed.
local function forget(L, stored, token)
  call('HDEL', L.tokens, stored)
  call('ZREM', L.deadlines, stored)
  forget_records(L, token)
end

-- Put messages with an expired lease back to the tail of pending, earliest deadline next. Each is pushed before it is
-- taken out, so no failure in between can lose it. The batch shrinks as the list grows: removal is linear in it.
-- What came back is listed in L.returned.
local function reclaim(L, now)
  local found = call('ZRANGEBYSCORE', L.deadlines, '-inf', text(now), 'WITHSCORES', 'LIMIT', 0, 100)
  if #found == 0 then return 0 end
  ensure(L)
  L.length = call('LLEN', L.processing)
  local most = math.max(10, math.min(100, math.floor(500000 / math.max(1, L.length))))
  local expired = {}
  for i = 1, math.min(#found, 2 * most), 2 do
    local token = call('HGET', L.tokens, found[i])
    expired[#expired + 1] = { stored = found[i], token = token, deadline = tonumber(found[i + 1]),
      order = tonumber(token) or 0 }
  end
  -- A batch shares its deadline: then the tokens tell who was claimed first.
  table.sort(expired, function(a, b)
    if a.deadline ~= b.deadline then return a.deadline < b.deadline end
    return a.order < b.order
  end)
  local reclaimed = 0
  L.returned = {}
  for i = #expired, 1, -1 do
    local stored, token = expired[i].stored, expired[i].token
    call('RPUSH', L.pending, stored)
    if take_out(L, stored, token, 'RPOP', L.pending) == 1 then
      reclaimed = reclaimed + 1
      L.returned[reclaimed] = stored
    else
      call('HDEL', L.counts, stored)
    end
    forget(L, stored, token)
  end
  return reclaimed
end

-- The state that a worker keeps in the hash of workers; nil when there is none or it is unreadable.
local function worker_state(workers, id)
  local ok, state = pcall(cjson.decode, call('HGET', workers, id) or '')
  if ok and type(state) == 'table' then return state end
end

local function is_retired(state, now)
  return state ~= nil and (tonumber(state.retire) or 0) > now
end

-- Put due delayed messages to the tail of pending, the earliest due next.
local function promote(L, delayed, now, most)
  local due = call('ZRANGEBYSCORE', delayed, '-inf', text(now), 'LIMIT', 0, most)
  if #due > 0 then ensure(L) end
  for i = #due, 1, -1 do
    call('RPUSH', L.pending, due[i])
    or_undo(pcall_redis('ZREM', delayed, due[i]), 'RPOP', L.pending)
  end
end

-- Lease the message that LMOVE has put to the head of processing: its token; nil and why if a write was refused.
local function grant(L, stored, deadline)
  local token, problem = next_token(L)
  if not token then return nil, problem end
  local written = pcall_redis('ZADD', L.deadlines, deadline, stored)
  if type(written) ~= 'table' then
    written = pcall_redis('HSET', L.tokens, stored, token)
    if type(written) ~= 'table' then return token end
    call('ZREM', L.deadlines, stored)
  end
  pcall_redis('DECR', L.counter)
  return nil, written.err
end

-- Turn the message that LMOVE has put to the head of processing into a dead letter; why, if a write was refused.
local function bury(L, dead_list, stored)
  local _, payload = unwrap(stored)
  local written = pcall_redis('LPUSH', dead_list, payload)
  if type(written) == 'table' then return written.err end
  written = pcall_redis('LREM', L.processing, 1, stored)
  if type(written) == 'table' then
    call('LPOP', dead_list)
    return written.err
  end
  call('HDEL', L.counts, stored)
end

-- Undo the LMOVE of a claim that could not be granted.
local function give_back(L, stored, counted)
  call('LMOVE', L.processing, L.pending, 'LEFT', 'RIGHT')
  if counted and call('HINCRBY', L.counts, stored, -1) <= 0 then call('HDEL', L.counts, stored) end
end

