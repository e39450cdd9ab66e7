-- The usual call, by few commands: what is settled is done, kept nowhere and still leased; nothing expired, is due or
-- remembered; what waits has no trouble behind it. No answer for any other call: the general way takes that one. Claims
-- are leased before anything is settled, and undone by `unlease`, so a write that is refused here is refused there too.
local claims, moved, stage, settling = {}, nil, 0, false -- stage: 1 counted, 2 with a deadline, 3 with a token
local prepared -- what lanes and limits let it claim: the general way goes on from there, for the lanes have had their turns

local function usual()
  local pending, processing, deadlines, tokens, counter, counts = unpack(KEYS, 1, 6)
  local want, fresh, due, lease_ms, limit, ttl, kept, limits, results =
    string.match(ARGV[1], '^(%d+) (%d) %d (%d) (%d+) (%d+) (%d+) (%d+) %d+ %d+ (%S+) ?(%d*)')
  local worker, leases_field = ARGV[2], ARGV[4]
  want, limit = tonumber(want), tonumber(limit)
  if want > 500 or want > 0 and fresh == '0' or ARGV[5] and kept ~= '0' then return end

  -- What is settled: its place by message, and the first token of all.
  local done, leases, places, first, named = {}, {}, {}, math.huge, {}
  local step = results == '' and 2 or 3
  for at = 5, #ARGV, step do
    local i = (at - 5) / step + 1
    local token, by = string.match(ARGV[at + 1] or '', '^(%d+) done 0 0 ?(.*)$')
    if not token then return end
    done[i], leases[i], first = ARGV[at], token, math.min(first, token)
    if by ~= '' then
      local lease_end, length = string.match(by, '^(%d+) (%d+)$')
      named[#named + 1] = { done[i], token, lease_end, length, i }
    end
  end
  local n = #done
  if n > 500 then return end

  local time = call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local delayed, noted = false, false
  local cancelled = pending .. ':cancelled'
  local known = call('EXISTS', KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[17], KEYS[19], KEYS[21], KEYS[22], KEYS[23], cancelled)
  local lanes = false -- whether any are in use, and then their keys
  if known > 0 then
    if call('EXISTS', KEYS[7], KEYS[8], KEYS[9], KEYS[22], KEYS[23], cancelled) > 0 then return end
    delayed, noted = call('EXISTS', KEYS[10]) == 1, call('EXISTS', KEYS[17]) == 1
    lanes = known > (delayed and 1 or 0) + (noted and 1 or 0)
    if delayed and call('ZRANGEBYSCORE', KEYS[10], '-inf', now, 'LIMIT', 0, 1)[1] then return end
  end
  if call('ZRANGEBYSCORE', deadlines, '-inf', now, 'LIMIT', 0, 1)[1] and want > 0 then return end
  local state, config, leased
  if worker ~= '' then
    state, leased = unpack(call('HMGET', KEYS[15], worker, leases_field))
    config = state and not string.find(state, '"retire":', 1, true) and string.match(state, '"config":"([^"\\]*)"')
    if not config then return end
  end

  if named[1] then
    --#include find
    for i, stored in ipairs(find(deadlines, tokens, named)) do
      if not stored then return end
      done[named[i][5]] = stored
    end
  end
  if n == 1 and not named[1] then
    if call('HGET', tokens, done[1]) ~= leases[1] then return end
  elseif n > #named then
    local current = call('HMGET', tokens, unpack(done))
    for i = 1, n do
      if current[i] ~= leases[i] then return end
    end
  end
  for i = 1, n do
    if places[done[i]] then return end
    places[done[i]] = i
  end

  local asked, grant = want, nil
  if lanes or limits ~= '-' and want > 0 then
    --#include lane
    --#include lanes
    --#include limits
    --#include prepare
    lanes = { used = lanes, pending = pending, waiting = KEYS[18], turns = KEYS[19], rates = KEYS[20], in_flight = KEYS[21], deadlines = deadlines }
    call('HDEL', KEYS[7], '') -- see admit
    if n > 0 and (limits ~= '-' or call('EXISTS', KEYS[21]) == 1) then -- a worker with limits may have had it before
      --#include give_back
      give_back(lanes, done)
    end
    if want > 0 then
      grant = prepare(lanes, limits, want, time[1] * 1000000 + time[2], now + lease_ms, tonumber(call('GET', counter)) or 0, n)
      want, grant.conclude = grant.want, conclude
      prepared = { grant = grant, lanes = lanes }
    end
  end

  -- What is claimed, the oldest first. One is simply moved, several are looked at before anything is written.
  local one_by_one, newest, counted, trimmed = want == 1 and n < 2, nil, nil, false
  local m = 0
  if want > 0 and not one_by_one then
    local waiting, raw = call('LRANGE', pending, -want, -1), false
    m = #waiting
    for i = 1, m do
      local stored = waiting[m + 1 - i]
      if places[stored] then return end
      if string.sub(stored, 1, #PREFIX) ~= PREFIX then raw = true end
      claims[i], places[stored] = stored, 0
    end
    one_by_one = m == 1 and n < 2
    if raw and not one_by_one then
      if delayed then return end
      for _, other in ipairs(call('HMGET', tokens, unpack(claims))) do
        if other then return end
      end
    end
  end
  if n + m > 0 and not one_by_one then
    local text = call('GET', counter) or '0'
    newest = tonumber(text)
    if #text > 15 or text ~= string.format('%d', newest or -1) then return end
  end
  if m > 0 and not one_by_one then
    if noted then
      for _, note in ipairs(call('HMGET', KEYS[17], unpack(claims))) do
        if note then return end
      end
    end
    counted = call('HMGET', counts, unpack(claims))
    for i = 1, m do
      local count = counted[i]
      if count and (#count > 15 or not string.find(count, '^[1-9]%d*$') or limit > 0 and tonumber(count) >= limit) then return end
    end
  elseif n > 0 and not one_by_one then
    call('HGET', counts, '') -- fails for a key of another type
  end
  -- What came last of all is at the head of processing: then it is cut off in one piece. Large ones take longer to read.
  if n > 1 and not named[1] and newest - first < n then
    local head = call('LRANGE', processing, 0, n - 1)
    trimmed = #head == n
    for i = 1, #head do
      local stored = head[i]
      if (places[stored] or 0) < 1 then trimmed = false end
      places[stored] = 0
    end
  end

  -- From here on it writes, and first what frees memory: see admit.
  if KEYS[24] then call('DEL', unpack(KEYS, 24)) elseif want > 0 then call('HDEL', KEYS[7], '') end
  local deadline = string.format('%d', now + lease_ms)
  local granted, grants = '', '' -- tokens; what is said of each claim
  if one_by_one then
    local stored = call('LMOVE', pending, processing, 'RIGHT', 'LEFT')
    claims = { stored or nil }
    m = #claims
    if stored then
      moved = 'LMOVE'
      if stored == done[1] or noted and call('HGET', KEYS[17], stored) then return end
      if string.sub(stored, 1, #PREFIX) ~= PREFIX
          and (call('HEXISTS', tokens, stored) == 1 or delayed and call('ZSCORE', KEYS[10], stored)) then return end
      local delivery = call('HINCRBY', counts, stored, 1)
      stage = 1
      if limit > 0 and delivery > limit then return end
      newest = call('INCR', counter)
      if newest >= 9007199254740992 then return end
      granted = string.format('%d', newest)
      call('ZADD', deadlines, deadline, stored)
      stage = 2
      call('HSET', tokens, stored, granted)
      stage = 3
      grants = string.format(' %s %d %d', granted, delivery, #stored)
    elseif n > 0 then
      call('HGET', counts, '')
    end
  elseif m > 0 then
    -- Members stand at even places: what belongs to each comes before it for ZADD, and after it for HSET.
    local values, numbers, facts = {}, {}, {}
    for i = 1, m do
      local delivery = counted[i] and string.format('%d', counted[i] + 1) or '1'
      values[2 * i], values[2 * i + 1] = claims[i], delivery
      numbers[i] = string.format('%d', newest + i)
      facts[i] = string.format(' %s %s %d', numbers[i], delivery, #claims[i])
    end
    granted, grants = table.concat(numbers, ' '), table.concat(facts)
    call('HSET', counts, unpack(values, 2, 2 * m + 1))
    stage = 1
    call('SET', counter, numbers[m])
    for i = 1, m do values[2 * i - 1] = deadline end
    call('ZADD', deadlines, unpack(values, 1, 2 * m))
    stage = 2
    for i = 1, m do values[2 * i + 1] = numbers[i] end
    call('HSET', tokens, unpack(values, 2, 2 * m + 1))
    stage = 3
  end

  local answers = '-'
  if n > 0 then
    newest = newest or tonumber(call('GET', counter)) or 0
    local gone, length = done, nil
    answers = string.rep('1', n)
    if trimmed then
      call('LTRIM', processing, n, -1)
      settling = true
    else
      for i = 1, n do
        local from = '1'
        if newest - leases[i] > 64 then
          length = length or call('LLEN', processing)
          if newest - leases[i] >= length / 2 then from = '-1' end
        end
        if call('LREM', processing, from, done[i]) == 0 then -- somebody removed it
          answers = string.sub(answers, 1, i - 1) .. '0' .. string.sub(answers, i + 1)
        end
        settling = true
      end
      if string.find(answers, '0') then
        gone = {}
        for i = 1, n do
          if string.sub(answers, i, i) == '1' then gone[#gone + 1] = done[i] end
        end
      end
    end
    if gone[1] then
      call('HDEL', tokens, unpack(gone))
      call('ZREM', deadlines, unpack(gone))
      call('HDEL', counts, unpack(gone))
      if noted then call('HDEL', KEYS[17], unpack(gone)) end
    end
    if step == 3 then
      --#include result
      for i = 1, n do
        if string.sub(answers, i, i) == '1' then keep_result(ARGV[4 + 3 * i], results) end
      end
    end
    call('SET', KEYS[22], answers, 'PX', ttl)
    if gone[1] and (config or '') ~= '' then
      local total = pcall_redis('HINCRBY', KEYS[16], config .. ':done', #gone)
      if total == #gone then call('PEXPIRE', KEYS[16], 86400000) end
    end
  end
  if m > 0 and not one_by_one then
    call('LPUSH', processing, unpack(claims))
    moved = 'LPUSH'
    call('LTRIM', pending, 0, -1 - m)
  end
  moved, stage, settling = nil, 0, true
  if m > 0 then call('SET', KEYS[23], granted, 'PX', ttl) end
  local lane_due, limited
  if grant then lane_due, limited = grant.conclude(lanes, grant, asked, claims, now) end

  local version, left = '0', nil
  if state then
    version = string.match(state, '"n":(%d+)') or '0'
    if leases_field ~= '' and m + n > 0 then
      -- As the general way does: what the process had leased less what is settled, and what is granted.
      left = string.match(leased or '', ' .*') or ''
      if n > 0 then
        --#include without
        left = without(left, leases)
      end
      left = string.format('%d', now + ttl) .. left .. (m > 0 and ' ' or '') .. granted
    end
    if m ~= n then
      local ok, updated = pcall(cjson.decode, state)
      if not ok then updated = cjson.decode(ARGV[3]) end
      updated.busy, updated.n, updated.at = math.max(0, (tonumber(updated.busy) or 0) + m - n), (tonumber(updated.n) or 0) + 1, now
      version = string.format('%d', updated.n)
      call('HSET', KEYS[15], worker, cjson.encode(updated), unpack(left and { leases_field, left } or {}))
    elseif left then
      call('HSET', KEYS[15], leases_field, left)
    end
  end
  local next_due, next_expiry = '-', '-'
  if m < asked then
    local due_first = delayed and call('ZRANGE', KEYS[10], 0, 0, 'WITHSCORES')[2]
    if lane_due then due_first = math.min(due_first or math.huge, now + lane_due) end
    local expires_first = call('ZRANGE', deadlines, 0, 0, 'WITHSCORES')[2]
    next_due = due_first and string.format('%d', math.max(0, due_first - now)) or '-'
    next_expiry = expires_first and string.format('%d', math.max(0, expires_first - now)) or '-'
  end
  local header = answers .. ' 0 0 0 ' .. next_due .. ' ' .. next_expiry .. ' ' .. version .. ' ' .. deadline .. ' ' .. (limited and string.format('%d', limited) or '-') .. grants
  if m > 0 and #claims[1] > 1024 then return { header, unpack(claims) } end -- the server takes long over large texts
  return header .. '\n' .. table.concat(claims)
end
