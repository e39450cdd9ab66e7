-- Put back to pending what a process that has ended had leased: at once, and else as a claim does after the end of a lease.
-- KEYS  1 pending, 2 processing, 3 deadlines, 4 tokens, 5 counter, 6 counts, 7 refs, 8 ids, 9 backrefs, 10 notes, 11 workers
-- ARGV  1 field of workers for the leases of the process, 2 cursor into tokens, 3 about how many of these to look at
-- reply { put back, next cursor or '' at the end, looked at, their bytes }
-- cost  O(looked at), and O(length of processing) for each of a bounded number that is put back
--#include base
--#include types
--#include admit
--#include ensure
--#include undo
--#include take_out
--#include records
--#include reclaim
--#include notes
local keys = { pending = KEYS[1], processing = KEYS[2], deadlines = KEYS[3], tokens = KEYS[4], counter = KEYS[5],
  counts = KEYS[6], refs = KEYS[7], ids = KEYS[8], backrefs = KEYS[9], notes = KEYS[10], lost = lost_with_lease }
local WORKERS, LEASES, cursor = KEYS[11], ARGV[1], ARGV[2]
local wrong = check_leases(keys) or check({ keys.notes, 'hash', WORKERS, 'hash' })
if wrong then return wrong end

-- A lease is known by its token: what is not current any more is somebody else's, or nobody's.
local known = call('HGET', WORKERS, LEASES) or ''
local leased, left = {}, 0
for token in string.gmatch(known, ' (%d+)') do
  leased[token], left = true, left + 1
end
local page, bytes, most, found = { '0', {} }, 0, most_at_once(keys), {}
if left > 0 then page = call('HSCAN', keys.tokens, cursor, 'COUNT', ARGV[3]) end
for i = 1, #page[2], 2 do
  local stored, token = page[2][i], page[2][i + 1]
  bytes = bytes + #stored
  if leased[token] then
    if #found == most then
      page[1] = nil -- here are more than may be put back at once: the same page again
      break
    end
    leased[token], left = nil, left - 1
    found[#found + 1] = { stored = stored, token = token, deadline = 0, order = tonumber(token) }
  end
end
cursor = page[1] or cursor
local ends = page[1] and (left == 0 or cursor == '0')
if #found == 0 and not ends then return { 0, cursor, #page[2] / 2, bytes } end

admit(keys.refs)
keys.noted = call('EXISTS', keys.notes) == 1
local back = put_back(keys, found)
if ends then
  call('HDEL', WORKERS, LEASES)
else
  local tokens = { string.match(known, '^%d+') }
  for token in pairs(leased) do tokens[#tokens + 1] = token end
  call('HSET', WORKERS, LEASES, table.concat(tokens, ' '))
end
return { back, ends and '' or cursor, #page[2] / 2, bytes }
