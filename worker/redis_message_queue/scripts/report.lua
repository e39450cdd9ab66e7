-- Refresh what a worker says about itself.
-- KEYS  1 workers, 2 versions
-- ARGV  1 worker id, 2 version of its state that it has seen, 3 its state (JSON), 4 age of its oldest start in ms or '',
--       5 field for the leases of the process or '', 6 how long both are kept in ms
-- reply the version of the state; or as a text that, and the tokens of leases whose messages are to be cancelled
-- cost  O(1); once in a while O(versions), to remove what silent ones left
--#include base
--#include types
--#include admit
--#include worker
local wrong = check({ KEYS[1], 'hash', KEYS[2], 'hash' })
if wrong then return wrong end
admit(KEYS[1])
local now = now_ms()
local before, state = worker_state(call('HGET', KEYS[1], ARGV[1])), cjson.decode(ARGV[3])
state.n = tonumber(ARGV[2])
if before then
  -- A claim or settlement that the reporter has not seen yet counted busy better than the reporter could: its own, not
  -- of a process that had this id before and is gone.
  if tonumber(before.n) ~= state.n and before.instance == state.instance then state.busy = tonumber(before.busy) or state.busy end
  state.n = tonumber(before.n) or state.n
  if is_retired(before, now) then state.retire = before.retire end
end
state.at = now
if ARGV[4] ~= '' then state.oldest = now - tonumber(ARGV[4]) end
local leased = ARGV[5] ~= '' and string.match(call('HGET', KEYS[1], ARGV[5]) or '', ' .*')
if leased and before and before.cancel then
  local cancels = ''
  for token in string.gmatch(before.cancel, '%d+') do
    if string.find(leased .. ' ', ' ' .. token .. ' ', 1, true) then cancels = cancels .. ' ' .. token end
  end
  state.cancel = cancels ~= '' and cancels or nil
end
call('HSET', KEYS[1], ARGV[1], cjson.encode(state))
if leased then call('HSET', KEYS[1], ARGV[5], text(now + ARGV[6]) .. leased) end
call('PEXPIRE', KEYS[1], ARGV[6])

-- A version is remembered for a day after its last worker, the latest 8 of them.
local function forget_versions()
  local seen = {}
  for _, field in ipairs(call('HKEYS', KEYS[2])) do
    local config = string.match(field, '^(.*):at$')
    if config then seen[#seen + 1] = { config = config, at = tonumber(call('HGET', KEYS[2], field)) or 0 } end
  end
  table.sort(seen, function(a, b) return a.at > b.at end)
  for i, version in ipairs(seen) do
    if i > 8 or version.at < now - 86400000 then
      local prefix = version.config .. ':'
      call('HDEL', KEYS[2], prefix .. 'at', prefix .. 'done', prefix .. 'failed', prefix .. 'dead')
    end
  end
end

if type(state.config) == 'string' and state.config ~= '' then
  call('HSET', KEYS[2], state.config .. ':at', text(now))
  call('PEXPIRE', KEYS[2], 86400000)
end

-- Until when a field says something.
local function lasts(id, field)
  if string.sub(id, 1, 5) == 'held:' then return tonumber(string.match(field, '^%d+')) or 0 end
  local other = worker_state(field)
  return other and (tonumber(other.at) or 0) + 60000 or 0
end

-- Of many fields some are looked at, from any place on: each in its turn, whatever their number is.
if now % 32 == 0 then
  forget_versions()
  local some = call('HSCAN', KEYS[1], text(math.floor(now / 32)), 'COUNT', 64)[2]
  for i = 1, #some, 2 do
    if lasts(some[i], some[i + 1]) < now then call('HDEL', KEYS[1], some[i]) end
  end
end
return state.cancel and text(state.n) .. state.cancel or state.n
