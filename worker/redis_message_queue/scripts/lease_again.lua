-- Give the messages of a part of processing that have no deadline one: a consumer takes them back when it has passed,
-- and whoever has one in hand may still settle it until then. A token is left as it is, and not made up.
-- KEYS  1 processing, 2 deadlines, 3 tokens
-- ARGV  1 how many to pass over at the tail, 2 how many to look at, 3 lease ms of those with a token, 4 of those without,
--       5 '1' to count alone
-- reply { length of processing, tokens in the hash, entries looked at, their bytes, tokens among them, given a deadline
--       of those with a token, of those without, the tokens }
-- cost  O(number of entries passed over and looked at)
--#include base
--#include types
--#include admit
local PROCESSING, DEADLINES, TOKENS = KEYS[1], KEYS[2], KEYS[3]
local wrong = check({ PROCESSING, 'list', DEADLINES, 'zset', TOKENS, 'hash' })
if wrong then return wrong end
local from, dry, now = tonumber(ARGV[1]), ARGV[5] == '1', now_ms()
local entries = call('LRANGE', PROCESSING, -from - ARGV[2], -from - 1)
if not dry then admit(TOKENS) end
local bytes, leased, with_token, without = 0, {}, 0, 0
for _, stored in ipairs(entries) do
  bytes = bytes + #stored
  local token = call('HGET', TOKENS, stored)
  if token then leased[#leased + 1] = token end
  if not call('ZSCORE', DEADLINES, stored) then
    if token then with_token = with_token + 1 else without = without + 1 end
    if not dry then call('ZADD', DEADLINES, now + ARGV[token and 3 or 4], stored) end
  end
end
return { call('LLEN', PROCESSING), call('HLEN', TOKENS), #entries, bytes, #leased, with_token, without, table.concat(leased, ' ') }
