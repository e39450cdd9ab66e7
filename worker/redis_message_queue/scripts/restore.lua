-- Put messages back into processing that are there no more although they are leased: the lease itself holds them.
-- KEYS  1 processing, 2 deadlines, 3 tokens
-- ARGV  1 cursor into tokens, 2 about how many to look at, 3 lease ms of those without a deadline, 4 '1' to count alone
-- reply { next cursor, looked at, put back }
-- cost  O(length of processing) for each that is looked at
--#include base
--#include types
--#include admit
local PROCESSING, DEADLINES, TOKENS = KEYS[1], KEYS[2], KEYS[3]
local wrong = check({ PROCESSING, 'list', DEADLINES, 'zset', TOKENS, 'hash' })
if wrong then return wrong end
local page, dry, restored = call('HSCAN', TOKENS, ARGV[1], 'COUNT', ARGV[2]), ARGV[4] == '1', 0
if not dry then admit(TOKENS) end
for i = 1, #page[2], 2 do
  local stored = page[2][i]
  if not call('LPOS', PROCESSING, stored) then
    restored = restored + 1
    if not dry then
      call('LPUSH', PROCESSING, stored)
      call('ZADD', DEADLINES, 'NX', now_ms() + ARGV[3], stored)
    end
  end
end
return { page[1], #page[2] / 2, restored }
