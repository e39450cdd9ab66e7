-- Count why the latest letters were given up, as their records say. Writes nothing.
-- KEYS  1 records of dead, failed or completed messages
-- ARGV  1 how many records to read, newest first, 2 how many bytes of a reason count, 3 the largest record to be read
-- reply each reason and how many records have it, '' for records that tell none
-- cost  O(records read), of which there are at most 1000
--#include base
--#include types
local INFO, cut, largest = KEYS[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local wrong = check({ INFO, 'list' })
if wrong then return wrong end

local counts, reply = {}, {}
for from = 0, ARGV[1] - 1, 100 do
  for _, stored in ipairs(call('LRANGE', INFO, from, math.min(from + 100, ARGV[1]) - 1)) do
    local ok, record = pcall(cjson.decode, #stored <= largest and stored or '')
    local reason = ok and type(record) == 'table' and type(record.reason) == 'string' and string.sub(record.reason, 1, cut) or ''
    counts[reason] = (counts[reason] or 0) + 1
  end
end
for reason, count in pairs(counts) do
  reply[#reply + 1], reply[#reply + 2] = reason, text(count)
end
return reply
